"""Memory and time of rendering, on CPU for real and on CUDA against a recorded device."""

from typing import Any

import pytest
import torch

from moegs_ns.training import render_meter
from moegs_ns.training.render_meter import RenderMeter, peak_process_memory_mb


class FakeCuda:
    """CUDA's allocator and queue as far as the meter asks: a render allocates and frees, metrics stay allocated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model_bytes: int) -> None:
        self.allocated = self.peak = model_bytes
        self.calls: list[str] = []
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: self.allocated)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: self.peak)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: self.reset())
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: self.calls.append("synchronize"))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")

    def reset(self) -> None:
        self.peak = self.allocated

    def allocate_for_a_while(self, size: int) -> None:
        self.peak = max(self.peak, self.allocated + size)

    def get_outputs_for_camera(self, camera: Any) -> dict:
        self.calls.append("render")
        self.allocate_for_a_while(camera)
        return {}


def test_cuda_peak_is_that_of_rendering_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch, model_bytes=100 << 20)
    meter = RenderMeter(cuda, torch.device("cuda"))
    meter.warm_up(camera=0, renders=1)
    meter.render(camera=10 << 20)
    cuda.allocated += 500 << 20  # a metrics network moves in
    cuda.allocate_for_a_while(300 << 20)
    meter.render(camera=30 << 20)
    meter.render(camera=20 << 20)
    assert meter.peak_memory_mb == 130
    assert cuda.calls == ["render"] + ["synchronize", "render", "synchronize"] * 3
    assert meter.describe()["device"] == "a GPU"


def test_cpu_peak_is_read_before_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        def get_outputs_for_camera(self, camera: Any) -> dict:
            return {"rgb": torch.zeros(1)}

    assert peak_process_memory_mb() > 50  # torch alone takes more; a wrong unit would be off by 1024
    peaks = iter([200.0, 900.0])
    monkeypatch.setattr(render_meter, "peak_process_memory_mb", lambda: next(peaks))
    meter = RenderMeter(Model(), torch.device("cpu"))
    outputs, milliseconds = meter.render(None)
    meter.render(None)
    assert meter.peak_memory_mb == 200.0
    assert outputs["rgb"].shape == (1,)
    assert 0 <= milliseconds < 1000


def test_cpu_peak_is_that_of_the_warm_up_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between it and the first timed render an evaluation looks at all images."""

    class Model:
        def get_outputs_for_camera(self, camera: Any) -> dict:
            return {}

    peaks = iter([200.0, 900.0])
    monkeypatch.setattr(render_meter, "peak_process_memory_mb", lambda: next(peaks))
    meter = RenderMeter(Model(), torch.device("cpu"))
    meter.warm_up(None, renders=2)
    meter.render(None)
    assert meter.peak_memory_mb == 200.0
