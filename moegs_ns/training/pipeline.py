"""The pipeline of every method: several cameras a step, and evaluation one can publish."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torchvision.utils
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils import profiler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from moegs_ns import compat
from moegs_ns.reporting.ensembles import reference_pictures
from moegs_ns.reporting.metrics import MetricsProtocol, as_float_image
from moegs_ns.reporting.video_metrics import TruthImage, VideoMetrics
from moegs_ns.runs.checkpoints import stored_megabytes
from moegs_ns.runs.record import describe_source, describe_versions
from moegs_ns.training.allocator import keep_freed_memory
from moegs_ns.training.random_state import preserved_random_state
from moegs_ns.training.render_meter import RenderMeter
from moegs_ns.viewer.page import ViewerPage
from moegs_ns.viewer.reach import keep_viewers_local
from moegs_ns.viewer.start_view import StartView, scene_distance


@dataclass
class MoegsPipelineConfig(VanillaPipelineConfig):
    """Pipeline options."""

    _target: type = field(default_factory=lambda: MoegsPipeline)
    lpips: tuple[Literal["alex", "vgg"], ...] = ("alex", "vgg")
    """LPIPS backbones ns-eval reports (evaluation during training leaves LPIPS out); give nothing for none."""
    eval_warmup_renders: int = 2
    """Renders before an evaluation's first timed one: kernels are compiled and memory is claimed there."""


