"""``rasterize``: Gaussians of one or several experts in, one image per expert out, whatever the machine.

Backends, each a module with the same two functions ``project`` and ``composite``:

==========  ==============================  ==========================================
name        module                          runs on
==========  ==============================  ==========================================
``gsplat``  ``splats/gsplat_backend.py``    CUDA, gsplat's kernels
``native``  ``splats/native_backend.py``    CPU, the project's own C++ kernels
``torch``   ``splats/torch_backend.py``     anything; slow, the oracle of the others
==========  ==============================  ==========================================
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor

from moegs_ns.splats.projection import Projected, ProjectionSettings
from moegs_ns.splats.splats import Splats

BackendName = Literal["gsplat", "native", "torch"]

_ENVIRONMENT_VARIABLE = "MOEGS_RASTER"
_REQUESTS = {"auto": "auto", "cuda": "gsplat", "gsplat": "gsplat", "native": "native", "torch": "torch"}
_MIN_ALPHA_FOR_DEPTH = 1e-10
_DEFAULT_SETTINGS = ProjectionSettings()
_warned_of_fallback = False


@dataclass(frozen=True, eq=False)
class Rasterized:
    """One image per expert, and what density control needs."""

    images: Tensor
    """[K, H, W, C] blended channels, background included."""
    alphas: Tensor
    """[K, H, W] accumulated opacity in [0, 1]."""
    depths: Tensor | None
    """[K, H, W] expected z-depth in world units (0 where nothing is seen), only with ``depth=True``."""
    means2d: Tensor
    """[N, 2] centres in pixels, not a leaf: call ``retain_grad()`` before backward to read ``.grad`` after it;
    ``.absgrad`` [N, 2] is there after backward when ``absgrad=True`` and the geometry receives gradients."""
    radii: Tensor
    """[N] int32 (longer) half side of the extent in pixels, see ``splats/conventions.py``; 0 = not visible."""

    @property
    def visible(self) -> Tensor:
        """[N] bool: the Gaussian's square touches the image."""
        return self.radii > 0


def resolve_backend(device: torch.device | str, requested: str = "auto") -> BackendName:
    """Chooses the backend that will run tensors on ``device``.

    ``$MOEGS_RASTER`` (``auto``, ``cuda``, ``native`` or ``torch``), when set to anything but ``auto``, overrides
    ``requested``. On ``auto``: gsplat on CUDA; the native kernels on the CPU; else the torch twin, with one warning
    per process.

    Raises:
        ValueError: an unknown name, or a backend that cannot run on this device or machine.
    """
    device = torch.device(device)
    choice = _read_request(requested)
    if choice == "gsplat" or (choice == "auto" and device.type == "cuda"):
        # Asked before anything of gsplat is imported: its first call would compile CUDA code for many minutes.
        if device.type != "cuda" or not torch.cuda.is_available():
            raise ValueError(
                f"rasterizer backend 'cuda' (gsplat): expected tensors on a CUDA device that torch can use, found "
                f"tensors on '{device}' and torch.cuda.is_available() = {torch.cuda.is_available()}; move the tensors "
                f"to a CUDA device, or set {_ENVIRONMENT_VARIABLE}=auto"
            )
        return "gsplat"
    if choice == "torch":
        return "torch"
    if device.type == "cpu":
        reason = _why_native_is_unavailable()
        if reason is None:
            return "native"
    else:
        reason = f"the native kernels run on the CPU only, the tensors are on '{device}'"
    if choice == "native":
        raise ValueError(
            f"rasterizer backend 'native' is not available: {reason}; cure this or set {_ENVIRONMENT_VARIABLE}=torch "
            "for the slow torch twin"
        )
    _warn_of_fallback(reason)
    return "torch"


def backend_for(device: torch.device | str, requested: str = "auto") -> Any:
    """The module `resolve_backend` chooses, with the functions ``project`` and ``composite``."""
    return _load_backend(resolve_backend(device, requested))


def takes_native(*tensors: Tensor) -> bool:
    """Whether the compiled kernels run where these tensors are and read their dtype. What has a kernel besides
    rasterization asks here, so that ``$MOEGS_RASTER`` chooses for all."""
    for tensor in tensors:
        if tensor.dtype is not torch.float32 or not tensor.is_cpu:
            return False
    return resolve_backend("cpu") == "native"


