"""The memory of experts' Gaussians: what it returns, and that it stays within its limit."""

import pytest
import torch

from moegs_ns.router.splat_cache import SplatCache
from moegs_ns.splats.splats import Splats

COUNT = 10
BYTES = 2 * COUNT * (3 + 4 + 3 + 1) * 4  # two experts


class Source:
    def __init__(self) -> None:
        self.asked: list[float] = []

    def __call__(self, time: float) -> list[Splats]:
        self.asked.append(time)
        return [
            Splats(torch.full((COUNT, 3), time), torch.zeros(COUNT, 4), torch.zeros(COUNT, 3), torch.zeros(COUNT))
            for _ in range(2)
        ]


def test_remembers_the_instants_used_last() -> None:
    cache, source = SplatCache(2 * BYTES), Source()
    first = cache.get(0.1, source)
    assert cache.get(0.1, source) is first
    cache.get(0.2, source)
    cache.get(0.1, source)
    assert float(cache.get(0.3, source)[1].means[0, 0]) == pytest.approx(0.3)  # 0.2 gives way
    assert source.asked == [0.1, 0.2, 0.3]
    cache.get(0.1, source)
    assert source.asked == [0.1, 0.2, 0.3]
    cache.get(0.2, source)
    assert source.asked == [0.1, 0.2, 0.3, 0.2]
    assert len(cache) == 2


def test_too_small_a_limit_keeps_nothing() -> None:
    for limit in (0, BYTES - 1):
        cache, source = SplatCache(limit), Source()
        cache.get(0.1, source)
        cache.get(0.1, source)
        assert source.asked == [0.1, 0.1] and len(cache) == 0
    cache = SplatCache(BYTES)
    cache.get(0.1, source)
    assert len(cache) == 1


def test_clear() -> None:
    cache, source = SplatCache(BYTES), Source()
    cache.get(0.1, source)
    cache.clear()
    assert len(cache) == 0
    cache.get(0.1, source)
    cache.get(0.1, source)
    assert source.asked == [0.1, 0.1]
