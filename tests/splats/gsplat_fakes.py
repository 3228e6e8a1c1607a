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
from torch import Tensor

from moegs_ns.splats.torch_backend import _composite_tile
from tests.splats.gsplat_torch import covariances_of, encode_offsets, fully_fused_projection, intersect, on_screen

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
    covariances = covariances_of(a.quats, a.scales)
    _, means2d, depths, conics, compensations = fully_fused_projection(
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
    radii = _radii(covariances, depths, a, per_axis)
    culled = (radii == 0).any(dim=-1) if per_axis else radii == 0
    # The kernels write nothing for culled Gaussians; of their outputs only the compensations start as zeros.
    means2d = torch.where(culled[..., None], torch.nan, means2d)
    depths = torch.where(culled, torch.nan, depths)
    conics = torch.where(culled[..., None], torch.nan, conics)
    if compensations is not None:
        compensations = torch.where(culled, 0.0, compensations)
    return radii, means2d, depths, conics, compensations


def _radii(covariances: Tensor, depths: Tensor, a: SimpleNamespace, per_axis: bool) -> Tensor:
    """[1, N, 2] half sides across and down by the rule of 1.5.3, whose projection is told no opacities; or [1, N] the
    half sides of squares by that of 1.4.0."""
    means2d, blurred = on_screen(a.means, covariances, a.viewmats, a.Ks, a.width, a.height)
    xx, xy, yy = blurred[..., 0, 0] + a.eps2d, blurred[..., 0, 1], blurred[..., 1, 1] + a.eps2d
    if per_axis:
        reach = (3.33 * torch.stack([xx, yy], dim=-1).sqrt()).ceil()
    else:
        middle = (xx + yy) / 2
        largest = middle + (middle**2 - (xx * yy - xy * xy)).clamp(min=0.01).sqrt()
        reach = (3.0 * largest.sqrt()).ceil()[..., None].expand_as(means2d)
    touches = ((means2d + reach > 0) & (means2d - reach < means2d.new_tensor([a.width, a.height]))).all(dim=-1)
    kept = touches & (reach > a.radius_clip).any(dim=-1) & (depths > a.near_plane) & (depths < a.far_plane)
    radii = torch.where(kept[..., None], reach, 0.0).int()
    return radii if per_axis else radii[..., 0]


def _intersect(a: SimpleNamespace, per_axis: bool) -> tuple[Tensor, Tensor, Tensor]:
    if not a.packed:
        return _intersect_one_image(a, per_axis)
    count = len(a.means2d)
    images, image_ids = (a.n_images, a.image_ids) if per_axis else (a.n_cameras, a.camera_ids)
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
    counts, keys, ids = intersect(
        a.means2d.detach().expand(images, -1, -1),
        per_image,
        a.depths.detach().expand(images, -1),
        a.tile_size,
        a.tile_width,
        a.tile_height,
    )
    return counts.sum(dim=0, dtype=torch.int32), keys, (ids % count).int()


def _intersect_one_image(a: SimpleNamespace, per_axis: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The ordinary layout [1, N, ...]; rectangles are tiled as squares, which lists more and shows the same."""
    count = a.means2d.shape[1]
    assert (a.means2d.shape, a.depths.shape) == ((1, count, 2), (1, count))
    assert a.radii.shape == ((1, count, 2) if per_axis else (1, count))
    radii = a.radii.amax(dim=-1) if per_axis else a.radii
    tiles = (a.tile_size, a.tile_width, a.tile_height)
    counts, keys, ids = intersect(a.means2d.detach(), radii, a.depths.detach(), *tiles)
    return counts.int(), keys, ids.int()


def _encode_offsets(a: SimpleNamespace) -> Tensor:
    images = a.n_images if hasattr(a, "n_images") else a.n_cameras
    return encode_offsets(a.isect_ids, images, a.tile_width, a.tile_height)


def _rasterize(a: SimpleNamespace) -> tuple[Tensor, Tensor]:
    if not a.packed:
        return _rasterize_one_image(a)
    count, channels = a.colors.shape
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
    # The real function's outputs depend on all inputs, also where no tile has work; it reads no row without a tile.
    nothing = 0 * sum(tensor.nan_to_num().sum() for tensor in (a.means2d, a.conics, a.colors, a.opacities))
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


def _rasterize_one_image(a: SimpleNamespace) -> tuple[Tensor, Tensor]:
    """The ordinary layout [1, N, ...], which takes a background [1, D]."""
    count, channels = a.colors.shape[1:]
    assert (a.means2d.shape, a.conics.shape, a.opacities.shape) == ((1, count, 2), (1, count, 3), (1, count))
    assert a.isect_offsets.shape[0] == 1
    assert a.backgrounds is None or a.backgrounds.shape == (1, channels)
    packed = {name: getattr(a, name)[0] for name in ("means2d", "conics", "colors", "opacities")}
    one = SimpleNamespace(**{**vars(a), **packed, "packed": True, "backgrounds": None})
    colours, alphas = _rasterize(one)
    if a.absgrad:
        a.means2d.absgrad = one.means2d.absgrad[None]  # the same memory, which backward fills
    return colours if a.backgrounds is None else colours + (1 - alphas) * a.backgrounds[0], alphas


def _add(target: Tensor, ids: Tensor, values: Tensor) -> None:
    target[ids] += values
