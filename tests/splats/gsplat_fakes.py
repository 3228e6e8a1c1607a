"""Stand-ins for gsplat's wrapped CUDA functions, so that the Python of the CUDA path runs on the CPU.

They accept exactly the calls the real functions accept: arguments are bound against the recorded signatures of each
gsplat version, and the shape and dtype demands of its wrappers and kernels are repeated. What they compute is gsplat's
own torch code; only the blending itself, of which gsplat has no CPU code, is the project's twin, run on the tile lists
it is given.
"""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from gsplat.cuda._torch_impl import (
    _fully_fused_projection,
    _isect_offset_encode,
    _isect_tiles,
    _quat_scale_to_covar_preci,
)
from torch import Tensor

from moegs_ns.splats.torch_backend import _composite_tile

SIGNATURES = json.loads((Path(__file__).parent / "gsplat_signatures.json").read_text())
KERNEL_CHANNELS = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 512, 513)


def signature(version: str, name: str) -> inspect.Signature:
    """The recorded signature of one function of one gsplat version."""
    recorded = SIGNATURES[version][name]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    required = [inspect.Parameter(parameter, kind) for parameter in recorded["required"]]
    optional = [inspect.Parameter(p, kind, default=default) for p, default in recorded["optional"].items()]
    return inspect.Signature(required + optional)


def fake_wrapper(version: str) -> SimpleNamespace:
    """What ``gsplat.cuda._wrapper`` of ``version`` offers to the gsplat backend; ``calls`` counts each function."""
    per_axis = version != "1.4.0"
    calls: dict[str, int] = {}

    def strict(name: str, function: Callable) -> Callable:
        expected = signature(version, name)

        def call(*args, **kwargs):
            bound = expected.bind(*args, **kwargs)
            bound.apply_defaults()
            calls[name] = calls.get(name, 0) + 1
            return function(SimpleNamespace(**bound.arguments))

        call.__signature__ = expected
        return call

    return SimpleNamespace(
        calls=calls,
        fully_fused_projection=strict("fully_fused_projection", lambda a: _project(a, per_axis)),
        isect_tiles=strict("isect_tiles", lambda a: _intersect(a, per_axis)),
        isect_offset_encode=strict("isect_offset_encode", _encode_offsets),
        rasterize_to_pixels=strict("rasterize_to_pixels", _rasterize),
    )


def _project(a: SimpleNamespace, per_axis: bool) -> tuple:
    count = len(a.means)
    assert a.covars is None
    assert not a.packed
    assert not a.sparse_grad
    assert a.camera_model == "pinhole"
    assert getattr(a, "opacities", None) is None
    assert (a.means.shape, a.quats.shape, a.scales.shape) == ((count, 3), (count, 4), (count, 3))
    assert (a.viewmats.shape, a.Ks.shape) == ((1, 4, 4), (1, 3, 3))
    for tensor in (a.means, a.quats, a.scales, a.viewmats, a.Ks):
        assert tensor.dtype == torch.float32
    covariances, _ = _quat_scale_to_covar_preci(a.quats, a.scales, compute_preci=False)
    radii, means2d, depths, conics, compensations = _fully_fused_projection(
        a.means,
        covariances,
        a.viewmats,
        a.Ks,
        a.width,
        a.height,
        eps2d=a.eps2d,
        near_plane=a.near_plane,
        far_plane=a.far_plane,
        calc_compensations=a.calc_compensations,
    )
    radii = torch.where(radii > a.radius_clip, radii, 0)
    # The kernels write nothing for culled Gaussians; of their outputs only the compensations start as zeros.
    culled = radii == 0
    means2d = torch.where(culled[..., None], torch.nan, means2d)
    depths = torch.where(culled, torch.nan, depths)
    conics = torch.where(culled[..., None], torch.nan, conics)
    if compensations is not None:
        compensations = torch.where(culled, 0.0, compensations)
    if per_axis:
        # Unequal half sides, as of an upright ellipse; the larger one is the radius of 1.4.0.
        radii = torch.stack([(radii - 1).clamp(min=0), radii], dim=-1)
    return radii, means2d, depths, conics, compensations


