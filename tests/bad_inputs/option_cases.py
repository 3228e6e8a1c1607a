"""Values out of range for the other commands, and places that are taken. A new case is a new line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moegs_ns.cli.main import run
from tests.bad_inputs.bench import Bench, written
from tests.bad_inputs.cases import Case, Command, on_run, said, train


def of(kind: str, *words: object) -> Command:
    """A command on a whole run."""
    return on_run(words, kind)


def film(*options: object) -> Command:
    return of("stg", "render", "fixed", *options)


def held(*options: object) -> Command:
    return of("stg", "render", "bullet-time", *options)


def prune(*options: object) -> Command:
    return of("mixture", "prune", *options)


def fuse(*options: object) -> Command:
    return of("mixture", "fuse", "--background", "black", *options)


def prepare(*options: object) -> Command:
    return lambda bench: ["data", "prepare", bench.scene(), "--output-dir", bench.folder / "made", *options]


def taken(kind: str, *words: object, option: str = "--output") -> Command:
    """A command that is to write where a file is: the run's own record."""

    def command(bench: Bench) -> list[Any]:
        run = bench.run(kind)
        return [*words, run, option, run / "run.json"]

    return command


def half_size_of_frames(bench: Bench) -> list[Any]:
    """A film at half size into the frames of the whole one."""
    words = ["render", "fixed", bench.run("stg"), "--frames", bench.folder / "frames"]
    assert run([str(word) for word in words]) == 0
    return [*words, "--downscale", "2"]


