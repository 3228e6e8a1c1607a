"""The outputs of a scene that golden files hold: as gsplat's own functions give them, and as the project's backends do.

gsplat is called as its users call it, one expert at a time and in its ordinary layout: also the single pass over
several experts is compared with something that knows nothing of it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.gsplat_backend import _names_images, _pad_channels
from moegs_ns.splats.rasterize import _load_backend
from moegs_ns.splats.splats import Splats
from tests.splats.random_scenes import Scene, rasterize_scene

GEOMETRY = ("means", "quats", "scales", "opacities")
PROJECTED = ("means2d", "depths", "conics", "compensations")

_TILE = 16

Outputs = dict[str, Tensor]
"""``radii`` [N] or [N, 2] as gsplat counts, ``tiles`` [N], ``means2d``, ``depths``, ``conics``, ``compensations``,
``images`` [K, H, W, C], ``alphas`` [K, H, W], ``v_<name>`` the gradients of ``loss_of``, and ``absgrad`` [N, 2]."""


def loss_of(images: Tensor, alphas: Tensor) -> Tensor:
    """A fixed function of images and alphas, the same on every machine, that tells all their entries apart."""

    def weights(like: Tensor, step: float) -> Tensor:
        return torch.cos(step * torch.arange(like.numel(), dtype=torch.float64)).reshape(like.shape).to(like)

    return (images * weights(images, 0.73)).sum() + (alphas * weights(alphas, 0.31)).sum()


def leaves_of(scene: Scene) -> dict[str, Tensor]:
    named = {name: getattr(scene.splats, name) for name in GEOMETRY} | {"channels": scene.channels}
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in named.items()}


def outputs_of_gsplat(scene: Scene, gsplat: ModuleType | Any) -> Outputs:
    """Calls gsplat's own functions, one expert after the other.

    Args:
        scene: on the device the functions run on.
        gsplat: ``gsplat.cuda._wrapper``, or something that offers the same.
    """
    leaves = leaves_of(scene)
    per_expert = [_expert_of_gsplat(scene, leaves, index, gsplat) for index in range(scene.num_experts)]
    images = torch.stack([part["image"] for part in per_expert])
    alphas = torch.stack([part["alpha"] for part in per_expert])
    loss = loss_of(images, alphas)
    if loss.requires_grad:
        loss.backward()

    outputs: Outputs = {"images": images.detach(), "alphas": alphas.detach()}
    for name, leaf in leaves.items():
        outputs[f"v_{name}"] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    gathered = [part["gaussians"]() for part in per_expert]
    for name in gathered[0]:
        whole = gathered[0][name].new_zeros(len(scene.splats), *gathered[0][name].shape[1:])
        for index, part in enumerate(gathered):
            whole[scene.expert_ids == index] = part[name]
        outputs[name] = whole
    return outputs


def _expert_of_gsplat(scene: Scene, leaves: dict[str, Tensor], expert: int, gsplat: Any) -> dict[str, Any]:
    """One expert's image and alpha, and a function that gathers the rows of its Gaussians after the backward pass."""
    rows = scene.expert_ids == expert
    means, quats, scales, opacities, channels = (leaf[rows] for leaf in leaves.values())
    settings, count = scene.settings[expert], int(rows.sum())
    background = None if scene.background is None else scene.background[expert]
    if count == 0:
        flat = torch.zeros_like(channels[:0].sum(dim=0)) if background is None else background
        return {
            "image": flat.expand(scene.height, scene.width, -1),
            "alpha": means.new_zeros(scene.height, scene.width),
            "gaussians": lambda: _no_rows(means, gsplat),
        }
    radii, means2d, depths, conics, compensations = gsplat.fully_fused_projection(
        means,
        None,
        quats,
        scales,
        scene.viewmat[None],
        scene.K[None],
        scene.width,
        scene.height,
        eps2d=settings.eps2d,
        near_plane=settings.near,
        far_plane=settings.far,
        radius_clip=settings.radius_clip,
        packed=False,
        calc_compensations=settings.antialiased,
    )
    if compensations is None:
        compensations = torch.ones_like(depths)
    # Kept apart from the projection's own result so that its gradients can be read.
    means2d.retain_grad()
    across, down = -(-scene.width // _TILE), -(-scene.height // _TILE)
    tiles, keys, ids = gsplat.isect_tiles(means2d, radii, depths, _TILE, across, down)
    images, alphas = gsplat.rasterize_to_pixels(
        means2d,
        conics,
        _pad_channels(channels)[None],
        opacities[None] * compensations,
        scene.width,
        scene.height,
        _TILE,
        gsplat.isect_offset_encode(keys, 1, across, down),
        ids,
        backgrounds=None if background is None else _pad_channels(background[None]),
        absgrad=True,
    )

    def gaussians() -> Outputs:
        shown = (radii[0] > 0).all(dim=-1) if radii.ndim == 3 else radii[0] > 0
        gathered = {"radii": radii[0], "tiles": tiles[0]}
        named = dict(zip(PROJECTED, (means2d, depths, conics, compensations), strict=True))
        gradient = torch.zeros_like(means2d) if means2d.grad is None else means2d.grad
        named |= {"v_means2d": gradient, "absgrad": getattr(means2d, "absgrad", torch.zeros_like(means2d))}
        for name, tensor in named.items():
            one = tensor.detach()[0]
            # gsplat leaves the rows of culled Gaussians uninitialised.
            gathered[name] = torch.where(shown.reshape(-1, *[1] * (one.ndim - 1)), one, 0.0)
        return gathered

    return {"image": images[0, ..., : channels.shape[1]], "alpha": alphas[0, ..., 0], "gaussians": gaussians}


def _no_rows(means: Tensor, gsplat: Any) -> Outputs:
    """What ``gaussians`` gives for an expert without any; the radii's shape is that of the release."""
    columns = {"means2d": (2,), "depths": (), "conics": (3,), "compensations": (), "v_means2d": (2,), "absgrad": (2,)}
    counts = {"radii": (2,) if _names_images(gsplat) else (), "tiles": ()}
    return {name: means.new_zeros(0, *shape) for name, shape in columns.items()} | {
        name: means.new_zeros(0, *shape, dtype=torch.int32) for name, shape in counts.items()
    }


def outputs_of(scene: Scene, backend: str) -> Outputs:
    """The same outputs from one of the project's backends, in a single pass over all experts; without ``tiles``."""
    leaves = leaves_of(scene)
    splats = Splats(*(leaves[name] for name in GEOMETRY))
    changes = {"splats": splats, "channels": leaves["channels"], "background": scene.background}
    result = rasterize_scene(scene, backend, **changes, absgrad=True)
    result.means2d.retain_grad()
    loss_of(result.images, result.alphas).backward()
    means2d = result.means2d
    return {
        "images": result.images.detach(),
        "alphas": result.alphas.detach(),
        "radii": result.radii,
        "v_means2d": torch.zeros_like(means2d) if means2d.grad is None else means2d.grad,
        "absgrad": getattr(means2d, "absgrad", torch.zeros_like(means2d)),
        **{f"v_{name}": torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()},
        **_projection_of(scene, backend),
    }


def _projection_of(scene: Scene, backend: str) -> Outputs:
    """Each expert projected by its own settings, rows in the scene's order."""
    module = _load_backend(backend)
    columns = {"means2d": (2,), "depths": (), "conics": (3,), "compensations": ()}
    whole = {name: scene.channels.new_zeros(len(scene.splats), *shape) for name, shape in columns.items()}
    for expert, settings in enumerate(scene.settings):
        rows = scene.expert_ids == expert
        parts = (getattr(scene.splats, name)[rows] for name in ("means", "quats", "scales"))
        screen = module.project(*parts, scene.viewmat, scene.K, scene.width, scene.height, settings)
        for name, tensor in whole.items():
            values = getattr(screen, name)
            tensor[rows] = torch.where((screen.radii > 0).reshape(-1, *[1] * (values.ndim - 1)), values, 0.0)
    return whole
