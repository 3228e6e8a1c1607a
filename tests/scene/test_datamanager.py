"""The data manager: right images with right cameras, exact resumption, and nothing decoded before its time."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader
from PIL import Image

from moegs_ns.scene import frame_cache
from moegs_ns.scene.datamanager import DynamicDataManager, DynamicDataManagerConfig
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.dataset import FrameDataset
from tests.scene.make_video import HEIGHT, WIDTH, numbered_frame, numbered_scene, read_number
from tests.training.inprocess import start_training

CAMERAS, FRAMES = 5, 6


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Camera k's frame i shows 20 * k + i."""
    return numbered_scene(tmp_path_factory.mktemp("scene") / "numbered", CAMERAS, FRAMES)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """An empty frame cache, and the cameras decoded since."""
    monkeypatch.setenv("MOEGS_CACHE_DIR", str(tmp_path / "cache"))
    cameras: list[str] = []
    real = frame_cache.iterate_frames

    def noting(source: Path, *args: object) -> object:
        cameras.append(source.stem)
        return real(source, *args)

    monkeypatch.setattr(frame_cache, "iterate_frames", noting)
    return cameras


def make(scene: Path, test_mode: str = "val", parser: dict | None = None, **options: object) -> DynamicDataManager:
    config = DynamicDataManagerConfig(data=scene, dataparser=N3VDataParserConfig(**(parser or {})), **options)
    return config.setup(test_mode=test_mode, device="cpu")


def test_frames_of_both_splits_share_the_memory_budget(scene: Path) -> None:
    manager = make(scene, ram_budget=0.05)
    assert [data.frames._max_resident_bytes for data in (manager.train_dataset, manager.eval_dataset)] == [
        25_000_000
    ] * 2
    for budget in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="expected a --ram-budget in GB above 0, found"):
            make(scene, ram_budget=budget)


def test_images_belong_to_their_cameras(scene: Path) -> None:
    manager = make(scene, cameras_per_step=3)
    names = manager.train_dataset.metadata["camera_names"]
    for step in range(10):
        group = manager.next_train_group(step)
        assert len(group) == 3
        assert len({batch["image_idx"] for _, batch in group}) == 3
        assert len({camera.times.item() for camera, _ in group}) == 1  # same_instant is the default
        for camera, batch in group:
            assert (batch["image"].shape, batch["image"].dtype) == ((HEIGHT, WIDTH, 3), torch.uint8)
            assert camera.shape == (1,)
            index, frame = camera.metadata["camera_index"], camera.metadata["frame_index"]
            assert index.shape == frame.shape == camera.times.shape == (1, 1)
            assert read_number(batch["image"].numpy()) == 20 * int(names[index.item()][3:]) + frame.item()
            assert camera.times.item() == pytest.approx(frame.item() / (FRAMES - 1))
            dataset = manager.train_dataset
            expected = dataset.cameras.camera_to_worlds[batch["image_idx"]]
            assert torch.equal(camera.camera_to_worlds[0], expected)
            assert camera.fx.item() == 60 + int(names[index.item()][3:])


def test_next_train_is_the_first_of_the_next_group(scene: Path) -> None:
    one, other = make(scene, cameras_per_step=2), make(scene, cameras_per_step=2)
    for step in range(20):
        assert one.next_train(step)[1]["image_idx"] == other.next_train_group(step)[0][1]["image_idx"]
    assert one.get_train_rays_per_batch() == 2 * WIDTH * HEIGHT
    assert make(scene, parser={"downscale": 2}).get_train_rays_per_batch() == WIDTH * HEIGHT // 4


def indices(manager: DynamicDataManager, steps: int) -> list[list[int]]:
    return [[batch["image_idx"] for _, batch in manager.next_train_group(step)] for step in range(steps)]


def test_resumption_is_exact_and_global_generators_are_left_alone(scene: Path) -> None:
    options = {"cameras_per_step": 2, "parser": {"val_cams": ("cam03",)}}
    manager = make(scene, **options)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  the global generator is what must not be touched
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    indices(manager, 17)
    manager.next_eval_image(0)
    manager.next_eval(0)
    file = io.BytesIO()
    torch.save(manager.sampler_state(), file)
    expected = indices(manager, 40), manager.next_eval_image(0)[1]["image_idx"]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    file.seek(0)
    resumed = make(scene, sampling_seed=1, **options)
    resumed.load_sampler_state(torch.load(file, weights_only=True))
    assert (indices(resumed, 40), resumed.next_eval_image(0)[1]["image_idx"]) == expected
    assert indices(make(scene, sampling_seed=1, **options), 17) != indices(make(scene, **options), 17)


