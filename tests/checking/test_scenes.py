"""``moegs data check`` over the bundled scene, over copies of it broken in one way each, and over real scenes."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moegs_ns.checking.check import check_scene
from moegs_ns.checking.files import check_files
from moegs_ns.checking.reading import parser_config, read_scene
from moegs_ns.checking.result import Verdict
from moegs_ns.cli.main import run
from moegs_ns.scene.decoding import iterate_frames

ASKED_FOR = (
    "pose turned by 2 degrees",
    "camera delayed by 3 frames",
    "two video files swapped",
    "video of half the size",
    "rows of poses reversed",
    "empty point cloud",
    "truncated video",
)
FURTHER = ("pose rolled by 2 degrees", "pose tilted by 2 degrees", "video enlarged from half the size")
OF_FILES = ("video of half the size", "truncated video")
OF_READING = "empty point cloud"


@pytest.fixture(scope="module")
def benchmark(project_root: Path) -> Iterator[ModuleType]:
    """benchmarks/data_check.py"""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        import data_check

        yield data_check


@pytest.fixture(scope="module")
def broken_scenes(benchmark: ModuleType) -> ModuleType:
    """benchmarks/broken_scenes.py, which the benchmark imports."""
    return sys.modules["broken_scenes"]


def fault_named(broken_scenes: ModuleType, name: str) -> Any:
    return {fault.name: fault for fault in (*broken_scenes.FAULTS, *broken_scenes.FURTHER_FAULTS)}[name]


@pytest.mark.parametrize("name", OF_FILES)
def test_files_at_fault_are_named_before_any_parsing(
    name: str, sample_scene: Path, tmp_path: Path, broken_scenes: ModuleType
) -> None:
    fault = fault_named(broken_scenes, name)
    cameras = broken_scenes.break_scene(sample_scene, tmp_path / "scene", fault)
    results = check_files(parser_config(tmp_path / "scene", "n3v-data", ()))
    assert [(result.verdict, result.cameras) for result in results] == [(Verdict.UNUSABLE, cameras)]
    assert fault.says in results[0].sentence
    # The parser refuses the scene too.
    assert read_scene(parser_config(tmp_path / "scene", "n3v-data", ()))[0] is None


def test_lengths_that_differ_are_named(sample_scene: Path, tmp_path: Path, broken_scenes: ModuleType) -> None:
    names = broken_scenes.copy_scene(sample_scene, tmp_path / "scene")
    video = tmp_path / "scene" / f"{names[3]}.mp4"
    broken_scenes.replace_video(tmp_path / "scene", names[3], video, list(iterate_frames(video, 0, 20)))
    (result,) = check_files(parser_config(tmp_path / "scene", "n3v-data", ()))
    assert (result.verdict, result.cameras) == (Verdict.UNUSABLE, ("cam03",))
    assert "24 frames as most have, found cam03 20 frames" in result.sentence
    assert check_files(parser_config(tmp_path / "scene", "n3v-data", ("--num-frames", "20")))[0].verdict == Verdict.FINE


def test_an_empty_cloud_is_a_result_and_no_traceback(
    sample_scene: Path, tmp_path: Path, broken_scenes: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    fault = fault_named(broken_scenes, OF_READING)
    broken_scenes.break_scene(sample_scene, tmp_path / "scene", fault)
    assert run(["data", "check", str(tmp_path / "scene"), "--json", str(tmp_path / "found.json")]) == 2
    shown = capfd.readouterr().out
    assert "reading" in shown and "unusable" in shown
    found = json.loads((tmp_path / "found.json").read_text("utf8"))
    assert found["verdict"] == "unusable"
    assert [one["check"] for one in found["results"] if one["verdict"] != "fine"] == ["reading"]
    assert fault.says in found["results"][-1]["sentence"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "expected a scene folder at"),
        (["nowhere", "--parser", "hypernerf-data"], "scene.json"),
        ([".", "--parser", "videos"], "expected a data parser out of n3v-data"),
    ],
)
def test_what_cannot_be_read_is_unusable(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["data", "check", *arguments]) == 2
    shown = capfd.readouterr()
    assert message in (shown.out + shown.err).replace("\n", " ")


def test_scenes_without_points_are_told_from_random_ones(
    sample_scene: Path, tmp_path: Path, broken_scenes: ModuleType
) -> None:
    broken_scenes.copy_scene(sample_scene, tmp_path / "scene")
    (tmp_path / "scene" / "points3d.ply").unlink()
    for options in ((), ("--random-points", "500")):
        scene, _ = read_scene(parser_config(tmp_path / "scene", "n3v-data", options))
        assert scene is not None and scene.cloud is None


@pytest.mark.slow
def test_the_sample_scene_is_fine(sample_scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--json", str(tmp_path / "found.json"), "--picture", str(tmp_path / "rig.png")]
    assert run(["data", "check", str(sample_scene), *arguments, "--", "--exclude-cams", "cam11"]) == 0
    shown = capfd.readouterr().out
    assert "Fine: this will train." in shown and "moegs train --preset quick" in shown
    found = json.loads((tmp_path / "found.json").read_text("utf8"))
    assert found["verdict"] == "fine" and found["options"] == ["--exclude-cams", "cam11"]
    pairs = next(one for one in found["results"] if one["check"] == "epipolar")["numbers"]["pairs"]
    assert len(pairs) > 30 and not any("cam11" in pair["views"] for pair in pairs)
    assert (tmp_path / "rig.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in (*ASKED_FOR, *FURTHER) if name != OF_READING])
def test_broken_copies_are_flagged_for_the_right_reason(
    name: str, sample_scene: Path, tmp_path: Path, benchmark: ModuleType, broken_scenes: ModuleType
) -> None:
    fault = fault_named(broken_scenes, name)
    cameras = broken_scenes.break_scene(sample_scene, tmp_path / "scene", fault)
    report = check_scene(parser_config(tmp_path / "scene", "n3v-data", ()))
    said = [(one.name, one.verdict.word, one.cameras, one.sentence) for one in report.results if one.verdict]
    assert report.verdict > Verdict.FINE and benchmark.was_found(report, fault, cameras), said
    # One fault does not look like several: nothing else is flagged, or only what concerns the same cameras.
    assert all(set(named) <= set(cameras) for _, _, named, _ in said), said


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("scene", "parser"), [("basketball", "n3v-data"), ("mixed_vrig", "hypernerf-data"), ("windmill", "hypernerf-data")]
)
def test_real_scenes_pass(data_dir: Path, scene: str, parser: str) -> None:
    report = check_scene(parser_config(data_dir / scene, parser, ()))
    assert report.verdict == Verdict.FINE, [one.sentence for one in report.results if one.verdict]
    if parser == "hypernerf-data":
        assert [one.name for one in report.results if one.skipped] == ["order", "synchrony", "repeated frames"]


def test_kept_results_say_that_every_fault_was_found(project_root: Path, tmp_path: Path, benchmark: ModuleType) -> None:
    kept = json.loads((project_root / "benchmarks" / "results" / "data_check.json").read_text("utf8"))
    assert set(kept["scenes"]) == {"mixed", "basketball", "mixed_vrig", "windmill"}
    for name, entry in kept["scenes"].items():
        assert entry["good"]["verdict"] == "fine", name
        assert set(entry["broken"]) == ({*ASKED_FOR, *FURTHER} if name in benchmark.BROKEN else set())
        assert all(one["found"] and one["verdict"] != "fine" for one in entry["broken"].values()), name
    benchmark.write_page(tmp_path / "page.md", kept)
    assert (tmp_path / "page.md").read_text("utf8") == (project_root / "docs" / "data_check.md").read_text("utf8")
