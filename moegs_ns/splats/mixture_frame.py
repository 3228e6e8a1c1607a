"""One frame of a mixture by fused inference: Gaussians of K experts in, the blended picture out.

What `rasterize`, the volume-aware router and the blend do in many operations, in one chain of kernels, without
gradients.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from moegs_ns.splats.conventions import GSPLAT_1_4
from moegs_ns.splats.mixture_library import (
    MAX_EXPERTS,
    MAX_LAYERS,
    MAX_UNITS,
    Gate,
    MixtureLibrary,
    Pictures,
    Projection,
    Scene,
    device_index,
)
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.splats import Splats

# Composited router weights the network sees: w_dir and t * w_time; w is added to its output.
_WEIGHTS_SEEN = 2


@dataclass(frozen=True, eq=False)
class PixelGate:
    """What makes gates of composited weights: the softmax (MoE-GS Eq. 8) of w + Φ(w_dir, t w_time, rays) (Eq. 7)."""

    matrices: Sequence[Tensor]
    """Of Φ's layers, without bias and with ReLU between them: ``[outputs, inputs]`` each, the last with one output."""
    rays: slice
    """Which of a pixel's six ray values (camera centre, unit direction) Φ sees."""
    temperature: float = 1.0
    """Divides the logits, > 0."""
    top_k: int = 0
    """Blend only this many experts per pixel, those with the largest logits; 0 = all."""
    weight_background: float = 0.0
    """Value of the three weight channels where no Gaussian is."""


@dataclass(frozen=True, eq=False)
class MixtureFrame:
    """A frame; values as `MixtureModel.get_outputs` gives them in evaluation."""

    rgb: Tensor
    """``[H,W,3]`` in [0,1]."""
    accumulation: Tensor
    """``[H,W]`` gated sum of the experts' opacities."""
    depth: Tensor
    """``[H,W]`` expected z-depth of what is blended, world units; 0 where nothing is."""
    gates: Tensor
    """``[K,H,W]``, sum to 1 over experts."""
    pictures: Tensor
    """``[K,H,W,3]`` in [0,1], of each expert alone."""


def beyond_limits(experts: int, units: Sequence[int]) -> str | None:
    """What of a mixture exceeds the kernels' fixed sizes, in words; None when nothing does.

    Args:
        experts: their number.
        units: inputs of each of the network's layers.
    """
    if experts > MAX_EXPERTS:
        return f"it takes at most {MAX_EXPERTS} experts, these are {experts}"
    if len(units) > MAX_LAYERS or max(units) > MAX_UNITS:
        return (
            f"it takes networks of at most {MAX_LAYERS} layers with {MAX_UNITS} inputs each, this one has {list(units)}"
        )
    return None


