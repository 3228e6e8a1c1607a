"""Memory of frozen experts' Gaussians at instants already seen in training."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import fields

from moegs_ns.splats.splats import Splats


class SplatCache:
    """The Gaussians of all experts by time, up to a limit of bytes; the instant unused for longest gives way.

    A training step of the router visits one of a clip's few instants, and a frozen expert's Gaussians there never
    change: a deformation field need not be evaluated again, a large part of a step on a CPU. For training
    only: rendering speed is measured, and experts may be edited, outside of it. Where the Gaussians project to is not
    remembered: it is a small part of a step, and cameras seldom come again at the same time (docs/performance.md).

    Args:
        limit: bytes; 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[float, tuple[list[Splats], int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, time: float, compute: Callable[[float], list[Splats]]) -> list[Splats]:
        """The Gaussians of every expert at ``time``, from memory or from ``compute(time)``."""
        if time in self._kept:
            self._kept.move_to_end(time)
            return self._kept[time][0]
        parts = compute(time)
        size = _size(parts)
        if size <= self.limit:
            self._kept[time] = (parts, size)
            self._bytes += size
            while self._bytes > self.limit:
                self._bytes -= self._kept.popitem(last=False)[1][1]
        return parts

    def clear(self) -> None:
        """Forget everything: the experts changed, or their device."""
        self._kept.clear()
        self._bytes = 0


def _size(parts: Sequence[Splats]) -> int:
    tensors = [getattr(part, item.name) for part in parts for item in fields(part)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)
