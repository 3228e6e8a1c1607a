"""Every bad input of the corpus ends in one line that helps, and leaves nothing half-written."""

import re
from pathlib import Path

import pytest

from moegs_ns.cli.main import run
from tests.bad_inputs.bench import FRAMES, Bench
from tests.bad_inputs.cases import CASES, Case
from tests.scene.make_video import numbered_scene
from tests.training.inprocess import train

pytestmark = pytest.mark.slow
SMALL = ("--vis", "tensorboard", "--pipeline.lpips", "--max-num-iterations", 2)


@pytest.fixture(scope="module")
def bench_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The scene and the runs that cases copy."""
    folder = tmp_path_factory.mktemp("good")
    scene = numbered_scene(folder / "scene", 3, FRAMES)
    place = ("--output-dir", folder / "outputs", "--timestamp", "run", "--data", scene, "n3v-data")
    few = ("--pipeline.model.max-gaussians", 100)
    stg = train(["moegs-stg", *SMALL, *few, *place])
    deformed = train(["moegs-4dgaussians", *SMALL, *few, "--pipeline.model.width", 8, *place])
    mixture = train(["moegs-router", *SMALL, "--experts", stg, deformed, *place])
    return {"scene": scene, "stg": stg, "4dgaussians": deformed, "mixture": mixture}


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_input_is_explained_in_one_line(
    case: Case,
    bench_of: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(tmp_path, bench_of["scene"], {name: path for name, path in bench_of.items() if name != "scene"})
    arguments = [str(word) for word in case.command(bench)]
    before = files_below(tmp_path)
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    status = run(arguments)
    out, errors = capfd.readouterr()
    message = " ".join((errors or out).split())
    assert status not in (0, None), out
    assert "Traceback" not in out + errors
    if "error:" in errors:
        assert len(errors.strip().splitlines()) == 1, errors
    squeezed = re.sub(r"[\s│]", "", errors or out)  # cells of a table are broken anywhere
    for pattern in case.says:
        found = re.search(pattern, message) or re.search(pattern.replace(" ", ""), squeezed)
        assert found, f"expected {pattern!r} in: {message}"
    left = {path.relative_to(tmp_path) for path in files_below(tmp_path) - before}
    assert not left, f"left behind: {sorted(map(str, left))}"


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
