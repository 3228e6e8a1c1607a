"""Reading experts from run folders, naming them, and refusing what does not belong together."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from moegs_ns.router.experts import (
    ExpertSpec,
    experts_of_router_run,
    read_expert,
    read_spec,
    require_expert_runs,
    unique_names,
)
from moegs_ns.router.same_scene import check_same_scene
from moegs_ns.runs.record import RUN_RECORD_NAME
from tests.router.building import NUM_FRAMES, make_expert, save_run


def edit_record(run: Path, **changes: Any) -> None:
    file = run / RUN_RECORD_NAME
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("family", ["stg", "4dgaussians", "ed3dgs", "ex4dgs"])
def test_an_expert_read_from_its_run_is_that_expert(tmp_path: Path, family: str) -> None:
    expert = make_expert(family, seed=3, count=17)
    run = save_run(tmp_path / "run", expert, family)
    spec, state = read_expert(run)
    rebuilt = spec.build()
    rebuilt.load_state_dict(state)
    assert (spec.name, spec.family) == (family, family)
    assert rebuilt.config == expert.config
    assert len(rebuilt.gaussians) == len(expert.gaussians)
    for name, tensor in expert.state_dict().items():
        assert torch.equal(rebuilt.state_dict()[name], tensor), name
    assert (spec.origin["run"], spec.origin["steps_done"]) == (str(run), 30)


@pytest.mark.parametrize("file", ["config.yml", "run.json"])
def test_a_run_may_be_named_by_a_file_in_it(runs: list[Path], file: str) -> None:
    assert read_expert(runs[0] / file)[0] == read_spec(runs[0])


def test_what_is_no_expert_run(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected the runs of trained experts, found none; pass --experts"):
        require_expert_runs([])
    with pytest.raises(FileNotFoundError, match=r"nowhere, found none; give the folder of a run"):
        require_expert_runs([runs[0], tmp_path / "nowhere"])
    shutil.rmtree(runs[1] / "nerfstudio_models")
    with pytest.raises(FileNotFoundError, match=r"step-\*.ckpt"):
        require_expert_runs(runs)
    edit_record(runs[0], method="moegs-router", expert={"name": "router", "config": {}}, model={"expert": "router"})
    with pytest.raises(ValueError, match=r"expected the run of an expert at .*found a run of 'moegs-router'"):
        require_expert_runs(runs)


def test_an_expert_of_another_version_is_refused(runs: list[Path]) -> None:
    record = json.loads((runs[0] / RUN_RECORD_NAME).read_text())
    edit_record(runs[0], expert={"name": "unheard-of", "config": {}})
    with pytest.raises(ValueError, match="unknown expert 'unheard-of'"):
        read_spec(runs[0])
    record["expert"]["config"]["new_option"] = 1
    edit_record(runs[0], expert=record["expert"])
    with pytest.raises(ValueError, match=r"\['new_option'\]: another version made the run"):
        read_spec(runs[0]).build()


def test_names_are_unique_and_readable() -> None:
    assert unique_names(["stg", "4dgaussians", "stg", "stg"]) == ["stg", "4dgaussians", "stg_2", "stg_3"]
    # A family whose name begins like another's is another family.
    assert unique_names(["stg_full", "stg"]) == ["stg_full", "stg"]
    assert unique_names([]) == []


def test_experts_of_a_router_run(tmp_path: Path, runs: list[Path], capsys: pytest.CaptureFixture) -> None:
    router = tmp_path / "router"
    shutil.copytree(runs[0], router)
    edit_record(router, method="moegs-router", expert={"name": "router", "config": {"experts": ["/a", "/b"]}})
    recorded = (Path("/a"), Path("/b"))
    assert experts_of_router_run(router) == recorded
    assert experts_of_router_run(router, given=recorded) == recorded
    assert capsys.readouterr().out == ""
    assert experts_of_router_run(router, given=[Path("/moved/a"), Path("/b")]) == recorded
    assert "--experts is not read" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"the 2 experts of .*found 1 behind --experts"):
        experts_of_router_run(router, given=[Path("/a")])
    with pytest.raises(ValueError, match="the run of a router to resume, found a run of 'moegs-stg'"):
        experts_of_router_run(runs[0])


FACTS = {
    "scene": "dance",
    "num_frames": NUM_FRAMES,
    "first_frame": 0,
    "near": 1.0,
    "far": 5.0,
    "resolution": [64, 48],
    "train_cameras": ["cam01", "cam02"],
}


def spec(**origin: Any) -> ExpertSpec:
    return ExpertSpec("stg", "stg", {}, {}, {"run": "/runs/a", **FACTS, **origin})


def test_experts_of_the_same_scene_raise_no_question() -> None:
    assert check_same_scene([spec(), spec(steps_done=30, steps_total=30)], FACTS) == []
    assert check_same_scene([spec()], {}) == []  # a datamanager that tells nothing
    assert check_same_scene([ExpertSpec("stg", "stg", {}, {})], FACTS) == []
    assert check_same_scene([spec(near=0.5)], FACTS) == []  # --near of one's own


@pytest.mark.parametrize(("key", "value"), [("num_frames", 9), ("first_frame", 3)])
def test_other_frames_are_refused(key: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"frames of this data.*'stg' \(/runs/a\) with {key} {value} instead of"):
        check_same_scene([spec(), spec(**{key: value})], FACTS)


def test_another_scene_is_refused_a_renamed_one_is_not() -> None:
    with pytest.raises(ValueError, match="scene 'dance', found expert 'stg' .* trained on 'cooking'"):
        check_same_scene([spec(scene="cooking", far=7.0)], FACTS)
    (warning,) = check_same_scene([spec(scene="dance-copy")], FACTS)
    assert "'dance-copy', this data is called 'dance'" in warning


def test_another_scene_with_other_frames_is_called_another_scene() -> None:
    """Advice about frame options would be of no use."""
    with pytest.raises(ValueError, match="scene 'dance', found expert 'stg' .* trained on 'cooking'; name other runs"):
        check_same_scene([spec(scene="cooking", near=0.3, far=7.0, num_frames=9)], FACTS)
    unbounded = {key: FACTS[key] for key in ("scene", "num_frames")}
    with pytest.raises(ValueError, match="trained on 'cooking'; name other runs"):
        check_same_scene([spec(scene="cooking", num_frames=9)], unbounded)
    # Same bounds: a renamed copy, of which other frames were used.
    with pytest.raises(ValueError, match="frame options"):
        check_same_scene([spec(scene="dance-copy", num_frames=9)], FACTS)


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ({"resolution": [128, 96]}, "trained at 128x96, the router's images have 64x48"),
        ({"train_cameras": ["cam01", "cam00"]}, "trained on cam00, which this router does not train on: scores on it"),
        ({"steps_done": 10, "steps_total": 30}, "10 of 30 steps only"),
    ],
)
def test_odd_experts_are_told(origin: dict[str, Any], message: str) -> None:
    (warning,) = check_same_scene([spec(**origin)], FACTS)
    assert message in warning
