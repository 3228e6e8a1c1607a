"""The CUDA backend: gsplat's kernels, several experts in one pass.

gsplat knows cameras, not experts. Here the expert's id is passed as the image id of gsplat's packed layout: one
projection of all Gaussians, one sort whose key starts with the expert, one compositing that yields one image per
expert. Every expert keeps its own transmittance and its own early termination.

Written for gsplat 1.4.0, whose numeric rules are the project's; 1.5.x works too. Its keywords for the image id differ,
and its extents are rectangles (``splats/conventions.py``): they are reported, and tiled, as the enclosing square.

gsplat is imported inside the functions only: this module may be imported on machines without CUDA, where gsplat's
first call would start a long compilation that cannot succeed.
"""

from __future__ import annotations

import inspect
from types import ModuleType

import torch
from torch import Tensor

from moegs_ns.splats import torch_backend
from moegs_ns.splats.projection import Projected, ProjectionSettings

_TILE = 16
# Channel counts gsplat's kernels are compiled for.
_SUPPORTED_WIDTHS = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 512, 513)


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    settings: ProjectionSettings,
) -> Projected:
    """Same contract as ``projection.project_torch``, float32 only.

    Raises:
        ValueError: the tensors are not float32.
    """
    if len(means) == 0:
        return torch_backend.project(means, quats, scales, viewmat, K, width, height, settings)
    _require_float32(means=means, quats=quats, scales=scales, viewmat=viewmat, K=K)
    radii, means2d, depths, conics, compensations = _gsplat().fully_fused_projection(
        means,
        None,
        quats,
        scales,
        viewmat[None],
        K[None],
        width,
        height,
        eps2d=settings.eps2d,
        near_plane=settings.near,
        far_plane=settings.far,
        radius_clip=settings.radius_clip,
        packed=False,
        calc_compensations=settings.antialiased,
    )
    radii = radii[0]
    if radii.ndim == 2:  # 1.5.x: half width and half height
        radii = radii.amax(dim=1)
    # gsplat leaves the rows of culled Gaussians uninitialised.
    culled = radii <= 0
    if settings.antialiased:
        compensations = compensations[0].masked_fill(culled, 0.0)
    else:
        compensations = torch.ones_like(depths[0])
    return Projected(
        means2d=means2d[0].masked_fill(culled[:, None], 0.0),
        depths=depths[0].masked_fill(culled, 0.0),
        conics=conics[0].masked_fill(culled[:, None], 0.0),
        compensations=compensations,
        radii=radii,
    )


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
    """Same contract as ``torch_backend.composite``, float32 and at most 513 channels.

    Gradients are summed by atomics and may differ in their last bits from run to run.

    Raises:
        ValueError: the tensors are not float32, or more than 513 channels.
    """
    if len(means2d) == 0:
        return torch_backend.composite(
            means2d, conics, opacities, channels, depths, radii, expert_ids, num_experts, width, height, absgrad
        )
    _require_float32(means2d=means2d, conics=conics, opacities=opacities, channels=channels, depths=depths)
    gsplat = _gsplat()
    tiles_across, tiles_down = -(-width // _TILE), -(-height // _TILE)
    _, intersection_ids, flatten_ids = gsplat.isect_tiles(
        means2d,
        _as_expected_radii(gsplat, radii),
        depths,
        _TILE,
        tiles_across,
        tiles_down,
        packed=True,
        gaussian_ids=torch.arange(len(means2d), device=means2d.device),
        **_image_keywords(gsplat, expert_ids.long(), num_experts),
    )
    offsets = gsplat.isect_offset_encode(intersection_ids, num_experts, tiles_across, tiles_down)
    # No backgrounds: 1.5.3 rejects their shape in the packed layout, and rasterize() adds them for all backends.
    images, alphas = gsplat.rasterize_to_pixels(
        means2d,
        conics,
        _pad_channels(channels),
        opacities,
        width,
        height,
        _TILE,
        offsets,
        flatten_ids,
        packed=True,
        absgrad=absgrad,
    )
    return images[..., : channels.shape[1]], alphas[..., 0]


def _gsplat() -> ModuleType:
    from gsplat.cuda import _wrapper

    return _wrapper


def _names_images(gsplat: ModuleType) -> bool:
    """Whether this is gsplat 1.5.x, which says image where 1.4.0 says camera and wants radii per axis."""
    return "n_images" in inspect.signature(gsplat.isect_tiles).parameters


def _image_keywords(gsplat: ModuleType, expert_ids: Tensor, num_experts: int) -> dict[str, Tensor | int]:
    if _names_images(gsplat):
        return {"n_images": num_experts, "image_ids": expert_ids}
    return {"n_cameras": num_experts, "camera_ids": expert_ids}


def _as_expected_radii(gsplat: ModuleType, radii: Tensor) -> Tensor:
    return radii[:, None].expand(-1, 2) if _names_images(gsplat) else radii


def _pad_channels(channels: Tensor) -> Tensor:
    """Appends zeros up to the next channel count gsplat has a kernel for."""
    count = channels.shape[1]
    supported = next((width for width in _SUPPORTED_WIDTHS if width >= count), None)
    if supported is None:
        raise ValueError(
            f"rasterizer backend 'gsplat': expected at most {_SUPPORTED_WIDTHS[-1]} channels, found {count}; "
            "composite them in several calls"
        )
    return torch.nn.functional.pad(channels, (0, supported - count))


def _require_float32(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise ValueError(
                f"rasterizer backend 'gsplat': expected float32, found {name} of {tensor.dtype}; convert it, or use "
                "the backend 'torch', which takes any floating dtype"
            )
