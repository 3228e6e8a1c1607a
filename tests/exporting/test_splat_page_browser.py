"""A page in a browser: opened from the disk, without a network, it shows what the project's own rasterizer draws."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Page

from moegs_ns.exporting.spark_packing import SparkEncoding, pack_splats
from moegs_ns.exporting.splat_page import read_splat_page, write_splat_page
from moegs_ns.reporting.export_losses import viewer_picture
from moegs_ns.splats.splats import sh_of
from tests.browser import needs_chromium, open_page
from tests.exporting.gaussian_sets import make_splats
from tests.exporting.splat_pages import canvas_picture, inner_psnr, make_frames, make_scene, page_camera, wait_at_rest

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "scene.html"
    write_splat_page(file, make_frames(), make_scene())
    return file


@pytest.fixture(scope="module")
def page(page_file: Path) -> Iterator[Page]:
    """The page at its second frame; that nothing is complained of is checked at the end."""
    asked: list[str] = []
    with open_page(300, 420) as page:
        page.context.set_offline(True)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{page_file.as_uri()}#frame=3")
        wait_at_rest(page, 1)
        yield page
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [page_file.as_uri()]


def expected_picture(page_file: Path, shown: torch.Tensor, frame: int) -> torch.Tensor:
    scene = make_scene()
    camera = page_camera(scene.view, shown.shape[1], shown.shape[0])
    splats = read_splat_page(page_file).at(frame)
    return viewer_picture(splats, camera, background=torch.tensor(scene.background))


def test_the_canvas_shows_the_model(page: Page, page_file: Path) -> None:
    shown = canvas_picture(page)
    expected = expected_picture(page_file, shown, 3)
    assert expected.std() > 0.1
    agreement = inner_psnr(shown, expected)
    assert agreement > 33.0
    wrong = [shown.flip(0), shown.flip(1), shown.flip(2)]  # upside down, mirrored, red for blue
    assert max(inner_psnr(one, expected) for one in wrong) < agreement - 8.0


def test_the_slider_shows_other_frames(page: Page, page_file: Path) -> None:
    for position in (3, 0, 2):
        page.locator("#slider").fill(str(position))
        wait_at_rest(page, position)
        assert page.locator("#label").text_content() == f"frame {3 * position}"
        shown = canvas_picture(page)
        assert inner_psnr(shown, expected_picture(page_file, shown, 3 * position)) > 33.0
        assert inner_psnr(shown, expected_picture(page_file, shown, 3)) < 30.0


def test_keys_step_and_play(page: Page) -> None:
    page.locator("#slider").fill("0")
    wait_at_rest(page, 0)
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowLeft")
    wait_at_rest(page, 3)
    page.keyboard.press("ArrowRight")
    wait_at_rest(page, 0)
    page.keyboard.press(" ")
    assert page.locator("#play").get_attribute("aria-label") == "pause"
    page.wait_for_function("document.getElementById('slider').value === '2'")
    page.wait_for_function("document.getElementById('slider').value === '1'")  # it begins again
    page.keyboard.press(" ")
    assert page.locator("#play").get_attribute("aria-label") == "play"
    wait_at_rest(page)


@pytest.mark.slow
def test_dragging_turns_and_r_goes_back(page: Page) -> None:
    page.locator("#slider").fill("1")
    wait_at_rest(page, 1)
    before = canvas_picture(page)
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 90, steps=3)
    page.mouse.up()
    page.wait_for_selector("#stage:not([data-frame])")
    wait_at_rest(page, 1)
    assert inner_psnr(canvas_picture(page), before) < 30.0
    page.keyboard.press("r")
    page.wait_for_selector("#stage:not([data-frame])")
    wait_at_rest(page, 1)
    assert inner_psnr(canvas_picture(page), before) > 40.0


def test_bytes_are_those_of_sparks_own_code(page: Page) -> None:
    splats = make_splats(40)
    encoding, centre = SparkEncoding.of([splats]), torch.zeros(3)
    ours = pack_splats(splats, encoding, centre)
    rows = torch.cat([splats.means, splats.scales, splats.quats[:, [1, 2, 3, 0]], splats.opacities[:, None]], dim=1)
    colors = 0.5 + 0.28209479 * sh_of(splats)[:, 0]
    sh = sh_of(splats)[:, 1:].reshape(len(splats), -1)
    theirs = page.evaluate(
        """([rows, sh, encoding]) => {
          const { setPackedSplat, encodeSh1Rgb, encodeSh2Rgb, encodeSh3Rgb } = SplatViewer.utils;
          const words = { packed: 4, sh1: 2, sh2: 4, sh3: 4 }, arrays = {};
          for (const name in words) arrays[name] = new Uint32Array(words[name] * rows.length);
          rows.forEach((row, index) => {
            setPackedSplat(arrays.packed, index, ...row, encoding);
            encodeSh1Rgb(arrays.sh1, index, sh[index].slice(0, 9), encoding);
            encodeSh2Rgb(arrays.sh2, index, sh[index].slice(9, 24), encoding);
            encodeSh3Rgb(arrays.sh3, index, sh[index].slice(24), encoding);
          });
          return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, [...array]]));
        }""",
        [torch.cat([rows, colors], dim=1).tolist(), sh.tolist(), encoding.as_spark()],
    )
    for name, array in ours.items():
        own = np.array(theirs[name], np.uint32).astype("<u4").view(np.uint8).reshape(array.shape)
        if name == "sh2":  # Spark cuts off where we round; it reads both alike
            assert np.abs(own.view(np.int8).astype(int) - array.view(np.int8)).max() <= 1
        else:  # but for halfway cases, which round up in JavaScript and to even here
            assert np.mean(own == array) > 0.995


def test_plays_by_itself_where_sorting_is_slow(page: Page, page_file: Path) -> None:
    """A sort takes three frames' time here, as it does for large scenes without a GPU."""
    browser = page.context.browser
    assert browser is not None
    slow = browser.new_page(viewport={"width": 300, "height": 420})
    slow.add_init_script(
        """const post = Worker.prototype.postMessage, hidden = node => getComputedStyle(node).visibility === "hidden";
        Worker.prototype.postMessage = function (...rest) { setTimeout(() => post.apply(this, rest), 300); };
        window.seen = [];
        document.addEventListener("DOMContentLoaded", () => {
          const label = document.getElementById("label"), veil = document.getElementById("veil");
          const note = () => window.seen.push([label.textContent, hidden(veil)]);
          new MutationObserver(note).observe(label, { childList: true });
        });"""
    )
    slow.goto(page_file.as_uri())
    slow.wait_for_function("getComputedStyle(document.getElementById('veil')).visibility === 'hidden'", timeout=60_000)
    slow.wait_for_function("window.seen.length > 3", timeout=60_000)
    seen = slow.evaluate("window.seen")
    assert seen[0] == ["frame 0", False]
    assert all(unveiled for _, unveiled in seen[1:])
    before = canvas_picture(slow)
    assert any(inner_psnr(canvas_picture(slow), before) < 30.0 for _ in range(20)), "one picture stays"
    assert slow.locator("#play").get_attribute("aria-label") == "pause"
    slow.close()


def test_browsers_without_webgl2_are_told(page: Page, page_file: Path) -> None:
    browser = page.context.browser
    assert browser is not None
    old = browser.new_page()
    old.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest)"
        "{ return kind === 'webgl2' ? null : get.call(this, kind, ...rest); };"
    )
    old.goto(page_file.as_uri())
    old.wait_for_selector(".failed[role=alert]")
    assert "WebGL 2" in (old.locator("#message").text_content() or "")
    assert old.locator("#play").is_disabled()
    old.close()
