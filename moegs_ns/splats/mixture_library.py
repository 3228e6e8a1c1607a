"""The libraries of fused inference (``cuda/mixture.h``), loaded once per process and called over data pointers.

On CUDA it is the library that nvcc compiles at first use (`moegs_ns.splats.mixture_build`). Nothing here touches CUDA,
or looks for nvcc, unless torch can use a GPU.
"""

from __future__ import annotations

import ctypes
import os
import threading

import torch

from moegs_ns.splats.kernel_cache import NativeBuildError
from moegs_ns.splats.mixture_build import ensure_mixture_library

MAX_EXPERTS = 8
MAX_LAYERS = 4
MAX_UNITS = 32

_ABI = 1
_OVERRIDE = "MOEGS_MIXTURE_LIBRARY"  # path of a library built elsewhere, used instead of compiling
_OUT_OF_CUDA = 4
_ERRORS = {
    1: "a size, or a number of experts, layers or units is out of range",
    2: "the image or the number of (Gaussian, tile) pairs is too large; render a smaller image or fewer Gaussians",
    3: "the scratch memory is too small",
}


class Projection(ctypes.Structure):
    """``moegs_mixture_projection``."""

    _fields_ = (
        ("antialiased", ctypes.c_int32),
        ("eps2d", ctypes.c_float),
        ("near_plane", ctypes.c_float),
        ("far_plane", ctypes.c_float),
        ("radius_clip", ctypes.c_float),
    )


