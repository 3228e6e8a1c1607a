"""Static Gaussians on straight lines and dynamic ones with keyframes at one instant, end to end (Ex4DGS)."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from moegs_ns.experts.fields.hermite import hermite_weights, keyframe_and_rest, keyframed_position
from moegs_ns.experts.fields.slerp import keyframed_rotation
from moegs_ns.experts.fields.temporal_window import temporal_window
from moegs_ns.splats.gaussian_parts import GaussianParts
from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.splats.native_keyframes import keyframes_at, keyframes_backward, keyframes_forward, mean_reach_native
from moegs_ns.splats.rasterize import takes_native
from moegs_ns.splats.sh import joined_sh
from moegs_ns.splats.splats import Splats, concatenate

_STATIC = ("means", "displacement", "quats", "scales", "opacities", "sh_base", "sh_rest")
_DYNAMIC = ("means", "quats", "time_centers", "time_log_widths", "scales", "opacities", "sh_base", "sh_rest")
_SHORTEST = 1e-12


@dataclass(frozen=True)
class Instant:
    """When.

    Attributes:
        progress: share of static displacements that is done.
        position: in keyframes.
        least_width: of temporal windows, in keyframes.
    """

    progress: float
    position: float
    least_width: float


def keyframed_splats(gaussians: GaussianParts, instant: Instant) -> Splats:
    """The activated Gaussians, static ones first.

    Args:
        gaussians: parts ``static`` and ``dynamic``.
        instant: when.
    """
    static, dynamic = gaussians["static"], gaussians["dynamic"]
    tensors = [*(static[name] for name in _STATIC), *(dynamic[name] for name in _DYNAMIC)]
    if not takes_native(*tensors):
        return keyframed_splats_torch(gaussians, instant)
    means, quats, scales, opacities, sh = _KeyframedSplats.apply(instant, *tensors)
    return Splats(means=means, quats=quats, scales=scales, opacities=opacities, sh=sh)


def keyframed_splats_torch(gaussians: GaussianParts, instant: Instant) -> Splats:
    """The twin of the compiled way; see `keyframed_splats`. Takes every floating dtype and device."""
    return concatenate([_static(gaussians["static"], instant), _dynamic(gaussians["dynamic"], instant)])[0]


def _static(g: GaussianSet, instant: Instant) -> Splats:
    return Splats(
        means=g["means"] + g["displacement"] * instant.progress,
        quats=F.normalize(g["quats"], dim=-1),
        scales=torch.exp(g["scales"]),
        opacities=torch.sigmoid(g["opacities"]),
        sh=joined_sh(g["sh_base"], g["sh_rest"]),
    )


def _dynamic(g: GaussianSet, instant: Instant) -> Splats:
    visible = temporal_window(instant.position, g["time_centers"], g["time_log_widths"], instant.least_width)
    return Splats(
        means=keyframed_position(g["means"], instant.position),
        quats=keyframed_rotation(g["quats"], instant.position),
        scales=torch.exp(g["scales"]),
        opacities=torch.sigmoid(g["opacities"]) * visible,
        sh=joined_sh(g["sh_base"], g["sh_rest"]),
    )


class _KeyframedSplats(torch.autograd.Function):
    """Both kinds into one set of tensors; autograd's own way took five times as long, mostly for gradients of all
    keyframes, of which two or four are not zero."""

    @staticmethod
    def forward(ctx: Any, instant: Instant, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.instant = instant
        lines, displacement, turned, *static = tensors[: len(_STATIC)]
        keys, dynamic = tensors[len(_STATIC) : len(_STATIC) + 4], tensors[len(_STATIC) + 4 :]
        count, first = len(lines) + len(keys[0]), len(lines)
        means, quats, visible = lines.new_empty(count, 3), lines.new_empty(count, 4), lines.new_empty(len(keys[0]))
        torch.add(lines, displacement, alpha=instant.progress, out=means[:first])
        length = torch.linalg.vector_norm(turned, dim=-1, keepdim=True).clamp_min_(_SHORTEST)
        torch.div(turned, length, out=quats[:first])
        ctx.keys = _keyframes(keys, instant)
        keyframes_forward(ctx.keys, means[first:], quats[first:], visible)
        scales, alphas, sh_base, sh_rest = (torch.cat(pair) for pair in zip(static, dynamic, strict=True))
        scales.exp_()
        alphas.sigmoid_()
        opacities = alphas.clone()
        opacities[first:] *= visible
        # The keyframes themselves are saved because `ctx.keys` holds their addresses only.
        ctx.save_for_backward(quats, length, scales, alphas, visible, *keys)
        return means, quats, scales, opacities, joined_sh(sh_base, sh_rest)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        quats, length, scales, alphas, visible, *_ = ctx.saved_tensors
        v_means, v_quats, v_scales, v_opacities, v_sh = (gradient.contiguous() for gradient in upstream)
        first = len(length)
        unit, v_unit = quats[:first], v_quats[:first]
        v_turned = torch.addcmul(v_unit, unit, (unit * v_unit).sum(dim=-1, keepdim=True), value=-1).div_(length)
        v_visible = v_opacities[first:] * alphas[first:]
        v_alphas = v_opacities * alphas * (1 - alphas)
        v_alphas[first:] *= visible
        v_keys = keyframes_backward(ctx.keys, v_means[first:], v_quats[first:], v_visible)
        shared = (v_scales * scales, v_alphas, v_sh[:, 0].contiguous(), v_sh[:, 1:].contiguous())
        static, dynamic = ([part[rows] for part in shared] for rows in (slice(first), slice(first, None)))
        lines = v_means[:first]
        return (None, lines, lines * ctx.instant.progress, v_turned, *static, *v_keys, *dynamic)


def _keyframes(tensors: tuple[Tensor, ...], instant: Instant) -> Any:
    keyframe, share = keyframe_and_rest(instant.position, tensors[0].shape[1], margin=1)
    means, quats, centers, log_widths = tensors
    return keyframes_at(
        (means, quats, centers, log_widths),
        keyframe,
        hermite_weights(share),
        share,
        instant.position,
        instant.least_width,
    )


def mean_reach(keyframes: Tensor, reached: int) -> Tensor:
    """Scalar mean distance of the keyframes 1 to ``reached - 1`` of ``[N,K,3]`` from keyframe 0."""
    reached = min(reached, keyframes.shape[1])
    return _MeanReach.apply(keyframes, reached) if takes_native(keyframes) else mean_reach_torch(keyframes, reached)


def mean_reach_torch(keyframes: Tensor, reached: int) -> Tensor:
    """The twin of the compiled kernel; see `mean_reach`. Takes every floating dtype and device."""
    return (keyframes[:, 1:reached] - keyframes[:, :1]).norm(dim=-1).mean()


class _MeanReach(torch.autograd.Function):
    """Value and gradient at once."""

    @staticmethod
    def forward(ctx: Any, keyframes: Tensor, reached: int) -> Tensor:
        mean, gradient = mean_reach_native(keyframes, reached)
        ctx.save_for_backward(gradient)
        return mean

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        return upstream[0] * ctx.saved_tensors[0], None


class _MeanLogLength(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, floor: float) -> Tensor:
        length = torch.linalg.vector_norm(rows, dim=-1)
        lifted = length + floor
        # The gradient of a row without length is 0, as torch has it.
        factor = (length * lifted).mul_(len(rows)).reciprocal_().masked_fill_(length == 0, 0)
        ctx.save_for_backward(rows, factor)
        return lifted.log_().mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        rows, factor = ctx.saved_tensors
        return rows * (upstream[0] * factor)[:, None], None


def mean_log_length(rows: Tensor, floor: float) -> Tensor:
    """Scalar mean of ``log(|row| + floor)`` of ``rows [N,D]``, with a gradient in half autograd's time."""
    return _MeanLogLength.apply(rows, floor)
