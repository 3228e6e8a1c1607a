"""The corpus: what is wrong, the command that meets it, and what its one line has to say. A new case is a new line."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.bad_inputs.bench import (
    FRAMES,
    Bench,
    checkpoint,
    cut,
    entry,
    hostile_checkpoint,
    images_of,
    loop,
    poses,
    record,
    removed,
    written,
)
from tests.scene.make_video import encode, numbered_frame, numbered_video

Command = Callable[[Bench], list[Any]]


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        name: what is wrong.
        command: spoils the bench's copies and says what to type behind ``moegs``.
        says: regular expressions, all of which the message must match.
    """

    name: str
    command: Command
    says: tuple[str, ...]


def train(*spoil: Callable[[Path], object], options: tuple[object, ...] = (), more: tuple[object, ...] = ()) -> Command:
    """``moegs train`` on a spoilt scene; ``options`` are the data parser's, ``more`` the command's."""

    def command(bench: Bench) -> list[Any]:
        own = ["--experts", "stg", "--preset", "quick", "--output-dir", bench.folder / "outputs", "--plan"]
        parser = ["--", "--downscale", "1", *options]
        return ["train", bench.scene(*spoil), *own, *more, *parser]

    return command


def check(*spoil: Callable[[Path], object], options: tuple[object, ...] = ()) -> Command:
    """``moegs data check`` of a spoilt scene."""
    return lambda bench: ["data", "check", bench.scene(*spoil), *(["--", *options] if options else [])]


def on_run(words: tuple[object, ...], kind: str, *spoil: Callable[[Path], object]) -> Command:
    """A command on a spoilt copy of a run."""
    return lambda bench: [*words, bench.run(kind, *spoil)]


def said(*words: object) -> Command:
    """A command that needs nothing."""
    return lambda bench: [*words]


def video(name: str, frames: int = FRAMES, **options: Any) -> Callable[[Path], object]:
    return lambda scene: numbered_video(scene / name, frames, **options)


def other_video(path: Path, suffix: str) -> None:
    """A whole video of another format in the place of one; FFmpeg writes what the suffix says."""
    numbered_video(path.with_suffix(suffix), FRAMES).rename(path)


def other_image(path: Path, kind: str) -> None:
    """A whole image of another format in the place of one."""
    Image.fromarray(numbered_frame(0)).save(path, format=kind)


def sized_video(name: str, width: int, height: int) -> Callable[[Path], object]:
    return lambda scene: encode(scene / name, [numbered_frame(frame, width, height) for frame in range(FRAMES)])


def cloud(header: str, body: bytes = b"") -> Callable[[Path], object]:
    return written("points3D.ply", header.encode() + body)


PLY = (
    "ply\nformat ascii 1.0\nelement vertex {count}\nproperty float x\nproperty float y\nproperty float z\n"
    "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
)
REPORT, RENDER, FUSE, PRUNE = ("report",), ("render",), ("fuse",), ("prune", "--ratio", "0.5", "--split", "none")
GATES = ("report", "gates")
NOT_MOEGS = {"schema_version": 1}