def test_badly_rendered_instants_come_more_often(scene: Path) -> None:
    manager = make(scene, error_sampling=True, error_sampling_start=1)
    times = manager.train_dataset.cameras.times[:, 0]
    for index in range(len(manager.train_dataset)):
        _, batch = manager.train_item(index)
        rendered = batch["image"].float() / 255
        if times[index] == 0.4:
            rendered = rendered + 0.25
        manager.report_rendering(batch, rendered)
    errors = manager.sampler_state()["train"]["errors"]
    torch.testing.assert_close(errors, torch.where(times == 0.4, 0.25, 0.0).double())
    resumed = make(scene, error_sampling=True, error_sampling_start=1, sampling_seed=1)
    resumed.load_sampler_state(manager.sampler_state())
    for one in (manager, resumed):
        shown = [group[0][0].times.item() for group in (one.next_train_group(step) for step in range(20))]
        assert shown[1::2] == pytest.approx([0.4] * 10)
        assert len(set(shown[::2])) > 2
    plain = make(scene)
    plain.report_rendering(plain.train_item(0)[1], torch.zeros(HEIGHT, WIDTH, 3))
    assert "errors" not in plain.sampler_state()["train"]
    with pytest.raises(ValueError, match=r"images of one instant .*error-sampling True.*same-instant False"):
        make(scene, error_sampling=True, cameras_per_step=2, same_instant=False)


def test_without_a_val_split_nothing_is_evaluated(scene: Path) -> None:
    manager = make(scene, test_mode="val")
    assert not manager.eval_dataset  # the condition nerfstudio's trainer asks
    assert (len(manager.fixed_indices_eval_dataloader), list(manager.fixed_indices_eval_dataloader)) == (0, [])
    with pytest.raises(ValueError, match=r"val split, found none.*--val-cams"):
        manager.next_eval_image(0)


@pytest.mark.parametrize("test_mode", ["test", "inference"])
def test_evaluation_takes_the_test_cameras_in_order(test_mode: str, scene: Path) -> None:
    manager = make(scene, test_mode=test_mode, parser={"test_cams": ("cam02", "cam04"), "first_frame": 1})
    assert manager.includes_time
    images = list(manager.fixed_indices_eval_dataloader)
    assert [read_number(batch["image"].numpy()) for _, batch in images] == [*range(41, 46), *range(81, 86)]
    assert [camera.times.item() for camera, _ in images] == pytest.approx([0, 0.25, 0.5, 0.75, 1] * 2)
    assert [manager.next_eval_image(0)[1]["image_idx"] for _ in range(12)] == [*range(10), 0, 1]


# -- laziness ----------------------------------------------------------------------------------------------------------


def test_ns_train_decodes_up_front_others_what_they_touch(scene: Path, decoded: list[str]) -> None:
    manager = make(scene, test_mode="test")
    assert decoded == []
    next(iter(manager.fixed_indices_eval_dataloader))
    assert decoded == ["cam00"]
    make(scene, test_mode="val", parser={"val_cams": ("cam02",)})
    assert decoded == ["cam00", "cam01", "cam03", "cam04", "cam02"]


def test_the_viewer_may_read_every_property(scene: Path, decoded: list[str]) -> None:
    """nerfstudio's viewer getattr()s all properties at start; then it draws a few evenly spaced training images."""
    manager = make(scene, test_mode="test")
    for name in dir(type(manager)):
        if isinstance(getattr(type(manager), name), property):
            getattr(manager, name)
    assert decoded == []
    dataset = manager.train_dataset
    for index in np.linspace(0, len(dataset) - 1, 2, dtype=int).tolist():
        image = dataset[index]["image"]
        assert image.dtype == torch.float32
        assert 0 <= image.min() <= image.max() <= 1
    assert decoded == ["cam01", "cam04"]


