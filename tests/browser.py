"""A headless Chromium for tests of the viewer and of exported pages.

Playwright drives the browser that the system has; it brings none of its own. ``MOEGS_CHROMIUM`` names another one.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--no-sandbox",  # a container's root has no namespaces to build one from
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",  # WebGL without a GPU
    "--enable-unsafe-swiftshader",
)


def chromium() -> str | None:
    """Path of the browser; None where there is none."""
    return os.environ.get("MOEGS_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


needs_chromium = pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")


@contextmanager
def open_page(width: int = 1280, height: int = 800, tolerated: Sequence[str] = ()) -> Iterator[Page]:
    """An empty page of a new browser; at the end what it complained of is raised: uncaught errors, console errors.

    Args:
        width, height: of the window, in pixels.
        tolerated: parts of complaints that are none of the project's.

    Raises:
        AssertionError: the page reported errors. Requests that fail are not among them: the machine may be offline.
    """
    complaints: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=_OPTIONS)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            yield page
        finally:
            browser.close()
    ignored = ("Failed to load resource", "net::ERR", *tolerated)
    complaints = [line for line in complaints if not any(part in line for part in ignored)]
    assert not complaints, "\n".join(complaints)
