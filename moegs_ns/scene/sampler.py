"""Which training images a step sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class GroupSampler:
    """Endless stream of groups of images, epoch by epoch without replacement.

    With ``same_instant`` each instant's images are shuffled and cut into groups, and the groups of all instants are
    shuffled; otherwise all images are shuffled and cut. A last group that would be short is filled up with other
    images (of its instant, or of all), so every image comes once per epoch, a few twice. Groups of one are plain
    shuffled epochs over all images in either mode.

    Draws from its own generator, never from torch's global one, so the order depends on the seed alone. The state is
    the generator at the start of the epoch and the position in it: small, exact, and loadable with weights_only.

    Args:
        instants: the instant of each image, any integers; the position in this list is the image's index.
        group_size: images per group, all different.
        same_instant: whether all images of a group are of one instant.
        seed: of the order.

    Raises:
        ValueError: no images, or not enough (at some instant) for one group.
    """

    def __init__(self, instants: Sequence[int], group_size: int, same_instant: bool, seed: int) -> None:
        if not len(instants):
            raise ValueError("expected at least one training image, found none")
        if group_size < 1:
            raise ValueError(f"expected cameras_per_step >= 1, found {group_size}")
        pools: dict[int, list[int]] = {}
        for image, instant in enumerate(instants):
            pools.setdefault(int(instant) if same_instant else 0, []).append(image)
        self._all_pools = [torch.tensor(pool) for _, pool in sorted(pools.items())]
        smallest = min(len(pool) for pool in self._all_pools)
        if smallest < group_size:
            advice = (
                " or pass --pipeline.datamanager.same-instant False (moegs train: add +one-camera to --preset), where "
                "an instant has no other view, as in a capture by one camera"
                if same_instant
                else ""
            )
            raise ValueError(
                f"expected at least cameras_per_step = {group_size} training images"
                f"{' of every instant' if same_instant else ''}, found {smallest}; lower "
                f"--pipeline.datamanager.cameras-per-step{advice}"
            )
        # Rank of each image's instant, so that "the first n instants" means the same whatever the numbers.
        self._ranks = torch.unique(torch.tensor(instants), return_inverse=True)[1]
        self._limit: int | None = None
        self._group_size = group_size
        self._signature = [len(instants), group_size, int(same_instant)]
        self._generator = torch.Generator().manual_seed(seed)
        self._begin_epoch()

    def next_group(self) -> list[int]:
        """Indices of the next ``group_size`` images, all different."""
        if self._position == len(self._groups):
            self._begin_epoch()
        group = self._groups[self._position]
        self._position += 1
        return group.tolist()

    def limit(self, count: int) -> None:
        """Show images of the ``count`` earliest instants only. A limit other than the present one begins a new epoch.

        Raises:
            ValueError: no instants, or too few images in them for one group.
        """
        if count == self._limit:
            return
        smallest = min((len(pool) for pool in self._pools(count)), default=0)
        if smallest < self._group_size:
            raise ValueError(
                f"expected at least {self._group_size} training images among the {count} earliest instants, found "
                f"{smallest}; allow more instants"
            )
        self._limit = count
        self._begin_epoch()

    def state(self) -> dict[str, Any]:
        """Tensors and plain numbers from which `load_state` continues with the very next group."""
        return {
            "epoch_generator": self._epoch_generator.clone(),
            "position": self._position,
            "limit": self._limit,
            "signature": list(self._signature),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken.

        Raises:
            ValueError: the state belongs to other images or another grouping.
        """
        if list(state["signature"]) != self._signature:
            raise ValueError(
                "expected sampler state for [images, cameras_per_step, same_instant] = "
                f"{self._signature}, found {list(state['signature'])}; resume with the scene and options of the run"
            )
        self._limit = state.get("limit")
        self._generator.set_state(state["epoch_generator"].cpu())
        self._begin_epoch()
        self._position = int(state["position"])

    def _begin_epoch(self) -> None:
        self._epoch_generator = self._generator.get_state()
        groups = torch.cat([self._cut(pool) for pool in self._pools(self._limit)])
        self._groups = groups[torch.randperm(len(groups), generator=self._generator)]
        self._position = 0

    def _pools(self, limit: int | None) -> list[torch.Tensor]:
        """The images groups are drawn from: one pool per instant, or one of all; those of the earliest instants."""
        if limit is None:
            return self._all_pools
        allowed = [pool[self._ranks[pool] < limit] for pool in self._all_pools]
        return [pool for pool in allowed if len(pool)]

    def _cut(self, pool: torch.Tensor) -> torch.Tensor:
        """``[groups, group_size]``: a shuffled pool, its head repeated at the end to fill the last group."""
        shuffled = pool[torch.randperm(len(pool), generator=self._generator)]
        missing = -len(pool) % self._group_size
        return torch.cat([shuffled, shuffled[:missing]]).view(-1, self._group_size)