class Scene(ctypes.Structure):
    """``moegs_mixture_scene``."""

    _fields_ = (
        ("count", ctypes.c_int64),
        ("num_experts", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("means", ctypes.c_void_p),
        ("quats", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("opacities", ctypes.c_void_p),
        ("colors", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("expert_ids", ctypes.c_void_p),
        ("viewmat", ctypes.c_void_p),
        ("intrinsics", ctypes.c_void_p),
        ("projections", Projection * MAX_EXPERTS),
    )


class Gate(ctypes.Structure):
    """``moegs_mixture_gate``."""

    _fields_ = (
        ("layers", ctypes.c_int32),
        ("units", ctypes.c_int32 * (MAX_LAYERS + 1)),
        ("matrices", ctypes.c_void_p * MAX_LAYERS),
        ("ray_first", ctypes.c_int32),
        ("ray_count", ctypes.c_int32),
        ("temperature", ctypes.c_float),
        ("top_k", ctypes.c_int32),
        ("weight_background", ctypes.c_float),
        ("backgrounds", ctypes.c_void_p),
    )


class Pictures(ctypes.Structure):
    """``moegs_mixture_pictures``."""

    _fields_ = (
        ("rgb", ctypes.c_void_p),
        ("accumulation", ctypes.c_void_p),
        ("depth", ctypes.c_void_p),
        ("gates", ctypes.c_void_p),
        ("pictures", ctypes.c_void_p),
    )


class MixtureLibrary:
    """A loaded library.

    Args:
        path: of the shared library.

    Attributes:
        path: likewise.
        device_type: ``cuda`` or ``cpu``, where its arrays are.

    Raises:
        NativeBuildError: it does not load, or is of another version.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            library = ctypes.CDLL(path)
            abi = library.moegs_mixture_abi()
        except (OSError, AttributeError) as error:
            raise NativeBuildError(
                f"expected the kernels of fused inference in '{path}', found a library that does not load: {error}"
            ) from error
        if abi != _ABI:
            raise NativeBuildError(
                f"expected version {_ABI} of the kernels of fused inference in '{path}', found {abi}; rebuild them"
            )
        self.device_type = "cuda" if library.moegs_mixture_runs_on_cuda() else "cpu"
        number, pointer, device = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int32
        library.moegs_mixture_last_error.restype = ctypes.c_char_p
        library.moegs_mixture_bin_bytes.restype = number
        library.moegs_mixture_bin_bytes.argtypes = [pointer, device]
        library.moegs_mixture_draw_bytes.restype = number
        library.moegs_mixture_draw_bytes.argtypes = [pointer, number, device]
        library.moegs_mixture_bin.argtypes = [pointer, pointer, number, pointer, device, pointer]
        library.moegs_mixture_draw.argtypes = [
            *(pointer, pointer, pointer, number, pointer, number, pointer),
            *(device, pointer),
        ]
        self._library = library

    def bin_bytes(self, scene: Scene, device: int) -> int:
        """Bytes of scratch memory that `bin` needs."""
        return self._size(self._library.moegs_mixture_bin_bytes(ctypes.byref(scene), device))

    def draw_bytes(self, scene: Scene, pairs: int, device: int) -> int:
        """Bytes of scratch memory that `draw` needs."""
        return self._size(self._library.moegs_mixture_draw_bytes(ctypes.byref(scene), pairs, device))

    def bin(self, scene: Scene, scratch: int, scratch_bytes: int, totals: int, device: int, stream: int) -> None:
        """``moegs_mixture_bin``; addresses and the stream are integers.

        Raises:
            ValueError, RuntimeError: what the library reports, the latter of CUDA.
        """
        self._check(
            self._library.moegs_mixture_bin(ctypes.byref(scene), scratch, scratch_bytes, totals, device, stream)
        )

    def draw(
        self,
        scene: Scene,
        gate: Gate,
        binned: int,
        pairs: int,
        scratch: int,
        scratch_bytes: int,
        pictures: Pictures,
        device: int,
        stream: int,
    ) -> None:
        """``moegs_mixture_draw``; as `bin`."""
        references = ctypes.byref(scene), ctypes.byref(gate), ctypes.byref(pictures)
        status = self._library.moegs_mixture_draw(
            references[0], references[1], binned, pairs, scratch, scratch_bytes, references[2], device, stream
        )
        self._check(status)

    def check_runs(self, device: int) -> None:
        """Raises NativeBuildError when the library cannot use the GPU, say for a driver older than itself."""
        try:
            self.bin_bytes(Scene(count=0, num_experts=1, width=1, height=1), device)
        except RuntimeError as error:
            raise NativeBuildError(f"the compiled kernels of fused inference do not run here: {error}") from error

    def _size(self, found: int) -> int:
        self._check(-found if found < 0 else 0)
        return found

    def _check(self, status: int) -> None:
        if status == _OUT_OF_CUDA:
            raise RuntimeError(f"fused inference: CUDA reports: {self._library.moegs_mixture_last_error().decode()}")
        if status != 0:
            raise ValueError(f"fused inference: {_ERRORS.get(status, f'failed with status {status}')}")


class _Loaded:
    """Libraries and failures by what they were asked for; kept for the process."""

    lock = threading.Lock()
    found: dict[str, MixtureLibrary | NativeBuildError] = {}  # noqa: RUF012 -- never an instance's


def mixture_library(device: torch.device) -> MixtureLibrary:
    """The library that draws tensors on ``device``, compiled and loaded on first use.

    ``$MOEGS_MIXTURE_LIBRARY`` names one built elsewhere; of ``cuda/mixture_host.cpp``, it draws on the CPU.

    Raises:
        NativeBuildError: there is none for this device or machine. A failure is remembered.
    """
    override = os.environ.get(_OVERRIDE)
    if device.type != "cuda" and not override:
        raise NativeBuildError(f"it runs on CUDA, and this is on '{device}'")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise NativeBuildError("torch.cuda.is_available() is False")
    architecture = "sm_{}{}".format(*torch.cuda.get_device_capability(device)) if device.type == "cuda" else "host"
    wanted = override or architecture
    with _Loaded.lock:
        if wanted not in _Loaded.found:
            try:
                library = MixtureLibrary(override or ensure_mixture_library(architecture).library)
                library.check_runs(device_index(device))
                _Loaded.found[wanted] = library
            except NativeBuildError as error:
                _Loaded.found[wanted] = error
        found = _Loaded.found[wanted]
    if isinstance(found, NativeBuildError):
        raise NativeBuildError(str(found))
    if found.device_type != device.type:
        raise NativeBuildError(f"'{found.path}' draws tensors on '{found.device_type}', and this is on '{device}'")
    return found


def device_index(device: torch.device) -> int:
    """Number of a CUDA device, 0 for the CPU."""
    if device.type != "cuda":
        return 0
    return torch.cuda.current_device() if device.index is None else device.index
