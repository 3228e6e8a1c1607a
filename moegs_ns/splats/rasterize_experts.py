"""``rasterize`` for experts that each have tensors of their own: nothing is laid end to end where the kernels can read
it where it lies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moegs_ns.splats import native_backend
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import Rasterized, finish, rasterize, resolve_backend
from moegs_ns.splats.splats import Splats, concatenate


def rasterize_experts(
    parts: Sequence[Splats],
    channels: Sequence[Sequence[Tensor]],
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    *,
    settings: Sequence[ProjectionSettings] | None = None,
    background: Tensor | None = None,
    depth: bool = False,
    backend: str = "auto",
) -> Rasterized:
    """The images of `rasterize` with the experts' Gaussians end to end, bit for bit.

    Args:
        parts: the Gaussians of each expert, at least one expert.
        channels: per expert blocks ``[N_k, C_b]`` that are blended side by side; blocks are as wide in all experts.
        viewmat, K, width, height, background, depth, backend: as for `rasterize`.
        settings: of the projection, one per expert. Default: the usual ones.

    Returns:
        As `rasterize`; screen positions and radii are those of the experts' Gaussians end to end.

    Raises:
        ValueError: as `rasterize`, or experts, settings and blocks of channels do not go together.
    """
    settings = [ProjectionSettings()] * len(parts) if settings is None else list(settings)
    widths = _check(parts, channels, settings)
    device = parts[0].means.device
    if resolve_backend(device, backend) != "native":
        splats, expert_ids = concatenate(parts)
        return rasterize(
            splats,
            torch.cat([torch.cat([*own], dim=1) for own in channels]),
            viewmat,
            K,
            width,
            height,
            expert_ids=expert_ids,
            num_experts=len(parts),
            settings=settings,
            background=background,
            depth=depth,
            backend=backend,
        )
    if background is not None and tuple(background.shape) not in ((sum(widths),), (len(parts), sum(widths))):
        raise ValueError(
            f"rasterize: expected background of shape [{sum(widths)}] or [{len(parts)}, {sum(widths)}], found "
            f"{list(background.shape)}"
        )
    geometry = [(one.means, one.quats, one.scales) for one in parts]
    projected = native_backend.project_parts(geometry, viewmat, K, width, height, settings)
    counts = [len(one) for one in parts]
    opacities = [
        one.opacities * factors if own.antialiased else one.opacities
        for one, own, factors in zip(parts, settings, projected.compensations.split(counts), strict=True)
    ]
    blocks = [list(own) for own in channels]
    if depth:
        for own, depths in zip(blocks, projected.depths.split(counts), strict=True):
            own.append(depths[:, None])
    images, alphas = native_backend.composite_parts(
        projected.means2d, projected.conics, opacities, blocks, projected.depths, projected.radii, width, height
    )
    return finish(images, alphas, projected, background, depth)


def _check(
    parts: Sequence[Splats], channels: Sequence[Sequence[Tensor]], settings: Sequence[ProjectionSettings]
) -> tuple[int, ...]:
    """The widths of the blocks.

    Raises:
        ValueError: what `rasterize_experts` refuses.
    """
    if not parts or not len(parts) == len(channels) == len(settings):
        raise ValueError(
            "rasterize_experts: expected at least one expert, and as many lists of channels and settings, found "
            f"{len(parts)} experts, {len(channels)} lists and {len(settings)} settings"
        )
    shapes = [[tuple(block.shape) for block in own] for own in channels]
    widths = tuple(shape[-1] if shape else 0 for shape in shapes[0])
    for index, (part, own) in enumerate(zip(parts, shapes, strict=True)):
        expected = [(len(part), width) for width in widths]
        if own != expected or not widths:
            raise ValueError(
                f"rasterize_experts: expected channels of expert {index} in blocks {expected}, as wide as those of "
                f"expert 0, found {own}"
            )
    return widths
