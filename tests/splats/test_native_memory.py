"""The native kernels keep memory for the next call, and must find what they kept."""

from pathlib import Path

import pytest
import torch

from moegs_ns.splats import native_backend
from moegs_ns.splats.projection import ProjectionSettings

CALLS = 4000


def anonymous_memory_kib() -> int:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    found = [int(line.split()[1]) for line in lines if line.startswith("RssAnon:")]
    if not found:
        pytest.skip("this system does not tell resident memory without mapped files")
    return found[0]


@pytest.mark.skipif(not native_backend.available(), reason="the native kernels do not build here")
@pytest.mark.parametrize("count", [3, 300])
def test_many_small_frames_need_no_more_memory_than_a_few(count: int) -> None:
    """Blocks of a few bytes once never fitted again: 14 KiB a frame, up to the pool's limit."""
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(count, 3, generator=generator) + torch.tensor([-0.5, -0.5, 2.0])
    quats = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=-1)
    scales = torch.full((count, 3), 0.05)
    K = torch.tensor([[30.0, 0.0, 16.0], [0.0, 30.0, 12.0], [0.0, 0.0, 1.0]])
    opacities, colors = torch.full((count,), 0.5), torch.rand(count, 3, generator=generator)
    experts = torch.zeros(count, dtype=torch.int32)

    def frame() -> None:
        seen = native_backend.project(means, quats, scales, torch.eye(4), K, 32, 24, ProjectionSettings())
        native_backend.composite(
            seen.means2d, seen.conics, opacities, colors, seen.depths, seen.radii, experts, 1, 32, 24
        )

    for _ in range(200):
        frame()
    before = anonymous_memory_kib()
    for _ in range(CALLS):
        frame()
    assert anonymous_memory_kib() - before < 4 * 1024
