"""The viewer's page in a real browser, worked by its labels as a person would."""

import io
import socket
import time
from collections.abc import Callable

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page

#: What the page of viser 0.2.7 complains of whatever it shows (the handles of nerfstudio's crop box).
HARMLESS = ("Computed radius is NaN",)
_LOOK_MS = 500
_PANEL_PIXELS = 330  # at the right


class ViewerWindow:
    """Opens a running viewer.

    Args:
        page: of a browser, empty.
        port: of the viewer on this machine.
        patience: seconds to wait for anything; a browser draws without a GPU, perhaps beside other work.
    """

    def __init__(self, page: Page, port: int, patience: float = 120.0) -> None:
        self._page, self._patience = page, patience
        page.set_default_timeout(1e3 * patience)
        _wait_for_server(port, patience)
        page.goto(f"http://localhost:{port}")
        self._row("Frame").wait_for()
        self._wait(lambda picture: float(picture.std()) > 0.01, "a picture")

    def _row(self, label: str) -> Locator:
        """What stands beside a label, the first of that name."""
        found = self._page.locator(f'xpath=//label[normalize-space()="{label}"]').first
        return found.locator("xpath=ancestor::div[.//input][1]")

    def number(self, label: str) -> float:
        """What a slider shows."""
        return float(self._row(label).locator("input[type=text]").first.input_value())

    def set_number(self, label: str, value: float) -> None:
        """Type into the field beside a slider."""
        self._row(label).locator("input[type=text]").first.fill(f"{value:g}")

    def choose(self, label: str, option: str) -> None:
        """From a dropdown."""
        self._row(label).locator("input:visible").first.click()
        self._page.get_by_role("option", name=option, exact=True).first.click()

    def chosen(self, label: str) -> str:
        """What a dropdown shows."""
        return self._row(label).locator("input:visible").first.input_value()

    def tick(self, label: str) -> None:
        """Switch a checkbox."""
        self._row(label).locator("input[type=checkbox]").first.click()

    def press(self, label: str) -> None:
        """A button."""
        self._page.get_by_role("button", name=label, exact=True).first.click()

    def open_folder(self, label: str) -> None:
        """Or close it."""
        self._page.get_by_text(label, exact=True).first.click()

    def scroll_panels_up(self) -> None:
        """To their first element, with the mouse off all of them."""
        self._row("Frame").scroll_into_view_if_needed()
        size = self._page.viewport_size
        assert size is not None
        self._page.mouse.move(size["width"] - 20, size["height"] // 2)
        self._page.mouse.wheel(0, -5000)
        self._page.mouse.move(10, 10)

    def wait_for_text(self, text: str) -> None:
        """Until the panels say so."""
        self._page.get_by_text(text).first.wait_for()

    def picture(self) -> np.ndarray:
        """``[H,W,3]`` in [0,1] of what is drawn beside the panels."""
        size = self._page.viewport_size
        assert size is not None
        shown = {"x": 0, "y": 0, "width": size["width"] - _PANEL_PIXELS, "height": size["height"]}
        with Image.open(io.BytesIO(self._page.screenshot(clip=shown))) as image:  # type: ignore[arg-type]
            return np.asarray(image.convert("RGB"), dtype=np.float64) / 255

    def wait_for_change(self, before: np.ndarray, least: float = 0.01) -> np.ndarray:
        """The first picture that differs from another, on average over its pixels, by more than ``least``."""
        return self._wait(lambda picture: float(np.abs(picture - before).mean()) > least, "the picture to change")

    def wait_until_settled(self) -> np.ndarray:
        """The picture once it has stayed the same over three looks."""
        seen: list[np.ndarray] = []

        def settled(picture: np.ndarray) -> bool:
            seen.append(picture)
            return len(seen) > 2 and all(np.abs(one - picture).mean() < 1e-3 for one in seen[-3:])

        return self._wait(settled, "the picture to settle")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Until something holds."""
        self._wait(lambda _: condition(), what)

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """With the mouse, between pixels (x, y) of the window."""
        mouse = self._page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move((start[0] + end[0]) // 2, (start[1] + end[1]) // 2)
        mouse.move(*end)
        mouse.up()

    def _wait(self, condition: Callable[[np.ndarray], bool], what: str) -> np.ndarray:
        deadline = time.monotonic() + self._patience
        while not condition(picture := self.picture()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"expected {what} within {self._patience:g} s")
            self._page.wait_for_timeout(_LOOK_MS)
        return picture


def _wait_for_server(port: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            socket.create_connection(("localhost", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
