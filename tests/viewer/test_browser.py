"""A mixture's viewer in headless Chromium: it loads, plays, and its controls answer."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from moegs_ns.exporting.palette import EXPERT_COLORS
from tests.browser import needs_chromium, open_page
from tests.router.building import make_expert, make_mixture, randomise_router, save_run
from tests.viewer.live import FRAMES, live_page
from tests.viewer.window import HARMLESS, ViewerWindow

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewerWindow]:
    """A small one: without a GPU every pixel costs. At the end the page must not have complained."""
    folder = tmp_path_factory.mktemp("viewer")
    stg = save_run(folder / "stg", make_expert("stg", seed=1, count=100), "stg")
    ex4dgs = save_run(folder / "ex4dgs", make_expert("ex4dgs", seed=2, count=150), "ex4dgs")
    model = make_mixture([stg, ex4dgs], background="black")
    randomise_router(model)
    with live_page(model, folder) as (_, port), open_page(700, 500, tolerated=HARMLESS) as page:
        yield ViewerWindow(page, port)


def test_the_frame_slider_changes_the_picture_and_back(window: ViewerWindow) -> None:
    first = window.wait_until_settled()
    window.set_number("Frame", 3)
    window.wait_for_change(first)
    window.press("Next frame")
    window.wait_until(lambda: window.number("Frame") == 4, "the next frame")
    window.set_number("Frame", 0)
    window.wait_until(lambda: np.abs(window.picture() - first).mean() < 0.01, "the first frame")


def test_a_clip_plays(window: ViewerWindow) -> None:
    window.press("Play clip")
    frames: set[float] = set()

    def another() -> int:
        """How many frames the slider showed; on a busy machine, looks may hit the same one again and again."""
        frames.add(window.number("Frame"))
        return len(frames)

    picture = window.picture()
    for count in range(1, FRAMES):
        window.wait_until(lambda count=count: another() >= count, f"{count} frames")
        picture = window.wait_for_change(picture, least=1e-3)
    assert max(frames) < FRAMES
    window.press("Pause clip")
    window.wait_until_settled()  # frames that were under way when it was pressed
    still = window.number("Frame")
    time.sleep(1.0)
    assert window.number("Frame") == still
    window.set_number("Frame", 0)


def test_the_chooser_shows_who_wins(window: ViewerWindow) -> None:
    window.wait_until_settled()
    assert window.chosen("Show") == "Mixture"
    window.choose("Show", "Winner map")

    def colours_of_experts() -> bool:
        middle = window.picture()[:, :, None]
        return float((np.abs(middle - EXPERT_COLORS[:2] / 255).max(axis=-1).min(axis=-1) < 0.1).mean()) > 0.9

    window.wait_until(colours_of_experts, "the experts' colours")
    window.choose("Show", "Mixture")
    window.wait_until(lambda: not colours_of_experts(), "the mixture")


def test_tint_and_experts_answer(window: ViewerWindow) -> None:
    plain = window.wait_until_settled()
    window.set_number("Gate tint", 0.8)
    window.wait_for_change(plain, least=0.05)
    window.set_number("Gate tint", 0)
    window.wait_until(lambda: np.abs(window.picture() - plain).mean() < 0.01, "the plain picture")
    window.tick("stg")
    window.wait_for_change(plain)
    window.tick("stg")
    window.wait_until(lambda: np.abs(window.picture() - plain).mean() < 0.01, "both experts")


def test_pruning_is_previewed_with_a_count(window: ViewerWindow) -> None:
    plain = window.wait_until_settled()
    window.open_folder("Pruning preview")
    window.press("Score Gaussians")
    window.wait_for_text("Gaussians hidden")
    window.set_number("Hide lowest %", 90)
    window.wait_for_change(plain)
    window.wait_for_text("--ratio 0.900")
    window.set_number("Hide lowest %", 0)
    window.open_folder("Pruning preview")


def test_a_rectangle_leaves_paths_of_gaussians(window: ViewerWindow) -> None:
    plain = window.wait_until_settled()
    window.open_folder("Paths of Gaussians")
    window.press("Pick a rectangle")
    window.wait_for_text("Drag a rectangle")
    window.drag((40, 40), (330, 460))
    window.wait_for_text("Gaussians there")
    window.wait_for_change(plain, least=2e-4)
    window.press("Clear")
    window.wait_for_text("Pick what moves")