def _intersect(a: SimpleNamespace, per_axis: bool) -> tuple[Tensor, Tensor, Tensor]:
    count = len(a.means2d)
    images, image_ids = (a.n_images, a.image_ids) if per_axis else (a.n_cameras, a.camera_ids)
    assert a.packed
    assert a.sort
    assert a.means2d.shape == (count, 2)
    assert a.radii.shape == ((count, 2) if per_axis else (count,))
    assert a.radii.dtype == torch.int32
    assert a.depths.shape == (count,)
    for ids in (image_ids, a.gaussian_ids):
        assert ids.shape == (count,)
        assert ids.dtype == torch.int64, "the kernel reads 64-bit integers"
    if per_axis:
        assert torch.equal(a.radii[:, 0], a.radii[:, 1]), "squares are tiled under every version"
        a.radii = a.radii[:, 0]
    per_image = torch.stack([torch.where(image_ids == image, a.radii, 0) for image in range(images)])
    counts, keys, ids = _isect_tiles(
        a.means2d.detach().expand(images, -1, -1),
        per_image,
        a.depths.detach().expand(images, -1),
        a.tile_size,
        a.tile_width,
        a.tile_height,
        sort=False,
    )
    keys, order = torch.sort(keys, stable=True)  # the kernels' radix sort is stable, torch's default is not
    return counts.sum(dim=0, dtype=torch.int32), keys, (ids[order] % count).int()


def _encode_offsets(a: SimpleNamespace) -> Tensor:
    images = a.n_images if hasattr(a, "n_images") else a.n_cameras
    return _isect_offset_encode(a.isect_ids, images, a.tile_width, a.tile_height)


def _rasterize(a: SimpleNamespace) -> tuple[Tensor, Tensor]:
    count, channels = a.colors.shape
    assert a.packed
    assert a.backgrounds is None, "1.5.3 rejects backgrounds in the packed layout"
    assert a.masks is None
    assert channels in KERNEL_CHANNELS
    assert (a.means2d.shape, a.conics.shape, a.opacities.shape) == ((count, 2), (count, 3), (count,))
    assert a.flatten_ids.dtype == a.isect_offsets.dtype == torch.int32
    assert a.means2d.is_contiguous(), "a copy would receive the absgrad in the caller's place"
    for tensor in (a.means2d, a.conics, a.colors, a.opacities):
        assert tensor.dtype == torch.float32
    images, tiles_down, tiles_across = a.isect_offsets.shape
    assert tiles_down * a.tile_size >= a.image_height
    assert tiles_across * a.tile_size >= a.image_width

    colours = a.colors.new_zeros(images, a.image_height, a.image_width, channels)
    alphas = a.colors.new_zeros(images, a.image_height, a.image_width, 1)
    # The real function's outputs depend on all inputs, also where no tile has work.
    nothing = 0 * sum(tensor.sum() for tensor in (a.means2d, a.conics, a.colors, a.opacities))
    colours, alphas = colours + nothing, alphas + nothing
    if a.absgrad:
        a.means2d.absgrad = torch.zeros_like(a.means2d)
    bounds = [*a.isect_offsets.flatten().tolist(), len(a.flatten_ids)]
    for tile, (start, stop) in enumerate(itertools.pairwise(bounds)):
        if stop == start:
            continue
        image, tile = divmod(tile, tiles_down * tiles_across)
        row, column = divmod(tile, tiles_across)
        rows = slice(row * a.tile_size, min((row + 1) * a.tile_size, a.image_height))
        columns = slice(column * a.tile_size, min((column + 1) * a.tile_size, a.image_width))
        ids = a.flatten_ids[start:stop].long()
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        means2d = a.means2d[ids].expand(shape[0] * shape[1], -1, -1)
        if a.absgrad and means2d.requires_grad:
            means2d.register_hook(lambda g, ids=ids: _add(a.means2d.absgrad, ids, g.abs().sum(dim=0)))
        blended, alpha = _composite_tile(means2d, a.conics[ids], a.opacities[ids], a.colors[ids], rows, columns)
        colours[image, rows, columns] = blended.view(*shape, channels)
        alphas[image, rows, columns] = alpha.view(*shape, 1)
    return colours, alphas


def _add(target: Tensor, ids: Tensor, values: Tensor) -> None:
    target[ids] += values