POSE = [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
ENTRY = {"camera_to_world": POSE, "fov": 50}
PATH = {"render_height": 8, "render_width": 8, "fps": 2, "camera_path": [ENTRY, ENTRY]}


def path(**changes: Any) -> Command:
    """``moegs render path`` along a camera path with other values."""
    return _path(written("path.json", json.dumps({**PATH, **changes})))


def _path(spoil: Callable[[Path], None]) -> Command:
    def command(bench: Bench) -> list[Any]:
        spoil(bench.folder)
        return ["render", "path", bench.run("stg"), "--camera-path", bench.folder / "path.json"]

    return command


OPTION_CASES = [
    # films
    Case("film of an unknown camera", film("--camera", "cam77"), ("cam00", "cam01, cam02", "'cam77'")),
    Case(
        "film from a frame of a still camera", film("--pose-frame", "99"), ("--pose-frame", "found 99", "stood still")
    ),
    Case("film of no length", film("--seconds", "0"), ("--seconds", "found 0.0")),
    Case("film of NaN seconds", film("--seconds", "nan"), ("--seconds", "found nan")),
    Case("film without end", held("--time", "0", "--seconds", "1e9"), ("--seconds", "1,000,000")),
    Case("film of no rate", film("--fps", "0"), ("frames per second above 0, found 0",)),
    Case("film of an infinite rate", film("--fps", "inf"), ("frames per second above 0, found inf",)),
    Case("film of no quality", film("--quality", "99"), ("--quality from 0", "51, found 99")),
    Case("film downscaled to nothing", film("--downscale", "1e9"), ("--downscale", "1000000000")),
    Case("film downscaled by NaN", film("--downscale", "nan"), ("--downscale", "found nan")),
    Case("film in no column", film("--columns", "0"), ("at least one column", r", 0\b")),
    Case("film of unknown pictures", film("--show", "gate_stg"), ("truth, rgb, accumulation, depth", "'gate_stg'")),
    Case("film in another format", film("--output", "film.avi"), ("mp4", "mkv", "film.avi")),
    Case("film on no device", film("--device", "gpu"), ("--device, found 'gpu'",)),
    Case(
        "film into a file", taken("stg", "render", "fixed", option="--frames"), ("run.json", "found a file", "--frames")
    ),
    Case("film into frames of another size", half_size_of_frames, (r"found those of another one \(other downscale\)",)),
    Case("bullet time at no time", held(), ("--time", "--frame", "neither")),
    Case("bullet time after the end", held("--time", "2"), ("--time from 0", "found 2")),
    Case("bullet time at a frame past the end", held("--frame", "99"), ("--frame from 0 to 5, found 99",)),
    Case("orbit of NaN degrees", held("--time", "0", "--move", "orbit", "--degrees", "nan"), ("degrees", "found nan")),
    Case("spiral inside out", held("--time", "0", "--move", "spiral", "--radius", "-1"), ("radius above 0", "-1.0")),
    Case("way past one camera", held("--time", "0", "--cameras", "cam01"), ("at least two cameras", "found 1")),
    Case("no camera path", _path(lambda _: None), ("path.json", "found none", "Render tab")),
    Case("camera path that is no JSON", _path(written("path.json", "{")), ("path.json", "JSON")),
    Case("camera path that is a list", _path(written("path.json", "[1]")), ("path.json", "render_height")),
    Case("camera path of a number", path(camera_path=3), ("frames in the camera path", "found 3")),
    Case("camera path of numbers", path(camera_path=[3]), ("entry 0", "path.json", "found 3")),
    Case("camera path with words", path(camera_path=[{**ENTRY, "camera_to_world": "x"}]), ("entry 0", "'x'")),
    Case(
        "camera path with NaN", path(camera_path=[{**ENTRY, "camera_to_world": [float("nan")] * 16}]), ("16 numbers",)
    ),
    Case(
        "camera path seeing nothing", path(camera_path=[{**ENTRY, "fov": 0}]), ("field of view", "entry 0", "found 0")
    ),
    Case("camera path of no size", path(render_height=0), ("render_height of 1 or more", "path.json", r"\[8, 0\]")),
    Case("camera path at a rate in words", path(fps="x"), ("'fps'", "path.json", "'x'")),
    Case("camera path of a fisheye", path(camera_type="fisheye"), ("perspective", "'fisheye'")),
    # reports
    Case("report in no format", of("stg", "report", "--format", "html"), ("invalid choice 'html'",)),
    Case("report into a folder", lambda b: ["report", b.run("scored"), "--output", b.folder], ("found a folder",)),
    Case("charts into a file", taken("scored", "report", option="--plots"), ("run.json", "found a file")),
    Case(
        "report of other JSON", lambda b: ["report", b.run("scored") / "eval_test.json"], ("eval_test.json", "--json")
    ),
    Case("gates of no instant", of("mixture", "report", "gates", "--instants", "0"), ("--instants", "at least 1")),
    Case("gates of an unknown camera", of("mixture", "report", "gates", "--camera", "cam77"), ("cam00", "'cam77'")),
    Case("gates of no camera", of("mixture", "report", "gates", "--split", "val"), ("val split", "found none")),
    Case("gates into a file", taken("mixture", "report", "gates"), ("run.json", "found a file")),
    Case("motion of nothing", of("stg", "report", "motion", "--count", "0"), ("--count of 1 or more, found 0",)),
    Case("geometry of negative frames", of("stg", "report", "geometry", "--frames", "-1"), ("--frames", "found -1")),
    Case("geometry of no pixel", of("stg", "report", "geometry", "--pixel-stride", "0"), ("pixel stride", "found 0")),
    Case(
        "geometry of NaN", of("stg", "report", "geometry", "--min-accumulation", "nan"), ("accumulation", "found nan")
    ),
    Case("routers of an expert", of("scored", "report", "routers"), ("runs of mixtures", "'stg'")),
    Case("pictures into a file", taken("stg", "render"), ("run.json", "found a file")),
    # runs made of runs
    Case("pruned by less than nothing", prune("--ratio", "-0.5"), ("from 0 to below 1, found -0.5",)),
    Case("pruned by a NaN score", prune("--threshold", "nan"), ("threshold", "found nan")),
    Case("pruned by two rules", prune("--ratio", "0.5", "--threshold", "1"), ("ratio or a threshold", "found both")),
    Case("pruned at no temperature", prune("--ratio", "0.5", "--temperature", "0"), ("temperature above 0, found 0",)),
    Case("pruned by no view", prune("--ratio", "0.5", "--view-stride", "0"), ("--view-stride of 1 or more, found 0",)),
    Case("pruned for no camera", prune("--ratio", "0.5", "--split", "val"), ("val split", "found none")),
    Case("pruned into itself", lambda b: [*prune("--ratio", "0.5")(b), "--output", b.folder], ("moegs-router/<name>",)),
    Case("fused from no frame", fuse("--frame-stride", "0"), ("strides of 1 or more, found 0",)),
    Case("fused and tuned backwards", fuse("--finetune-steps", "-1"), ("0 or more steps", "found -1")),
    Case("fused under a path", fuse("--name", "../../x"), ("name of a folder", "'../../x'")),
    Case("fused under no name", fuse("--name", ""), ("name of a folder for --name, found ''",)),
    Case("fused on no device", fuse("--device", "gpu"), ("`cpu` or the number", "'gpu'")),
    # data
    Case("prepared from no features", prepare("--features", "0"), ("--features of 1 or more, found 0",)),
    Case("prepared by one view", prepare("--least-views", "1"), ("--least-views of 2 or more, found 1",)),
    Case("prepared with no focal length", prepare("--focal", "-1"), ("--focal above 0, found -1",)),
    Case("prepared with starts of nobody", prepare("--starts", "cam00"), ("--starts like cam03=0.1", "'cam00'")),
    Case("prepared with poses of nobody", prepare("--poses", "none.npy"), ("none.npy",)),
    Case("prepared at no size", prepare("--size", "0", "0"), ("--size", "found 0 by 0")),
    Case("prepared at no rate", prepare("--fps", "0"), ("--fps above 0, found 0",)),
    Case("prepared of no frames", prepare("--num-frames", "0"), ("--num-frames above 0, found 0",)),
    Case(
        "checked at no scale",
        lambda b: ["data", "check", b.scene(), "--", "--downscale", "0"],
        ("--downscale", "found 0"),
    ),
    Case("checked with unknown options", lambda b: ["data", "check", b.scene(), "--", "--speed", "1"], ("--speed",)),
    Case("unknown command", said("paint"), ("paint",)),
    Case("trained with a negative seed", train(more=("--seed", "-1")), ("--seed of 0 or more, found -1",)),
    Case("trained under a path", train(more=("--name", "a/b")), ("name of a folder", "'a/b'")),
    Case("trained on no device", train(more=("--devices", "gpu")), ("`cpu` or the number", "'gpu'")),
    Case("trained at a NaN rate", train(options=("--fps", "nan")), ("--fps > 0, found nan",)),
    Case("trained of nine experts", train(more=("--num-experts", "9")), ("--experts and --num-experts, found both",)),
]
