"""Pages of random Gaussians that move, and what a browser should show of them."""

import io
import math
from dataclasses import replace

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from PIL import Image
from playwright.sync_api import Page

from moegs_ns.exporting.frame_gaussians import FrameGaussians
from moegs_ns.exporting.splat_page import PageScene
from moegs_ns.reporting.metrics import psnr
from moegs_ns.scene.start_view import StartPlace
from tests.exporting.gaussian_sets import make_splats

_RIM = 10  # pixels
UP = (0.1, 0.2, 0.95)  # tilted, so that a page that takes y or z for up shows something else


def make_frames(count: int = 150, frames: int = 4, degree: int = 3) -> list[FrameGaussians]:
    """The first two thirds stand still, the rest wanders; every frame lacks one Gaussian that is in the others.

    Frames are every third of a clip.
    """
    splats = make_splats(count, degree)
    found = []
    for number in range(frames):
        moved = splats.means.clone()
        moved[2 * count // 3 :] += 0.5 * number * torch.tensor([0.3, -1.0, 0.2])
        kept = torch.arange(count) != number
        own = replace(
            splats,
            means=moved[kept],
            quats=splats.quats[kept],
            scales=splats.scales[kept],
            opacities=splats.opacities[kept],
            sh=splats.sh[kept],  # type: ignore[index]
        )
        found.append(FrameGaussians(3 * number, number / max(1, frames - 1), own, 1000 + torch.arange(count)[kept]))
    return found


def make_scene(title: str = "Two < three") -> PageScene:
    """Seen from three units away, upright in a tilted world."""
    up = torch.tensor(UP, dtype=torch.float64)
    position = torch.tensor([2.2, -2.0, 0.6], dtype=torch.float64)
    look_at = torch.tensor([0.1, 0.0, 0.1], dtype=torch.float64)
    view = StartPlace(position, look_at, up / up.norm(), 0.8, 4 / 3)
    return PageScene(title, "nothing & all", {"Model": "none"}, view, fps=10.0, background=(0.2, 0.1, 0.4))


def page_camera(view: StartPlace, width: int, height: int) -> Cameras:
    """The page's camera in a canvas of that size, which has the view's aspect."""
    back = view.position - view.look_at
    back = back / back.norm()
    right = torch.linalg.cross(view.up, back)
    right = right / right.norm()
    rotation = torch.stack([right, torch.linalg.cross(back, right), back], dim=1)
    focal = height / 2 / math.tan(view.field_of_view / 2)
    return Cameras(
        torch.cat([rotation, view.position[:, None]], dim=1)[None].float(),
        fx=focal,
        fy=focal,
        cx=width / 2,
        cy=height / 2,
        width=width,
        height=height,
    )


def wait_at_rest(page: Page, position: int | None = None) -> None:
    """Until the canvas shows a frame (the one at ``position`` of the slider), sorted, and no more is drawn."""
    wanted = "[data-frame]" if position is None else f"[data-frame='{position}']"
    page.wait_for_selector(f"#stage{wanted}", timeout=60_000)


def canvas_picture(page: Page) -> torch.Tensor:
    """``[H,W,3]`` in [0,1] of what stands in the canvas, pixel by pixel."""
    page.wait_for_function("getComputedStyle(document.getElementById('veil')).visibility === 'hidden'")
    box, canvas = page.locator("#canvas").bounding_box(), page.locator("#canvas")
    assert box is not None
    clip = {"x": round(box["x"]), "y": round(box["y"])}  # the browser draws canvases at whole pixels
    clip |= {"width": canvas.evaluate("one => one.width"), "height": canvas.evaluate("one => one.height")}
    return torch.from_numpy(as_picture(page.screenshot(clip=clip))).float() / 255.0  # type: ignore[arg-type]


def as_picture(png: bytes) -> np.ndarray:
    """uint8 ``[H,W,3]`` of a screenshot."""
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))


def inner_psnr(picture: torch.Tensor, other: torch.Tensor) -> float:
    """Decibels between pictures ``[H,W,3]``, without the page's rounded corners."""
    return psnr(picture[_RIM:-_RIM, _RIM:-_RIM], other[_RIM:-_RIM, _RIM:-_RIM])
