"""Bad inputs of ``moegs export``: runs, folders, files cut off, options. A new case is a new line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from moegs_ns.cli.main import run
from tests.bad_inputs.bench import Bench, cut, record, removed, written
from tests.bad_inputs.cases import Case, Command, on_run


def export(*options: object) -> Command:
    """``moegs export`` of a whole run."""
    return on_run(("export", *options), "stg")


def again(*spoil: Callable[[Path], object], more: tuple[object, ...] = ()) -> Command:
    """The export of two frames, spoilt and asked for again."""

    def command(bench: Bench) -> list[Any]:
        words = ["export", bench.run("stg"), "--frames", ":2", "--output", bench.folder / "made", "--without-data"]
        assert run([str(word) for word in words]) == 0
        for change in spoil:
            change(bench.folder / "made")
        return [*words, *more]

    return command


def into(place: str, *spoil: Callable[[Path], object]) -> Command:
    """An export into a place of the case's folder, made by ``spoil``."""

    def command(bench: Bench) -> list[Any]:
        for change in spoil:
            change(bench.folder)
        return ["export", bench.run("stg"), "--output", bench.folder / place]

    return command


RECORD = '{{"schema_version": 1, "job": {job}, "files": {files}}}'
GONE = record(lambda one: one["scene"].update(data="/gone"))

EXPORT_CASES = [
    Case("export of a mixture", on_run(("export",), "mixture"), ("image space", "moegs-distill", "moegs fuse")),
    Case(
        "export of a cut off run", on_run(("export",), "stg", cut("nerfstudio_models/*.ckpt", 0.5)), ("ckpt", "whole")
    ),
    Case("export without a checkpoint", on_run(("export",), "stg", removed("nerfstudio_models")), ("step-.*ckpt",)),
    Case("export without a record", on_run(("export",), "stg", removed("run.json")), ("run.json", "found none")),
    Case("export without data", on_run(("export",), "stg", GONE), ("/gone", "--without-data")),
    Case("export into a file", into("taken", written("taken", "x")), ("taken", "found a file", "--output")),
    Case("export below a file", into("taken/deep", written("taken", "x")), ("taken/deep", "found a file on the way")),
    Case("export into a scene", lambda b: ["export", b.run("stg"), "--output", b.scene()], ("other files", "--output")),
    Case(
        "export into another export", again(more=("--sh-degree", "0")), ("sh_degree: None there, 0 now", "--overwrite")
    ),
    Case(
        "export record that is no JSON", again(written("export.json", "{")), ("export.json", "expected JSON", "remove")
    ),
    Case("export record zero-length", again(written("export.json", b"")), ("export.json", "expected JSON")),
    Case("export record of another version", again(written("export.json", '{"schema_version": 9}')), ("version 1.*9",)),
    Case("export record of nothing", again(written("export.json", '{"schema_version": 1}')), ("'job'.*export.json",)),
    Case("export record of wrong types", again(written("export.json", RECORD.format(job="[]", files=3))), ("'job'",)),
    Case(
        "export record that names files elsewhere",
        again(written("export.json", RECORD.format(job="{}", files='["../stg"]')), more=("--overwrite",)),
        ("that can be names of files", "export.json", r"found '\.\./stg'"),
    ),
    Case("export to a page that cannot be", export("--html", "--max-mb", "0.001"), ("--max-mb", "0.4 MB")),
    Case("export to a page of no size", export("--html", "--max-mb", "0"), ("--max-mb above 0, found 0",)),
    Case("export to a page of NaN", export("--html", "--max-mb", "nan"), ("--max-mb above 0, found nan",)),
    Case("export of no frame", export("--frames", "4:2"), ("--frames", "found '4:2', which names none")),
    Case("export of words for frames", export("--frames", "all"), ("--frames", "first:end:step", "'all'")),
    Case("export of frames past the end", export("--frames", "99"), ("clip's 6", "'99'")),
    Case("export of NaN opacity", export("--min-opacity", "nan"), ("smallest opacity from 0 to below 1, found nan",)),
    Case("export of negative checks", export("--check-images", "-1"), ("--check-images of 0 or more, found -1",)),
    Case("export on no device", export("--device", "gpu"), ("`cuda:N` for --device, found 'gpu'",)),
    Case("export on a missing device", export("--device", "cuda:7"), ("CUDA devices .* found 'cuda:7'",)),
    Case("export in no format", export("--format", "obj"), ("invalid choice 'obj'",)),
    Case(
        "export of harmonics baked",
        export("--bake-sh"),
        ("lite and full", "spherical harmonics", "leave out --bake-sh"),
    ),
    Case("export of a video baked", export("--format", "video", "--bake-sh"), ("--format video, found --bake-sh",)),
    Case("export of two formats", export("--html", "--format", "splat"), ("--html", "--format splat")),
]
