"""How long a render takes and how much memory it needs, without what surrounds it."""

import resource
import time
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor


class RenderMeter:
    """Times single renders of a model and keeps the peak of their memory.

    On CUDA the device is synchronised before and after each render, and the peak is that of rendering alone: what was
    allocated before the first render plus the largest amount any render allocated on top of what it found (metrics
    networks loaded in between do not count). On CPU it is the largest resident set of the process up to the end of
    the warm-up (without one, of the first timed render), before metrics are computed.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._cuda = device.type == "cuda"
        self._allocated_at_start = torch.cuda.memory_allocated(device) if self._cuda else 0
        self._largest_increase = 0
        self._process_peak_mb: float | None = None

    def warm_up(self, camera: Cameras, renders: int) -> None:
        """Render without measuring: kernels are compiled and memory is claimed at the first renders."""
        for _ in range(renders):
            self._model.get_outputs_for_camera(camera)
        if renders and not self._cuda:
            self._process_peak_mb = peak_process_memory_mb()

    def render(self, camera: Cameras) -> tuple[dict[str, Tensor], float]:
        """The model's outputs for ``camera`` and the milliseconds they took."""
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
            found = torch.cuda.memory_allocated(self._device)
            torch.cuda.synchronize(self._device)
        start = time.perf_counter()
        outputs = self._model.get_outputs_for_camera(camera)
        if self._cuda:
            torch.cuda.synchronize(self._device)
        milliseconds = 1e3 * (time.perf_counter() - start)
        if self._cuda:
            increase = torch.cuda.max_memory_allocated(self._device) - found
            self._largest_increase = max(self._largest_increase, increase)
        elif self._process_peak_mb is None:
            self._process_peak_mb = peak_process_memory_mb()
        return outputs, milliseconds

    @property
    def peak_memory_mb(self) -> float:
        """Peak memory in MiB, as the class describes; call it after a render."""
        if self._cuda:
            return (self._allocated_at_start + self._largest_increase) / 2**20
        return peak_process_memory_mb() if self._process_peak_mb is None else self._process_peak_mb

    def describe(self) -> dict[str, str]:
        """Device and meaning of the numbers, for the protocol stamp."""
        if self._cuda:
            return {
                "device": torch.cuda.get_device_name(self._device),
                "timing": "render_ms is the median over images of one synchronised render each, metrics excluded",
                "peak_memory": "CUDA memory allocated by data, model and rendering, metrics excluded",
            }
        count = torch.get_num_threads()
        return {
            "device": f"cpu, {count} thread{'' if count == 1 else 's'}",
            "timing": "render_ms is the median over images of one render each, metrics excluded",
            "peak_memory": "largest resident set of the whole process until the first image was rendered",
        }


def peak_process_memory_mb() -> float:
    """Largest resident set this process ever had, in MiB (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def peak_memory_mb(device: str) -> dict[str, float]:
    """The process's peak and, on a CUDA device, its allocator's, in MiB."""
    memory = {"process peak": peak_process_memory_mb()}
    if device.startswith("cuda"):
        memory["CUDA peak"] = torch.cuda.max_memory_allocated(device) / 2**20
    return memory
