"""Videos and image folders of a rig before any parser: readable, of one length, size and rate, camera by camera.

A data parser refuses a scene at the first fault, and has to. This looks at all cameras, so that every one at fault is
named at once and the others can still be checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from moegs_ns.checking.result import CheckResult, Verdict, fine, listed
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.frame_sources import SourceInfo, find_cameras, probe
from moegs_ns.scene.splits import find_named_cameras

NAME = "files"


def check_files(config: N3VDataParserConfig) -> list[CheckResult]:
    """A result per kind of fault, with the cameras that have it; or one that all is well. Empty where no camera is
    found at all: the parser says why."""
    try:
        cameras = find_cameras(config.data)
        left_out = find_named_cameras(list(cameras), config.exclude_cams, "--exclude-cams")
    except (ValueError, OSError):
        return []
    excluded = {list(cameras)[index] for index in left_out}
    infos: dict[str, SourceInfo] = {}
    results = []
    for name, source in cameras.items():
        if name not in excluded:
            try:
                infos[name] = probe(source)
            except (ValueError, OSError) as error:
                results.append(CheckResult(NAME, Verdict.UNUSABLE, str(error), (name,)))
    results += [
        *_odd(config.data, "size", {name: f"{info.width}x{info.height}" for name, info in infos.items()}),
        *_odd(config.data, "rate", {name: f"{info.fps:.3f} frames/s" for name, info in infos.items() if info.fps}),
    ]
    if config.num_frames is None:
        results += _odd(config.data, "length", {name: f"{info.num_frames} frames" for name, info in infos.items()})
    if results or not infos:
        return results
    any_info = next(iter(infos.values()))
    return [
        fine(
            NAME,
            f"{len(infos)} cameras of {any_info.width}x{any_info.height}, {any_info.num_frames} frames each.",
            cameras=len(infos),
            width=any_info.width,
            height=any_info.height,
            frames=any_info.num_frames,
        )
    ]


def _odd(data: Path, what: str, values: Mapping[str, str]) -> list[CheckResult]:
    """Cameras that differ from most."""
    if len(set(values.values())) < 2:
        return []
    usual, _ = Counter(values.values()).most_common(1)[0]
    odd = {name: value for name, value in values.items() if value != usual}
    each = listed(f"{name} {value}" for name, value in odd.items())
    advice = {
        "size": "encode these cameras at the size of the others and of their rows of poses_bounds.npy, from the "
        "original recording (`moegs data prepare` does)",
        "rate": "convert the videos to one rate, or pass --fps if only what the files say is wrong",
        "length": "cut the videos to a common start and length (`moegs data prepare` does), or pass --num-frames if "
        "they start together",
    }[what]
    return [
        CheckResult(
            NAME,
            Verdict.UNUSABLE,
            f"Expected one {what} in all cameras of {data.name}, {usual} as most have, found {each}; {advice}, or "
            "--exclude-cams them.",
            tuple(odd),
            {"usual": usual, "odd": odd},
        )
    ]
