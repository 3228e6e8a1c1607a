"""What every expert is: a nerfstudio ``Model`` that yields ``Splats`` at a time and renders them.

An expert family adds its parameters (:meth:`ExpertModel.initial_tensors`), its motion (:meth:`ExpertModel.splats_at`)
and its density rules (:meth:`ExpertModel.control_density`); rendering, loss, step bookkeeping and loading live here.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.models.base_model import Model
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from moegs_ns.experts.expert_config import ExpertModelConfig
from moegs_ns.experts.option_ranges import check_ranges
from moegs_ns.experts.seeds import SeedCloud, seed_cloud, thin_out
from moegs_ns.experts.supervision import Supervised
from moegs_ns.experts.view_statistics import RenderedView, accumulate_views
from moegs_ns.experts.views import (
    CameraView,
    camera_index,
    camera_time,
    ground_truth_image,
    image_psnr,
    is_training_camera,
)
from moegs_ns.losses import photometric_loss
from moegs_ns.splats.camera import camera_position
from moegs_ns.splats.exportable import ExportablePart, exportable_part
from moegs_ns.splats.gaussian_parts import GaussianParts
from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import rasterize, resolve_backend
from moegs_ns.splats.rays import ray_image
from moegs_ns.splats.sh import view_colors
from moegs_ns.splats.splats import Splats, sh_of

#: What an expert reads of the data parser's metadata besides the seed points; enough to build it again without data.
SCENE_FACTS = ("num_frames", "camera_extent", "near", "far", "camera_names")
# Share of the scene's near bound. What is closer to a training camera is hidden from the others or looks like what is
# behind it, is therefore never put right, and hangs like fog before the held-out camera beside it.
_NEAR_MARGIN = 0.8
_FAR_MARGIN = 10.0


class ExpertModel(Supervised, Model):
    """A dynamic-splat model.

    Args (beyond nerfstudio's):
        seed_points: ``(xyz [M,3], rgb [M,3] uint8)`` from the datamanager.
        metadata (keyword): the data parser's metadata; ``SCENE_FACTS`` and ``points3D_time`` are read.
    """

    config: ExpertModelConfig
    training_step: Tensor

    def __init__(self, *args: Any, seed_points: tuple[Tensor, Tensor] | None = None, **kwargs: Any) -> None:
        self.seed_points = seed_points
        super().__init__(*args, **kwargs)

    # -- what a family defines -------------------------------------------------------------------------------------

    @abstractmethod
    def initial_tensors(self, seeds: SeedCloud) -> dict[str, Tensor]:
        """Raw initial parameters, N rows each, from the seed points."""

    @abstractmethod
    def splats_at(self, time: float) -> Splats:
        """The Gaussians of one instant, activated, with ``sh`` or ``features``. ``time`` in [0,1] from first to last
        frame."""

    def splats_seen(self, time: float, cameras: Sequence[Cameras]) -> tuple[Splats, Tensor | None]:
        """For training: the Gaussians at ``time`` that ``cameras`` may see (those of the step that show this time; none
        where they are not known), and their positions ``[n]`` among the expert's, None for all. A family whose
        Gaussians cost much each leaves out what no camera sees; by default all are there."""
        return self.splats_at(time), None

    def usable_seeds(self, seeds: SeedCloud) -> SeedCloud:
        """The seed points a family can start from, before too large a cloud is thinned out; by default all."""
        return seeds

    def make_gaussians(self, seeds: SeedCloud) -> Any:
        """The Gaussians; a family with several sets of them returns `GaussianParts` instead of one set."""
        return GaussianSet(self.initial_tensors(seeds))

    def control_density(self, iteration: int, optimizers: Optimizers) -> None:
        """Clone, split, prune or reset after optimizer step ``iteration`` (counted from 1, as papers do)."""

    @torch.no_grad()
    def exportable_parts(self, time: float) -> list[ExportablePart]:
        """The Gaussians at ``time`` in [0,1] as other programs draw them; raises what `exportable_part` raises."""
        (part, rows), stored = self.part_at(time), torch.arange(self.num_gaussians, device=self.device)
        return [exportable_part(self.splats_at(time), stored[rows], part.active_sh_degree, part.projection_settings)]

    # -- construction ----------------------------------------------------------------------------------------------

    def populate_modules(self) -> None:
        """Build the Gaussians from the seed points."""
        super().populate_modules()
        check_ranges(self.config)
        self.metadata: dict[str, Any] = self.kwargs.get("metadata") or {}
        self.num_frames = int(self.metadata.get("num_frames", 1))
        self.camera_extent = float(self.metadata.get("camera_extent", 1.0))
        near, far = self.config.near, self.config.far
        self.near = _NEAR_MARGIN * float(self.metadata.get("near", 0.05)) if near is None else near
        self.far = _FAR_MARGIN * float(self.metadata.get("far", 1e9)) if far is None else far
        seeds = self.usable_seeds(seed_cloud(self.seed_points, self.metadata))
        self.gaussians: GaussianSet = self.make_gaussians(thin_out(seeds, self.config.max_seeds))
        # The number of finished optimizer steps travels in the checkpoint: a frozen or reloaded expert renders at the
        # step it was saved at (spherical harmonics degree, and whatever else a family schedules).
        self.register_buffer("training_step", torch.zeros((), dtype=torch.int64))
        if self.config.camera_gains:
            names = self.camera_names("gains per camera", "--pipeline.model.camera-gains False")
            self.camera_log_gains = Parameter(torch.zeros(len(names), 3))
        self._views: list[RenderedView] = []
        self._step_splats: dict[float, tuple[Splats, Tensor | None]] | None = None  # by time, within a training step
        self._expected: Sequence[Cameras] = ()
        self._step_views: dict[int, tuple[Cameras, CameraView]] | None = None  # by id, within a training step
        self.total_steps: int | None = None  # of the training run; None outside one

    def camera_names(self, wanted_for: str, without: str) -> list[str]:
        """The training cameras' names, needed for what is learnt of each.

        Args:
            wanted_for: what that is.
            without: the option that does without it.

        Raises:
            ValueError: the data parser names none.
        """
        if "camera_names" not in self.metadata:
            raise ValueError(
                f"{wanted_for}: expected a data parser that names its cameras (as n3v-data), found none; set {without}"
            )
        return list(self.metadata["camera_names"])

    @property
    def clock(self) -> float:
        """Factor from the project's time, ``frame / (n_frames - 1)``, to that of several authors, ``frame / n_frames``
        in [0, 1)."""
        return (self.num_frames - 1) / self.num_frames

    @property
    def num_gaussians(self) -> int:
        """How many Gaussians the expert stores."""
        return len(self.gaussians)

    def gaussian_sets(self) -> list[GaussianSet]:
        """The sets of all Gaussians the expert stores, end to end in the order they are counted."""
        return [*self.gaussians] if isinstance(self.gaussians, GaussianParts) else [self.gaussians]

    def keep_gaussians(self, kept: Tensor, optimizers: Iterable[Optimizer] = ()) -> None:
        """Leave only the Gaussians of ``kept [N]`` bool; for an expert in an ensemble, see `GaussianSet.keep`.

        Raises:
            ValueError: another number of rows, or a set of Gaussians that would lose its last one.
        """
        sets = self.gaussian_sets()
        if kept.shape != (self.num_gaussians,):
            raise ValueError(
                f"expected one choice for each of {self.num_gaussians} Gaussians, found {list(kept.shape)}"
            )
        rows = kept.split([len(one) for one in sets])
        if any(len(own) and not own.any() for own in rows):
            raise ValueError("expected at least one Gaussian of each set to stay, found a set that would lose all")
        holders = [*optimizers]
        for one, own in zip(sets, rows, strict=True):
            one.keep(own, holders)

    def part_at(self, time: float) -> tuple["ExpertModel", slice]:
        """Who renders at ``time`` in [0,1], and where its Gaussians stand among those stored; an expert of several
        clips names one of them."""
        return self, slice(None)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """One optimizer group per Gaussian tensor, and one for the cameras' gains."""
        groups = {name: [parameter] for name, parameter in self.gaussians.params.items()}
        return {**groups, "camera_gains": [self.camera_log_gains]} if self.config.camera_gains else groups

    def learning_rate_scales(self) -> dict[str, float]:
        """Factors on the configured learning rates, known only once the scene is."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Plain facts for run records and evaluation files."""
        return {
            "num_gaussians": self.num_gaussians,
            "scene_facts": {name: self.metadata[name] for name in SCENE_FACTS if name in self.metadata},
            "raster_backend": resolve_backend(self.device),
            "floats_per_gaussian": sum(p[:1].numel() for p in self.gaussians.params.values()),
        }

    # -- training steps --------------------------------------------------------------------------------------------

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Forget the last step's views before a step, control density after it."""
        optimizers, trainer = training_callback_attributes.optimizers, training_callback_attributes.trainer
        self.total_steps = None if trainer is None else trainer.config.max_num_iterations
        return [
            TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], self._begin_step),
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], self._end_step, args=[optimizers]),
        ]

    def may_reset_opacity(self, iteration: int, interval: int, stage_start: int = 0) -> bool:
        """Whether opacities are to be reset at ``iteration``: every ``interval`` steps of a stage, 0 for never.

        A reset makes everything nearly transparent and training then restores what is needed. A run that ends less
        than an interval later would end in fog (3000 steps with the papers' interval of 3000, say), so it does without.
        """
        if not interval or (iteration - stage_start) % interval:
            return False
        return self.total_steps is None or iteration + interval <= self.total_steps

    def expect_cameras(self, cameras: Sequence[Cameras]) -> None:
        """Which cameras, each of size 1, the present training step shows; called before the first is rendered."""
        self._expected = cameras

    def _begin_step(self, step: int) -> None:
        self._views.clear()
        self._step_splats, self._step_views, self._expected = {}, {}, ()

    @torch.no_grad()
    def _end_step(self, optimizers: Optimizers, step: int) -> None:
        iteration = step + 1
        self._step_splats, self._step_views, self._expected = None, None, ()
        self._collect_statistics()
        self.control_density(iteration, optimizers)
        if self.config.max_scale is not None:
            self.gaussians.cap_scale(self.config.max_scale * self.camera_extent)
        self.training_step.fill_(iteration)
        # Density control replaces Parameters; nerfstudio keeps a second list of them (for gradient clipping).
        optimizers.parameters.update({name: [parameter] for name, parameter in self.gaussians.params.items()})

    def _collect_statistics(self) -> None:
        accumulate_views(self.gaussians, self._views, self.config.densify_views)
        self._views.clear()

    # -- rendering -------------------------------------------------------------------------------------------------

    @property
    def active_sh_degree(self) -> int:
        """Spherical harmonics degree in use at the present training step."""
        return min(self.config.sh_degree, int(self.training_step) // max(1, self.config.sh_degree_interval))

    @property
    def projection_settings(self) -> ProjectionSettings:
        """How this expert's Gaussians are projected."""
        return ProjectionSettings(near=self.near, far=self.far)

    def background_color(self) -> Tensor:
        """``[3]`` colour behind all Gaussians."""
        return torch.full((3,), 1.0 if self.config.background == "white" else 0.0, device=self.device)

    def colors(self, splats: Splats, viewmat: Tensor) -> Tensor:
        """``[N,3]`` view-dependent colours, at least 0, from the splats' spherical harmonics. Positions are detached:
        colour does not move Gaussians through the viewing direction (as in nerfstudio's splatfacto; the effect is tiny
        and the gradient is not free)."""
        return view_colors(self.active_sh_degree, splats.means, camera_position(viewmat), sh_of(splats))

    def channels(self, splats: Splats, viewmat: Tensor) -> Tensor:
        """``[N,C]`` what is composited of the Gaussians: their features where they have some, else their colours."""
        return self.colors(splats, viewmat) if splats.features is None else splats.features

    def channel_background(self, color: Tensor) -> Tensor:
        """``[C]`` channels behind all Gaussians where the background's colour is to be ``color [3]``."""
        return color

    def decode(self, composited: Tensor, rays: Callable[[], Tensor]) -> Tensor:
        """The picture in what was composited; by default that is its first three channels.

        Args:
            composited: ``[H,W,D]``, this expert's C channels first; whatever else was composited beside them follows.
            rays: gives the image's rays ``[6,H,W]`` (`ray_image`), for experts that look at them.

        Returns:
            ``[H,W,3]`` RGB.
        """
        return composited if composited.shape[-1] == 3 else composited[..., :3]

    def _shared_splats(self, time: float) -> tuple[Splats, Tensor | None]:
        """As `splats_seen`; cameras of one training step that share an instant share the Gaussians and their graph."""
        if self._step_splats is None or not self.training:
            return self.splats_at(time), None
        if time not in self._step_splats:
            default = self.config.default_time
            cameras = [camera for camera in self._expected if camera_time(camera, default) == time]
            self._step_splats[time] = self.splats_seen(time, cameras)
        return self._step_splats[time]

    def splats_of_view(self, camera: Cameras) -> tuple[Splats, Tensor | None]:
        """The Gaussians to draw for one camera, and their positions among the expert's; None for all. A family that
        learns of its training cameras' clocks says so here, and only for training: whatever else renders an expert asks
        for `splats_at` a time."""
        return self._shared_splats(camera_time(camera, self.config.default_time))

    def views_of(self, cameras: Sequence[Cameras]) -> list[CameraView]:
        """Cameras of size 1 as the rasterizer knows them. Those of a training step are looked at once."""
        known = {} if self._step_views is None else self._step_views
        for camera in (one for one in cameras if id(one) not in known):
            known[id(camera)] = camera, CameraView.of(camera, self.device)  # the camera stays, and so its id
        return [known[id(camera)][1] for camera in cameras]

    def camera_gain(self, camera: Cameras) -> Tensor:
        """``[3]`` colour gain of a training camera; 1 for an expert without gains, and for other cameras."""
        if not (self.config.camera_gains and is_training_camera(camera)):
            return torch.ones(3, device=self.device)
        index = camera_index(camera)
        return torch.exp(self.camera_log_gains[index] - self.camera_log_gains.mean(dim=0))

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        """Render one camera.

        Args:
            camera: ``Cameras`` of size 1.

        Returns:
            ``rgb [H,W,3]``, ``accumulation [H,W,1]`` and ``depth [H,W,1]`` (expected z-depth, world units).
        """
        if camera.shape[0] != 1:
            raise ValueError(f"expected one camera at a time, found {camera.shape[0]}")
        ((viewmat, intrinsics, width, height),) = self.views_of([camera])
        splats, rows = self.splats_of_view(camera)
        view = rasterize(
            splats,
            self.channels(splats, viewmat),
            viewmat,
            intrinsics,
            width,
            height,
            settings=self.projection_settings,
            background=self.channel_background(self.background_color()),
            depth=not self.training,
        )
        if self.training and view.means2d.requires_grad:
            view.means2d.retain_grad()
            self._views.append(RenderedView(view, width, height, rows))
        rgb = self.decode(view.images[0], lambda: ray_image(viewmat, intrinsics, width, height))
        if self.training and self.config.camera_gains:
            rgb = rgb * self.camera_gain(camera)
        outputs = {"rgb": rgb, "accumulation": view.alphas[0][..., None]}
        if view.depths is not None:
            outputs["depth"] = view.depths[0][..., None]
            outputs["rgb"] = outputs["rgb"].clamp(0.0, 1.0)
        return outputs

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Tensor]:
        """Render for evaluation, the viewer and ``ns-render``."""
        return self.get_outputs(camera.to(self.device))

    @torch.no_grad()
    def trajectories(self, times: Sequence[float], index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Where Gaussians are over time, and how opaque.

        Args:
            times: T instants in [0,1].
            index: the n Gaussians asked for (positions or a mask); None for all.

        Returns:
            Positions ``[T,n,3]`` in world units and opacities ``[T,n]`` in [0,1].
        """
        chosen = slice(None) if index is None else index
        moments = [self.splats_at(time) for time in times]
        return (
            torch.stack([splats.means[chosen] for splats in moments]),
            torch.stack([splats.opacities[chosen] for splats in moments]),
        )

    # -- losses and metrics ----------------------------------------------------------------------------------------

    def step_losses(self) -> dict[str, Tensor]:
        """Losses that do not depend on a view (regularisers), added once per optimizer step."""
        return {}

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        """Photometric loss of one view."""
        weight = self.config.ssim_weight
        loss = self.compare(outputs["rgb"], batch, lambda rgb, image: photometric_loss(rgb, image, weight))
        return {"photometric": loss}

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict, batch: dict) -> dict[str, Any]:
        """Training PSNR of one view and the number of Gaussians."""
        psnr = image_psnr(outputs["rgb"], ground_truth_image(batch, self.device))
        return {"psnr": psnr, "gaussian_count": self.num_gaussians}

    def get_image_metrics_and_images(self, outputs: dict, batch: dict) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR and the side-by-side picture; the full metrics protocol is the pipeline's."""
        truth, image = ground_truth_image(batch, self.device), outputs["rgb"]
        return {"psnr": float(image_psnr(image, truth))}, {"img": torch.cat([truth, image], dim=1)}
