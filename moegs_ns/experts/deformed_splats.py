"""What changes to the raw values of canonical Gaussians make of them, end to end (4DGaussians, E-D3DGS)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from moegs_ns.experts.frustum import take_rows
from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.splats.native_deformed import deformed_backward, deformed_forward
from moegs_ns.splats.quaternions import unit_quaternions
from moegs_ns.splats.rasterize import takes_native
from moegs_ns.splats.sh import joined_sh
from moegs_ns.splats.splats import Splats

_RAW = ("means", "quats", "scales", "opacities", "sh_base", "sh_rest")
_CHANGED = ("means", "quats", "scales", "opacities", "sh")


def deformed_splats(gaussians: GaussianSet, changes: Mapping[str, Tensor], rows: Tensor | None = None) -> Splats:
    """Activated Gaussians after changes to raw values.

    Args:
        gaussians: N of them, undeformed.
        changes: by attribute name (log scale, logit opacity, unnormalised quaternion, all coefficients as ``sh``);
            their rows may be flat.
        rows: ``[n]`` positions, ascending, of the Gaussians wanted, which are those of the changes; None for all.

    Raises:
        ValueError: changes of something else, or rows in another order.
    """
    unknown = sorted(set(changes) - set(_CHANGED))
    if unknown:
        raise ValueError(f"expected changes of {', '.join(_CHANGED)}, found changes of {', '.join(unknown)}")
    raw = [gaussians[name] for name in _RAW]
    if not takes_native(*raw, *changes.values()):
        return deformed_splats_torch(gaussians, changes, rows)
    results = _DeformedSplats.apply(rows, *raw, *(changes.get(name) for name in _CHANGED))
    means, quats, scales, opacities, sh = results
    return Splats(means=means, quats=quats, scales=scales, opacities=opacities, sh=sh)


def deformed_splats_torch(gaussians: GaussianSet, changes: Mapping[str, Tensor], rows: Tensor | None = None) -> Splats:
    """The twin of the compiled way; see `deformed_splats`. Takes every floating dtype and device."""
    raw = {name: take_rows(gaussians[name], rows) for name in ("means", "scales", "quats", "opacities")}
    raw["sh"] = joined_sh(take_rows(gaussians["sh_base"], rows), take_rows(gaussians["sh_rest"], rows))
    for name, change in changes.items():
        raw[name] = raw[name] + change.reshape(raw[name].shape)
    return Splats(
        means=raw["means"],
        quats=unit_quaternions(raw["quats"]),
        scales=torch.exp(raw["scales"]),
        opacities=torch.sigmoid(raw["opacities"]),
        sh=raw["sh"],
    )


class _DeformedSplats(torch.autograd.Function):
    """All attributes in one node: autograd's dozens of small ones took three times as long."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor | None, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        raw = [tensor for tensor in tensors[: len(_RAW)] if tensor is not None]
        changes = tensors[len(_RAW) :]
        ctx.count = len(raw[0])
        ctx.shapes = [None if change is None else change.shape for change in changes]
        *results, lengths = deformed_forward(raw, changes, rows)
        means, quats, scales, opacities, sh = results
        ctx.save_for_backward(rows, quats, scales, opacities, lengths)
        return means, quats, scales, opacities, sh

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        rows, quats, scales, opacities, lengths = ctx.saved_tensors
        v_means, *others = (gradient.contiguous() for gradient in upstream)
        v_changed, v_raw = deformed_backward(quats, scales, opacities, lengths, [v_means, *others], rows, ctx.count)
        v_changes = (*v_changed, others[-1])
        return (
            None,
            *v_raw,
            *(
                None if shape is None else gradient.view(shape)
                for gradient, shape in zip(v_changes, ctx.shapes, strict=True)
            ),
        )
