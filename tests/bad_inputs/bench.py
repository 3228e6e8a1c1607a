"""What bad inputs are made of: a tiny scene and tiny runs, copied for every case and then spoilt."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.scene.make_video import numbered_frame

FRAMES = 6


@dataclass(frozen=True)
class Bench:
    """One case's own copies.

    Attributes:
        folder: of the case, empty at first.
        good_scene: three cameras of six frames; not to be touched.
        good_runs: an STG run, a 4DGaussians run and their mixture, ``stg``, ``4dgaussians``, ``mixture``, and the STG
            run with its scores, ``scored``; not to be touched.
    """

    folder: Path
    good_scene: Path
    good_runs: dict[str, Path]

    def scene(self, *spoil: Callable[[Path], object], name: str = "scene") -> Path:
        """A copy of the scene, spoilt."""
        copy = self.folder / name
        shutil.copytree(self.good_scene, copy, symlinks=True)
        for change in spoil:
            change(copy)
        return copy

    def run(self, kind: str, *spoil: Callable[[Path], object]) -> Path:
        """A copy of a run, spoilt; where it would be trained."""
        source = self.good_runs[kind]
        copy = self.folder / "outputs" / Path(*source.parts[-3:])
        shutil.copytree(source, copy)
        for change in spoil:
            change(copy)
        return copy


# -- ways to spoil a scene ---------------------------------------------------------------------------------------------


def poses(edit: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    """Change the rows of ``poses_bounds.npy``, in place or by returning others."""

    def change(scene: Path) -> None:
        rows = np.load(scene / "poses_bounds.npy")
        edited = edit(rows)
        np.save(scene / "poses_bounds.npy", rows if edited is None else edited)

    return change


def entry(row: int | slice, column: int, value: float) -> Callable[[Path], None]:
    """One number of ``poses_bounds.npy``."""
    return poses(lambda rows: rows.__setitem__((row, column), value))


def written(name: str, content: bytes | str) -> Callable[[Path], None]:
    """A file with this content."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def removed(name: str) -> Callable[[Path], None]:
    """Without a file or folder."""

    def change(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def loop(name: str) -> Callable[[Path], None]:
    """A link to itself in a file's place."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to((folder / name).name)

    return change


def cut(name: str, share: float) -> Callable[[Path], None]:
    """A file of which only the first ``share`` is there."""

    def change(folder: Path) -> None:
        file = next(folder.glob(name))
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])

    return change


def images_of(camera: str, frames: int = FRAMES, mode: str = "RGB", scale: float = 1.0) -> Callable[[Path], None]:
    """PNG files in the place of a camera's video: ``RGB``, ``RGBA``, ``I;16`` (16 bits) or ``L``."""

    def change(scene: Path) -> None:
        from PIL import Image

        (scene / f"{camera}.mp4").unlink()
        folder = scene / camera / "images"
        folder.mkdir(parents=True)
        for frame in range(frames):
            picture = Image.fromarray(numbered_frame(frame))
            if scale != 1.0:
                picture = picture.resize((int(picture.width * scale), int(picture.height * scale)))
            if mode == "I;16":
                picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
            elif mode != "RGB":
                picture = picture.convert(mode)
                if mode == "RGBA":
                    picture.putalpha(100)
            picture.save(folder / f"{frame:04d}.png")

    return change


# -- ways to spoil a run -----------------------------------------------------------------------------------------------


def record(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change ``run.json``."""

    def change(run: Path) -> None:
        content = json.loads((run / "run.json").read_text("utf8"))
        edit(content)
        (run / "run.json").write_text(json.dumps(content), "utf8")

    return change


def checkpoint(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change what the newest checkpoint holds."""

    def change(run: Path) -> None:
        import torch

        file = max((run / "nerfstudio_models").glob("*.ckpt"))
        state = torch.load(file, weights_only=True)
        edit(state)
        torch.save(state, file)

    return change


class RunsCode:
    """Something a pickle would build by calling a function: here one that leaves a file."""

    def __init__(self, trace: Path) -> None:
        self._trace = str(trace)

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self._trace),)


def hostile_checkpoint(run: Path) -> None:
    """A checkpoint that would leave a file ``executed`` in the run if its code ran."""
    import torch

    file = max((run / "nerfstudio_models").glob("*.ckpt"))
    torch.save({"step": 1, "pipeline": {}, "optimizers": {}, "extra": RunsCode(run / "executed")}, file)
