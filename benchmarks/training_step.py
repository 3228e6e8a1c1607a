"""How long a training step takes, and where the time goes.

    python benchmarks/training_step.py

One run measures, with one and with two threads: the yardstick (a 1024^3 float32 matrix product and a 64 MB copy); a
full training step of STG with 20 000 Gaussians at 320x240 (one camera, spherical harmonics of degree 3, 0.8 L1 + 0.2
(1 - SSIM), Adam), whole and stage by stage; forward and backward of `rasterize` alone at 50 000 Gaussians; and the
readable torch twin beside them, once. Writes benchmarks/results/training_step.json and docs/performance.md. Other
experts, stage by stage: step_profile.py.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from machine import describe_measurement, summary, timings, yardstick
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from raster_scene import SurfaceScene, surface_scene
from rich.console import Console
from training_step_section import STAGES
from write_performance import PAGE, KeptFiles, write_page

from moegs_ns.experts.stg import STGModel, STGModelConfig
from moegs_ns.experts.views import camera_time
from moegs_ns.losses import photometric_loss
from moegs_ns.splats import native_backend
from moegs_ns.splats.camera import viewmat_from_camera_to_world
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.splats.sh import sh_from_color
from moegs_ns.splats.splats import Splats
from moegs_ns.training.optimizers import AdamConfig

WIDTH, HEIGHT = 320, 240


@dataclass
class Arguments:
    """Time a training step and its stages."""

    gaussians: int = 20_000
    """Gaussians of the training step."""
    raster_gaussians: int = 50_000
    """Gaussians of the rasterizer's forward and backward."""
    repetitions: int = 30
    """Repetitions of everything but the torch twin; the median and the minimum are kept."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads."""
    twin_repetitions: int = 1
    """Repetitions of the torch twin, after one warm-up; 0 leaves it out."""
    seed: int = 0
    """Seed of the synthetic scene."""
    output: Path = KeptFiles().training_step
    """JSON file to write."""
    page: Path = PAGE
    """Markdown page to write."""