CASES = [
    # videos and images
    Case("no scene", said("train", "nowhere"), ("scene at nowhere, found none",)),
    Case("a file for a scene", lambda bench: ["train", bench.scene() / "cam00.mp4"], ("folder with the scene",)),
    Case("empty folder", lambda bench: ["train", bench.folder], ("cam00.mp4", "found no camera")),
    Case("zero-length video", train(written("cam01.mp4", b"")), ("cam01.mp4", "expected", "found")),
    Case("no video at all", train(written("cam01.mp4", b"no video" * 99)), ("cam01.mp4", "damaged")),
    Case("truncated video", check(cut("cam01.mp4", 0.5)), ("cam01.mp4", "damaged or unfinished|truncated")),
    Case("text called mp4", train(written("cam01.mp4", "a list of frames\n")), ("cam01.mp4", "expected")),
    Case("video of other length", train(video("cam01.mp4", 4)), ("cam01 4", "--num-frames 4")),
    Case("video of other rate", train(video("cam01.mp4", fps=25)), ("cam01 25", "--fps")),
    Case(
        "variable frame rate",
        check(video("cam01.mp4", pts=[0, 1, 5, 6, 11, 12])),
        ("one rate in all cameras", "found cam01 13.846"),
    ),
    Case("video of other size", train(sized_video("cam01.mp4", 32, 24)), ("cam01 32x24", "64x48")),
    Case("missing video", train(removed("cam01.mp4")), ("no camera number 1",)),
    Case("video too many", train(video("cam07.mp4")), ("cam07", "3 rows")),
    Case("duplicate camera", train(video("cam01.mkv")), ("cam01.mkv", "cam01.mp4")),
    Case(
        "ambiguous order",
        train(lambda scene: (scene / "cam01.mp4").rename(scene / "cam1.mp4"), video("cam10.mp4")),
        ("cam1", "cam10"),
    ),
    Case(
        "one camera",
        train(removed("cam01.mp4"), removed("cam02.mp4"), poses(lambda rows: rows[:1])),
        ("at least one train camera",),
    ),
    Case("no frames", train(options=("--num-frames", 0)), ("--num-frames",)),
    Case("frames past the end", train(options=("--first-frame", 9)), ("--first-frame 9",)),
    Case(
        "empty image folder",
        train(removed("cam01.mp4"), lambda scene: (scene / "cam01").mkdir()),
        ("images .* in .*cam01", "found none"),
    ),
    Case("images fewer than frames", train(images_of("cam01", 3)), ("cam01 3",)),
    Case("images of another size", train(images_of("cam01", scale=0.5)), ("cam01 32x24",)),
    Case("images with alpha", check(images_of("cam01", mode="RGBA")), ("0000.png", "found transparency")),
    Case("16-bit images", check(images_of("cam01", mode="I;16")), ("0000.png", "8-bit")),
    Case("truncated image", check(images_of("cam01"), cut("cam01/images/0002.png", 0.5)), ("0002.png",)),
    Case("image that is none", train(images_of("cam01"), written("cam01/images/0000.png", "no")), ("0000.png",)),
    *(
        Case(
            f"{kind} called mp4",
            train(lambda scene, suffix=suffix: other_video(scene / "cam01.mp4", suffix)),
            (f"MP4.* at .*cam01.mp4, found what seems to be {kind}; convert", r"`ffmpeg .*-i cam01.mp4 .*\.mp4`"),
        )
        for kind, suffix in (
            ("an MPEG-TS video", ".ts"),
            ("a raw H.264 video", ".h264"),
            ("an FLV video", ".flv"),
        )
    ),
    *(
        Case(
            f"{kind} called png",
            train(images_of("cam01"), lambda scene, kind=kind: other_image(scene / "cam01/images/0000.png", kind)),
            (f"PNG or JPEG .*0000.png, found what seems to be an? {kind}", rf"`ffmpeg -i 0000\.{suffix} 0000\.png`"),
        )
        for kind, suffix in (("WebP", "webp"), ("BMP", "bmp"), ("TIFF", "tif"), ("GIF", "gif"))
    ),
    Case("symlink loop", train(loop("cam01.mp4")), ("cam01.mp4", "link")),
    Case(
        "black pictures",
        check(
            *(
                lambda scene, name=name: encode(scene / name, [np.zeros((48, 64, 3), np.uint8)] * 6)
                for name in ("cam00.mp4", "cam01.mp4", "cam02.mp4")
            )
        ),
        ("nothing|no detail|black",),
    ),
    # poses
    Case("no poses", train(removed("poses_bounds.npy")), ("poses_bounds.npy", "found no such file")),
    Case("poses zero-length", train(written("poses_bounds.npy", b"")), ("poses_bounds.npy", "expected a NumPy array")),
    Case("poses truncated", train(cut("poses_bounds.npy", 0.6)), ("poses_bounds.npy",)),
    Case(
        "poses pickled",
        train(lambda scene: np.save(scene / "poses_bounds.npy", np.array([{}], object))),
        ("poses_bounds.npy", "expected a NumPy array"),
    ),
    Case("poses of wrong shape", train(poses(lambda rows: rows[:, :15])), (r"\[N,17\]", r"\[3, 15\]")),
    Case("a pose too many", train(poses(lambda rows: np.vstack([rows, rows[:1]]))), ("4 rows", "found 3")),
    Case("NaN pose", train(entry(1, 3, np.nan)), ("poses_bounds.npy", r"rows \[1\]")),
    Case("infinite pose", train(entry(2, 3, np.inf)), ("poses_bounds.npy", r"rows \[2\]")),
    Case("skewed rotation", train(entry(2, 0, 0.4)), ("poses_bounds.npy", "row 2", "orthonormal")),
    Case(
        "mirrored rotation",
        train(poses(lambda rows: rows.__setitem__((0, [0, 5, 10]), -rows[0, [0, 5, 10]]))),
        ("poses_bounds.npy", "row 0"),
    ),
    Case("negative focal length", train(entry(1, 14, -3.0)), ("poses_bounds.npy", "row 1", "focal > 0")),
    Case("near behind far", train(entry(slice(None), 15, 99.0)), ("0 < near < far",)),
    # clouds
    Case("cloud zero-length", train(written("points3D.ply", b"")), ("points3D.ply",)),
    Case("empty cloud", check(cloud(PLY.format(count=0))), ("points3D.ply", "found none")),
    Case("cloud cut off", train(cut("points3D.ply", 0.5)), ("expected 50 points", "points3D.ply")),
    Case("cloud with NaN", train(cloud(PLY.format(count=1), b"nan 0 0 1 2 3\n")), ("points3D.ply", "found none")),
    Case("cloud claims too much", train(cloud(PLY.format(count=10**12), b"0 0 0 1 2 3\n")), ("points3D.ply", "10+")),
    Case(
        "cloud without positions",
        train(cloud("ply\nformat ascii 1.0\nelement vertex 1\nproperty float a\nend_header\n1\n")),
        ("properties x, y, z in .*points3D.ply", "found a;"),
    ),
    # options
    Case("unknown preset", train(more=("--preset", "slow")), ("unknown preset 'slow'", "known")),
    Case("unknown expert", train(more=("--experts", "gan")), ("unknown experts gan", "known")),
    Case("unknown parser", train(more=("--parser", "video-data")), ("n3v-data", "video-data")),
    Case("unknown test camera", train(options=("--test-cams", "cam09")), ("--test-cams", "cam09")),
    Case("downscale to nothing", train(options=("--downscale", 999)), ("--downscale", "999")),
    Case("student without a mixture", train(more=("--distill", "stg")), ("--distill", "stg")),
    # runs
    Case("no run", said(*REPORT, "nowhere"), ("run record nowhere", "found none")),
    Case("a scene for a run", lambda bench: [*REPORT, bench.scene()], ("run.json", "found none")),
    Case("record that is no JSON", on_run(REPORT, "stg", written("run.json", "{")), ("run.json", "expected JSON")),
    Case("record zero-length", on_run(RENDER, "stg", written("run.json", b"")), ("run.json", "expected JSON")),
    Case(
        "record of another version",
        on_run(RENDER, "stg", record(lambda one: one.update(schema_version=99))),
        ("run.json", "version 1.* 99|version.*found 99"),
    ),
    Case(
        "record without a method", on_run(RENDER, "stg", record(lambda one: one.pop("method"))), ("run.json", "method")
    ),
    Case(
        "record of an unknown expert",
        on_run(RENDER, "stg", record(lambda one: one["expert"].update(name="gan"))),
        ("unknown expert .*gan", "known: .*stg"),
    ),
    Case(
        "record with unknown options",
        on_run(RENDER, "stg", record(lambda one: one["expert"]["config"].update(a=1))),
        ("'a'",),
    ),
    Case("no scores", on_run(REPORT, "stg"), ("eval_test.json", "ns-eval")),
    Case("scores that are no JSON", on_run(REPORT, "stg", written("eval_test.json", "none")), ("eval_test.json",)),
    Case("no checkpoint", on_run(RENDER, "stg", removed("nerfstudio_models")), ("checkpoint", "nerfstudio_models")),
    Case(
        "checkpoint zero-length",
        on_run(RENDER, "stg", written("nerfstudio_models/step-000000999.ckpt", b"")),
        ("step-000000999.ckpt", "expected"),
    ),
    Case(
        "checkpoint cut off",
        on_run(RENDER, "stg", cut("nerfstudio_models/*.ckpt", 0.5)),
        (r"step-\d+.ckpt", "expected"),
    ),
    Case(
        "checkpoint that is none",
        on_run(RENDER, "stg", written("nerfstudio_models/step-000000999.ckpt", "no" * 99)),
        ("step-000000999.ckpt", "expected"),
    ),
    Case("checkpoint that runs code", on_run(RENDER, "stg", hostile_checkpoint), (r"step-\d+.ckpt", "tensors")),
    Case(
        "checkpoint without a model",
        on_run(RENDER, "stg", checkpoint(lambda state: state.pop("pipeline"))),
        ("ckpt", "pipeline"),
    ),
    Case(
        "checkpoint of another family",
        on_run(RENDER, "stg", record(lambda one: one["expert"].update(name="4dgaussians", config={}))),
        ("FourDGaussiansModel", "ckpt"),
    ),
    Case(
        "checkpoint of another model",
        on_run(RENDER, "stg", checkpoint(lambda state: state["pipeline"].pop("_model.gaussians.params.means"))),
        ("means",),
    ),
    Case(
        "data that are gone", on_run(RENDER, "stg", record(lambda one: one["scene"].update(data="/gone"))), ("/gone",)
    ),
    Case("an expert to fuse", on_run(FUSE, "stg"), ("moegs-router", "moegs-stg")),
    Case("an expert to prune", on_run(PRUNE, "stg"), ("moegs-stg|mixture",)),
    Case("gates of an expert", on_run(GATES, "stg"), ("mixture|router",)),
    Case("pruned by nothing", on_run(("prune",), "mixture"), ("--ratio or --threshold",)),
    Case("pruned by more than all", on_run(("prune", "--ratio", "1.5"), "mixture"), ("1.5",)),
    # places
    Case(
        "no videos to prepare",
        lambda bench: ["data", "prepare", bench.folder, "--output-dir", bench.folder / "made"],
        ("videos", "found"),
    ),
    Case(
        "a file for an output folder",
        lambda bench: ["report", bench.run("stg"), "--output", bench.scene() / "cam00.mp4" / "table.md"],
        ("eval_test.json|cam00.mp4",),
    ),
    Case("unknown public scene", said("data", "download", "my_scene"), ("my_scene", "coffee_martini")),
]
