"""Side-by-side pictures: every part lies where it should and shows what it should."""

import numpy as np
import pytest

from moegs_ns.exporting.gate_picture import GatedFrame, evenly_spaced, gate_picture, winner_map
from moegs_ns.exporting.palette import EXPERT_COLORS
from moegs_ns.exporting.panels import as_uint8, row_of_panels

HEIGHT, WIDTH = 40, 60


def parts(picture: np.ndarray, columns: int) -> list[np.ndarray]:
    """The pictures of one row, without their text: the lowest HEIGHT lines of every column."""
    gap = (picture.shape[1] - columns * WIDTH) // (columns - 1)
    return [picture[-HEIGHT:, column * (WIDTH + gap) :][:, :WIDTH] for column in range(columns)]


def frame(label: str) -> GatedFrame:
    random = np.random.default_rng(len(label))
    first = random.random((HEIGHT, WIDTH))
    return GatedFrame(label, random.random((HEIGHT, WIDTH, 3)), {"stg": first, "4dgaussians": 1.0 - first})


def test_a_row_shows_mixture_gates_and_winner() -> None:
    shown = frame("frame 3")
    mixture, stg, other, winner = parts(gate_picture([shown]), 4)
    np.testing.assert_array_equal(mixture, as_uint8(shown.rgb))
    np.testing.assert_array_equal(stg, np.repeat(as_uint8(shown.gates["stg"])[..., None], 3, -1))
    np.testing.assert_array_equal(other, np.repeat(as_uint8(shown.gates["4dgaussians"])[..., None], 3, -1))
    is_stg = shown.gates["stg"] >= 0.5
    assert (winner[is_stg] == EXPERT_COLORS[0]).all() and (winner[~is_stg] == EXPERT_COLORS[1]).all()
    assert is_stg.any() and not is_stg.all()


def test_frames_stand_below_each_other() -> None:
    frames = [frame("a"), frame("bb"), frame("ccc")]
    picture = gate_picture(frames)
    row = gate_picture(frames[:1]).shape[0]
    np.testing.assert_array_equal(picture[:row], gate_picture(frames[:1]))
    np.testing.assert_array_equal(picture[-row:], gate_picture(frames[2:]))
    with pytest.raises(ValueError, match="at least one frame"):
        gate_picture([])


def test_labels_have_their_experts_colour() -> None:
    picture = gate_picture([frame("frame 3")])
    label = picture[: picture.shape[0] - HEIGHT, WIDTH : 2 * WIDTH].reshape(-1, 3)
    strongest = label[label.sum(axis=1).argmax()].astype(float)  # letters are blurred towards black
    own, other = EXPERT_COLORS[:2].astype(float)
    assert strongest.sum() > 0.5 * own.sum()
    np.testing.assert_allclose(strongest / strongest.sum(), own / own.sum(), atol=0.03)
    assert np.abs(strongest / strongest.sum() - other / other.sum()).max() > 0.2


def test_the_winner_has_the_largest_gate() -> None:
    gates = np.array([[[0.2, 0.5]], [[0.7, 0.3]], [[0.1, 0.2]]])
    np.testing.assert_array_equal(winner_map(gates), EXPERT_COLORS[[[1, 0]]])


def test_evenly_spaced_numbers_have_both_ends() -> None:
    assert evenly_spaced(24, 4) == [0, 8, 15, 23]
    assert evenly_spaced(3, 4) == [0, 1, 2]
    assert evenly_spaced(1, 4) == [0]


def test_floats_are_clipped_and_rounded() -> None:
    np.testing.assert_array_equal(as_uint8(np.array([-1.0, 0.0, 0.5, 1.0, 2.0])), [0, 0, 128, 255, 255])
    same = np.array([3], np.uint8)
    assert as_uint8(same) is same


def test_long_labels_do_not_widen_a_panel() -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert row_of_panels({"x" * 100: picture}).shape[1] == WIDTH
