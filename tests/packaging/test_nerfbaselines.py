"""moegs_ns in NerfBaselines: the method trains, saves, loads and renders what NerfBaselines hands over.

NerfBaselines is no requirement. Where it is installed, its own registry and interfaces take part; elsewhere a stand-in
of its data set does, made of nothing but arrays.
"""

import importlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.scene.layouts.clip import Clip, mixed_clip

FOLDER = Path(__file__).resolve().parents[2] / "integrations" / "nerfbaselines"
EXPERTS = {
    "moegs-stg": "Stg",
    "moegs-4dgaussians": "FourDGaussians",
    "moegs-ed3dgs": "ED3DGS",
    "moegs-ex4dgs": "Ex4DGS",
}
needs_nerfbaselines = pytest.mark.skipif(
    importlib.util.find_spec("nerfbaselines") is None, reason="NerfBaselines is not installed"
)
OPTIONS = {"max_num_iterations": "12", "pipeline.model.max_gaussians": "400", "pipeline.model.sh-degree": "1"}
#: Seeds that live for a short time each: frames differ visibly after a few steps already.
SHORT_LIVED = {"pipeline.model.seed_copies": "4", "pipeline.model.initial_log_time_scale": "-2.3"}


@pytest.fixture(scope="module")
def method() -> Iterator[ModuleType]:
    """The module with the methods, found as NerfBaselines finds it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("moegs_method")


@dataclass
class Cameras:
    """What NerfBaselines calls so, of one camera or several."""

    poses: np.ndarray
    intrinsics: np.ndarray
    camera_models: np.ndarray
    distortion_parameters: np.ndarray
    image_sizes: np.ndarray
    nears_fars: np.ndarray | None = None
    metadata: np.ndarray | None = None

    def __len__(self) -> int:
        return 1 if self.poses.ndim == 2 else len(self.poses)

    def item(self) -> "Cameras":
        assert len(self) == 1
        return self if self.poses.ndim == 2 else self[0]

    def __getitem__(self, index: Any) -> "Cameras":
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Cameras(**{name: None if part is None else part[index] for name, part in parts.items()})


def data_set(clip: Clip, columns: list[str]) -> dict[str, Any]:
    """A clip as NerfBaselines would hand it over: OpenCV axes, the columns named in the metadata."""
    count = len(clip.shots)
    poses = np.stack([shot.pose for shot in clip.shots]).astype(np.float32)
    poses[:, :, 1:3] *= -1
    facts = {
        "time": [shot.frame / max(1, clip.num_frames - 1) for shot in clip.shots],
        "camera": [clip.cameras.index(shot.camera) for shot in clip.shots],
    }
    return {
        "cameras": Cameras(
            poses=poses,
            intrinsics=np.array([[shot.fx, shot.fy, shot.cx, shot.cy] for shot in clip.shots], np.float32),
            camera_models=np.zeros(count, np.int32),
            distortion_parameters=np.zeros((count, 0), np.float32),
            image_sizes=np.array([shot.size for shot in clip.shots], np.int32),
            metadata=np.array([facts[name] for name in columns], np.float32).T if columns else None,
        ),
        "images": [shot.image for shot in clip.shots],
        "points3D_xyz": clip.xyz,
        "points3D_rgb": clip.rgb,
        "metadata": {"camera_metadata": columns} if columns else {},
    }


@pytest.fixture(scope="module")
def clip(sample_scene: Path) -> Clip:
    return mixed_clip(sample_scene, [0, 3, 6], frames=4, shrink=8)


@pytest.fixture(scope="module")
def trained(method: ModuleType, clip: Clip, cache_dir: Path) -> Any:
    """STG after a few steps on the clip."""
    options = {**OPTIONS, **SHORT_LIVED}
    made = method.Stg(train_dataset=data_set(clip, ["time", "camera"]), config_overrides=options)
    made.losses = [made.train_iteration(step) for step in range(made.get_info()["num_iterations"])]
    return made


def test_it_trains_for_as_long_as_it_says(trained: Any) -> None:
    assert trained.get_info()["num_iterations"] == len(trained.losses) == 12
    assert all(np.isfinite(one["loss"]) and len(one) > 1 for one in trained.losses)
    assert trained.losses[-1]["loss"] < trained.losses[0]["loss"]


def test_it_sees_cameras_as_nerfbaselines_gives_them(trained: Any, clip: Clip) -> None:
    """In training and in rendering: the clip's own poses have nerfstudio's axes, those handed over OpenCV's."""
    cameras = data_set(clip, ["time", "camera"])["cameras"]
    seen = trained._trainer.pipeline.datamanager.train_dataset.cameras
    order = sorted(range(len(clip.shots)), key=lambda index: (clip.shots[index].camera, clip.shots[index].frame))
    for number, index in enumerate(order):
        shot = clip.shots[index]
        for camera in (seen[number : number + 1], trained._nerfstudio_camera(cameras[index])):
            np.testing.assert_allclose(camera.camera_to_worlds[0], shot.pose, atol=1e-6)
            lens = [float(getattr(camera, name)) for name in ("fx", "fy", "cx", "cy")]
            np.testing.assert_allclose(lens, [shot.fx, shot.fy, shot.cx, shot.cy], rtol=1e-6)
            assert (int(camera.width), int(camera.height)) == shot.size
            assert float(camera.times) == pytest.approx(shot.frame / (clip.num_frames - 1), abs=1e-6)


