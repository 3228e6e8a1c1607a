"""Ex4DGS: fully explicit dynamic Gaussians (Lee, Won, Jung, Bae, Jeon; NeurIPS 2024).

Static Gaussians move along a straight line. Dynamic ones have a position and a rotation at keyframes, interpolated by
a cubic Hermite spline and by slerp, and an opacity that is full between two temporal centres and fades outside.
Training begins with the first frames and opens the clip step by step; static Gaussians that moved most become dynamic.
How much of a picture's error lies under each Gaussian is collected by a splatted dummy channel, whose gradient, asked
for in the step's one backward pass, is the sum of the error's pixels weighted as the Gaussian is blended.

Where this leaves the authors' released code (a clock in frames, everything else as published):

- The temporal opacity fades from the nearest centre, slerp takes the shorter arc, and distances are from the camera's
  centre: the code does otherwise, by oversight.
- Keyframes of the whole clip exist from the start. When the window grows, those it newly reaches are extrapolated by
  the mean of single differences; the code's formula overshoots 2.5-fold.
- A static displacement is that over the present window, as in the code; when the window grows it is rescaled, so that
  what moves keeps its speed. A dynamic Gaussian is born with exactly the line of the static one.
- The window ends with the clip; the code's grows past the last frame, and static displacements with it. What reaches an
  end is judged by the clip's ends, not the present window's, and centres scattered at densification stay in the clip.
- A new frame enters training as soon as the window grows, not when the shuffled images have run out.
- Temporal widths are born at a constant so wide that nothing fades; the code writes numbers of frames where it reads
  logarithms. Widths are narrowed at densification and growth, never widened, where the code assigns: Gaussians seeded
  with a time are narrower already.
- Frame errors choose *where* Gaussians are extracted; the code looks the worst frames up and then takes others.
- Errors are judged before densification; the code judges after it has cleared them, so nothing is pruned by error.
- Radii are judged relative to the image's width.
- Keyframes that the window has not reached are guesses, to which the regulariser of motion does not hold others.
- Positions that are not numbers end the run, as with every expert; the code removes them after each step.

Seeds with times, of which the paper knows none, start as dynamic Gaussians around their time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.ex4dgs_density import Ex4DGSDensity
from moegs_ns.experts.ex4dgs_errors import (
    ERROR_STATISTICS,
    SeenView,
    accumulate_errors,
    colours_and_probe,
    tracked_errors,
)
from moegs_ns.experts.expert_config import ExpertModelConfig
from moegs_ns.experts.keyframed_splats import Instant, keyframed_splats, mean_log_length, mean_reach
from moegs_ns.experts.keyframes import GrowingWindow, KeyframeClock
from moegs_ns.experts.new_gaussians import new_gaussians
from moegs_ns.experts.seeds import SeedCloud, seed_spacing, thin_out
from moegs_ns.experts.supervision import GROUND_TRUTH
from moegs_ns.experts.views import camera_time, ground_truth_image
from moegs_ns.losses import photometric_loss, photometric_loss_and_errors
from moegs_ns.splats.camera import viewmat_from_camera_to_world
from moegs_ns.splats.gaussian_parts import GaussianParts
from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.sh import sh_tensors
from moegs_ns.splats.splats import Splats

_LEAST_SPACING = 1e-7**0.5
# The full width at half maximum of a Gaussian, in standard deviations, as the authors round it.
_HALF_MAXIMUM = 2.36
_DISPLACEMENT_FLOOR = 1e-3


@dataclass
class Ex4DGSModelConfig(ExpertModelConfig):
    """Options of Ex4DGS. Defaults are the authors' recipe for Neural 3D Video."""

    _target: type = field(default_factory=lambda: Ex4DGSModel)
    background: Literal["black", "white"] = "white"
    """Colour behind all Gaussians, outside training or without a random one."""
    random_background: bool = True
    """Train each picture before another random colour, so that nothing is left transparent."""
    keyframe_interval: int = 10
    """Frames from one keyframe to the next."""
    time_padding: int = 2
    """Frames from a keyframe to the clip's first frame."""
    least_duration: float = 3.0
    """No dynamic Gaussian is visible for less than this many frames (full width at half maximum)."""
    moving_fade: float = 1.0
    """Seeds with a time are fully there for one gap between two seed times, and fade over this many such gaps; more
    slowly where it is known that something moves at their place for longer."""
    moving_width: float = 0.7
    """Where that is known, they fade over this share of that time."""
    window_frames: int = 10
    """Training begins with the frames from 0 to this one."""
    window_growth: int = 10
    """Frames by which that window grows."""
    window_interval: int = 400
    """Steps between two growths of the window; 0 = train on the whole clip at once."""
    extract_start: int = 500
    """No growth of the window and no extraction of dynamic Gaussians up to this step."""
    extract_delay: int = 100
    """Steps after a growth when static Gaussians are extracted once more."""
    extract_share: float = 0.02
    """Share of the visible static Gaussians, those of the largest apparent displacement, that become dynamic."""
    error_extract_interval: int = 3980
    """Steps between extractions at the frames of the largest error; 0 = never."""
    displacement_weight: float = 1e-4
    """Weight of the logarithm of static displacements, which favours exactly none."""
    motion_weight: float = 1e-4
    """Weight of the distance of dynamic Gaussians' keyframes from the first one."""
    densify_start: int = 500
    """Densification begins after this many steps."""
    densify_interval: int = 300
    """Steps between two rounds of density control."""
    densify_stop: int = 30000
    """No density control from this step on."""
    densify_gradient: float = 2e-4
    """Mean screen-space gradient (half-image units) above which a static Gaussian is cloned or split."""
    dynamic_densify_gradient: float = 1e-4
    """The same for dynamic Gaussians."""
    densify_size: float = 0.01
    """Gaussians larger than this share of the camera extent are split, smaller ones cloned."""
    prune_opacity: float = 0.01
    """Opacity below which a Gaussian is removed."""
    error_prune_start: int = 20000
    """After this step Gaussians are also removed for the error under them; 0 = never."""
    error_prune_rounds: int = 5
    """Every how many rounds of density control that happens."""
    prune_error: float = 0.08
    """Mean absolute error under a Gaussian above which it is removed."""
    prune_similarity: float = 0.6
    """Mean structural similarity under a Gaussian below which it is removed."""
    unseen_prune_start: int = 6000
    """After this step, once per pass over the training images, Gaussians that no camera sees or that are tiny are
    removed; 0 = never."""
    prune_radius: float = 0.0037
    """Smallest radius (3 sigma) since the last densification below which a Gaussian is tiny, as a share of the image's
    width: 5 pixels of 1352."""
    widen_interval: int = 1200
    """Steps between two looks at dynamic Gaussians' temporal opacity: those that reach the clip's ends fade more
    slowly there, and none faster than ``least_log_width``."""
    widen_stop: int = 27000
    """No such looks from this step on."""
    least_log_width: float = 0.5
    """Log of the smallest temporal width after such a look, in keyframes."""


