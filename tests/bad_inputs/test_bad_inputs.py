"""Every bad input of the corpus ends in one line that helps, and leaves nothing half-written."""

import re
import shutil
from pathlib import Path

import pytest

from moegs_ns.cli.main import run
from tests.bad_inputs.bench import Bench
from tests.bad_inputs.cases import CASES, Case
from tests.bad_inputs.config_cases import CONFIG_CASES
from tests.bad_inputs.export_cases import EXPORT_CASES
from tests.bad_inputs.option_cases import OPTION_CASES
from tests.bad_inputs.run_cases import RUN_CASES

pytestmark = pytest.mark.slow
ALL_CASES = [*CASES, *CONFIG_CASES, *EXPORT_CASES, *OPTION_CASES, *RUN_CASES]


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_a_bad_input_is_explained_in_one_line(
    case: Case,
    good: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(tmp_path, good["scene"], {name: path for name, path in good.items() if name != "scene"})
    arguments = [str(word) for word in case.command(bench)]
    before = files_below(tmp_path)
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    try:
        status: object = run(arguments)
    except SystemExit as stopped:  # what the command line does not know
        status = stopped.code
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
    assert len({case.name for case in ALL_CASES}) == len(ALL_CASES) >= 60


def test_debug_shows_where_an_error_comes_from(good: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(good["stg"], tmp_path / "run")
    (copy / "run.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON in the run record"):
        run(["--debug", "report", str(copy)])
