"""moegs_ns experts as NerfBaselines methods.

NerfBaselines knows no time. Here ``dataset["metadata"]["camera_metadata"]`` names the columns of ``cameras.metadata``:
``time`` in [0,1] over the clip, and ``camera``, a number that images of one camera share. `moegs_scenes.load_scene`
gives both. Without them, as in every data set NerfBaselines brings, the scene stands still: all images are of one
instant.

Nothing of NerfBaselines is imported: a method is a class with these functions (nerfbaselines 1.2, ``Method``).
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

PINHOLE = 0  # nerfbaselines.camera_model_to_int("pinhole")
#: OpenCV's camera axes, which NerfBaselines has, from OpenGL's, which nerfstudio has.
_FLIP = np.diag([1.0, -1.0, -1.0])
_TIME, _CAMERA = "time", "camera"
_COLUMNS = "columns.json"


class ExpertMethod:
    """One expert, trained by nerfstudio's trainer on what NerfBaselines hands over.

    Args:
        checkpoint: folder that `save` wrote, to render, or with ``train_dataset`` to train on.
        train_dataset: NerfBaselines' data set with its images.
        config_overrides: options of ``ns-train moegs-<expert>`` by dotted name, such as
            ``{"pipeline.model.max_gaussians": "20000", "max_num_iterations": "2500"}``.

    Raises:
        ValueError: neither checkpoint nor data set, cameras that are no pinholes, an option that does not exist.
    """

    expert = ""
    method_id = ""

    def __init__(
        self,
        *,
        checkpoint: str | None = None,
        train_dataset: Mapping[str, Any] | None = None,
        config_overrides: Mapping[str, Any] | None = None,
    ) -> None:
        if checkpoint is None and train_dataset is None:
            raise ValueError("expected a checkpoint to render, a data set to train on or both, found neither")
        self._checkpoint = checkpoint
        self._overrides = dict(config_overrides or {})
        self._loaded_step: int | None = None
        self._trainer: Any = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if train_dataset is not None:
            self._columns = columns_of(train_dataset)
            self._train_on(train_dataset)
            return
        from moegs_ns.runs.record import read_run_record
        from moegs_ns.training.load_run import load_model

        run = Path(checkpoint or "")
        self._columns = json.loads((run / _COLUMNS).read_text("utf8"))
        self._model = load_model(run)
        record = read_run_record(run)
        self._steps = int(record["progress"]["steps_total"])
        self._step = self._loaded_step = int(record["progress"]["steps_done"])

    # -- what NerfBaselines asks ---------------------------------------------------------------------------------------

    @classmethod
    def get_method_info(cls) -> dict[str, Any]:
        """What the data set must hold and what is rendered."""
        return {
            "method_id": cls.method_id,
            "required_features": frozenset(("color", "points3D_xyz", "points3D_rgb")),
            "supported_camera_models": frozenset(("pinhole",)),
            "supported_outputs": ("color", {"name": "depth", "type": "depth"}, "accumulation"),
            "can_resume_training": True,
        }

    def get_info(self) -> dict[str, Any]:
        """As `get_method_info`, of this instance: steps, and what was loaded."""
        return {
            **self.get_method_info(),
            "num_iterations": self._steps,
            "loaded_step": self._loaded_step,
            "loaded_checkpoint": self._checkpoint,
            "hparams": {key: str(value) for key, value in self._overrides.items()},
        }

    def get_train_embedding(self, index: int) -> None:
        """Nothing: what an expert learns of a training camera (its exposure) acts in training only."""

    def optimize_embedding(self, dataset: Any, *, embedding: Any = None) -> Any:
        """There are no embeddings of images to fit.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("experts have no embeddings of images; evaluate with a protocol that fits none")

    def train_iteration(self, step: int) -> dict[str, float]:
        """One training step; the losses by name, and their sum as ``loss``."""
        if self._trainer is None:
            raise ValueError("expected a method made with train_dataset, found one loaded from a checkpoint")
        from nerfstudio.engine.callbacks import TrainingCallbackLocation as Location

        self._trainer.pipeline.train()
        for callback in self._trainer.callbacks:
            callback.run_callback_at_location(step, location=Location.BEFORE_TRAIN_ITERATION)
        loss, losses, _ = self._trainer.train_iteration(step)
        for callback in self._trainer.callbacks:
            callback.run_callback_at_location(step, location=Location.AFTER_TRAIN_ITERATION)
        self._step = step + 1
        named = {name: float(torch.as_tensor(value).detach()) for name, value in losses.items()}
        return {"loss": float(loss.detach()), **named}

    @torch.no_grad()
    def render(self, camera: Any, *, options: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
        """Picture of one camera, at the time in its metadata; without one at the first instant.

        Returns:
            ``color [H,W,3]`` in [0,1], ``depth [H,W]`` in world units, ``accumulation [H,W]`` in [0,1]; float32.
        """
        self._model.eval()
        outputs = self._model.get_outputs_for_camera(self._nerfstudio_camera(camera.item()))
        wanted = (options or {}).get("outputs") or ("color", "depth", "accumulation")
        made = {
            "color": outputs["rgb"],
            "depth": outputs["depth"][..., 0],
            "accumulation": outputs["accumulation"][..., 0],
        }
        return {name: image.float().cpu().numpy() for name, image in made.items() if name in wanted}

    def save(self, path: str) -> None:
        """Write ``run.json`` and a checkpoint, as in any run of moegs_ns, into a folder."""
        target = Path(path)
        target.mkdir(parents=True, exist_ok=True)
        if self._trainer is None:
            assert self._checkpoint is not None
            if target.resolve() != Path(self._checkpoint).resolve():
                shutil.copytree(self._checkpoint, target, dirs_exist_ok=True)
            return
        if self._step == 0:
            raise ValueError("expected at least one training step before saving, found none")
        self._trainer.step = self._step - 1
        self._trainer.save_checkpoint(self._step - 1)
        run = Path(self._trainer.base_dir)
        shutil.copyfile(run / "run.json", target / "run.json")
        shutil.copytree(run / "nerfstudio_models", target / "nerfstudio_models", dirs_exist_ok=True)
        (target / _COLUMNS).write_text(json.dumps(self._columns), "utf8")

    # -- how -----------------------------------------------------------------------------------------------------------

    def _train_on(self, dataset: Mapping[str, Any]) -> None:
        from moegs_ns import method_configs
        from moegs_ns.runs.checkpoint_files import find_checkpoint
        from moegs_ns.runs.record import read_run_record
        from moegs_ns.scene.dataparsers.transforms import TransformsDataParserConfig

        self._folder = tempfile.TemporaryDirectory(prefix="moegs-nerfbaselines-")
        folder = Path(self._folder.name)
        times = write_capture(folder / "scene", dataset, self._columns)
        _, images_of_instants = np.unique(times, return_counts=True)
        config = copy.deepcopy(getattr(method_configs, self.method_id.replace("-", "_")).config)
        config.output_dir, config.experiment_name, config.timestamp = folder, "scene", "run"
        config.vis = "tensorboard"
        config.steps_per_save = config.steps_per_eval_image = config.steps_per_eval_all_images = 0
        manager = config.pipeline.datamanager
        manager.dataparser = TransformsDataParserConfig(num_frames=1 if len(images_of_instants) == 1 else None)
        config.data = manager.data = folder / "scene"
        if images_of_instants.min() < manager.cameras_per_step:
            manager.same_instant = False  # an instant without another view, as in a capture by one camera
        for name, value in self._overrides.items():
            set_option(config, name, value)
        self._steps, self._step = config.max_num_iterations, 0
        if self._checkpoint is not None:
            config.load_checkpoint = find_checkpoint(Path(self._checkpoint))
            self._step = int(read_run_record(Path(self._checkpoint))["progress"]["steps_done"])
            self._loaded_step = self._step
        self._trainer = config.setup(local_rank=0, world_size=1)
        self._trainer.setup()
        self._model = self._trainer.pipeline.model

    def _nerfstudio_camera(self, camera: Any) -> Any:
        from nerfstudio.cameras.cameras import Cameras, CameraType

        if int(camera.camera_models) != PINHOLE:
            raise ValueError(f"expected a pinhole camera, found camera model {int(camera.camera_models)}")
        pose = np.array(camera.poses, np.float64)[:3, :4]
        pose[:, :3] = pose[:, :3] @ _FLIP
        fx, fy, cx, cy = (float(value) for value in camera.intrinsics)
        width, height = (int(value) for value in camera.image_sizes)
        time = 0.0
        if camera.metadata is not None and _TIME in self._columns:
            time = float(np.asarray(camera.metadata).reshape(-1)[self._columns.index(_TIME)])
        return Cameras(
            camera_to_worlds=torch.from_numpy(pose).float()[None],
            fx=fx,
            fy=fy,
            cx=cx,
            cy=cy,
            width=width,
            height=height,
            camera_type=CameraType.PERSPECTIVE,
            times=torch.tensor([[time]]),
        ).to(self._model.device)


def columns_of(dataset: Mapping[str, Any]) -> list[str]:
    """What the columns of ``cameras.metadata`` are; none where the data set does not say so."""
    if dataset["cameras"].metadata is None:
        return []
    return list(dataset["metadata"].get("camera_metadata", ()))


def write_capture(folder: Path, dataset: Mapping[str, Any], columns: list[str]) -> np.ndarray:
    """Write a data set in nerfstudio's format with times, all images for training.

    Returns:
        ``[N]``, the images' times.

    Raises:
        ValueError: cameras that are no pinholes, or images that are not 8-bit RGB.
    """
    from moegs_ns.scene.points import PointCloud, write_ply

    cameras, images = dataset["cameras"], dataset["images"]
    if not np.all(np.asarray(cameras.camera_models) == PINHOLE):
        raise ValueError("expected pinhole cameras, found others; let NerfBaselines undistort the images")
    facts = np.asarray(cameras.metadata) if columns else np.zeros((len(images), 0))
    times = facts[:, columns.index(_TIME)] if _TIME in columns else np.zeros(len(images))
    (folder / "images").mkdir(parents=True)
    frames = []
    for index, image in enumerate(images):
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"expected 8-bit RGB images, found {image.dtype} {list(image.shape)} for image {index}")
        name = f"images/{index:06d}.png"
        Image.fromarray(image).save(folder / name, compress_level=1)
        pose = np.array(cameras.poses[index], np.float64)[:3, :4]
        pose[:, :3] = pose[:, :3] @ _FLIP
        fx, fy, cx, cy = (float(value) for value in cameras.intrinsics[index])
        frames.append(
            {
                "file_path": name,
                "time": float(times[index]),
                **({"camera": f"cam{int(facts[index, columns.index(_CAMERA)]):02d}"} if _CAMERA in columns else {}),
                "transform_matrix": [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]],
                "fl_x": fx,
                "fl_y": fy,
                "cx": cx,
                "cy": cy,
                "w": image.shape[1],
                "h": image.shape[0],
            }
        )
    # The data parser wants a test image. NerfBaselines keeps its own; a copy of a training image stands in, never used.
    trained = [str(frame["file_path"]) for frame in frames]
    frames.append({**frames[0], "file_path": "images/stand_in.png"})
    shutil.copyfile(folder / trained[0], folder / "images" / "stand_in.png")
    content = {
        "camera_model": "PINHOLE",
        "frames": frames,
        "train_filenames": trained,
        "test_filenames": ["images/stand_in.png"],
    }
    (folder / "transforms.json").write_text(json.dumps(content), "utf8")
    points, colors = dataset.get("points3D_xyz"), dataset.get("points3D_rgb")
    if points is not None and len(points):
        colors = np.full((len(points), 3), 128) if colors is None else colors
        write_ply(folder / "points3D.ply", PointCloud(np.asarray(points, np.float32), np.asarray(colors, np.uint8)))
    return np.asarray(times)