class MoegsPipeline(VanillaPipeline):
    """Walks the cameras of a step through the model one by one; evaluates without touching the training.

    Single device: density control replaces parameters, which torch's data parallelism does not follow.
    """

    config: MoegsPipelineConfig

    def __init__(
        self,
        config: MoegsPipelineConfig,
        device: Any,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: Any = None,
    ) -> None:
        if world_size > 1:
            raise ValueError(
                f"expected one device per run, found {world_size}; "
                "train different experts on different devices instead (CUDA_VISIBLE_DEVICES=... ns-train ...)"
            )
        keep_freed_memory(device)
        super().__init__(config, device, test_mode, world_size, local_rank, grad_scaler)
        compat.name_damaged_checkpoints()
        if test_mode == "test":
            compat.mend_ns_render(type(self.datamanager))
        self._metrics = MetricsProtocol(lpips=tuple(config.lpips))
        self._add_viewer_elements()
        self._loaded_step: int | None = None
        self.loss_watcher: Callable[[Mapping[str, Tensor], int], None] | None = None
        """Told the losses of each training step and its number, before anything learns from them."""

    def _add_viewer_elements(self) -> None:
        """nerfstudio's viewer shows and sets up the elements it finds among our attributes."""
        dataset = self.datamanager.train_dataset
        metadata = _metadata_of(dataset)
        self.viewer_page = ViewerPage(dataset, metadata)
        keep_viewers_local()
        cameras = getattr(dataset, "cameras", None)
        if cameras is not None and len(cameras):
            self.start_view = StartView(cameras, metadata.get("points3D_xyz"), scene_distance(metadata))

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        """Load a checkpoint's model; ``step`` is the last step it had finished."""
        super().load_pipeline(loaded_state, step)
        self._loaded_step = step

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool | None = None) -> None:
        """Load model and datamanager, each once.

        nerfstudio's pipeline visits the model a second time with an empty state, in which hooks that resize parameters
        find nothing, and passes over keys that do not fit unless told to be strict.

        Raises:
            RuntimeError: keys or shapes of the model differ (torch's message lists them); ``strict`` is always on.
        """
        parts: dict[str, dict[str, Any]] = {"_model": {}, "datamanager": {}}
        for key, value in state_dict.items():
            part, _, name = key.partition(".")
            if part not in parts:
                raise RuntimeError(f"expected keys of {list(parts)} in a pipeline's state, found '{key}'")
            parts[part][name] = value
        self.model.load_state_dict(parts["_model"], strict=True)
        self.datamanager.load_state_dict(parts["datamanager"], strict=True)

    # -- training --------------------------------------------------------------------------------------------------

    @profiler.time_function
    def get_train_loss_dict(self, step: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """Losses and metrics of one training step.

        Returns:
            The outputs of the last camera; the losses, each the mean over the step's cameras (a loss that some
            cameras lack counts as 0 there), and the model's ``step_losses``, which belong to no camera; the metrics,
            each the mean over the cameras that have it.
        """
        outputs: dict[str, Tensor] = {}
        all_losses, all_metrics = [], []
        report = getattr(self.datamanager, "report_rendering", None)
        group = self._train_group(step)
        if hasattr(self.model, "expect_cameras"):
            self.model.expect_cameras([camera for camera, _ in group])
        for camera, batch in group:
            outputs = self._model(camera)
            metrics = self.model.get_metrics_dict(outputs, batch)
            all_losses.append(self.model.get_loss_dict(outputs, batch, metrics))
            all_metrics.append(metrics)
            if report is not None and "image_idx" in batch:  # others are no training images
                report(batch, outputs["rgb"])
        step_losses: dict[str, Tensor] = getattr(self.model, "step_losses", dict)()
        losses = {**_mean_losses(all_losses), **step_losses}
        if self.loss_watcher is not None:
            self.loss_watcher(losses, step)
        return outputs, losses, _mean_metrics(all_metrics)

    def _train_group(self, step: int) -> list[tuple[Cameras, dict[str, Any]]]:
        next_group = getattr(self.datamanager, "next_train_group", None)
        group = [self.datamanager.next_train(step)] if next_group is None else next_group(step)
        if not group:
            raise ValueError(f"expected at least one camera for training step {step}, found none")
        return group

    # -- evaluation ------------------------------------------------------------------------------------------------

    @profiler.time_function
    @torch.no_grad()
    def get_eval_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Losses and metrics of the next evaluation image."""
        with self._evaluating():
            camera, batch = self.datamanager.next_eval(step)
            outputs = self.model(camera)
            metrics = self.model.get_metrics_dict(outputs, batch)
            return outputs, self.model.get_loss_dict(outputs, batch, metrics), metrics

    @profiler.time_function
    @torch.no_grad()
    def get_eval_image_metrics_and_images(self, step: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Metrics (without LPIPS) and pictures of the next evaluation image, for the training log."""
        with self._evaluating():
            camera, batch = self.datamanager.next_eval_image(step)
            outputs = self.model.get_outputs_for_camera(camera)
            metrics, images = self._measure(camera, outputs, batch, video=None)
        metrics["num_rays"] = int((camera.height * camera.width * camera.size).item())
        return metrics, images

    @profiler.time_function
    @torch.no_grad()
    def get_average_image_metrics(
        self,
        data_loader: Any,
        image_prefix: str,
        step: int | None = None,
        output_path: Path | None = None,
        get_std: bool = False,
    ) -> dict[str, Any]:
        """Evaluate every image of ``data_loader``.

        Only rendering is timed: after warm-up renders, with the device synchronised, without metrics and image
        writing. ``render_ms`` is the median over the images and ``fps`` its reciprocal.

        For ns-eval every image of the loader is read twice: what changes in a camera's own images must be known before
        its first rendering can be scored there.

        Args:
            data_loader: sized iterable of ``(Cameras of size 1, batch)``.
            image_prefix: first part of the names of written pictures.
            step: training step, for the protocol stamp; None takes that of the loaded checkpoint.
            output_path: folder for pictures, or None to write none: the model's own (truth and rendering side by
                side) and ``rgb``, the rendering alone, whose files equal those of ns-render and ``moegs render``.
            get_std: ns-eval sets this; it adds ``<metric>_std`` (population standard deviation over the images),
                LPIPS, ``psnr_dynamic``, ``flicker``, ``model_mb``, ``per_image`` rows and the ``protocol`` stamp.
                Without it the result holds scalars only.

        Raises:
            ValueError: there is no image.
        """
        if len(data_loader) == 0:
            raise ValueError(
                f"expected images in the '{self._split}' split, found none; choose its cameras in the data options "
                "(--help of the data parser)"
            )
        rows: list[dict[str, Any]] = []
        sizes: list[tuple[int, int]] = []
        with self._evaluating(), progress_bar("Evaluating", len(data_loader)) as advance:
            meter = RenderMeter(self.model, torch.device(self.model.device))
            meter.warm_up(next(iter(data_loader))[0], self.config.eval_warmup_renders)
            # Behind the first renders: on a CPU the images looked at would count as memory of rendering.
            video = VideoMetrics(self._truths(data_loader)) if get_std else None
            for index, (camera, batch) in enumerate(data_loader):
                outputs, milliseconds = meter.render(camera)
                metrics, images = self._measure(camera, outputs, batch, video)
                rows.append({**self._label(camera), **metrics, "render_ms": milliseconds})
                sizes.append((int(camera.width.item()), int(camera.height.item())))
                if output_path is not None:
                    _write_images({**images, "rgb": outputs["rgb"]}, output_path, image_prefix, index)
                advance()
        results = _summarise(rows, sizes, with_std=get_std)
        results["peak_memory_mb"] = meter.peak_memory_mb
        if video is not None:
            results["model_mb"] = stored_megabytes(self.model.state_dict())
            results["protocol"] = {**self._protocol(rows, sizes, step, video), **meter.describe()}
            results["per_image"] = rows
        return results

    def _measure(
        self, camera: Cameras, outputs: dict[str, Tensor], batch: dict[str, Any], video: VideoMetrics | None
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """The model's own extra metrics and pictures, and the protocol's metrics (which win over equal names); LPIPS
        and those of videos for ns-eval only, which gives ``video``."""
        extra, images = self.model.get_image_metrics_and_images(outputs, batch)
        label, measured = self._label(camera), dict(extra)
        for row, picture in {"": outputs["rgb"], **_rival_pictures(outputs, batch)}.items():
            scores = self._metrics.measure(picture, batch["image"], lpips=video is not None)
            if video is not None:
                scores |= video.measure(row, picture, batch["image"], label["camera"], label["frame"])
            measured |= {f"{row}/{name}" if row else name: value for name, value in scores.items()}
        return measured, images

    def _truths(self, data_loader: Any) -> Iterator[TruthImage]:
        """The evaluation images, for what they alone tell."""
        for camera, batch in data_loader:
            label = self._label(camera)
            yield TruthImage(label["camera"], label["frame"], _pose(camera), batch["image"])

    def _label(self, camera: Cameras) -> dict[str, Any]:
        """Which image a row is about; None where unknown.

        ``camera``: its name; ``frame``: number in the clip, counted from 0; ``time``: in [0,1] over the frames used.
        """
        metadata = camera.metadata or {}
        scene = _metadata_of(self.datamanager.eval_dataset)
        names = scene.get("camera_names")
        index, frame = _first_int(metadata.get("camera_index")), _first_int(metadata.get("frame_index"))
        name = None if index is None else str(index) if names is None else str(names[index])
        if frame is not None:
            frame += int(scene.get("first_frame", 0))
        moment = None if camera.times is None else float(camera.times.flatten()[0])
        return {"camera": name, "frame": frame, "time": moment}

    def _protocol(
        self, rows: list[dict[str, Any]], sizes: list[tuple[int, int]], step: int | None, video: VideoMetrics
    ) -> dict[str, Any]:
        """Everything one needs to know to compare these numbers with others."""
        frames = sorted({row["frame"] for row in rows if row["frame"] is not None})
        resolutions = [list(size) for size in sorted(set(sizes))]
        return {
            "split": self._split,
            "images": len(rows),
            "cameras": list(dict.fromkeys(row["camera"] for row in rows)),
            "frames": {"first": frames[0], "last": frames[-1], "distinct": len(frames)} if frames else None,
            "resolution": resolutions[0] if len(resolutions) == 1 else resolutions,
            "step": self._loaded_step if step is None else step,
            "checkpoint_rule": "the step that was loaded, by default the run's newest; no step is chosen by its scores",
            "metrics": {**self._metrics.describe(), **video.describe()},
            "dynamic_regions": video.regions(),
            "averaging": "mean and population standard deviation over images",
            "warmup_renders": self.config.eval_warmup_renders,
            "model": describe_model(self.model),
            "source": describe_source(),
            "versions": describe_versions(),
        }

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode; afterwards every module's mode and the global random generators are as before."""
        modes = [(module, module.training) for module in self.modules()]
        with preserved_random_state():
            self.eval()
            try:
                yield
            finally:
                for module, training in modes:
                    module.training = training

    @property
    def _split(self) -> str:
        return str(getattr(self.datamanager, "test_split", self.test_mode))


def describe_model(model: Any) -> dict[str, Any]:
    """The model's plain facts (its optional ``describe`` hook): number of Gaussians, raster backend and the like."""
    describe = getattr(model, "describe", None)
    return {} if describe is None else dict(describe())


def _pose(camera: Cameras) -> Tensor:
    """Everything that stays the same while a camera stands still, flat: pose and pinhole."""
    pinhole = [getattr(camera, name).flatten() for name in ("fx", "fy", "cx", "cy")]
    return torch.cat([camera.camera_to_worlds.flatten(), *pinhole]).cpu()


def _rival_pictures(outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
    """What a mixture is compared with in every table: its experts alone, and the reference pictures made of them."""
    experts = {name: image for name, image in outputs.items() if name.startswith("expert_")}
    if not experts:
        return {}
    images = torch.stack(list(experts.values()))
    return {**experts, **reference_pictures(images, as_float_image(batch["image"]).to(images.device))}


def _mean_losses(losses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(losses) == 1:
        return losses[0]
    names = dict.fromkeys(name for one in losses for name in one)
    return {name: sum(one[name] for one in losses if name in one) / len(losses) for name in names}  # type: ignore[misc]


def _mean_metrics(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    if len(metrics) == 1:
        return metrics[0]
    names = dict.fromkeys(name for one in metrics for name in one)
    present = {name: [one[name] for one in metrics if name in one] for name in names}
    return {name: sum(values) / len(values) for name, values in present.items()}


def _summarise(rows: list[dict[str, Any]], sizes: list[tuple[int, int]], with_std: bool) -> dict[str, Any]:
    """Averages over the rows; only ``render_ms`` is a median, because single renders are disturbed by other work."""
    labels = {"camera", "frame", "time", "render_ms"}
    # The first image of a camera lacks what compares it with the one before.
    names = [name for name in dict.fromkeys(chain.from_iterable(rows)) if name not in labels]
    results: dict[str, Any] = {}
    for name in names:
        values = np.array([row[name] for row in rows if name in row], dtype=np.float64)
        results[name] = float(values.mean())
        if with_std:
            results[f"{name}_std"] = float(values.std())
    seconds = float(np.median([row["render_ms"] for row in rows])) / 1e3
    pixels = float(np.mean([width * height for width, height in sizes]))
    results["render_ms"] = 1e3 * seconds
    results["fps"] = 1.0 / seconds
    results["num_rays_per_sec"] = pixels / seconds
    return results


def _metadata_of(dataset: Any) -> Mapping[str, Any]:
    return getattr(dataset, "metadata", None) or {}


def _first_int(value: Any) -> int | None:
    return None if value is None else int(torch.as_tensor(value).flatten()[0])


def _write_images(images: dict[str, Tensor], folder: Path, prefix: str, index: int) -> None:
    """Pictures ``[H,W,3]`` under the names ns-eval gives them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        torchvision.utils.save_image(image.permute(2, 0, 1).cpu(), folder / f"{prefix}_{name}_{index:04d}.png")


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Any]:
    """Gives a function that counts one up."""
    columns = (TextColumn("[green]{task.description}"), BarColumn(), TimeElapsedColumn(), MofNCompleteColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda: progress.advance(task)
