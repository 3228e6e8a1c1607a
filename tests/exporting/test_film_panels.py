"""What frames of a film show, on outputs made up by hand."""

import numpy as np
import pytest

from moegs_ns.exporting.film_panels import FilmPanels, side_by_side
from moegs_ns.exporting.palette import expert_color
from moegs_ns.exporting.panels import as_uint8

H, W = 30, 40
RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)


def outputs() -> dict[str, np.ndarray]:
    gate = np.linspace(0, 1, W, dtype=np.float32)[None, :, None].repeat(H, axis=0)
    return {
        "rgb": RNG.uniform(-0.1, 1.1, (H, W, 3)).astype(np.float32),
        "depth": np.linspace(2, 8, H, dtype=np.float32)[:, None, None].repeat(W, axis=1),
        "expert_stg": np.full((H, W, 3), 0.25, np.float32),
        "expert_ex4dgs": np.full((H, W, 3), 0.75, np.float32),
        "gate_stg": gate,
        "gate_ex4dgs": 1 - gate,
    }


MIXTURE = ("stg", "ex4dgs")


def test_a_single_picture_is_the_outputs_own_pixels() -> None:
    shown = outputs()
    np.testing.assert_array_equal(FilmPanels(("rgb",)).draw(shown), as_uint8(shown["rgb"]))
    np.testing.assert_array_equal(FilmPanels(("mixture",), MIXTURE).draw(shown), as_uint8(shown["rgb"]))
    np.testing.assert_array_equal(FilmPanels(("truth",)).draw(shown, TRUTH), TRUTH)
    grey = FilmPanels(("gate_stg",), MIXTURE).draw(shown)
    np.testing.assert_array_equal(grey, as_uint8(shown["gate_stg"]).repeat(3, axis=-1))


def test_depth_is_brighter_when_nearer_and_its_colours_do_not_depend_on_the_frame() -> None:
    panels = FilmPanels(("depth",), depths=(2.0, 8.0))
    drawn = panels.draw(outputs()).astype(int).sum(axis=-1)
    assert (np.diff(drawn[:, 0]) <= 0).all() and drawn[0, 0] > drawn[-1, 0] == 0
    half = panels.draw({"depth": outputs()["depth"][: H // 2]})
    np.testing.assert_array_equal(half, panels.draw(outputs())[: H // 2])


def test_side_by_side_puts_gates_below_their_experts() -> None:
    shown = outputs()
    for truth in (TRUTH, None):
        panels = FilmPanels(side_by_side(MIXTURE, truth is not None), MIXTURE, labels=False)
        frame = panels.draw(shown, truth)
        columns = 4 if truth is not None else 3
        assert frame.shape == (2 * H + 2, columns * W + 2 * (columns - 1), 3)

        def cell(row: int, column: int, frame: np.ndarray = frame) -> np.ndarray:
            return frame[row * (H + 2) :, column * (W + 2) :][:H, :W]

        first = 0 if truth is None else 1
        for number, name in enumerate(MIXTURE):
            np.testing.assert_array_equal(cell(0, first + number), as_uint8(shown[f"expert_{name}"]))
            np.testing.assert_array_equal(cell(1, first + number)[..., 0], as_uint8(shown[f"gate_{name}"])[..., 0])
        np.testing.assert_array_equal(cell(0, columns - 1), as_uint8(shown["rgb"]))
        winner = cell(1, 0 if truth is not None else columns - 1)
        assert tuple(winner[0, 0]) == expert_color(1) and tuple(winner[0, -1]) == expert_color(0)
    assert side_by_side((), True) == ("truth", "rgb")


def test_labels_add_a_line_and_gates_wear_their_experts_colour() -> None:
    plain = FilmPanels(("experts", "gates"), MIXTURE, labels=False).draw(outputs())
    labelled = FilmPanels(("experts", "gates"), MIXTURE).draw(outputs())
    assert labelled.shape[0] > plain.shape[0] and labelled.shape[1] == plain.shape[1]
    line = labelled[: labelled.shape[0] - plain.shape[0], 2 * (W + 2) : 3 * W]  # above the gate of stg
    letters = line.reshape(-1, 3)[line.reshape(-1, 3).sum(axis=1).argmax()]
    assert letters.argmax() == np.argmax(expert_color(0))


def test_columns_and_repeated_names() -> None:
    panels = FilmPanels(("rgb", "experts", "expert_stg", "rgb", "depth"), MIXTURE, columns=3, labels=False)
    assert panels.names == ["rgb", "expert_stg", "expert_ex4dgs", "depth"]
    frame = panels.draw(outputs())
    assert frame.shape == (2 * H + 2, 3 * W + 4, 3)
    assert frame[H + 2 :, W + 2 :].max() == 0  # filled up


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ({"show": ("colour",)}, "expected outputs to show among truth, rgb, .*found 'colour'"),
        ({"show": ("truth",)}, "expected a photograph"),
        ({"show": ("gates",)}, "expected the run of a mixture to show gates"),
        ({"show": ()}, "something to show"),
        ({"show": ("rgb",), "columns": 0}, "at least one column"),
    ],
)
def test_what_cannot_be_shown_is_refused(panels: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FilmPanels(**panels).draw(outputs())
