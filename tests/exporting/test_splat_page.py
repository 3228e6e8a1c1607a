"""Pages that play Gaussians: what is inside, read back without a browser."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest
import torch

from moegs_ns.exporting.splat_page import read_splat_page, write_splat_page
from moegs_ns.reporting.export_losses import viewer_picture
from moegs_ns.reporting.metrics import psnr
from tests.exporting.gaussian_sets import make_camera
from tests.exporting.html_pages import read_page
from tests.exporting.splat_pages import make_frames, make_scene

WEB = Path(__file__).resolve().parents[2] / "moegs_ns" / "exporting" / "web"
LOCK = WEB.parents[2] / "tools" / "build_web_viewer" / "package-lock.json"


def test_every_frame_comes_back(tmp_path: Path) -> None:
    frames = make_frames()
    size = write_splat_page(tmp_path / "page.html", frames, make_scene())
    content = read_splat_page(tmp_path / "page.html")
    assert content.frames == [0, 3, 6, 9]
    assert size.gaussians == 150 and size.degree == 3
    assert size.bytes == (tmp_path / "page.html").stat().st_size
    for frame in frames:
        back = content.at(frame.frame)
        assert len(back) == int((frame.splats.opacities > 0.5 / 255).sum())
        drawn, expected = (viewer_picture(one, make_camera()) for one in (back, frame.splats))
        assert psnr(drawn, expected) > 35.0
    with pytest.raises(ValueError, match=r"expected one of the page's frames \[0, 3, 6, 9\], found 1"):
        content.at(1)


def test_what_stands_still_is_there_once(tmp_path: Path) -> None:
    content_bytes = {}
    for frames in (2, 8):
        write_splat_page(tmp_path / "page.html", make_frames(600, frames), make_scene())
        tracks = read_splat_page(tmp_path / "page.html").header["tracks"]
        content_bytes[frames] = {track["name"]: track["bytes"] for track in tracks}
        assert {track["name"]: track["changing"] for track in tracks if track["name"] != "packed"} == {
            "sh1": 0,
            "sh2": 0,
            "sh3": 0,
        }
    assert content_bytes[8]["sh3"] == content_bytes[2]["sh3"]
    assert content_bytes[8]["packed"] < 3 * content_bytes[2]["packed"]


def test_degrees_are_left_out_until_the_page_fits(tmp_path: Path) -> None:
    frames, file = make_frames(400), tmp_path / "page.html"
    sizes = write_splat_page(file, frames, make_scene()).degree_bytes
    assert [*sizes] == sorted(sizes) and len(sizes) == 4
    size = write_splat_page(file, frames, make_scene(), most_bytes=sizes[2] - 1)
    assert size.degree == 1 and file.stat().st_size == pytest.approx(sizes[1], abs=300)
    assert read_splat_page(file).at(0).sh.shape[1:] == (4, 3)  # type: ignore[union-attr]
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"at most 0\.3 MB, found .* \(400 Gaussians, 4 frames, .*--frames ::2"):
        write_splat_page(file, frames, make_scene(), most_bytes=300_000)
    assert file.read_bytes() == before and [*tmp_path.iterdir()] == [file]


def test_a_page_without_gaussians_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected frames with Gaussians"):
        write_splat_page(tmp_path / "page.html", [], make_scene())


def test_the_page_refers_to_nothing_outside_and_says_what_it_is(tmp_path: Path) -> None:
    write_splat_page(tmp_path / "page.html", make_frames(), make_scene())
    page = read_page((tmp_path / "page.html").read_text("utf8"))
    assert page.references == ["data:,"]
    said = " ".join(page.text)
    for sentence in ("Two < three", "nothing & all", "4 at 10 per second", "150; 149 at a time", "MIT License"):
        assert sentence in said


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text("<html></html>")
    with pytest.raises(ValueError, match="expected a page that `moegs export --html` wrote"):
        read_splat_page(tmp_path / "other.html")
    write_splat_page(tmp_path / "page.html", make_frames(), make_scene())
    text = (tmp_path / "page.html").read_text("utf8")
    (tmp_path / "page.html").write_text(text.replace('"schema": 1', '"schema": 7'), "utf8")
    with pytest.raises(ValueError, match="found version 7"):
        read_splat_page(tmp_path / "page.html")


def test_the_viewer_is_the_one_that_was_built() -> None:
    record = json.loads((WEB / "viewer.json").read_text("utf8"))
    script = gzip.decompress((WEB / "viewer.js.gz").read_bytes())
    assert hashlib.sha256(script).hexdigest() == record["script_sha256"]
    lock = json.loads(LOCK.read_text("utf8"))["packages"]
    licences = (WEB / "viewer_licences.txt").read_text("utf8")
    for one in record["packages"]:
        assert lock[f"node_modules/{one['name']}"]["version"] == one["version"]
        assert lock[f"node_modules/{one['name']}"]["license"] == one["license"] == "MIT"
        assert f"{one['name']} {one['version']}" in licences
    assert not any("resolved" in package for package in lock.values())


def test_gaussians_may_come_and_go(tmp_path: Path) -> None:
    frames = make_frames(60, 3)
    write_splat_page(tmp_path / "page.html", frames, make_scene())
    content = read_splat_page(tmp_path / "page.html")
    opacities = torch.from_numpy(content.values["packed"][:, :, 3].copy())
    assert [int(row.argmin()) for row in opacities[:, :3]] == [0, 1, 2]
