"""Sampling: complete epochs, groups of one instant, exact resumption, no touch of the global generator."""

from __future__ import annotations

import io
from collections import Counter
from itertools import pairwise

import pytest
import torch

from moegs_ns.scene.sampler import GroupSampler

CAMERAS, FRAMES = 5, 7
INSTANTS = [frame for _ in range(CAMERAS) for frame in range(FRAMES)]  # camera-major, as data parsers order images


@pytest.mark.parametrize("same_instant", [True, False])
@pytest.mark.parametrize("group_size", [1, 2, 3, 5])
def test_an_epoch_sees_every_image(group_size: int, same_instant: bool) -> None:
    sampler = GroupSampler(INSTANTS, group_size, same_instant, seed=3)
    pools, pool = (FRAMES, CAMERAS) if same_instant else (1, CAMERAS * FRAMES)
    per_epoch = pools * -(-pool // group_size)
    for _ in range(3):
        groups = [sampler.next_group() for _ in range(per_epoch)]
        assert all(len(set(group)) == group_size for group in groups)
        if same_instant:
            assert all(len({INSTANTS[image] for image in group}) == 1 for group in groups)
        counts = Counter(image for group in groups for image in group)
        assert set(counts) == set(range(CAMERAS * FRAMES))
        repeats = sum(counts.values()) - len(counts)
        assert repeats == pools * (-pool % group_size)  # only what fills up the last groups
        assert max(counts.values()) <= 2


def test_order_depends_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    first = GroupSampler(INSTANTS, 2, True, seed=1)
    one = [first.next_group() for _ in range(50)]
    torch.manual_seed(99)
    second = GroupSampler(INSTANTS, 2, True, seed=1)
    before = torch.get_rng_state()
    assert [second.next_group() for _ in range(50)] == one
    assert torch.equal(torch.get_rng_state(), before)
    other = GroupSampler(INSTANTS, 2, True, seed=2)
    assert [other.next_group() for _ in range(50)] != one


def test_epochs_and_instants_are_shuffled() -> None:
    sampler = GroupSampler(INSTANTS, 1, True, seed=0)
    epochs = [[sampler.next_group()[0] for _ in range(35)] for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert epochs[0] != sorted(epochs[0])
    instants = [INSTANTS[image] for image in epochs[0]]
    assert sum(a == b for a, b in pairwise(instants)) < 15  # no runs of one instant


@pytest.mark.parametrize("steps_before", [0, 1, 20, 21, 22, 60])
def test_resumption_is_exact(steps_before: int) -> None:
    sampler = GroupSampler(INSTANTS, 2, True, seed=5)  # 21 groups per epoch
    for _ in range(steps_before):
        sampler.next_group()
    file = io.BytesIO()
    torch.save(sampler.state(), file)
    expected = [sampler.next_group() for _ in range(70)]
    file.seek(0)
    resumed = GroupSampler(INSTANTS, 2, True, seed=12345)
    resumed.load_state(torch.load(file, weights_only=True))
    assert [resumed.next_group() for _ in range(70)] == expected


def test_a_state_of_other_images_is_refused() -> None:
    state = GroupSampler(INSTANTS, 2, True, seed=5).state()
    for other in (
        GroupSampler(INSTANTS[:-1], 2, False, 5),
        GroupSampler(INSTANTS, 1, True, 5),
        GroupSampler(INSTANTS, 2, False, 5),
    ):
        with pytest.raises(ValueError, match="expected sampler state"):
            other.load_state(state)


def test_too_few_images() -> None:
    with pytest.raises(ValueError, match="at least one training image"):
        GroupSampler([], 1, True, 0)
    with pytest.raises(ValueError, match="cameras_per_step >= 1"):
        GroupSampler(INSTANTS, 0, True, 0)
    with pytest.raises(ValueError, match=r"cameras_per_step = 2 .*every instant, found 1.*same-instant False"):
        GroupSampler(list(range(6)), 2, True, 0)
    assert len(GroupSampler(list(range(6)), 2, False, 0).next_group()) == 2


@pytest.mark.parametrize("same_instant", [True, False])
def test_a_limit_shows_the_earliest_instants_only(same_instant: bool) -> None:
    sampler = GroupSampler([10 * instant for instant in INSTANTS], 1, same_instant, seed=3)
    for _ in range(4):
        sampler.next_group()
    sampler.limit(2)
    allowed = [image for image, instant in enumerate(INSTANTS) if instant < 2]
    assert sorted(sampler.next_group()[0] for _ in allowed) == allowed
    sampler.next_group()
    sampler.limit(2)  # nothing new: the epoch goes on
    rest = [sampler.next_group()[0] for _ in allowed[1:]]
    assert len(set(rest)) == len(allowed) - 1
    sampler.limit(1000)
    assert sorted(sampler.next_group()[0] for _ in INSTANTS) == list(range(len(INSTANTS)))
    with pytest.raises(ValueError, match="among the 0 earliest instants, found 0"):
        sampler.limit(0)


def test_resumption_under_a_limit_is_exact() -> None:
    sampler = GroupSampler(INSTANTS, 1, False, seed=5)
    sampler.limit(3)
    for _ in range(30):
        sampler.next_group()
    state = sampler.state()
    expected = [sampler.next_group() for _ in range(70)]
    resumed = GroupSampler(INSTANTS, 1, False, seed=12345)
    resumed.load_state(state)
    resumed.limit(3)
    assert [resumed.next_group() for _ in range(70)] == expected
    del state["limit"]  # of a version without limits
    resumed.load_state(state)
    assert {INSTANTS[resumed.next_group()[0]] for _ in INSTANTS} > {0, 1, 2}