def test_camera_paths_go_where_one_may_write(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = make(scene, "test")
    assert manager.get_datapath() == scene
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert manager.get_datapath() == Path("renders/numbered")


def test_ns_render_dataset_gets_what_it_needs(scene: Path, decoded: list[str]) -> None:
    """The walk of nerfstudio's ``ns-render dataset``: unique names below one root, float images, no set-up needed."""
    manager = make(scene, test_mode="test")
    dataset = manager.eval_dataset
    outputs = dataset._dataparser_outputs
    root = Path(os.path.commonpath(outputs.image_filenames))
    names = [path.relative_to(root) for path in outputs.image_filenames]
    assert names == [Path(f"{frame:06d}.png") for frame in range(FRAMES)]
    for index, (camera, batch) in enumerate(FixedIndicesEvalDataloader(dataset, device="cpu")):
        assert camera.times.shape == (1, 1)
        assert read_number((batch["image"] * 255).numpy()) == index
    assert decoded == ["cam00"]


# -- configuration -----------------------------------------------------------------------------------------------------


def test_config_survives_yaml_and_another_folder(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene.parent)
    config = DynamicDataManagerConfig()
    config.data = Path(scene.name)  # as nerfstudio assigns --data
    stored = yaml.dump(config)
    monkeypatch.chdir(tmp_path)
    loaded = yaml.load(stored, Loader=yaml.Loader)
    assert loaded.data == scene
    manager = loaded.setup(test_mode="test", device="cpu")
    assert len(manager.train_dataset) == (CAMERAS - 1) * FRAMES
    assert manager.get_datapath() == scene


def test_data_may_be_given_to_the_parser_alone(scene: Path) -> None:
    manager = DynamicDataManagerConfig(dataparser=N3VDataParserConfig(data=scene)).setup(test_mode="test", device="cpu")
    assert manager.config.data == scene
    assert isinstance(manager.train_dataset, FrameDataset)


def test_impossible_options_are_refused(scene: Path) -> None:
    with pytest.raises(ValueError, match="--downscale"):
        make(scene, camera_res_scale_factor=0.5)
    with pytest.raises(ValueError, match=r"cameras_per_step = 5 .*found 4"):
        make(scene, cameras_per_step=5)
    assert len(make(scene, cameras_per_step=5, same_instant=False).next_train_group(0)) == 5


def test_on_the_command_line(scene: Path) -> None:
    """``--data D n3v-data --downscale 2``, read by tyro as ns-train does, without the parent's idle options."""
    import tyro

    args = ["--data", str(scene), "--cameras-per-step", "2", "n3v-data", "--downscale", "2", "--val-cams", "cam01", "3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["ns-train"])
        config = tyro.cli(DynamicDataManagerConfig, args=args)
    assert (config.data, config.cameras_per_step, config.dataparser.downscale) == (scene, 2, 2)
    assert config.dataparser.val_cams == ("cam01", "3")
    manager = config.setup(test_mode="val", device="cpu")
    assert manager.train_dataset.metadata["camera_names"] == ["cam02", "cam04"]
    with pytest.raises(SystemExit):
        tyro.cli(DynamicDataManagerConfig, args=["--cache-images", "gpu"])


# -- other data parsers ------------------------------------------------------------------------------------------------


@dataclass
class ImageFilesConfig(DataParserConfig):
    _target: type = field(default_factory=lambda: ImageFiles)
    has_times: bool = True
    distortion: float = 0.0


@dataclass
class ImageFiles(DataParser):
    """Stands for nerfstudio's own parsers: image files, no frame sources."""

    config: ImageFilesConfig
    includes_time: bool = True

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: object) -> DataparserOutputs:
        files = sorted(self.config.data.glob("*.png"))
        count = len(files)
        cameras = Cameras(
            camera_to_worlds=torch.eye(4)[:3].repeat(count, 1, 1),
            fx=50.0,
            fy=50.0,
            cx=WIDTH / 2,
            cy=HEIGHT / 2,
            width=WIDTH,
            height=HEIGHT,
            distortion_params=torch.full((6,), self.config.distortion),
            camera_type=CameraType.PERSPECTIVE,
            times=torch.linspace(0, 1, count) if self.config.has_times else None,
        )
        return DataparserOutputs(image_filenames=files, cameras=cameras)


def test_image_files_of_another_parser(tmp_path: Path) -> None:
    for frame in range(4):
        Image.fromarray(numbered_frame(frame)).save(tmp_path / f"{frame}.png")
    manager = DynamicDataManagerConfig(dataparser=ImageFilesConfig(data=tmp_path)).setup(device="cpu")
    assert type(manager.train_dataset) is InputDataset
    shown = {read_number(manager.next_train(step)[1]["image"].numpy()) for step in range(4)}
    assert shown == {0, 1, 2, 3}
    camera, batch = next(iter(manager.fixed_indices_eval_dataloader))
    assert (camera.times.item(), batch["image"].dtype) == (0, torch.uint8)
    with pytest.raises(ValueError, match=r"gives each image a time"):
        DynamicDataManagerConfig(dataparser=ImageFilesConfig(data=tmp_path, has_times=False)).setup(device="cpu")
    with pytest.raises(ValueError, match="distortion"):
        DynamicDataManagerConfig(dataparser=ImageFilesConfig(data=tmp_path, distortion=0.1)).setup(device="cpu")
    with pytest.raises(ValueError, match=r"every instant, found 1"):
        DynamicDataManagerConfig(dataparser=ImageFilesConfig(data=tmp_path), cameras_per_step=2).setup(device="cpu")


# -- inside nerfstudio -------------------------------------------------------------------------------------------------


def test_nerfstudio_trains_on_it(scene: Path, tmp_path: Path) -> None:
    """nerfstudio's own pipeline and trainer take steps with it, without a val camera and with one."""
    from nerfstudio.configs.base_config import MachineConfig
    from nerfstudio.engine.optimizers import AdamOptimizerConfig
    from nerfstudio.engine.trainer import TrainerConfig
    from nerfstudio.models.base_model import Model, ModelConfig
    from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

    seen: list[SimpleNamespace] = []

    class MeanColour(Model):
        """Predicts one colour; notes what it is given."""

        def populate_modules(self) -> None:
            super().populate_modules()
            self.colour = torch.nn.Parameter(torch.full((3,), 0.5))

        def get_param_groups(self) -> dict:
            return {"colour": [self.colour]}

        def get_outputs(self, camera: Cameras) -> dict:
            seen.append(SimpleNamespace(time=camera.times.item(), training=self.training))
            size = int(camera.height), int(camera.width)
            return {"rgb": self.colour.expand(*size, 3)}

        def get_outputs_for_camera(self, camera: Cameras, obb_box: object = None) -> dict:
            return self.get_outputs(camera)

        def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict:
            return {"loss": (outputs["rgb"] - batch["image"] / 255).abs().mean()}

        def get_image_metrics_and_images(self, outputs: dict, batch: dict) -> tuple[dict, dict]:
            return {"loss": float(self.get_loss_dict(outputs, batch)["loss"])}, {"img": outputs["rgb"]}

    for val_cams in ((), ("cam03",)):
        seen.clear()
        config = TrainerConfig(
            method_name="test",
            output_dir=tmp_path,
            timestamp=f"val-{len(val_cams)}",
            max_num_iterations=3,
            steps_per_eval_image=2,
            steps_per_eval_batch=0,
            vis="tensorboard",
            machine=MachineConfig(device_type="cpu"),
            pipeline=VanillaPipelineConfig(
                datamanager=DynamicDataManagerConfig(data=scene, dataparser=N3VDataParserConfig(val_cams=val_cams)),
                model=ModelConfig(_target=MeanColour, enable_collider=False),
            ),
            optimizers={"colour": {"optimizer": AdamOptimizerConfig(lr=1e-2), "scheduler": None}},
        )
        trainer = start_training(config)
        assert sum(one.training for one in seen) == 3
        assert any(not one.training for one in seen) == bool(val_cams)
        assert not torch.equal(trainer.pipeline.model.colour.detach(), torch.full((3,), 0.5))
        assert trainer.pipeline.model.kwargs["metadata"]["num_frames"] == FRAMES


def test_parsing_imports_neither_decoder_nor_datamanagers() -> None:
    """A parser module runs at the start of every ns-* command; and importing the data manager first closes no cycle."""
    code = """
import sys
import moegs_ns.dataparser_configs
heavy = {"av", "moegs_ns.scene.datamanager", "nerfstudio.data.datamanagers"} & set(sys.modules)
assert not heavy, heavy
import moegs_ns.scene.datamanager
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    first = [sys.executable, "-c", "import moegs_ns.scene.datamanager"]
    result = subprocess.run(first, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


def test_motion_seeds_join_the_cloud_with_their_times(sample_scene: Path) -> None:
    parser = {"downscale": 4, "num_frames": 6}
    plain = make(sample_scene, parser=parser)
    seeded = make(sample_scene, parser=parser, motion_seeds=60, motion_seed_times=3)
    own = len(plain.train_dataparser_outputs.metadata["points3D_xyz"])
    for metadata in (seeded.train_dataparser_outputs.metadata, seeded.train_dataset.metadata):
        times = metadata["points3D_time"]
        assert len(times) == len(metadata["points3D_xyz"]) == len(metadata["points3D_rgb"])
        assert times[:own].isnan().all() and 0 < len(times) - own <= 60
        assert sorted(set(times[own:, 0].tolist())) == pytest.approx([0.0, 0.4, 1.0])
    # Only training needs them; elsewhere the checkpoint holds what grew of them.
    assert "points3D_time" not in make(sample_scene, "test", parser, motion_seeds=60).train_dataset.metadata
