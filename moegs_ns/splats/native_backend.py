"""The CPU backend: the compiled kernels of ``cuda/`` behind torch's autograd.

Called through ctypes over data pointers, so one library serves every torch and Python. ctypes releases the
interpreter lock, and a call keeps its state in its own ``moegs_frame``: a viewer and a trainer may render at once.
Calls use ``torch.get_num_threads()`` threads. As with torch itself, a forked process whose parent has used OpenMP must
stay with one thread, which is what torch gives its data loader's workers.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_build import NativeBuildError, ensure_library
from moegs_ns.splats.projection import Projected, ProjectionSettings

__all__ = ["available", "build_info", "composite", "count_intersections", "project", "unavailable_reason"]

_ABI = 1
_PARALLEL = {0: "serial", 1: "threads", 2: "openmp"}
_ERRORS = {
    1: "expected expert ids in [0, num_experts), found one outside; check expert_ids",
    2: "out of memory",
    3: "the image or the number of (Gaussian, tile) pairs is too large; render a smaller image or fewer Gaussians",
}
_OVERRIDE = "MOEGS_NATIVE_LIBRARY"  # path of a library built elsewhere, used instead of compiling


class _Camera(ctypes.Structure):
    """``moegs_camera`` of splat_cpu.h."""

    _fields_ = (
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("antialiased", ctypes.c_int32),
        ("eps2d", ctypes.c_float),
        ("near_plane", ctypes.c_float),
        ("far_plane", ctypes.c_float),
        ("radius_clip", ctypes.c_float),
        ("viewmat", ctypes.c_float * 16),
        ("intrinsics", ctypes.c_float * 9),
    )


class _Loaded:
    """The library and where it came from; loaded once per process."""

    lock = threading.Lock()
    library: ctypes.CDLL | None = None
    info: dict[str, Any] | None = None
    failure: str | None = None


def available() -> bool:
    """Whether the kernels run here. The first call compiles them when they are not in the cache yet."""
    return unavailable_reason() is None


def unavailable_reason() -> str | None:
    """None when the kernels run here, else why they do not, in words for the user."""
    try:
        _library()
    except NativeBuildError as error:
        return str(error)
    return None


def build_info() -> dict[str, Any]:
    """Plain data on the library in use: path, compiler, flags, vector width in floats, kind of parallelism.

    Raises:
        NativeBuildError: the kernels are not available.
    """
    _library()
    assert _Loaded.info is not None
    return dict(_Loaded.info)


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
    """Projects Gaussians; differentiable with respect to means, quats and scales. See ``project_torch``.

    Raises:
        ValueError: a tensor is not float32 on the CPU or has the wrong shape, or the camera requires a gradient.
    """
    count = means.shape[0]
    means, quats = _dense("means", means, count, 3), _dense("quats", quats, count, 4)
    scales = _dense("scales", scales, count, 3)
    if torch.is_grad_enabled() and (viewmat.requires_grad or K.requires_grad):
        raise ValueError(
            "native rasterizer: expected a fixed camera, found a viewmat or K that requires a gradient; use the "
            "backend 'torch' to optimise cameras"
        )
    if tuple(viewmat.shape) != (4, 4) or tuple(K.shape) != (3, 3):
        raise ValueError(
            f"native rasterizer: expected viewmat [4, 4] and K [3, 3], found {list(viewmat.shape)}, {list(K.shape)}"
        )
    camera = _Camera(
        width,
        height,
        int(settings.antialiased),
        settings.eps2d,
        settings.near,
        settings.far,
        settings.radius_clip,
        (ctypes.c_float * 16)(*viewmat.detach().flatten().tolist()),
        (ctypes.c_float * 9)(*K.detach().flatten().tolist()),
    )
    return Projected(*_Project.apply(means, quats, scales, camera))


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
    """Blends projected Gaussians; differentiable with respect to means2d, conics, opacities and channels.

    Gradients are bitwise the same for any number of threads. When only channels need one, no geometry gradient is
    computed. See ``torch_backend.composite`` for arguments and results.

    Raises:
        ValueError: a tensor is not float32 on the CPU or has the wrong shape, or an expert id is out of range.
    """
    count = means2d.shape[0]
    if channels.ndim != 2 or channels.shape[1] < 1:
        raise ValueError(f"native rasterizer: expected channels [N, C] with C >= 1, found {list(channels.shape)}")
    if width < 1 or height < 1 or num_experts < 1:
        raise ValueError(
            f"native rasterizer: expected at least one pixel and one expert, found {width}x{height} and {num_experts}"
        )
    order = (
        _dense("depths", depths.detach(), count),
        _dense("radii", radii, count, dtype=torch.int32),
        _dense("expert_ids", expert_ids.to(torch.int32), count, dtype=torch.int32) if num_experts > 1 else None,
    )
    return _Composite.apply(means2d, conics, opacities, channels, order, (num_experts, width, height), absgrad)


def count_intersections(images: Tensor) -> int:
    """Number of (Gaussian, tile) pairs behind ``composite``'s images, for benchmarks.

    Raises:
        ValueError: the images are not directly what ``composite`` returned, or were made without gradients.
    """
    frame = getattr(images.grad_fn, "frame", None)
    if frame is None:
        raise ValueError("count_intersections: expected images straight from composite() with gradients enabled")
    return int(_library().moegs_frame_intersections(frame.pointer))


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, camera: _Camera) -> tuple[Tensor, ...]:
        count = means.shape[0]
        means2d, depths, conics = means.new_empty(count, 2), means.new_empty(count), means.new_empty(count, 3)
        compensations, radii = means.new_empty(count), means.new_empty(count, dtype=torch.int32)
        _call(
            "moegs_project_forward",
            ctypes.c_int64(count),
            *_pointers(means, quats, scales),
            ctypes.byref(camera),
            ctypes.c_int32(torch.get_num_threads()),
            *_pointers(means2d, depths, conics, compensations, radii),
        )
        ctx.camera = camera
        ctx.save_for_backward(means, quats, scales, radii)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*([radii] if camera.antialiased else [radii, compensations]))
        return means2d, depths, conics, compensations, radii

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        means, quats, scales, radii = ctx.saved_tensors
        kept = [None if gradient is None else gradient.contiguous() for gradient in upstream[:4]]
        gradients = [torch.empty_like(tensor) for tensor in (means, quats, scales)]
        _call(
            "moegs_project_backward",
            ctypes.c_int64(means.shape[0]),
            *_pointers(means, quats, scales),
            ctypes.byref(ctx.camera),
            ctypes.c_int32(torch.get_num_threads()),
            *_pointers(radii, *kept, *gradients),
        )
        return (*gradients, None)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means2d: Tensor,
        conics: Tensor,
        opacities: Tensor,
        channels: Tensor,
        order: tuple[Tensor, Tensor, Tensor | None],
        size: tuple[int, int, int],
        absgrad: bool,
    ) -> tuple[Tensor, Tensor]:
        count, width_of_channels = channels.shape
        num_experts, width, height = size
        inputs = (
            _dense("means2d", means2d, count, 2),
            _dense("conics", conics, count, 3),
            _dense("opacities", opacities, count),
            _dense("channels", channels, count, width_of_channels),
        )
        images = channels.new_empty(num_experts, height, width, width_of_channels)
        alphas = channels.new_empty(num_experts, height, width)
        keep = any(ctx.needs_input_grad)
        frame = _Frame()
        _call(
            "moegs_composite_forward",
            ctypes.c_int64(count),
            *(ctypes.c_int32(value) for value in (width_of_channels, num_experts, width, height)),
            *_pointers(*inputs, *order),
            ctypes.c_int32(torch.get_num_threads()),
            *_pointers(images, alphas),
            ctypes.byref(frame.pointer) if keep else None,
        )
        ctx.frame = frame
        ctx.absgrad = absgrad
        ctx.sizes = (count, width_of_channels)
        # Kept only to hang `absgrad` on it: a saved input comes back as the very object the caller holds.
        ctx.save_for_backward(means2d)
        ctx.set_materialize_grads(False)
        return images, alphas

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v_images: Tensor | None, v_alphas: Tensor | None) -> tuple[Tensor | None, ...]:
        (means2d,) = ctx.saved_tensors
        count, width_of_channels = ctx.sizes
        geometry, channels = any(ctx.needs_input_grad[:3]), ctx.needs_input_grad[3]
        absgrad = ctx.absgrad and ctx.needs_input_grad[0]

        def gradient(wanted: bool, *shape: int) -> Tensor | None:
            return means2d.new_empty(shape) if wanted else None

        gradients = (
            gradient(geometry, count, 2),
            gradient(geometry, count, 3),
            gradient(geometry, count),
            gradient(channels, count, width_of_channels),
            gradient(absgrad, count, 2),
        )
        # Held by a name until the call returns: the kernel reads raw addresses, which keep no copy alive.
        upstream = [None if gradient is None else gradient.contiguous() for gradient in (v_images, v_alphas)]
        _call(
            "moegs_composite_backward",
            ctx.frame.pointer,
            ctypes.c_int32(torch.get_num_threads()),
            *_pointers(*upstream),
            *_pointers(*gradients),
        )
        if absgrad:
            means2d.absgrad = gradients[4]
        wanted = [gradients[i] if ctx.needs_input_grad[i] else None for i in range(4)]
        return (*wanted, None, None, None)


class _Frame:
    """Owns a ``moegs_frame``: what a backward pass knows of its forward pass."""

    def __init__(self) -> None:
        self.pointer = ctypes.c_void_p()

    def __del__(self) -> None:
        if self.pointer and _Loaded is not None and _Loaded.library is not None:  # gone when the interpreter ends
            _Loaded.library.moegs_frame_free(self.pointer)


def _dense(name: str, tensor: Tensor, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The tensor, contiguous; raises ValueError when its dtype, device or shape is not what the kernels read."""
    if tensor.dtype != dtype or tensor.device.type != "cpu":
        raise ValueError(
            f"native rasterizer: expected {name} as {dtype} on the CPU, found {tensor.dtype} on '{tensor.device}'; "
            "convert it, or use the backend 'torch', which takes every floating dtype and device"
        )
    if tuple(tensor.shape) != shape:
        raise ValueError(f"native rasterizer: expected {name} of shape {list(shape)}, found {list(tensor.shape)}")
    return tensor.contiguous()


