"""Runs are found by the name of a folder; another scene's run of that name is not this scene's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.training.processes import StageFailedError
from moegs_ns.training.run_stages import run_stages
from moegs_ns.training.same_data import check_same_data
from moegs_ns.training.stages import Scene, Stage, expert_stage
from tests.scene.make_video import HEIGHT, WIDTH, numbered_scene, numbered_video
from tests.training.fake_processes import FakeProcesses, leave_run

TINY = str(Path(__file__).with_name("tiny.toml"))  # trains at --downscale 8
FRAMES = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered_scene(tmp_path_factory.mktemp("here") / "dance", num_cameras=3, num_frames=FRAMES)


def recorded(data: Path, **changes: Any) -> dict[str, Any]:
    """What a training on ``data`` writes of it, by hand."""
    return {
        "data": str(data),
        "scene": "dance",
        "num_frames": FRAMES,
        "first_frame": 0,
        "near": 1.0,
        "far": 6.2,
        "cameras": {"train": ["cam01", "cam02"], "val": [], "test": ["cam00"]},
        "resolution": [WIDTH // 8, HEIGHT // 8],
        **changes,
    }


def finished_stage(data: Path, output_dir: Path, scene: dict[str, Any], steps: int = 60) -> Stage:
    stage = expert_stage(Scene(data, output_dir=output_dir), "stg", TINY, "run", 3)
    leave_run(stage.run, stage.command(), steps)
    record = json.loads((stage.run / "run.json").read_text())
    (stage.run / "run.json").write_text(json.dumps({**record, "scene": scene}))
    return stage


def test_the_run_of_these_data_is_taken(data: Path, tmp_path: Path) -> None:
    assert finished_stage(data, tmp_path, recorded(data)).check_made_alike() == []


def test_a_link_to_the_data_is_the_data(data: Path, tmp_path: Path) -> None:
    (tmp_path / "dance").symlink_to(data)
    assert finished_stage(tmp_path / "dance", tmp_path, recorded(data)).check_made_alike() == []


def test_a_copy_elsewhere_is_told(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "dance")
    (warning,) = finished_stage(copy, tmp_path / "runs", recorded(data)).check_made_alike()
    assert f"was trained on {data}; {copy} has the same cameras" in warning


def digest(data: Path) -> str:
    return N3VDataParserConfig(data=data).setup().get_dataparser_outputs("train").metadata["files_digest"]


def test_a_copy_whose_files_are_known_is_taken(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "dance", copy_function=shutil.copyfile)  # with new time stamps
    scene = recorded(data, files_digest=digest(data))
    assert finished_stage(copy, tmp_path / "runs", scene).check_made_alike() == []


@pytest.mark.parametrize("moved", [False, True])
def test_another_video_of_the_same_rig_is_noticed(data: Path, tmp_path: Path, moved: bool) -> None:
    other = shutil.copytree(data, tmp_path / "dance")
    numbered_video(other / "cam02.mp4", FRAMES, first_number=100)
    scene = recorded(data if moved else other, files_digest=digest(data))
    with pytest.raises(ValueError, match=rf"\(files_digest {digest(data)} instead of {digest(other)}\)"):
        finished_stage(other, tmp_path / "runs", scene).check_made_alike()


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"num_frames": 24}, "num_frames 24 instead of 6"),
        ({"first_frame": 2}, "first_frame 2 instead of 0"),
        ({"near": 1.8933537}, "near 1.89335 instead of 1"),
        ({"far": 7.5}, r"far 7\.5 instead of 6\.2"),
        ({"resolution": [40, 30]}, r"resolution \[40, 30\] instead of \[8, 6\]"),
        (
            {"cameras": {"train": [f"cam{index:02d}" for index in range(1, 12)]}},
            r"train_cameras \[cam01, cam02, cam03, cam04, ... 11 in all\] instead of \[cam01, cam02\]",
        ),
    ],
)
@pytest.mark.parametrize("steps", [30, 60])
def test_another_scene_of_this_name_is_refused(
    data: Path, tmp_path: Path, changes: dict[str, Any], difference: str, steps: int
) -> None:
    """Whether it would be resumed or skipped, and before anything runs."""
    stage = finished_stage(data, tmp_path, recorded(Path("/elsewhere/dance"), **changes), steps)
    processes = FakeProcesses()
    with pytest.raises(ValueError, match=rf"on the data in .*trained on /elsewhere/dance \({difference}\); .*--output"):
        run_stages([stage], processes=processes)
    assert processes.calls == []


def test_data_replaced_in_their_folder_are_noticed(data: Path, tmp_path: Path) -> None:
    stage = finished_stage(data, tmp_path, recorded(data, num_frames=9))
    with pytest.raises(ValueError, match=r"trained on what that folder held before \(num_frames 9 instead of 6\)"):
        stage.check_made_alike()


def test_options_of_the_data_parser_count_on_both_sides(data: Path) -> None:
    options = ["--num-frames=4", "--first_frame", "1", "--exclude-cams", "cam02", "--near", "0.5"]
    facts = {"num_frames": 4, "first_frame": 1, "near": 0.5, "far": 6.1}
    record = recorded(data, **facts, cameras={"train": ["cam01"]}, resolution=[WIDTH, HEIGHT])
    assert check_same_data(Path("run"), record, data, "n3v-data", options) == []
    with pytest.raises(ValueError, match=r"\(far 6\.1 instead of 6\.2; train_cameras"):
        check_same_data(Path("run"), record, data, "n3v-data", options[:3] + options[-2:])


def test_records_that_tell_little(data: Path) -> None:
    """Of nerfstudio's own data parsers only the place is known."""
    scene = {"data": str(data), "resolution": [800, 800], "cameras": {"train": []}}
    assert check_same_data(Path("run"), scene, data, "dnerf-data", []) == []
    assert check_same_data(Path("run"), {}, data, "dnerf-data", []) == []
    with pytest.raises(ValueError, match=r"found one trained on /other, and its record does not tell"):
        check_same_data(Path("run"), {**scene, "data": "/other"}, data, "dnerf-data", [])


def test_runs_that_are_missing_ask_for_no_data(tmp_path: Path) -> None:
    stage = expert_stage(Scene(tmp_path / "nowhere", output_dir=tmp_path), "stg", TINY, "run", 3)
    assert stage.check_made_alike() == []
    with pytest.raises(StageFailedError):
        run_stages([stage], processes=FakeProcesses(failing=("moegs-stg",)))