def rasterize(
    splats: Splats,
    channels: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    *,
    expert_ids: Tensor | None = None,
    num_experts: int = 1,
    settings: ProjectionSettings | Sequence[ProjectionSettings] = _DEFAULT_SETTINGS,
    background: Tensor | None = None,
    depth: bool = False,
    absgrad: bool = False,
    together: bool = False,
    backend: str = "auto",
) -> Rasterized:
    """Renders Gaussians of ``num_experts`` experts, each with its own transmittance, in one compositing.

    Expert k's image equals the image of expert k rendered alone. (Eq. 9 of MoE-GS read literally would share the
    transmittance and change every expert's image; per-expert transmittance is its Eq. 5.) Experts with equal
    settings are projected together; compositing runs once for all.

    Args:
        splats: N Gaussians; its ``features`` and ``sh`` are not read. N = 0 is fine.
        channels: [N, C] what is blended: colours, features, router weights side by side. C = 0 only with ``depth``.
        viewmat: [4, 4] world-to-camera, OpenCV axes (``viewmat_from_camera_to_world``).
        K: [3, 3] pinhole intrinsics in pixels, no skew.
        width: image width in pixels.
        height: image height in pixels.
        expert_ids: [N] integers in [0, num_experts); may be left out for one expert.
        num_experts: number of experts, and of images unless ``together``.
        settings: one for all experts, or one per expert.
        background: [C], or [num_experts, C]; added with weight 1 - alpha. None is black.
        depth: also render the expected z-depth.
        absgrad: also collect absolute screen gradients on backward.
        together: composite all experts' Gaussians as ONE set into one image, K = 1 in the result; ``settings`` still
            say how each expert's are projected.
        backend: ``auto``, ``cuda``, ``native`` or ``torch``; see ``resolve_backend``.

    Returns:
        Images, alphas, depth and the screen positions and radii of all Gaussians.

    Raises:
        ValueError: shapes, devices or counts that do not fit, or a backend that is not available.
    """
    settings_per_expert = _check_arguments(
        splats, channels, viewmat, K, width, height, expert_ids, num_experts, settings, background, depth, together
    )
    module = backend_for(splats.means.device, backend)
    if expert_ids is None:
        expert_ids = torch.zeros(len(splats), dtype=torch.int32, device=splats.means.device)

    projected = _project_in_groups(module, splats, viewmat, K, width, height, expert_ids, settings_per_expert)
    if together:
        expert_ids, num_experts = torch.zeros_like(expert_ids), 1
    opacities = splats.opacities
    if any(own.antialiased for own in settings_per_expert):  # otherwise all compensations are 1
        opacities = opacities * projected.compensations
    blended = torch.cat([channels, projected.depths[:, None]], dim=1) if depth else channels
    images, alphas = module.composite(
        projected.means2d,
        projected.conics,
        opacities,
        blended,
        projected.depths,
        projected.radii,
        expert_ids,
        num_experts,
        width,
        height,
        absgrad=absgrad,
    )
    return finish(images, alphas, projected, background, depth)


def finish(images: Tensor, alphas: Tensor, projected: Projected, background: Tensor | None, depth: bool) -> Rasterized:
    """Makes the result of what was composited.

    Args:
        images: ``[K,H,W,C]``, with ``depth`` one channel more.
        alphas: ``[K,H,W]``.
        projected: all Gaussians.
        background: ``[C]`` or ``[K,C]``, or None for black.
        depth: the last channel is depth times opacity.
    """
    depths = None
    if depth:
        depths = images[..., -1] / alphas.clamp(min=_MIN_ALPHA_FOR_DEPTH)
        images = images[..., :-1]
    if background is not None:
        per_expert = background.expand(len(images), -1)[:, None, None, :]
        images = images + (1.0 - alphas)[..., None] * per_expert
    return Rasterized(images=images, alphas=alphas, depths=depths, means2d=projected.means2d, radii=projected.radii)


def _project_in_groups(
    module: Any,
    splats: Splats,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    expert_ids: Tensor,
    settings_per_expert: Sequence[ProjectionSettings],
) -> Projected:
    """Projects each group of experts with equal settings once and returns all rows in their original order."""
    groups: dict[ProjectionSettings, list[int]] = {}
    for expert, settings in enumerate(settings_per_expert):
        groups.setdefault(settings, []).append(expert)
    if len(groups) == 1:
        (settings,) = groups
        return module.project(splats.means, splats.quats, splats.scales, viewmat, K, width, height, settings)

    parts, rows_of_parts = [], []
    for settings, experts in groups.items():
        members = torch.tensor(experts, dtype=expert_ids.dtype, device=expert_ids.device)
        rows = torch.nonzero(torch.isin(expert_ids, members)).squeeze(1)
        rows_of_parts.append(rows)
        parts.append(
            module.project(
                splats.means[rows], splats.quats[rows], splats.scales[rows], viewmat, K, width, height, settings
            )
        )
    back = torch.argsort(torch.cat(rows_of_parts))

    def gather(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])[back]

    return Projected(
        means2d=gather("means2d"),
        depths=gather("depths"),
        conics=gather("conics"),
        compensations=gather("compensations"),
        radii=gather("radii"),
    )


