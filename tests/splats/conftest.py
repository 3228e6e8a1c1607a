"""Fixtures of the rasterizer's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from moegs_ns.splats import rasterize as rasterize_module


@pytest.fixture(autouse=True)
def _no_backend_override(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own $MOEGS_RASTER must not decide what these tests test."""
    monkeypatch.delenv("MOEGS_RASTER", raising=False)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Thousands of tiny operations: threads only get in each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["torch", "native"])
def backend(request: pytest.FixtureRequest) -> str:
    """Every CPU backend this machine has."""
    if request.param == "native":
        reason = rasterize_module._why_native_is_unavailable()
        if reason is not None:
            pytest.skip(f"no native kernels: {reason}")
    return request.param
