"""Cameras out of step and frames that repeat, over a drawn ball that flies before known cameras."""

import numpy as np
import pytest

from moegs_ns.checking.frozen import check_frozen
from moegs_ns.checking.result import Verdict
from moegs_ns.checking.synchrony import check_synchrony, estimate_offsets
from moegs_ns.checking.views import Footage
from moegs_ns.preparation.two_view import project
from tests.checking.rigs import HEIGHT, INTRINSICS, WIDTH, make_views

VIEWS = make_views(6)
FRAMES = 30


def footage_of_ball(late: dict[str, int], still: bool = False) -> dict[str, Footage]:
    """Thumbnails of a bright ball on a curve through the rig's middle; some cameras show it later."""
    factor = 0.5
    matrix = np.diag([factor, factor, 1.0]) @ INTRINSICS
    rows, columns = np.mgrid[: int(HEIGHT * factor), : int(WIDTH * factor)] + 0.5
    random = np.random.default_rng(0)
    found = {}
    for view in VIEWS:
        pictures = []
        for frame in range(FRAMES):
            time = 0.0 if still else (frame - late.get(view.name, 0)) / FRAMES
            ball = np.array([[np.sin(5 * time), 0.8 * np.cos(7 * time), 0.7 * np.sin(3 * time)]])
            (pixel,) = project(view.viewmat[None], matrix[None], ball)[0][0]
            picture = 40 + 180 * (np.hypot(columns - pixel[0], rows - pixel[1]) < 8)
            pictures.append((picture + random.normal(0, 0.7, picture.shape)).clip(0, 255).astype(np.uint8))
        stack = np.stack(pictures)
        changes = np.abs(np.diff(stack.astype(int), axis=0)).mean(axis=(1, 2))
        found[view.name] = Footage(stack, changes)
    return found


@pytest.mark.parametrize("late", [{}, {"cam02": 3}, {"cam00": -1}, {"cam01": 2, "cam04": -4}])
def test_offsets_are_found_exactly(late: dict[str, int]) -> None:
    offsets = estimate_offsets(VIEWS, footage_of_ball(late))
    found = {name: frames for name, frames in zip(offsets.names, offsets.frames.tolist(), strict=True) if frames}
    assert found == late
    result = check_synchrony(offsets)
    assert result.cameras == tuple(sorted(late))
    assert result.verdict == (Verdict.DOUBTFUL if late else Verdict.FINE)


def test_the_sentence_says_how_late() -> None:
    result = check_synchrony(estimate_offsets(VIEWS, footage_of_ball({"cam02": 3, "cam05": -1})))
    assert "cam02 3 frames late, cam05 1 frame early" in result.sentence


def test_where_nothing_moves_nothing_is_said_of_time() -> None:
    footage = footage_of_ball({}, still=True)
    result = check_synchrony(estimate_offsets(VIEWS, footage))
    assert result.skipped and result.verdict == Verdict.FINE


def replaced(footage: dict[str, Footage], name: str, order: list[int]) -> dict[str, Footage]:
    one = footage[name]
    stack = one.thumbnails[order]
    changes = np.abs(np.diff(stack.astype(int), axis=0)).mean(axis=(1, 2))
    return {**footage, name: Footage(stack, changes)}


def test_repeated_frames() -> None:
    footage = footage_of_ball({})
    assert check_frozen(footage).verdict == Verdict.FINE
    frames = list(range(FRAMES))
    stalled = check_frozen(replaced(footage, "cam03", [*frames[:10], 9, 9, *frames[12:]]))
    assert (stalled.verdict, stalled.cameras) == (Verdict.DOUBTFUL, ("cam03",))
    assert stalled.numbers["repeated"] == {"cam03": [10, 11]}
    still = check_frozen(replaced(footage, "cam01", [0] * FRAMES))
    assert (still.verdict, still.cameras) == (Verdict.UNUSABLE, ("cam01",))
    doubled = footage
    for name in footage:
        doubled = replaced(doubled, name, [index // 2 * 2 for index in frames])
    result = check_frozen(doubled)
    assert result.verdict == Verdict.DOUBTFUL and "stretched" in result.sentence
