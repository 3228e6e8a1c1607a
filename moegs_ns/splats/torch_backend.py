"""The readable twin: compositing with plain torch operations, in any floating dtype, on any device.

It is the oracle of the fast backends and the last resort where neither of them runs. The rules are gsplat's; each
stands once, in ``_composite_tile``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from moegs_ns.splats.projection import project_torch as project

__all__ = ["TILE", "composite", "project", "tile_bounds"]

TILE = 16
"""Side of a tile in pixels. A pixel only sees the Gaussians whose square of side twice the radius touches its tile."""
MAX_ALPHA = 0.999
MIN_ALPHA = 1.0 / 255.0
MIN_TRANSMITTANCE = 1e-4


def composite(
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    channels: Tensor,
    depths: Tensor,
    radii: Tensor,
    expert_ids: Tensor,
    num_experts: int,
    width: int,
    height: int,
    absgrad: bool = False,
) -> tuple[Tensor, Tensor]:
    """Blends projected Gaussians front to back, every expert into its own image with its own transmittance.

    Differentiable (once) with respect to means2d, conics, opacities and channels; depth only orders, ties go to the
    lower index. No background.

    Args:
        means2d: [N, 2] centres in pixels.
        conics: [N, 3] inverse covariances (xx, xy, yy).
        opacities: [N] in [0, 1], compensation already applied.
        channels: [N, C] what is blended.
        depths: [N] z-depth.
        radii: [N] int32 half sides in pixels of the squares that hold the Gaussians; rows with 0 are skipped.
        expert_ids: [N] integers in [0, num_experts).
        num_experts: K, the number of images.
        width: image width in pixels.
        height: image height in pixels.
        absgrad: on backward also set ``means2d.absgrad`` [N, 2], the sum over pixels of the absolute per-pixel
            gradients (AbsGS).

    Returns:
        Images [K, height, width, C] and alphas [K, height, width].
    """
    return _Composite.apply(
        means2d, conics, opacities, channels, depths, radii, expert_ids, num_experts, width, height, absgrad
    )


def tile_bounds(means2d: Tensor, radii: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """First (inclusive) and last (exclusive) tile column and row each Gaussian's square touches: two [N, 2] int64."""
    tiles = torch.tensor([-(-width // TILE), -(-height // TILE)], device=means2d.device)
    radius = radii.to(means2d.dtype)[:, None] / TILE
    first = (means2d / TILE - radius).floor()
    last = (means2d / TILE + radius).ceil()
    # Clamped as floats first: a huge radius would overflow the integers.
    return first.clamp(min=0).minimum(tiles).long(), last.clamp(min=0).minimum(tiles).long()


def _tiles(
    means2d: Tensor, depths: Tensor, radii: Tensor, expert_ids: Tensor, num_experts: int, width: int, height: int
) -> Iterator[tuple[tuple[int, slice, slice], Tensor]]:
    """Yields ((expert, rows, columns), Gaussian indices front to back) of every tile that any Gaussian touches."""
    first, last = tile_bounds(means2d, radii, width, height)
    for expert in range(num_experts):
        candidates = torch.nonzero((expert_ids == expert) & (radii > 0)).squeeze(1)
        candidates = candidates[torch.argsort(depths[candidates], stable=True)]
        for tile_y in range(-(-height // TILE)):
            in_row = candidates[(first[candidates, 1] <= tile_y) & (tile_y < last[candidates, 1])]
            if len(in_row) == 0:
                continue
            rows = slice(tile_y * TILE, min((tile_y + 1) * TILE, height))
            for tile_x in range(-(-width // TILE)):
                indices = in_row[(first[in_row, 0] <= tile_x) & (tile_x < last[in_row, 0])]
                if len(indices) > 0:
                    columns = slice(tile_x * TILE, min((tile_x + 1) * TILE, width))
                    yield (expert, rows, columns), indices


def _composite_tile(
    means2d: Tensor, conics: Tensor, opacities: Tensor, channels: Tensor, rows: slice, columns: slice
) -> tuple[Tensor, Tensor]:
    """Blends n depth-sorted Gaussians into one tile of P pixels.

    Args:
        means2d: [P, n, 2], one copy of the centres per pixel, so that per-pixel gradients can be told apart.
        conics: [n, 3].
        opacities: [n].
        channels: [n, C].
        rows: image rows of the tile.
        columns: image columns of the tile.

    Returns:
        Blended channels [P, C] and alphas [P], pixels in row-major order.
    """
    y = torch.arange(rows.start, rows.stop, dtype=means2d.dtype, device=means2d.device) + 0.5
    x = torch.arange(columns.start, columns.stop, dtype=means2d.dtype, device=means2d.device) + 0.5
    pixels = torch.cartesian_prod(y, x).flip(-1)
    dx, dy = (means2d - pixels[:, None, :]).unbind(-1)

    xx, xy, yy = conics.unbind(-1)
    sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    # clamp() passes no gradient where it acts: a saturated Gaussian's opacity and shape are not pulled.
    alpha = (opacities * torch.exp(-sigma.clamp(min=0.0))).clamp(max=MAX_ALPHA)
    alpha = torch.where((sigma >= 0.0) & (alpha >= MIN_ALPHA), alpha, 0.0)

    # transmittance[:, j] is what reaches Gaussian j, transmittance[:, n] what would be left behind all of them.
    transmittance = torch.cat([torch.ones_like(alpha[:, :1]), torch.cumprod(1.0 - alpha, dim=1)], dim=1)
    # The Gaussian that would take the pixel to 1e-4 or below ends it and is itself not blended.
    blended = transmittance[:, 1:] > MIN_TRANSMITTANCE
    weights = torch.where(blended, alpha * transmittance[:, :-1], 0.0)
    remaining = transmittance.gather(1, blended.sum(dim=1, keepdim=True)).squeeze(1)
    return weights @ channels, 1.0 - remaining


class _Composite(torch.autograd.Function):
    """Runs ``_composite_tile`` over all tiles; backward recomputes tile by tile, so memory stays that of one tile."""

    @staticmethod
    def forward(
        ctx, means2d, conics, opacities, channels, depths, radii, expert_ids, num_experts, width, height, absgrad
    ):
        ctx.save_for_backward(means2d, conics, opacities, channels, depths, radii, expert_ids)
        ctx.size = (num_experts, width, height)
        ctx.absgrad = absgrad
        images = channels.new_zeros(num_experts, height, width, channels.shape[1])
        alphas = channels.new_zeros(num_experts, height, width)
        for (expert, rows, columns), indices in _tiles(means2d, depths, radii, expert_ids, num_experts, width, height):
            image, alpha = _composite_tile(
                means2d[indices][None], conics[indices], opacities[indices], channels[indices], rows, columns
            )
            block = alphas[expert, rows, columns]
            images[expert, rows, columns] = image.view(*block.shape, -1)
            alphas[expert, rows, columns] = alpha.view(block.shape)
        return images, alphas

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, images_gradient: Tensor, alphas_gradient: Tensor):
        means2d, conics, opacities, channels, depths, radii, expert_ids = ctx.saved_tensors
        num_experts, width, height = ctx.size
        inputs = (means2d, conics, opacities, channels)
        needed = [index for index in range(4) if ctx.needs_input_grad[index]]
        gradients = [torch.zeros_like(tensor) for tensor in inputs]
        absolute = torch.zeros_like(means2d)

        for (expert, rows, columns), indices in _tiles(means2d, depths, radii, expert_ids, num_experts, width, height):
            upstream_image = images_gradient[expert, rows, columns].flatten(0, 1)
            upstream_alpha = alphas_gradient[expert, rows, columns].flatten()
            leaves = [tensor[indices] for tensor in inputs]
            leaves[0] = leaves[0].expand(len(upstream_alpha), -1, -1)
            leaves = [leaf.detach().requires_grad_(index in needed) for index, leaf in enumerate(leaves)]
            with torch.enable_grad():
                outputs = _composite_tile(leaves[0], leaves[1], leaves[2], leaves[3], rows, columns)
            # A frozen channel set leaves the alphas' or the images' graph empty: ask only what depends on a leaf.
            pairs = [
                (output, upstream)
                for output, upstream in zip(outputs, (upstream_image, upstream_alpha), strict=True)
                if output.requires_grad
            ]
            tile_gradients = torch.autograd.grad(
                [output for output, _ in pairs],
                [leaves[index] for index in needed],
                [upstream for _, upstream in pairs],
            )
            for index, gradient in zip(needed, tile_gradients, strict=True):
                if index == 0:
                    absolute[indices] += gradient.abs().sum(dim=0)
                    gradient = gradient.sum(dim=0)
                gradients[index][indices] += gradient

        if ctx.absgrad and 0 in needed:
            means2d.absgrad = absolute
        return (*[gradients[index] if index in needed else None for index in range(4)], *[None] * 7)
