"""A disk that fills up in the middle of a command: one line, nothing half-written, and the next call ends as if nothing
had been.

Every file of the package gets its name by a rename (`moegs_ns.files`), which is one place where the fault is injected;
the other is the system, which is told to let no file grow. Trainings are in tests/training/test_trainer.py, single
files in tests/test_files.py.
"""

import errno
import hashlib
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from moegs_ns.cli.main import run
from tests.scene.make_video import numbered_scene
from tests.training.inprocess import evaluate, train

pytestmark = pytest.mark.slow
FRAMES = 4
_SMALL = 3000  # bytes


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A scene, a run on it and a mixture."""
    folder = tmp_path_factory.mktemp("good")
    scene = numbered_scene(folder / "scene", 3, FRAMES)
    small = ("--vis", "tensorboard", "--pipeline.lpips", "--max-num-iterations", 2)
    place = ("--output-dir", folder / "outputs", "--timestamp", "run", "--data", scene, "n3v-data")
    few = ("--pipeline.model.max-gaussians", 100)
    stg = train(["moegs-stg", *small, *few, *place])
    evaluate(stg, stg / "eval_test.json")
    other = train(["moegs-4dgaussians", *small, *few, "--pipeline.model.width", 8, *place])
    mixture = train(["moegs-router", *small, "--experts", stg, other, *place])
    return {"scene": scene, "stg": stg, "mixture": mixture}


class FullDisk:
    """From its n-th file on, this process finds the disk full.

    Attributes:
        files: that were finished, or would have been.
    """

    def __init__(self, patch: pytest.MonkeyPatch, from_file: int | None) -> None:
        self.files = 0
        replace = Path.replace

        def place(path: Path, target: Path) -> Path:
            self.files += 1
            if from_file is not None and self.files >= from_file:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return replace(path, target)

        patch.setattr(Path, "replace", place)


Command = Callable[[dict[str, Path], Path], list[Any]]
#: What is typed, by what it is to do; a new one is a new line.
COMMANDS: dict[str, Command] = {
    "prepare": lambda good, folder: [
        *("data", "prepare", good["scene"], "--poses", good["scene"] / "poses_bounds.npy"),
        *("--output-dir", folder / "made", "--seed-frames", "2"),
    ],
    "report": lambda good, folder: ["report", good["stg"], "--output", folder / "table.tex"],
    "export ply": lambda good, folder: ["export", good["stg"], "--format", "ply", "--output", folder / "ply"],
    "export splat": lambda good, folder: ["export", good["stg"], "--format", "splat", "--output", folder / "splat"],
    "export page": lambda good, folder: ["export", good["stg"], "--format", "html", "--output", folder / "page"],
    "film": lambda good, folder: ["render", "fixed", good["stg"], "--camera", "cam00", "--output", folder / "film.mkv"],
    "gates": lambda good, folder: ["report", "gates", good["mixture"], "--output", folder / "gates"],
    "render": lambda good, folder: ["render", good["mixture"], "--output", folder / "frames"],
}
#: Files that say when they were made, or how fast.
_NEVER_ALIKE = ("preparation.json", "comparison-cam00.mp4")


def digests(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _NEVER_ALIKE)
    return {str(path.relative_to(folder)): digest(path) for path in found}


def digest(path: Path) -> str:
    """Of the content; of a video's pictures, for its container has a number of its own."""
    whole = hashlib.sha256()
    if path.suffix in (".mkv", ".mp4"):
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                whole.update(frame.to_ndarray(format="rgb24").tobytes())
    else:
        whole.update(path.read_bytes())
    return whole.hexdigest()


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "report"])
def test_a_file_that_cannot_be_written_to_its_end_is_not_there(
    name: str, good: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No file may grow beyond a limit: whoever writes, in Python or below, is stopped in the middle of one."""
    words = [str(word) for word in COMMANDS[name](good, tmp_path)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_SMALL, before[1]))
    try:
        status = run(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    out, errors = capfd.readouterr()
    assert status == 1, out
    assert errors.count("error:") == 1 and "full" in errors, errors
    assert "Traceback" not in out + errors
    assert not list(tmp_path.rglob("*unfinished*"))
    assert all(path.stat().st_size <= _SMALL for path in tmp_path.rglob("*") if path.is_file())
    assert run(words) == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_leaves_what_the_next_call_goes_on_with(
    name: str, good: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def call(folder: Path, from_file: int | None) -> tuple[int, str, int]:
        folder.mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, from_file)
            status = run([str(word) for word in COMMANDS[name](good, folder)])
        out, errors = capfd.readouterr()
        assert "Traceback" not in out + errors
        return status, errors, disk.files

    status, errors, files = call(tmp_path / "whole", None)
    assert status == 0, errors
    for from_file in sorted({1, (1 + files) // 2, files}):
        broken = tmp_path / f"full from file {from_file} on"
        status, errors, _ = call(broken, from_file)
        assert status == 1
        assert errors.count("error:") == 1 and "full" in errors, errors
        assert not list(broken.rglob("*unfinished*"))
        status, errors, _ = call(broken, None)
        assert status == 0, errors
        assert digests(broken) == digests(tmp_path / "whole")