def _check_arguments(
    splats: Splats,
    channels: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    expert_ids: Tensor | None,
    num_experts: int,
    settings: ProjectionSettings | Sequence[ProjectionSettings],
    background: Tensor | None,
    depth: bool,
    together: bool,
) -> list[ProjectionSettings]:
    """Raises ValueError for arguments that do not fit; returns one settings object per expert."""
    count = len(splats)
    if channels.ndim != 2 or channels.shape[0] != count:
        raise ValueError(f"rasterize: expected channels of shape [{count}, C], found {list(channels.shape)}")
    if channels.shape[1] == 0 and not depth:
        raise ValueError("rasterize: expected at least one channel, found none; pass channels or depth=True")
    if tuple(viewmat.shape) != (4, 4) or tuple(K.shape) != (3, 3):
        raise ValueError(
            f"rasterize: expected viewmat [4, 4] and K [3, 3] of one camera, "
            f"found {list(viewmat.shape)} and {list(K.shape)}"
        )
    if width < 1 or height < 1:
        raise ValueError(f"rasterize: expected an image of at least 1x1 pixels, found {width}x{height}")
    if num_experts < 1:
        raise ValueError(f"rasterize: expected num_experts >= 1, found {num_experts}")
    if expert_ids is None and num_experts > 1:
        raise ValueError(f"rasterize: expected expert_ids [{count}] for {num_experts} experts, found None")
    if expert_ids is not None:
        if tuple(expert_ids.shape) != (count,) or expert_ids.is_floating_point():
            raise ValueError(
                f"rasterize: expected integer expert_ids of shape [{count}], "
                f"found {expert_ids.dtype} {list(expert_ids.shape)}"
            )
        # Reading values would make a GPU wait; on the CPU a bad id would write outside the images.
        if (
            expert_ids.device.type == "cpu"
            and count
            and not 0 <= int(expert_ids.min()) <= int(expert_ids.max()) < (num_experts)
        ):
            raise ValueError(
                f"rasterize: expected expert_ids in [0, {num_experts}), "
                f"found [{int(expert_ids.min())}, {int(expert_ids.max())}]"
            )
    width_of_channels, num_images = channels.shape[1], 1 if together else num_experts
    if background is not None and tuple(background.shape) not in (
        (width_of_channels,),
        (num_images, width_of_channels),
    ):
        raise ValueError(
            f"rasterize: expected background of shape [{width_of_channels}] or [{num_images}, {width_of_channels}], "
            f"found {list(background.shape)}"
        )
    others: dict[str, Tensor | None] = {
        "quats": splats.quats,
        "scales": splats.scales,
        "opacities": splats.opacities,
        "channels": channels,
        "viewmat": viewmat,
        "K": K,
        "expert_ids": expert_ids,
        "background": background,
    }
    for name, tensor in others.items():
        if tensor is not None and tensor.device != splats.means.device:
            raise ValueError(
                f"rasterize: expected all tensors on '{splats.means.device}' like splats.means, "
                f"found {name} on '{tensor.device}'"
            )
    if isinstance(settings, ProjectionSettings):
        return [settings] * num_experts
    if len(settings) != num_experts:
        raise ValueError(f"rasterize: expected one settings object or {num_experts}, found {len(settings)}")
    return list(settings)


def _read_request(requested: str) -> str:
    return _choice(os.environ.get(_ENVIRONMENT_VARIABLE, "auto"), requested)


@lru_cache(maxsize=16)  # every kernel asks, a dozen times a step
def _choice(override: str, requested: str) -> str:
    override = override.strip().lower() or "auto"
    for source, name in ((f"${_ENVIRONMENT_VARIABLE}", override), ("backend", requested)):
        if name not in _REQUESTS:
            raise ValueError(f"rasterizer {source}: expected one of {sorted(_REQUESTS)}, found '{name}'")
    return _REQUESTS[requested if override == "auto" else override]


def _load_backend(name: BackendName) -> Any:
    return import_module(f"moegs_ns.splats.{name}_backend")


def _why_native_is_unavailable() -> str | None:
    """None when the native kernels are there or could be compiled, else the reason in words."""
    return _load_backend("native").unavailable_reason()


def _warn_of_fallback(reason: str) -> None:
    global _warned_of_fallback
    if _warned_of_fallback:
        return
    _warned_of_fallback = True
    warnings.warn(
        f"Rasterizing with the backend 'torch', some hundred times slower than the native kernels: {reason}. "
        f"Install a C++17 compiler (g++ or clang++, or name one in $CXX), or set {_ENVIRONMENT_VARIABLE}=torch to "
        "accept the slow backend silently.",
        RuntimeWarning,
        stacklevel=3,
    )
