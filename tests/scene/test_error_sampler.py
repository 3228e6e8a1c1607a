"""Sampling by error: when it begins, what it prefers, what it holds, and that it resumes exactly."""

import io
from collections import Counter

import pytest
import torch

from moegs_ns.scene.error_sampler import ErrorSampler
from moegs_ns.scene.sampler import GroupSampler

CAMERAS, FRAMES = 4, 6
INSTANTS = [10 * frame for _ in range(CAMERAS) for frame in range(FRAMES)]


def make(group_size: int = 1, start: int = 1, **options: int) -> ErrorSampler:
    return ErrorSampler(INSTANTS, group_size, seed=3, start=start, **options)


def frames(group: list[int]) -> list[int]:
    return [image % FRAMES for image in group]


def see_all(sampler: ErrorSampler, error_of_frame: list[float]) -> None:
    for image in range(CAMERAS * FRAMES):
        sampler.observe(image, error_of_frame[image % FRAMES])


def test_plain_before_the_start_and_in_every_other_step() -> None:
    sampler, plain = make(start=7), GroupSampler(INSTANTS, 1, True, 3)
    see_all(sampler, [1, 0, 0, 0, 0, 0])
    groups = [sampler.next_group() for _ in range(20)]
    expected = [plain.next_group() for _ in range(13)]
    assert groups[:6] == expected[:6]
    assert groups[6::2] == expected[6:13]  # steps 7, 9 ...
    assert all(frames(group) == [0] for group in groups[7::2])


def test_a_limit_shows_the_earliest_instants_only_and_is_resumed() -> None:
    sampler = make(hold_interval=4, hold_steps=3)
    see_all(sampler, [0.1, 0.1, 0.2, 0.1, 0.9, 0.1])
    for _ in range(9):
        sampler.next_group()
    sampler.limit(3)
    groups = [sampler.next_group() for _ in range(60)]
    assert {frame for group in groups for frame in frames(group)} == {0, 1, 2}
    state = sampler.state()
    resumed = make(hold_interval=4, hold_steps=3)
    resumed.load_state(state)
    resumed.limit(3)  # the same: nothing begins anew
    assert [resumed.next_group() for _ in range(60)] == [sampler.next_group() for _ in range(60)]
    sampler.limit(FRAMES)
    assert 4 in {frame for _ in range(40) for frame in frames(sampler.next_group())}
    with pytest.raises(ValueError, match="among the 0 earliest instants"):
        sampler.limit(0)


def test_instants_come_in_proportion_to_their_excess_error() -> None:
    sampler = make()
    see_all(sampler, [0.1, 0.2, 0.4, 0.1, 0.1, 0.1])
    counts = Counter(frames(sampler.next_group())[0] for _ in range(4000))
    by_error = {frame: counts[frame] - 2000 / FRAMES for frame in range(FRAMES)}  # half of the steps are uniform
    assert by_error[1] / 2000 == pytest.approx(0.25, abs=0.03)
    assert by_error[2] / 2000 == pytest.approx(0.75, abs=0.03)
    assert max(abs(by_error[frame]) for frame in (0, 3, 4, 5)) <= 2


def test_what_was_never_seen_comes_first() -> None:
    sampler = make()
    for image in range(CAMERAS * FRAMES):
        if image % FRAMES != 2:
            sampler.observe(image, 0.9)
    groups = [sampler.next_group() for _ in range(40)]
    assert all(frames(group) == [2] for group in groups[1::2])


def test_equal_errors_are_drawn_uniformly() -> None:
    sampler = make()
    seen = Counter(frames(sampler.next_group())[0] for _ in range(600))
    assert set(seen) == set(range(FRAMES)) and min(seen.values()) > 60


@pytest.mark.parametrize("group_size", [1, 3])
def test_a_held_instant_is_shown_by_its_cameras(group_size: int) -> None:
    sampler = make(group_size, start=8, hold_interval=8, hold_steps=4)
    groups = {step: sampler.next_group() for step in range(1, 60)}
    assert all(len(set(group)) == group_size for group in groups.values())
    for first in range(8, 56, 8):
        held = [groups[step] for step in range(first, first + 4)]
        assert len({frame for group in held for frame in frames(group)}) == 1
        shown = Counter(image // FRAMES for group in held for image in group)
        assert set(shown) == set(range(CAMERAS))
        assert max(shown.values()) - min(shown.values()) == 0  # 4 or 12 images of 4 cameras
    assert len({frames(groups[first])[0] for first in range(8, 56, 8)}) > 1


@pytest.mark.parametrize("steps_before", [0, 5, 9, 30])
def test_resumption_is_exact_and_the_global_generator_is_left_alone(steps_before: int) -> None:
    options = {"start": 5, "hold_interval": 8, "hold_steps": 3}
    before = torch.get_rng_state()

    def draw(sampler: ErrorSampler, count: int) -> list[list[int]]:
        groups = []
        for _ in range(count):
            groups.append(sampler.next_group())
            sampler.observe(groups[-1][0], groups[-1][0] / 100)
        return groups

    sampler = make(2, **options)
    draw(sampler, steps_before)
    file = io.BytesIO()
    torch.save(sampler.state(), file)
    expected = draw(sampler, 50)
    file.seek(0)
    resumed = ErrorSampler(INSTANTS, 2, seed=99, **options)
    resumed.load_state(torch.load(file, weights_only=True))
    assert draw(resumed, 50) == expected
    assert torch.equal(torch.get_rng_state(), before)


def test_states_of_others_are_refused() -> None:
    state = make().state()
    for other in (make(start=2), make(hold_interval=3), GroupSampler(INSTANTS, 1, True, 3)):
        with pytest.raises(ValueError, match="expected sampler state"):
            other.load_state(state)
    with pytest.raises(ValueError, match="expected sampler state"):
        make().load_state(GroupSampler(INSTANTS, 1, True, 3).state())


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="hold_steps <= hold_interval = 4, found 5"):
        make(hold_interval=4, hold_steps=5)
    with pytest.raises(ValueError, match="of every instant, found 4"):
        make(5)
