"""A picture of the viewer for the documentation: a mixture of the sample scene, in headless Chromium.

    PYTHONPATH=. python benchmarks/viewer_screenshot.py RUN [--output docs/images/viewer.png]

RUN is the folder of a mixture's run. Needs playwright and a Chromium, as the tests of the viewer do; see
`tests/browser.py`. What is shown: a mixture at a frame of the clip, and the paths of Gaussians in the middle of it.
"""

import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image

from moegs_ns.exporting.palette import EXPERT_COLORS
from tests.browser import open_page
from tests.viewer.live import free_port
from tests.viewer.window import HARMLESS, ViewerWindow

_WIDTH, _HEIGHT = 1280, 900
_PANEL = 320  # pixels of the panels, at the right
_MOST_BYTES = 400_000


@contextmanager
def running_viewer(run: Path) -> Iterator[int]:
    """``ns-viewer`` on a run; the port it listens at."""
    port = free_port()
    command = [Path(sys.executable).with_name("ns-viewer"), "--load-config", run.resolve() / "config.yml"]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        viewer = subprocess.Popen(
            [str(part) for part in [*command, "--viewer.websocket-port", port]], cwd=folder, stdout=log, stderr=log
        )
        try:
            yield port
        finally:
            viewer.terminate()
            viewer.wait(30)


def screenshot(run: Path) -> bytes:
    """PNG of the window."""
    with running_viewer(run) as port, open_page(_WIDTH, _HEIGHT, tolerated=HARMLESS) as page:
        window = ViewerWindow(page, port, patience=900.0)
        window.press("Hide Train Cams")
        window.set_number("Frame", 11)
        window.set_number("Max res", 1024)
        window.open_folder("Paths of Gaussians")
        window.set_number("Lines at most", 40)
        window.press("Middle of the view")
        window.wait_for_text("Gaussians there")
        window.open_folder("Paths of Gaussians")
        window.scroll_panels_up()
        window.wait_until_settled()
        return page.screenshot()


def with_few_colors(picture: Image.Image) -> Image.Image:
    """A picture of 256 colours, dithered: those of the experts' legend, of the panels, and the rest for the scene."""
    split = picture.width - _PANEL
    legend = EXPERT_COLORS.reshape(-1).tolist()
    shares = ((picture.crop((0, 0, split, picture.height)), 200), (picture.crop((split, 0, *picture.size)), 40))
    found = [part.quantize(count, method=Image.Quantize.MAXCOVERAGE).getpalette() for part, count in shares]
    palette = legend + [value for part, (_, count) in zip(found, shares, strict=True) for value in part[: 3 * count]]
    colors = Image.new("P", (1, 1))
    colors.putpalette(palette + palette[-3:] * (256 - len(palette) // 3))
    return picture.quantize(palette=colors, dither=Image.Dither.FLOYDSTEINBERG)


def main(run: Annotated[Path, tyro.conf.Positional], output: Path = Path("docs/images/viewer.png")) -> None:
    """Write a picture of the viewer, with as few colours as keep it small.

    Args:
        run: folder of a mixture's run.
        output: PNG to write.
    """
    with Image.open(io.BytesIO(screenshot(run))) as picture:
        small = with_few_colors(picture.convert("RGB"))
    beside = output.with_suffix(".part.png")
    small.save(beside, optimize=True)
    size = beside.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"expected a picture of at most {_MOST_BYTES} bytes, found {size} in {beside}")
    beside.replace(output)


if __name__ == "__main__":
    tyro.cli(main)
