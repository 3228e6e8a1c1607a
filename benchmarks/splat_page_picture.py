"""The picture of a page that `moegs export --html` wrote, and how well a browser draws it.

    python benchmarks/splat_page_picture.py PAGE.html docs/images/splat_page.png [--frame 0]

A headless Chromium opens the page from the disk, with the network off. Printed: decibels between what stands in its
canvas and what the project's own rasterizer draws of the page's Gaussians for the same camera. Needs the packages of
the tests.
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from moegs_ns.exporting.splat_page import read_splat_page
from moegs_ns.reporting.export_losses import viewer_picture
from moegs_ns.scene.start_view import StartPlace
from tests.browser import open_page
from tests.exporting.splat_pages import as_picture, canvas_picture, inner_psnr, page_camera, wait_at_rest

_SIZES = {"desktop": (1180, 720), "phone": (390, 844)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="an exported page")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--frame", type=int, default=0, help="number in the clip")
    parser.add_argument("--window", choices=[*_SIZES], default="desktop")
    asked = parser.parse_args()
    content = read_splat_page(asked.page)
    with open_page(*_SIZES[asked.window]) as page:
        page.context.set_offline(True)
        page.goto(f"{asked.page.resolve().as_uri()}#frame={asked.frame}")
        wait_at_rest(page, content.frames.index(asked.frame))
        shown = canvas_picture(page)
        window = as_picture(page.screenshot())
    view = content.header["view"]
    place = StartPlace(
        *(torch.tensor(view[name], dtype=torch.float64) for name in ("position", "look_at", "up")),
        view["field_of_view"],
        view["aspect"],
    )
    camera = page_camera(place, shown.shape[1], shown.shape[0])
    expected = viewer_picture(content.at(asked.frame), camera, background=torch.tensor(content.header["background"]))
    # A palette is a third of the size, and dithered it shows no steps on smooth surfaces.
    image = Image.fromarray(window)
    colours = image.quantize(256, Image.Quantize.MAXCOVERAGE)
    dithered = image.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG)
    dithered.save(asked.picture, format="PNG", optimize=True)
    print(  # noqa: T201
        f"{inner_psnr(shown, expected):.2f} dB between canvas and rasterizer at {shown.shape[1]} x {shown.shape[0]}; "
        f"{asked.picture}: {asked.picture.stat().st_size} bytes, {Image.open(asked.picture).size}"
    )


if __name__ == "__main__":
    main()