def test_it_renders_what_it_says(trained: Any, clip: Clip) -> None:
    made = trained.render(data_set(clip, ["time", "camera"])["cameras"][0])
    assert set(made) == {"color", "depth", "accumulation"}
    assert made["color"].shape == clip.shots[0].image.shape and made["depth"].shape == made["color"].shape[:2]
    assert {image.dtype for image in made.values()} == {np.dtype(np.float32)}
    near, far = clip.near_far
    shown = made["depth"][made["accumulation"].reshape(made["depth"].shape) > 0.1]
    assert shown.size and near / 2 < np.median(shown) < far


def test_time_changes_the_picture(trained: Any, clip: Clip) -> None:
    cameras = data_set(clip, ["time", "camera"])["cameras"]
    first, last = (trained.render(cameras[index])["color"] for index in (0, clip.num_frames - 1))
    assert np.abs(first - last).max() > 0.01


def test_a_checkpoint_renders_the_same(method: ModuleType, trained: Any, clip: Clip, tmp_path: Path) -> None:
    trained.save(str(tmp_path / "checkpoint"))
    loaded = method.Stg(checkpoint=str(tmp_path / "checkpoint"))
    assert loaded.get_info()["loaded_step"] == 12
    camera = data_set(clip, ["time", "camera"])["cameras"][5]
    np.testing.assert_array_equal(loaded.render(camera)["color"], trained.render(camera)["color"])
    assert set(loaded.render(camera, options={"outputs": ("depth",)})) == {"depth"}
    loaded.save(str(tmp_path / "again"))
    again = method.Stg(checkpoint=str(tmp_path / "again"))
    np.testing.assert_array_equal(again.render(camera)["color"], trained.render(camera)["color"])
    with pytest.raises(ValueError, match="train_dataset"):
        loaded.train_iteration(12)


def test_training_goes_on_from_a_checkpoint(method: ModuleType, trained: Any, clip: Clip, tmp_path: Path) -> None:
    trained.save(str(tmp_path))
    longer = {**OPTIONS, **SHORT_LIVED, "max_num_iterations": "14"}
    data = data_set(clip, ["time", "camera"])
    made = method.Stg(checkpoint=str(tmp_path), train_dataset=data, config_overrides=longer)
    assert (made.get_info()["loaded_step"], made.get_info()["num_iterations"]) == (12, 14)
    camera = data["cameras"][5]
    before = made.render(camera)["color"]
    np.testing.assert_array_equal(before, trained.render(camera)["color"])
    assert all(np.isfinite(made.train_iteration(step)["loss"]) for step in (12, 13))
    assert np.abs(made.render(camera)["color"] - before).max() > 0
    assert made.get_info()["loaded_step"] == 12


def test_without_times_a_scene_stands_still(method: ModuleType, clip: Clip) -> None:
    still = Clip([shot for shot in clip.shots if shot.frame == 0], 1, clip.xyz, clip.rgb, clip.near_far)
    made = method.FourDGaussians(
        train_dataset=data_set(still, []), config_overrides={**OPTIONS, "max_num_iterations": 2}
    )
    assert np.isfinite([made.train_iteration(step)["loss"] for step in range(2)]).all()
    assert made.render(data_set(still, [])["cameras"][1])["color"].shape == clip.shots[0].image.shape


def test_a_capture_by_one_camera_trains(method: ModuleType, clip: Clip) -> None:
    """No instant has another view; STG's recipe asks for pairs of one instant where there are some."""
    capture = Clip([shot for shot in clip.shots if shot.camera == "cam01"], 4, clip.xyz, clip.rgb, clip.near_far)
    made = method.Stg(train_dataset=data_set(capture, ["time"]), config_overrides=OPTIONS)
    assert np.isfinite([made.train_iteration(step)["loss"] for step in range(2)]).all()


