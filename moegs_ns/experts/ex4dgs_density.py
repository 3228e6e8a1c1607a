"""Density control of Ex4DGS: growth of the window, extraction of dynamic Gaussians, cloning, splitting, pruning."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from moegs_ns.experts.ex4dgs_errors import PER_ROUND, SeenView, mean_errors
from moegs_ns.experts.keyframes import GrowingWindow, KeyframeClock
from moegs_ns.splats.camera import camera_position
from moegs_ns.splats.density import limit_growth
from moegs_ns.splats.gaussian_parts import GaussianParts
from moegs_ns.splats.gaussian_set import SPLIT_DIVISOR, GaussianSet, smaller_scales
from moegs_ns.splats.projection import rotation_matrices

if TYPE_CHECKING:
    from moegs_ns.experts.ex4dgs import Ex4DGSModelConfig

#: Log of a temporal width, in keyframes, at which nothing fades within a clip.
WIDE = 6.0
_WIDEST = 10.0
# Log widths after densification, and of what ended just before the window grew.
_DENSIFIED_LOG_WIDTH = 2.0
_ENDED_LOG_WIDTH = 1.0
_EDGE = 0.2  # keyframes from the clip's ends that count as reaching them
_LEAST_SPEED = 1e-6  # of the camera extent
_FEW = 0.1  # frames seen less than this share of the most seen are not judged


def extracted_tensors(static: GaussianSet, chosen: Tensor, clock: KeyframeClock, end: int) -> dict[str, Tensor]:
    """Raw parameters of dynamic Gaussians that look like these static ones at every time of the window.

    Args:
        static: the static Gaussians.
        chosen: ``[N]`` bool.
        clock: of the keyframes.
        end: last frame of the window, over which displacements are counted.

    Returns:
        Rows for the dynamic set. Keyframes lie on the static line. The first temporal centre is halfway from the first
        frame to the one where the Gaussian fitted best, the second halfway from there to the window's end.
    """
    rows = {name: parameter.data[chosen] for name, parameter in static.params.items()}
    progress = clock.keyframes().to(rows["means"]) / end
    rows["means"] = rows["means"][:, None] + progress[:, None] * rows.pop("displacement")[:, None]
    rows["quats"] = F.normalize(rows["quats"], dim=-1)[:, None].repeat(1, clock.count, 1)
    best = static.statistic("least_error_frame")[chosen]
    centers = torch.stack([best / 2, (end + best) / 2], dim=1).clamp(1, max(1, end - 1))
    rows["time_centers"] = (centers - clock.keyframes()[0].item()) / clock.interval
    rows["time_log_widths"] = torch.full_like(rows["time_centers"], WIDE)
    return rows


class Ex4DGSDensity(nn.Module):
    """Acts on the Gaussians after each training step; remembers planned extractions and the frames' errors.

    Args:
        config: the expert's.
        clock: of the keyframes.
        window: how training opens the clip.
        camera_extent: size of the camera rig, world units.
        images: number of training images.
    """

    extraction_frames: Tensor
    frame_losses: Tensor

    def __init__(
        self,
        config: "Ex4DGSModelConfig",
        clock: KeyframeClock,
        window: GrowingWindow,
        camera_extent: float,
        images: int,
    ) -> None:
        super().__init__()
        self.config, self.clock, self.window = config, clock, window
        self.camera_extent, self.images = camera_extent, max(1, images)
        # First and last frame of a view that the planned extraction waits for; -1 when none is planned.
        self.register_buffer("extraction_frames", torch.full((2,), -1, dtype=torch.int64))
        # Sum and number of the losses seen, per keyframe interval of frames.
        self.register_buffer("frame_losses", torch.zeros(clock.last_frame // clock.interval + 1, 2))

    @torch.no_grad()
    def control(
        self, iteration: int, gaussians: GaussianParts, seen: SeenView | None, optimizers: Mapping[str, Optimizer]
    ) -> None:
        """Do what is due after optimizer step ``iteration`` (counted from 1); ``seen`` is the step's last view."""
        config = self.config
        if seen is not None:
            self._note_loss(seen)
        if self.window.grows_at(iteration):
            self._grow(gaussians, self.window.end(iteration - 1), self.window.end(iteration))
        self._plan_extraction(iteration)
        if seen is not None and self._is_awaited(seen):
            self._extract(iteration, gaussians, seen, optimizers)
        if config.densify_start < iteration < config.densify_stop and iteration % config.densify_interval == 0:
            self._densify(iteration, gaussians, optimizers)
        if config.widen_interval and iteration % config.widen_interval == 0 and iteration < config.widen_stop:
            self._widen(gaussians["dynamic"])
        if config.unseen_prune_start and iteration > config.unseen_prune_start and iteration % self.images == 0:
            self._prune_unseen(iteration, gaussians, optimizers)

    # -- the window ------------------------------------------------------------------------------------------------

    def _grow(self, gaussians: GaussianParts, old_end: int, new_end: int) -> None:
        """Carry what moves on into the frames the window newly reaches."""
        gaussians["static"]["displacement"].data.mul_(new_end / old_end)
        dynamic, clock = gaussians["dynamic"], self.clock
        position = clock.position(old_end)
        centers, log_widths = dynamic["time_centers"].data, dynamic["time_log_widths"].data
        latest = centers.amax(dim=1)
        # What has its time still to come is not carried on by what its keyframes do before.
        begun = latest <= position
        last = int(position) + 1  # the last keyframe the window's frames have pulled at in earnest
        reach = min(4, last)
        for name in ("means", "quats"):
            keyframes = dynamic[name].data
            step = (keyframes[:, last] - keyframes[:, last - reach]) / reach
            ahead = torch.arange(1, clock.count - last, device=keyframes.device, dtype=keyframes.dtype)
            carried = keyframes[:, last, None] + ahead[:, None] * step[:, None]
            keyframes[:, last + 1 :] = torch.where(begun[:, None, None], carried, keyframes[:, last + 1 :])
        ended = begun & (latest > position - 1)
        log_widths[:, 1] = torch.where(ended, log_widths[:, 1].clamp_max(_ENDED_LOG_WIDTH), log_widths[:, 1])

    # -- extraction ------------------------------------------------------------------------------------------------

    def _note_loss(self, seen: SeenView) -> None:
        if seen.loss is not None:
            self.frame_losses[seen.frame // self.clock.interval] += torch.stack([seen.loss, torch.ones_like(seen.loss)])

    def _plan_extraction(self, iteration: int) -> None:
        """At a growth of the window and a little later for its newest frames; now and then where the error is worst."""
        config = self.config
        if self.window.grows_at(iteration) or self.window.grows_at(iteration - config.extract_delay):
            end = self.window.end(iteration)
            self.extraction_frames.copy_(torch.tensor([end - config.window_growth, end]))
        every = config.error_extract_interval
        if every and config.extract_start < iteration < config.densify_stop and iteration % every == 0:
            worst = self._worst_frames()
            if worst is not None:
                self.extraction_frames.copy_(torch.tensor(worst))

    def _worst_frames(self) -> tuple[int, int] | None:
        """First and last frame of the keyframe interval with the largest mean loss, which is then forgotten."""
        total, count = self.frame_losses.unbind(dim=1)
        mean = torch.where(count > _FEW * count.max(), total / count.clamp_min(1), 0.0)
        worst = int(mean.argmax())
        if mean[worst] <= 0:
            return None
        self.frame_losses[worst] = 0
        return worst * self.clock.interval, (worst + 1) * self.clock.interval - 1

    def _is_awaited(self, seen: SeenView) -> bool:
        first, last = self.extraction_frames.tolist()
        return last >= 0 and first <= seen.frame <= last

    def _extract(
        self, iteration: int, gaussians: GaussianParts, seen: SeenView, optimizers: Mapping[str, Optimizer]
    ) -> None:
        """Make the static Gaussians that move most, as this view sees it, dynamic."""
        self.extraction_frames.fill_(-1)
        static, dynamic = gaussians["static"], gaussians["dynamic"]
        chosen = self._moving(static, gaussians.divide(seen.view.visible)[0], seen.viewmat)
        if not bool(chosen.any()) or bool(chosen.all()):
            return
        rows = extracted_tensors(static, chosen, self.clock, self.window.end(iteration))
        statistics = {name: static.statistic(name)[chosen] for name in ("least_error", "least_error_frame")}
        dynamic.append(rows, gaussians.optimizers_of("dynamic", optimizers), statistics)
        static.remove(chosen, gaussians.optimizers_of("static", optimizers))

    def _moving(self, static: GaussianSet, visible: Tensor, viewmat: Tensor) -> Tensor:
        """``[N]`` bool: visible Gaussians whose displacement over squared distance is among the largest."""
        length = static["displacement"].data.norm(dim=-1)
        distance = (static["means"].data - camera_position(viewmat)).square().sum(dim=-1)
        score = length / distance.clamp_min(1e-6)
        if not bool(visible.any()):
            return visible
        fast = score > torch.quantile(score[visible], 1 - self.config.extract_share)
        fitted = static.statistic("least_error_frame") >= 0
        return visible & fast & fitted & (length > _LEAST_SPEED * self.camera_extent)

    # -- cloning and splitting -------------------------------------------------------------------------------------

    def _densify(self, iteration: int, gaussians: GaussianParts, optimizers: Mapping[str, Optimizer]) -> None:
        config = self.config
        static, dynamic = gaussians["static"], gaussians["dynamic"]
        of_static, of_dynamic = (gaussians.optimizers_of(part, optimizers) for part in ("static", "dynamic"))
        judged = iteration % (config.densify_interval * config.error_prune_rounds) == 0
        if judged and config.error_prune_start and iteration > config.error_prune_start:
            self._prune(gaussians, [self._wrong(part) for part in gaussians], optimizers)
        # One measure for both sets, so that room is given to those farthest above their threshold.
        excess = torch.cat(
            [
                static.mean_gradient() / config.densify_gradient,
                dynamic.mean_gradient() / config.dynamic_densify_gradient,
            ]
        )
        grown = gaussians.divide(limit_growth(excess, 1.0, len(gaussians), config.max_gaussians))
        large = [
            torch.exp(part["scales"]).amax(dim=-1) > config.densify_size * self.camera_extent for part in gaussians
        ]
        copies = static.clone(grown[0] & ~large[0], of_static)
        static.split(F.pad(grown[0] & large[0], (0, copies)), of_static)
        copies = dynamic.clone(grown[1] & ~large[1], of_dynamic)
        self._scatter_in_time(dynamic, copies)
        self._split_dynamic(dynamic, F.pad(grown[1] & large[1], (0, copies)), of_dynamic)
        faint = [torch.sigmoid(part["opacities"]) < config.prune_opacity for part in gaussians]
        self._prune(gaussians, faint, optimizers)
        for part in gaussians:
            part.reset_statistics()
            part.reset_statistics(PER_ROUND)

    def _split_dynamic(self, dynamic: GaussianSet, mask: Tensor, optimizers: Mapping[str, Optimizer]) -> None:
        """Replace each Gaussian by two drawn from one twice its size, which keep their place in its turning body."""
        count = int(mask.sum())
        if not count:
            return
        raw = dynamic["scales"].data[mask].repeat(2, 1)
        scales = torch.exp(raw)
        for _ in range(2):
            dynamic.clone(F.pad(mask, (0, len(dynamic) - len(mask))), optimizers)
        quats = dynamic["quats"].data[-2 * count :]
        rotations = rotation_matrices(quats.flatten(0, 1)).unflatten(0, quats.shape[:2])
        offsets = 2 * scales * torch.randn(2 * count, 3).to(scales)
        dynamic["means"].data[-2 * count :] += torch.einsum("nkij,nj->nki", rotations, offsets)
        dynamic["scales"].data[-2 * count :] = smaller_scales(raw, SPLIT_DIVISOR)
        self._scatter_in_time(dynamic, 2 * count)
        dynamic.remove(F.pad(mask, (0, 2 * count)), optimizers)

    def _scatter_in_time(self, dynamic: GaussianSet, count: int) -> None:
        """Move the temporal centres of the last ``count`` Gaussians at random, and let them fade sooner."""
        if not count:
            return
        clock = self.clock
        centers, log_widths = dynamic["time_centers"].data[-count:], dynamic["time_log_widths"].data[-count:]
        length = ((centers[:, 1] - centers[:, 0]).abs() / 3).clamp_min(2 / clock.interval)
        centers += length[:, None] * torch.randn(count, 2).to(centers)
        centers.clamp_(clock.position(1), max(clock.position(1), clock.position(clock.last_frame - 1)))
        log_widths.clamp_max_(_DENSIFIED_LOG_WIDTH)

    # -- pruning ---------------------------------------------------------------------------------------------------

    def _wrong(self, part: GaussianSet) -> Tensor:
        """``[N]`` bool: the pictures are wrong where these Gaussians are."""
        error, similarity = mean_errors(part)
        return (error > self.config.prune_error) | ((similarity > 0) & (similarity < self.config.prune_similarity))

    def _prune_unseen(self, iteration: int, gaussians: GaussianParts, optimizers: Mapping[str, Optimizer]) -> None:
        # Before the whole clip is trained on, what is not there yet cannot have been seen.
        whole = self.window.end(iteration) >= self.clock.last_frame
        self._prune(
            gaussians,
            [
                (part.statistic("least_radius") < self.config.prune_radius)
                | (whole & (part.statistic("least_error_frame") < 0))
                for part in gaussians
            ],
            optimizers,
        )

    def _prune(self, gaussians: GaussianParts, masks: list[Tensor], optimizers: Mapping[str, Optimizer]) -> None:
        # An expert without Gaussians can neither render nor recover; keep what there is rather than lose all.
        if all(bool(mask.all()) for mask in masks):
            return
        for name, mask in zip(gaussians.parts, masks, strict=True):
            gaussians[name].remove(mask, gaussians.optimizers_of(name, optimizers))

    def _widen(self, dynamic: GaussianSet) -> None:
        """Let what is there at an end of the clip stay there."""
        centers, log_widths = dynamic["time_centers"].data, dynamic["time_log_widths"].data
        first, last = self.clock.position(0) + _EDGE, self.clock.position(self.clock.last_frame) - _EDGE
        reaches = torch.stack([(centers < first).any(dim=1), (centers > last).any(dim=1)], dim=1)
        longer = (2 * log_widths.clamp_min(1)).clamp_max(_WIDEST)
        log_widths.copy_(torch.where(reaches, longer, log_widths).clamp_min(self.config.least_log_width))
        centers.clamp_(first, max(first, last))