def set_option(config: Any, name: str, value: Any) -> None:
    """Set an option by its dotted name; text is read as the type of what is there.

    Raises:
        ValueError: no such option, or text that is none of its type.
    """
    *path, last = name.replace("-", "_").split(".")
    holder = config
    for part in path:
        holder = holder.get(part) if isinstance(holder, dict) else getattr(holder, part, None)
        if holder is None:
            raise ValueError(f"expected an option of ns-train, found '{name}': there is no '{part}'")
    present = holder.get(last) if isinstance(holder, dict) else getattr(holder, last, None)
    if present is None and not (isinstance(holder, dict) or hasattr(holder, last)):
        raise ValueError(f"expected an option of ns-train, found '{name}': there is no '{last}'")
    if isinstance(value, str) and not isinstance(present, str):
        value = _read(name, value, present)
    if isinstance(holder, dict):
        holder[last] = value
    else:
        setattr(holder, last, value)


def _read(name: str, text: str, present: Any) -> Any:
    if isinstance(present, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"expected True or False for '{name}', found {text!r}")
        return text.lower() == "true"
    try:
        return type(present)(text) if isinstance(present, int | float) else json.loads(text)
    except ValueError as error:
        raise ValueError(f"expected a value like {present!r} for '{name}', found {text!r}") from error


class Stg(ExpertMethod):
    """Spacetime Gaussians."""

    expert, method_id = "stg", "moegs-stg"


class FourDGaussians(ExpertMethod):
    """4DGaussians."""

    expert, method_id = "4dgaussians", "moegs-4dgaussians"


class ED3DGS(ExpertMethod):
    """E-D3DGS."""

    expert, method_id = "ed3dgs", "moegs-ed3dgs"


class Ex4DGS(ExpertMethod):
    """Ex4DGS."""

    expert, method_id = "ex4dgs", "moegs-ex4dgs"