def test_what_cannot_be_is_refused(method: ModuleType, clip: Clip, tmp_path: Path) -> None:
    good = data_set(clip, ["time", "camera"])
    with pytest.raises(ValueError, match="neither"):
        method.Stg()
    with pytest.raises(ValueError, match="there is no 'max_gausians'"):
        method.Stg(train_dataset=good, config_overrides={"pipeline.model.max_gausians": "3"})
    fisheye = {**good, "cameras": good["cameras"][:]}
    fisheye["cameras"].camera_models = np.full(len(clip.shots), 2, np.int32)
    with pytest.raises(ValueError, match="pinhole"):
        method.Stg(train_dataset=fisheye)
    linear = {**good, "images": [image / 255 for image in good["images"]]}
    with pytest.raises(ValueError, match="8-bit RGB"):
        method.Stg(train_dataset=linear)


@pytest.mark.parametrize(
    ("present", "text", "expected"), [(3, "7", 7), (0.5, "0.25", 0.25), (False, "True", True), (None, "null", None)]
)
def test_options_are_read_as_what_they_are(method: ModuleType, present: Any, text: str, expected: Any) -> None:
    config = SimpleNamespace(part={"option": present})
    method.set_option(config, "part.option", text)
    assert config.part["option"] == expected
    with pytest.raises(ValueError, match="option"):
        method.set_option(config, "part.option", "nonsense")


def registered(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the spec registers, with a registry that only listens."""
    specs: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "nerfbaselines", SimpleNamespace(register=specs.append))  # type: ignore[arg-type]
    path = FOLDER / "moegs_spec.py"
    found = importlib.util.spec_from_file_location("moegs_spec", path)
    assert found is not None and found.loader is not None
    found.loader.exec_module(importlib.util.module_from_spec(found))
    return specs


def test_the_spec_names_what_is_there(method: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    *methods, loader = registered(monkeypatch)
    assert {spec["id"]: spec["method_class"] for spec in methods} == {
        expert: f"moegs_method:{name}" for expert, name in EXPERTS.items()
    }
    for spec in methods:
        chosen = getattr(method, spec["method_class"].split(":")[1])
        assert chosen.method_id == spec["id"] == chosen.get_method_info()["method_id"]
        assert spec["metadata"]["paper_link"].startswith("https://arxiv.org/")
        assert "pip install moegs_ns" in spec["conda"]["install_script"]
    assert loader == {"id": "moegs", "load_dataset_function": "moegs_scenes:load_scene"}
    assert "def load_scene(" in (FOLDER / "moegs_scenes.py").read_text("utf8")


@needs_nerfbaselines
def test_nerfbaselines_takes_the_specs(monkeypatch: pytest.MonkeyPatch) -> None:
    import nerfbaselines
    from nerfbaselines import _registry

    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("NERFBASELINES_REGISTER", str(FOLDER / "moegs_spec.py"))
    _registry._auto_register(force=False)
    for expert in EXPERTS:
        spec = nerfbaselines.get_method_spec(expert)
        with nerfbaselines.build_method_class(spec, backend="python") as chosen:
            assert chosen.get_method_info()["method_id"] == expert


@needs_nerfbaselines
def test_nerfbaselines_loads_a_scene_with_times(
    monkeypatch: pytest.MonkeyPatch, sample_scene: Path, tmp_path: Path, cache_dir: Path
) -> None:
    from nerfbaselines.datasets import load_dataset

    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("NERFBASELINES_REGISTER", str(FOLDER / "moegs_spec.py"))
    scene = tmp_path / "mixed"
    scene.mkdir()
    for file in [*sorted(sample_scene.glob("cam0[0-2].mp4")), sample_scene / "points3d.ply"]:
        shutil.copyfile(file, scene / file.name)
    np.save(scene / "poses_bounds.npy", np.load(sample_scene / "poses_bounds.npy")[:3])
    options = {"parser": "n3v-data", "downscale": 8, "num_frames": 5}
    info = {
        "loader": "moegs",
        "loader_kwargs": options,
        "id": "mixed",
        "scene": "mixed",
        "evaluation_protocol": "default",
    }
    (scene / "nb-info.json").write_text(json.dumps(info))
    loaded = load_dataset(str(scene), split="train", features=frozenset(("color", "points3D_xyz")))
    assert len(loaded["images"]) == 10 and loaded["images"][0].shape == (30, 40, 3)
    assert loaded["metadata"]["camera_metadata"] == ["time", "camera"]
    np.testing.assert_allclose(loaded["cameras"].metadata[:5, 0], [0, 0.25, 0.5, 0.75, 1])
    assert loaded["cameras"].metadata[:, 1].tolist() == [0] * 5 + [1] * 5
    assert loaded["points3D_xyz"].shape == loaded["points3D_rgb"].shape
    test = load_dataset(str(scene), split="test", features=frozenset(("color",)))
    assert len(test["images"]) == 5