class TrainingStep:
    """One STG model on one view: the step the trainer takes, whole or stage by stage.

    The learning rates are next to nothing, so that every repetition does the same work.
    """

    def __init__(self, scene: SurfaceScene, seed: int) -> None:
        self.model = _model(scene, seed)
        groups = {
            name: {"optimizer": AdamConfig(lr=1e-12), "scheduler": None} for name in self.model.get_param_groups()
        }
        self.optimizers = Optimizers(groups, self.model.get_param_groups())
        attributes = TrainingCallbackAttributes(self.optimizers, grad_scaler=None, pipeline=None, trainer=None)
        self.callbacks = self.model.get_training_callbacks(attributes)
        focal = float(scene.K[0, 0])
        self.camera = Cameras(
            # The scene's camera is the identity in OpenCV axes.
            camera_to_worlds=torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))[None, :3],
            fx=focal,
            fy=focal,
            cx=WIDTH / 2,
            cy=HEIGHT / 2,
            width=WIDTH,
            height=HEIGHT,
            times=torch.full((1, 1), 0.5),
        )
        image = rasterize(scene.splats, scene.channels, scene.viewmat, scene.K, WIDTH, HEIGHT, backend="native").images
        self.batch = {"image": (255 * image[0].clamp(0, 1)).byte()}

    def whole(self) -> None:
        """What the trainer does between two steps, through the model's public methods."""
        self._call(TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        self.optimizers.zero_grad_all()
        outputs = self.model.get_outputs(self.camera)
        torch.stack(list(self.model.get_loss_dict(outputs, self.batch).values())).sum().backward()
        self.optimizers.optimizer_step_all()
        self._call(TrainingCallbackLocation.AFTER_TRAIN_ITERATION)

    def staged(self) -> dict[str, float]:
        """Seconds per stage of the same step."""
        model, marks = self.model, [time.perf_counter()]

        def mark(value: Any) -> Any:
            marks.append(time.perf_counter())
            return value

        viewmat = viewmat_from_camera_to_world(self.camera.camera_to_worlds[0])
        truth = self.batch["image"].float() / 255
        splats = mark(model.splats_at(camera_time(self.camera, 0.0)))
        colors = mark(model.colors(splats, viewmat))
        intrinsics = self.camera.get_intrinsics_matrices()[0]
        view = mark(rasterize(splats, colors, viewmat, intrinsics, WIDTH, HEIGHT, settings=model.projection_settings))
        loss = mark(photometric_loss(view.images[0], truth, model.config.ssim_weight))
        mark(loss.backward())
        self.optimizers.optimizer_step_all()
        self.optimizers.zero_grad_all()
        mark(None)
        return {stage: end - start for stage, start, end in zip(STAGES, marks, marks[1:], strict=False)}

    def _call(self, location: TrainingCallbackLocation) -> None:
        callback: TrainingCallback
        for callback in self.callbacks:
            callback.run_callback_at_location(3, location)


def _model(scene: SurfaceScene, seed: int) -> STGModel:
    """STG holding the scene's Gaussians, all visible through the whole clip, in motion, with harmonics of degree 3."""
    config = STGModelConfig(seed_copies=1, sh_degree=3, sh_degree_interval=1, densify_stop=0, bounds_prune_step=0)
    splats = scene.splats
    model: STGModel = config.setup(
        scene_box=SceneBox(aabb=torch.tensor([[-5.0, -5.0, -5.0], [5.0, 5.0, 10.0]])),
        num_train_data=1,
        metadata={"num_frames": 50, "camera_extent": 1.0, "near": 0.05, "far": 100.0},
        seed_points=(splats.means, (255 * scene.channels).byte()),
    )
    generator = torch.Generator().manual_seed(seed)
    values = {
        "means": splats.means,
        "motion": 1e-3 * torch.randn(len(splats), 9, generator=generator),
        "time_log_scale": torch.full((len(splats),), 3.0),
        "quats": splats.quats,
        "scales": splats.scales.log(),
        "opacities": torch.logit(splats.opacities),
        "sh_base": sh_from_color(scene.channels),
        "sh_rest": 0.02 * torch.randn(len(splats), 15, 3, generator=generator),
    }
    for name, value in values.items():
        model.gaussians[name].data.copy_(value)
    model.training_step.fill_(3)
    return model.train()


def rasterize_both_ways(scene: SurfaceScene) -> Callable[[], None]:
    """Forward and backward of `rasterize` with gradients for everything it takes."""
    splats = scene.splats
    leaves = [
        tensor.clone().requires_grad_()
        for tensor in (splats.means, splats.quats, splats.scales, splats.opacities, scene.channels)
    ]
    upstream = torch.rand(1, HEIGHT, WIDTH, scene.channels.shape[1], generator=torch.Generator().manual_seed(1))

    def both_ways() -> None:
        for leaf in leaves:
            leaf.grad = None
        image = rasterize(Splats(*leaves[:4]), leaves[4], scene.viewmat, scene.K, WIDTH, HEIGHT).images
        image.backward(upstream)

    return both_ways


def measure(step: TrainingStep, raster: Callable[[], None], repetitions: int, warm_up: int) -> dict[str, Any]:
    """Timings of the whole step, of its stages and of the rasterizer."""
    whole = timings(step.whole, repetitions, warm_up)
    rows = [step.staged() for _ in range(repetitions)]
    stages = {stage: summary([row[stage] for row in rows]) for stage in STAGES}
    return {"training_step": whole, "stages": stages, "rasterize": timings(raster, repetitions, warm_up)}


def run(arguments: Arguments) -> dict[str, Any]:
    """All measurements, as plain data."""
    step = TrainingStep(surface_scene(arguments.gaussians, 3, WIDTH, HEIGHT, arguments.seed), arguments.seed)
    raster = rasterize_both_ways(surface_scene(arguments.raster_gaussians, 3, WIDTH, HEIGHT, arguments.seed))
    kernels = native_backend.build_info()
    result: dict[str, Any] = {
        "measurement": describe_measurement(arguments.seed),
        "kernels": {name: kernels[name] for name in ("compiler", "flags") if name in kernels},
        "openmp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "unset"),
        "workload": {
            "gaussians": arguments.gaussians,
            "raster_gaussians": arguments.raster_gaussians,
            "width": WIDTH,
            "height": HEIGHT,
            "repetitions": arguments.repetitions,
        },
        "threads": {},
    }
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        row = {"yardstick": yardstick(), **measure(step, raster, arguments.repetitions, warm_up=3)}
        result["threads"][str(threads)] = row
    if arguments.twin_repetitions:
        # The step calls rasterize as the trainer does, so the backend is chosen as a user would choose it.
        previous = os.environ.get("MOEGS_RASTER")
        os.environ["MOEGS_RASTER"] = "torch"
        try:
            result["torch_twin"] = {
                "threads": arguments.threads[-1],
                **measure(step, raster, arguments.twin_repetitions, warm_up=1),
            }
        finally:
            os.environ.pop("MOEGS_RASTER")
            if previous is not None:
                os.environ["MOEGS_RASTER"] = previous
    return result


def main(arguments: Arguments) -> None:
    result = run(arguments)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", "utf8")
    write_page(arguments.page, KeptFiles(training_step=arguments.output))
    Console().print(f"wrote {arguments.output} and {arguments.page}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
