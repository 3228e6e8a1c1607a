"""Training images drawn by how badly their instant was last rendered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from moegs_ns.scene.sampler import GroupSampler

_NEVER_SEEN = 100.0  # far above any error of images in [0,1]: what was not seen yet comes first


class ErrorSampler:
    """Endless stream of groups of images; after a while, every second one's instant is drawn by its error (E-D3DGS).

    An instant's weight is the sum over its images of the error each was last rendered with, less the smallest such sum:
    the best instant rests. Other groups are those of a `GroupSampler` whose groups are of one instant. In addition,
    once in ``hold_interval`` groups the instant can be held for several groups, which walk through its cameras.

    Draws from generators of its own, and its state is tensors and plain numbers, loadable with weights_only.

    Args:
        instants: the instant of each image, any integers; the position in this list is the image's index.
        group_size: images per group, all different and of one instant.
        seed: of the order.
        start: groups counted from 1; those before this one are plain.
        hold_interval: groups between two held instants; 0 = none is held.
        hold_steps: groups that show a held instant.

    Raises:
        ValueError: no images, too few at some instant for a group, or a hold longer than its interval.
    """

    def __init__(
        self,
        instants: Sequence[int],
        group_size: int,
        seed: int,
        start: int,
        hold_interval: int = 0,
        hold_steps: int = 1,
    ) -> None:
        if hold_interval and not 1 <= hold_steps <= hold_interval:
            raise ValueError(
                f"expected 1 <= hold_steps <= hold_interval = {hold_interval}, found {hold_steps}; change "
                "--pipeline.datamanager.hold-steps"
            )
        self._plain = GroupSampler(instants, group_size, True, seed)
        _, self._rank = torch.unique(torch.tensor(list(instants)), return_inverse=True)
        self._errors = torch.full((len(instants),), _NEVER_SEEN, dtype=torch.float64)
        self._generator = torch.Generator().manual_seed(seed + 1)
        self._group_size, self._start = group_size, start
        self._hold_interval, self._hold_steps = hold_interval, hold_steps
        self._drawn = 0
        self._queue = torch.zeros(0, dtype=torch.int64)  # images of a held instant still to be shown
        self._limit: int | None = None
        self._signature = ["by error", len(instants), group_size, start, hold_interval, hold_steps]

    def next_group(self) -> list[int]:
        """Indices of the next ``group_size`` images, all different."""
        self._drawn += 1
        if len(self._queue):
            return self._take_from_queue()
        active = self._drawn >= self._start
        by_error = active and self._drawn % 2 == 0
        hold = active and self._hold_interval > 0 and self._drawn % self._hold_interval == 0
        if not by_error and not hold:
            return self._plain.next_group()
        weights = self._weights() if by_error else torch.ones(int(self._rank.max()) + 1)[: self._limit]
        images = (self._rank == torch.multinomial(weights, 1, generator=self._generator)).nonzero()[:, 0]
        shuffled = images[torch.randperm(len(images), generator=self._generator)]
        wanted = self._group_size * (self._hold_steps if hold else 1)
        self._queue = shuffled.repeat(-(-wanted // len(shuffled)))[:wanted]
        return self._take_from_queue()

    def limit(self, count: int) -> None:
        """Show images of the ``count`` earliest instants only, from the next group on.

        Raises:
            ValueError: as `GroupSampler.limit`.
        """
        self._plain.limit(count)
        if count != self._limit:
            self._limit = count
            self._queue = self._queue[:0]

    def observe(self, image: int, error: float) -> None:
        """Image ``image`` was rendered with this error, a mean absolute difference in [0,1]."""
        self._errors[image] = error

    def state(self) -> dict[str, Any]:
        """Tensors and plain numbers from which `load_state` continues with the very next group."""
        return {
            "plain": self._plain.state(),
            "generator": self._generator.get_state(),
            "drawn": self._drawn,
            "queue": self._queue.clone(),
            "errors": self._errors.clone(),
            "limit": self._limit,
            "signature": list(self._signature),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken.

        Raises:
            ValueError: the state belongs to other images or options.
        """
        if list(state["signature"]) != self._signature:
            raise ValueError(
                "expected sampler state for [kind, images, cameras_per_step, error_sampling_start, hold_interval, "
                f"hold_steps] = {self._signature}, found {list(state['signature'])}; resume with the scene and options "
                "of the run"
            )
        self._plain.load_state(state["plain"])
        self._limit = state.get("limit")
        self._generator.set_state(state["generator"].cpu())
        self._drawn = int(state["drawn"])
        self._queue, self._errors = state["queue"].cpu().clone(), state["errors"].cpu().clone()

    def _take_from_queue(self) -> list[int]:
        group, self._queue = self._queue[: self._group_size], self._queue[self._group_size :]
        return group.tolist()

    def _weights(self) -> torch.Tensor:
        """``[instants]`` of those shown, with a positive sum."""
        sums = torch.bincount(self._rank, weights=self._errors)[: self._limit]
        excess = sums - sums.min()
        return excess if bool(excess.any()) else torch.ones_like(excess)
