"""The compiled CPU kernels of ``cuda/`` as functions: loaded once per process, called over data pointers.

Called through ctypes, so one library serves every torch and Python. ctypes releases the interpreter lock, and no call
keeps anything between calls but what it hands out: a viewer and a trainer may call at once. Calls use
``torch.get_num_threads()`` threads, also in a forked child: there the kernels have threads of their own, because an
OpenMP team does not survive a fork. (torch's own operations on large tensors, and its backward passes after one in the
parent, do not: what a child does besides is torch's business.)

Which library: the one ``$MOEGS_NATIVE_LIBRARY`` names; else what ``$MOEGS_KERNELS`` asks for:

- ``auto``, the default: the library this installation carries for the highest level the processor runs
  (``native_prebuilt.py``), and the one compiled on this machine (``native_build.py``) where it carries none. A carried
  one is preferred also where a compiler is: it is there at once and measured as fast;
- ``compile``: the one compiled on this machine;
- ``x86-64``, ``x86-64-v3`` or ``x86-64-v4``: the carried one of that level.
"""

from __future__ import annotations

import ctypes
import os
import threading
import warnings
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_build import Build, NativeBuildError, ensure_library
from moegs_ns.splats.native_prebuilt import LEVELS, best_level, prebuilt, prebuilt_levels, processor_flags

_ABI = 8
_PARALLEL = {0: "serial", 1: "threads", 2: "openmp"}
_ERRORS = {
    1: "expected expert ids in [0, num_experts), found one outside; check expert_ids",
    2: "out of memory",
    3: "the image or the number of (Gaussian, tile) pairs is too large; render a smaller image or fewer Gaussians",
    4: "expected rows that ascend within the number of Gaussians, found others; sort them and leave out doubles",
}
_OVERRIDE = "MOEGS_NATIVE_LIBRARY"  # path of a library built elsewhere, used instead of all others
_CHOICE = "MOEGS_KERNELS"


class _Loaded:
    """The library and where it came from; loaded once per process."""

    lock = threading.Lock()
    library: ctypes.CDLL | None = None
    info: dict[str, Any] | None = None
    failure: str | None = None
    forked = False  # this process is the child of one that may have used OpenMP


def _note_fork() -> None:
    _Loaded.forked = True
    _Loaded.lock = threading.Lock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def available() -> bool:
    """Whether the kernels run here. The first call compiles them when they are not in the cache yet."""
    return unavailable_reason() is None


def unavailable_reason() -> str | None:
    """None when the kernels run here, else why they do not, in words for the user."""
    try:
        loaded_library()
    except NativeBuildError as error:
        return str(error)
    return None


def build_info() -> dict[str, Any]:
    """Plain data on the library in use: path, compiler, flags, vector width in floats, kind of parallelism.

    Raises:
        NativeBuildError: the kernels are not available.
    """
    loaded_library()
    assert _Loaded.info is not None
    return dict(_Loaded.info)


def dense(name: str, tensor: Tensor, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The tensor, contiguous; raises ValueError when its dtype, device or shape is not what the kernels read."""
    if tensor.dtype != dtype or tensor.device.type != "cpu":
        raise ValueError(
            f"native kernels: expected {name} as {dtype} on the CPU, found {tensor.dtype} on '{tensor.device}'; "
            "convert it, or use the backend 'torch', which takes every floating dtype and device"
        )
    if tuple(tensor.shape) != shape:
        raise ValueError(f"native kernels: expected {name} of shape {list(shape)}, found {list(tensor.shape)}")
    return tensor.contiguous()


def pointers(*tensors: Tensor | None) -> list[ctypes.c_void_p]:
    """Addresses for `call`; null for None. Whoever calls keeps the tensors alive until the call returns."""
    return [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]


def call(function: str, *arguments: Any) -> None:
    """Call a kernel by its name in ``splat_cpu.h``; arguments are ctypes values.

    Raises:
        MemoryError, ValueError: what the kernel reports.
    """
    status = getattr(loaded_library(), function)(*arguments)
    if status == 2:
        raise MemoryError(f"native kernels: {_ERRORS[2]}")
    if status != 0:
        raise ValueError(f"native kernels: {_ERRORS.get(status, f'{function} failed with status {status}')}")


def release_frame(pointer: ctypes.c_void_p) -> None:
    """Free a ``moegs_frame``; nothing when the interpreter is ending and the library is gone."""
    if pointer and _Loaded is not None and _Loaded.library is not None:
        _Loaded.library.moegs_frame_free(pointer)


def loaded_library() -> ctypes.CDLL:
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
        library = _open(override)
        info: dict[str, Any] = {"library": override, "compiler": f"given by ${_OVERRIDE}"}
    else:
        build, library = _choose(os.environ.get(_CHOICE, "").strip().lower() or "auto")
        info = {
            "library": build.library,
            "compiler": build.compiler,
            "flags": " ".join(build.flags),
            "seconds": build.seconds,
        }
    if _Loaded.forked:
        library.moegs_forked()
    info["vector_width"] = library.moegs_vector_width()
    info["parallel"] = _PARALLEL.get(library.moegs_parallel_kind(), "unknown")
    _Loaded.info = info
    _Loaded.library = library


def _choose(choice: str) -> tuple[Build, ctypes.CDLL]:
    """The library that ``$MOEGS_KERNELS`` asks for, opened, and how it was built."""
    if choice not in ("auto", "compile", *LEVELS):
        raise NativeBuildError(f"expected ${_CHOICE} as one of auto, compile, {', '.join(LEVELS)}, found '{choice}'")
    if choice in LEVELS:
        build = prebuilt(choice)
        return build, _open(build.library)
    carried = set(prebuilt_levels())
    if choice == "auto" and carried:
        level = best_level(processor_flags(), carried)
        try:
            build = prebuilt(level)
            return build, _open(build.library)
        except NativeBuildError as error:
            warnings.warn(
                f"The CPU kernels this installation carries cannot be used, so they are compiled: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
    build = ensure_library()
    return build, _open(build.library)


def _open(path: str) -> ctypes.CDLL:
    """Loads a library of kernels and checks its version.

    Raises:
        NativeBuildError: it is no such library, or of another version.
    """
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
    library.moegs_forked.restype = None
    return library