def _pointers(*tensors: Tensor | None) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]


def _call(function: str, *arguments: Any) -> None:
    status = getattr(_library(), function)(*arguments)
    if status == 2:
        raise MemoryError(f"native rasterizer: {_ERRORS[2]}")
    if status != 0:
        raise ValueError(f"native rasterizer: {_ERRORS.get(status, f'{function} failed with status {status}')}")


def _library() -> ctypes.CDLL:
    """The loaded library; compiles it on first use.

    Raises:
        NativeBuildError: it cannot be built or loaded. The first failure is remembered.
    """
    if _Loaded.library is None:
        with _Loaded.lock:
            if _Loaded.library is None:
                if _Loaded.failure is not None:
                    raise NativeBuildError(_Loaded.failure)
                try:
                    _load()
                except NativeBuildError as error:
                    _Loaded.failure = str(error)
                    raise
    assert _Loaded.library is not None
    return _Loaded.library


def _load() -> None:
    override = os.environ.get(_OVERRIDE)
    if override:
        path = override
        info: dict[str, Any] = {"library": path, "compiler": f"given by ${_OVERRIDE}"}
    else:
        build = ensure_library()
        path = build.library
        info = {"library": path, "compiler": build.compiler, "flags": " ".join(build.flags), "seconds": build.seconds}
    try:
        library = ctypes.CDLL(path)
        abi = library.moegs_abi()
    except (OSError, AttributeError) as error:
        raise NativeBuildError(
            f"expected the CPU kernels in '{path}', found a library that does not load: {error}"
        ) from error
    if abi != _ABI:
        raise NativeBuildError(f"expected version {_ABI} of the CPU kernels in '{path}', found {abi}; rebuild them")
    library.moegs_frame_intersections.restype = ctypes.c_int64
    library.moegs_frame_free.restype = None
    library.moegs_frame_free.argtypes = [ctypes.c_void_p]
    info["vector_width"] = library.moegs_vector_width()
    info["parallel"] = _PARALLEL.get(library.moegs_parallel_kind(), "unknown")
    _Loaded.info = info
    _Loaded.library = library
