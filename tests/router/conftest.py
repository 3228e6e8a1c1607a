"""Runs of small experts."""

from pathlib import Path

import pytest

from moegs_ns.splats.native_backend import unavailable_reason
from tests.router.building import make_expert, save_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """An STG and a 4DGaussians expert of different size."""
    return [
        save_run(tmp_path / "stg", make_expert("stg", seed=1, count=30), "stg"),
        save_run(tmp_path / "4dgaussians", make_expert("4dgaussians", seed=2, count=50), "4dgaussians"),
    ]


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU kernels; skipped where they cannot be built."""
    reason = unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    monkeypatch.setenv("MOEGS_RASTER", "native")