@torch.no_grad()
def draw_mixture(
    library: MixtureLibrary,
    splats: Splats,
    colors: Tensor,
    weights: Tensor,
    expert_ids: Tensor,
    settings: Sequence[ProjectionSettings],
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    backgrounds: Tensor,
    gate: PixelGate,
) -> MixtureFrame:
    """Draws one frame. Waits for the GPU once, to learn how many (Gaussian, tile) pairs there are.

    Args:
        library: from `mixture_library`, for the device all tensors are on.
        splats: N Gaussians of all experts; N = 0 is fine.
        colors: ``[N,3]``.
        weights: ``[N,3]`` w, w_dir and t * w_time (MoE-GS Eq. 6).
        expert_ids: ``[N]`` int32 in [0, K).
        settings: how each expert's Gaussians are projected; their number is K.
        viewmat: ``[4,4]`` world-to-camera, OpenCV axes.
        K: ``[3,3]`` pinhole intrinsics in pixels, no skew.
        width, height: of the image in pixels.
        backgrounds: ``[K,3]`` colour behind each expert's Gaussians.
        gate: network, temperature and top-k.

    Raises:
        ValueError: shapes, types, devices or numbers that do not fit.
        RuntimeError: what CUDA reports.
    """
    device, count, experts = splats.means.device, len(splats), len(settings)
    if device.type != library.device_type:
        raise ValueError(
            f"fused inference: expected tensors on '{library.device_type}', where '{library.path}' runs, found them on "
            f"'{device}'"
        )
    arrays = {
        "means": _array("means", splats.means, device, count, 3),
        "quats": _array("quats", splats.quats, device, count, 4),
        "scales": _array("scales", splats.scales, device, count, 3),
        "opacities": _array("opacities", splats.opacities, device, count),
        "colors": _array("colors", colors, device, count, 3),
        "weights": _array("weights", weights, device, count, 3),
        "expert_ids": _array("expert_ids", expert_ids, device, count, dtype=torch.int32),
        "viewmat": _array("viewmat", viewmat, device, 4, 4),
        "intrinsics": _array("K", K, device, 3, 3),
    }
    background = _array("backgrounds", backgrounds, device, experts, 3)
    matrices = _matrices(gate, device)
    _check_numbers(width, height, experts, gate, [matrix.shape[1] for matrix in matrices])

    scene = Scene(
        count=count,
        num_experts=experts,
        width=width,
        height=height,
        **{name: array.data_ptr() for name, array in arrays.items()},
        projections=(Projection * MAX_EXPERTS)(*(_projection(one) for one in settings)),
    )
    blending = Gate(
        layers=len(matrices),
        units=(ctypes.c_int32 * (MAX_LAYERS + 1))(*(matrix.shape[1] for matrix in matrices), 1),
        matrices=(ctypes.c_void_p * MAX_LAYERS)(*(matrix.data_ptr() for matrix in matrices)),
        ray_first=gate.rays.start,
        ray_count=gate.rays.stop - gate.rays.start,
        temperature=gate.temperature,
        top_k=gate.top_k,
        weight_background=gate.weight_background,
        backgrounds=background.data_ptr(),
    )
    frame = MixtureFrame(
        rgb=background.new_empty(height, width, 3),
        accumulation=background.new_empty(height, width),
        depth=background.new_empty(height, width),
        gates=background.new_empty(experts, height, width),
        pictures=background.new_empty(experts, height, width, 3),
    )
    addresses = Pictures(**{name: image.data_ptr() for name, image in vars(frame).items()})
    number = device_index(device)
    with torch.cuda.device(number) if device.type == "cuda" else nullcontext():
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        binned = torch.empty(library.bin_bytes(scene, number), dtype=torch.uint8, device=device)
        totals = torch.empty(2, dtype=torch.int64, device=device)
        library.bin(scene, binned.data_ptr(), binned.numel(), totals.data_ptr(), number, stream)
        pairs, strangers = totals.tolist()
        if strangers:
            raise ValueError(
                f"fused inference: expected expert_ids in [0, {experts}), found {strangers} outside; check expert_ids"
            )
        scratch = torch.empty(library.draw_bytes(scene, pairs, number), dtype=torch.uint8, device=device)
        library.draw(
            scene, blending, binned.data_ptr(), pairs, scratch.data_ptr(), scratch.numel(), addresses, number, stream
        )
    return frame


def _projection(settings: ProjectionSettings) -> Projection:
    if settings.conventions != GSPLAT_1_4:
        raise ValueError(
            f"fused inference: expected the conventions '{GSPLAT_1_4.name}', the only ones its kernels follow, found "
            f"'{settings.conventions.name}'; draw the frame with rasterize()"
        )
    return Projection(
        antialiased=int(settings.antialiased),
        eps2d=settings.eps2d,
        near_plane=settings.near,
        far_plane=settings.far,
        radius_clip=settings.radius_clip,
    )


def _matrices(gate: PixelGate, device: torch.device) -> list[Tensor]:
    """The network's matrices, dense; each has as many outputs as the next has inputs."""
    rays = gate.rays.stop - gate.rays.start
    inputs, matrices = _WEIGHTS_SEEN + rays, []
    for index, matrix in enumerate(gate.matrices):
        outputs = 1 if index + 1 == len(gate.matrices) else matrix.shape[0]
        matrices.append(_array(f"matrix {index} of the network", matrix, device, outputs, inputs))
        inputs = outputs
    return matrices


def _check_numbers(width: int, height: int, experts: int, gate: PixelGate, units: Sequence[int]) -> None:
    if width < 1 or height < 1 or experts < 1 or not units:
        raise ValueError(
            f"fused inference: expected at least one pixel, one expert and one layer, found {width}x{height} pixels, "
            f"{experts} experts and {len(units)} layers"
        )
    if not gate.temperature > 0 or not 0 <= gate.top_k <= experts:
        raise ValueError(
            f"fused inference: expected a temperature above 0 and top_k from 0 to {experts}, found {gate.temperature} "
            f"and {gate.top_k}"
        )
    limits = beyond_limits(experts, units)
    if limits is not None:
        raise ValueError(f"fused inference: {limits}")


def _array(name: str, tensor: Tensor, device: torch.device, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The tensor, dense; raises ValueError when it is not what the kernels read."""
    if tensor.dtype != dtype or tensor.device != device or tuple(tensor.shape) != shape:
        raise ValueError(
            f"fused inference: expected {name} {list(shape)} of {dtype} on '{device}', found {list(tensor.shape)} of "
            f"{tensor.dtype} on '{tensor.device}'"
        )
    return tensor.contiguous()