class Ex4DGSModel(ExpertModel):
    """Static Gaussians on straight lines and dynamic Gaussians with keyframes, in this order."""

    config: Ex4DGSModelConfig
    gaussians: GaussianParts  # type: ignore[assignment]

    # -- construction ----------------------------------------------------------------------------------------------

    def populate_modules(self) -> None:
        """Build both sets of Gaussians and what density control remembers."""
        config = self.config
        super().populate_modules()
        self.density = Ex4DGSDensity(config, self.keyframe_clock, self.window, self.camera_extent, self.num_train_data)
        self._seen: list[SeenView] = []

    @property
    def keyframe_clock(self) -> KeyframeClock:
        """Where the keyframes lie."""
        return KeyframeClock(self.num_frames, self.config.keyframe_interval, self.config.time_padding)

    @property
    def window(self) -> GrowingWindow:
        """How training opens the clip."""
        config = self.config
        return GrowingWindow(
            last_frame=self.keyframe_clock.last_frame,
            first_end=config.window_frames,
            growth=config.window_growth,
            interval=config.window_interval,
            start=config.extract_start,
        )

    def usable_seeds(self, seeds: SeedCloud) -> SeedCloud:
        """All, but of a cloud per frame, which says nothing of what moves, the first frame's, as in the paper."""
        if not seeds.timed.all():
            return seeds
        first = seeds.subset(seeds.times == seeds.times.min())
        return replace(first, times=torch.full_like(first.times, torch.nan))

    def make_gaussians(self, seeds: SeedCloud) -> Any:
        """Static Gaussians at the seeds without a time, dynamic ones at those with."""
        seeds = thin_out(seeds, self.config.max_gaussians)
        parts = {
            "static": self.initial_tensors(seeds.subset(~seeds.timed)),
            "dynamic": self.dynamic_tensors(seeds.subset(seeds.timed)),
        }
        return GaussianParts({part: GaussianSet(tensors, ERROR_STATISTICS) for part, tensors in parts.items()})

    def initial_tensors(self, seeds: SeedCloud) -> dict[str, Tensor]:
        """Raw parameters of static Gaussians at the seed points, which do not move yet."""
        log_scales = seed_spacing(seeds).clamp_min(_LEAST_SPACING).log()
        return {
            **new_gaussians(seeds.points, log_scales),
            "displacement": torch.zeros(len(seeds), 3),
            **sh_tensors(seeds.colors, self.config.sh_degree),
        }

    def dynamic_tensors(self, seeds: SeedCloud) -> dict[str, Tensor]:
        """Raw parameters of dynamic Gaussians that are there around their seeds' time and do not move yet."""
        clock = self.keyframe_clock
        tensors = self.initial_tensors(seeds)
        del tensors["displacement"]
        times = seeds.times.unique()
        gap = clock.frame(float(times.diff().median())) if len(times) > 1 else float(clock.interval)
        gap /= clock.interval
        centers = torch.tensor([clock.position(clock.frame(float(time))) for time in seeds.times]).reshape(-1)
        own = self.config.moving_width * seeds.durations * clock.last_frame / clock.interval
        widths = own.nan_to_num(0.0).clamp_min(max(self.config.moving_fade * gap, 1e-3))
        tensors["means"] = tensors["means"][:, None].repeat(1, clock.count, 1)
        tensors["quats"] = tensors["quats"][:, None].repeat(1, clock.count, 1)
        tensors["time_centers"] = centers[:, None] + gap * torch.tensor([-0.5, 0.5])
        tensors["time_log_widths"] = widths.log()[:, None].repeat(1, 2)
        return tensors

    def learning_rate_scales(self) -> dict[str, float]:
        """Positions learn in proportion to the size of the camera rig."""
        return {"static_means": self.camera_extent, "dynamic_means": self.camera_extent}

    def describe(self) -> dict[str, Any]:
        """Plain facts for run records and evaluation files; the floats per Gaussian are a mean over both sets."""
        floats = sum(parameter.numel() for parameter in self.gaussians.parameters())
        return {
            **super().describe(),
            "floats_per_gaussian": round(floats / max(1, len(self.gaussians)), 1),
            "num_dynamic_gaussians": len(self.gaussians["dynamic"]),
        }

    # -- state at a time -------------------------------------------------------------------------------------------

    def splats_at(self, time: float) -> Splats:
        """The Gaussians at ``time`` in [0,1], static ones first."""
        config, clock = self.config, self.keyframe_clock
        frame = clock.frame(time)
        instant = Instant(
            progress=frame / self.window.end(int(self.training_step)),
            position=clock.position(frame),
            least_width=config.least_duration / (_HALF_MAXIMUM * clock.interval),
        )
        return keyframed_splats(self.gaussians, instant)

    # -- rendering -------------------------------------------------------------------------------------------------

    @property
    def projection_settings(self) -> ProjectionSettings:
        """Mip filter: a small blur that keeps a Gaussian's energy (kernel size 0.1)."""
        return ProjectionSettings(near=self.near, far=self.far, eps2d=0.1, antialiased=True)

    def background_color(self) -> Tensor:
        """``[3]`` colour behind all Gaussians; in training another one at every call."""
        if self.training and self.config.random_background:
            return torch.rand(3).to(self.device)
        return super().background_color()

    def channels(self, splats: Splats, viewmat: Tensor) -> Tensor:
        """``[N,3]`` colours; in training ``[N,6]``, with zeros whose gradient will be the error under each Gaussian."""
        colors = super().channels(splats, viewmat)
        if not self.training:
            return colors
        self._probe = torch.zeros(len(splats), 3, device=self.device, requires_grad=True)
        return torch.cat([colors, self._probe], dim=1)

    def channel_background(self, color: Tensor) -> Tensor:
        """``[3]`` the colour; in training ``[6]``, with zeros behind the probe."""
        return F.pad(color, (0, 3)) if self.training else color

    def decode(self, composited: Tensor, rays: Callable[[], Tensor]) -> Tensor:
        """``[H,W,3]`` the picture; in training the blended probe beside it is kept for the loss."""
        if not self.training:
            return super().decode(composited, rays)
        colours, self._probe_image = colours_and_probe(composited)
        return colours

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        """As the base; in training also ``probe [H,W,3]`` of zeros, and a note of what was seen from where and when."""
        outputs = super().get_outputs(camera)
        if self.training and torch.is_grad_enabled():
            outputs["probe"] = self._probe_image
            self._seen.append(
                SeenView(
                    frame=round(self.keyframe_clock.frame(camera_time(camera, self.config.default_time))),
                    viewmat=viewmat_from_camera_to_world(camera.camera_to_worlds[0].to(self.device)),
                    width=int(camera.width.item()),
                    view=self._views[-1].view,
                    probe=self._probe,
                )
            )
        return outputs

    # -- losses ----------------------------------------------------------------------------------------------------

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        """Photometric loss of one view; in training also the (zero) term that tracks its errors back."""
        if "probe" not in outputs:
            return super().get_loss_dict(outputs, batch, metrics_dict)
        rgb, weight, truth = outputs["rgb"], self.config.ssim_weight, ground_truth_image(batch, self.device)
        if self.supervision is GROUND_TRUTH:
            loss, errors = photometric_loss_and_errors(rgb, truth, weight)
        else:  # whatever the loss: where Gaussians are missing the video tells
            loss = self.compare(rgb, batch, lambda picture, image: photometric_loss(picture, image, weight))
            errors = photometric_loss_and_errors(rgb.detach(), truth, weight)[1]
        self._seen[-1].loss = loss.detach()
        return {"photometric": loss + tracked_errors(outputs["probe"], errors)}

    def step_losses(self) -> dict[str, Tensor]:
        """Regularisers: few static Gaussians are displaced, and dynamic ones stay near where they begin."""
        config, step = self.config, int(self.training_step)
        if step < config.window_interval + config.extract_delay:
            return {}
        displacement = mean_log_length(self.gaussians["static"]["displacement"], _DISPLACEMENT_FLOOR)
        losses = {"displacement": config.displacement_weight * displacement}
        if len(self.gaussians["dynamic"]):
            # Keyframes the window has not reached are guesses, which nothing should be held to.
            reached = int(self.keyframe_clock.position(self.window.end(step))) + 3
            losses["motion"] = config.motion_weight * mean_reach(self.gaussians["dynamic"]["means"], reached)
        return losses

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict, batch: dict) -> dict[str, Any]:
        """Training PSNR of one view, the number of Gaussians and that of the dynamic ones."""
        metrics = super().get_metrics_dict(outputs, batch)
        return {**metrics, "dynamic_gaussian_count": len(self.gaussians["dynamic"])}

    # -- training steps --------------------------------------------------------------------------------------------

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Also show no frames beyond the window."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        pipeline = training_callback_attributes.pipeline
        if pipeline is not None and self.config.window_interval:
            if not hasattr(pipeline.datamanager, "limit_time"):
                raise ValueError(
                    "training that begins with the first frames needs the data manager of the moegs methods; set "
                    "--pipeline.model.window-interval 0"
                )
            where = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
            callbacks.append(TrainingCallback(where, self._limit_images, args=[pipeline.datamanager]))
        return callbacks

    def _limit_images(self, datamanager: Any, step: int) -> None:
        datamanager.limit_time(self.window.end(step) / max(1, self.keyframe_clock.last_frame))

    def _begin_step(self, step: int) -> None:
        super()._begin_step(step)
        self._seen.clear()

    def _collect_statistics(self) -> None:
        for seen in self._seen:
            accumulate_errors(self.gaussians, seen, views=len(self._seen))
        super()._collect_statistics()

    def control_density(self, iteration: int, optimizers: Optimizers) -> None:
        """Growth, extraction, densification and pruning; see `Ex4DGSDensity`."""
        seen = self._seen[-1] if self._seen else None
        self.density.control(iteration, self.gaussians, seen, optimizers.optimizers)
        self._seen.clear()
