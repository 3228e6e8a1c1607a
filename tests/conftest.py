"""What every test shares: where the real scenes lie, and skips for what this machine does not have."""

import os
from collections.abc import Iterator
from pathlib import Path

# The suite runs on small machines next to other work: tiny tensors gain nothing from several threads.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# Threads that wait give their core away; spinning ones make a busy machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# No test may draw into a window.
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import HealthCheck, settings

# Properties are tried on the same examples everywhere and every time, in bounded number; by the clock they would fail
# on machines that are busy. To look for more: pytest --hypothesis-profile=search.
settings.register_profile(
    "suite", max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", max_examples=5000, deadline=None)
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("MOEGS_DATA_DIR", ROOT.parent / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_data = pytest.mark.skip(reason="no real scenes at ../shared/data or $MOEGS_DATA_DIR")
    skip_cuda = pytest.mark.skip(reason="no NVIDIA GPU")
    no_data = not DATA.is_dir()
    no_cuda = any("cuda" in item.keywords for item in items) and not _cuda_available()
    for item in items:
        if no_data and item.get_closest_marker("data"):
            item.add_marker(skip_data)
        if no_cuda and item.get_closest_marker("cuda"):
            item.add_marker(skip_cuda)


def _cuda_available() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty user cache (decoded frames, compiled kernels) of this session's own, also for subprocesses."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOEGS_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def sample_scene(project_root: Path) -> Path:
    """The bundled scene: 12 cameras x 24 frames of 320x240, with masks and tracks as ground truth."""
    return project_root / "examples" / "mixed"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real scenes (``../shared/data``); for tests marked ``data``."""
    return DATA


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout's top level."""
    return ROOT
