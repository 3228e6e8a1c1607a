"""One HTML file that plays Gaussians in a browser: no server, no network, nothing beside it.

Inside are the viewer (Spark with three.js, see ``tools/build_web_viewer``), the player (``web/player.js``) and the
Gaussians, in the bytes the viewer keeps of them. So `read_splat_page` gives what a browser draws.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moegs_ns.exporting.frame_gaussians import FrameGaussians
from moegs_ns.exporting.frame_tracks import Track, read_track, write_track
from moegs_ns.exporting.spark_packing import OPACITY_BYTE, SH_BANDS, SparkEncoding, pack_splats, unpack_splats
from moegs_ns.files import write_bytes
from moegs_ns.scene.start_view import StartPlace
from moegs_ns.splats.projection import VIEWER_SETTINGS
from moegs_ns.splats.splats import Splats

SCHEMA_VERSION = 1
_PACKED = "packed"


@dataclass(frozen=True, eq=False)
class PageScene:
    """What the page says and shows besides the Gaussians.

    Attributes:
        title: of the page.
        facts: one line on what it is.
        rows: of its table, name to value; number of Gaussians and frames are added.
        view: where it starts, in the Gaussians' world.
        fps: frames per second.
        background: RGB in [0,1] behind the Gaussians.
    """

    title: str
    facts: str
    rows: Mapping[str, str]
    view: StartPlace
    fps: float
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PageSize:
    """What was written.

    Attributes:
        bytes: of the file.
        viewer_bytes: of these, what every page has.
        degree: of spherical harmonics in it.
        degree_bytes: of the file with each degree up to what the model has, lowest first.
        gaussians: different ones over all frames.
    """

    bytes: int
    viewer_bytes: int
    degree: int
    degree_bytes: Sequence[int]
    gaussians: int


def write_splat_page(
    file: Path, frames: Iterable[FrameGaussians], scene: PageScene, most_bytes: float = float("inf")
) -> PageSize:
    """Write the page.

    Args:
        file: to write; appears when complete.
        frames: in the order they play; gone through twice, so no generator.
        scene: what the page says and shows besides.
        most_bytes: of the file. Degrees of spherical harmonics are left out, highest first, until it fits.

    Raises:
        ValueError: no frames, no Gaussians, or a page that is larger even without view-dependent colours.
    """
    encoding = SparkEncoding.of(frame.splats for frame in frames)
    numbers, values = _values(frames, encoding, scene)
    visible = (values[_PACKED][:, :, OPACITY_BYTE] > 0).sum(axis=1)
    tracks = {name: write_track(bands) for name, bands in values.items()}
    gaussians = tracks[_PACKED].gaussians

    def header(degree: int) -> dict[str, Any]:
        return {
            "schema": SCHEMA_VERSION,
            "fps": scene.fps,
            "frames": numbers,
            "gaussians": gaussians,
            "encoding": encoding.as_spark(),
            "centre": scene.view.look_at.tolist(),
            "background": scene.background,
            "blur": VIEWER_SETTINGS.eps2d,
            "near": VIEWER_SETTINGS.near,
            "view": {
                "position": scene.view.position.tolist(),
                "look_at": scene.view.look_at.tolist(),
                "up": scene.view.up.tolist(),
                "field_of_view": scene.view.field_of_view,
                "aspect": scene.view.aspect,
            },
            "tracks": [
                {"name": name, "width": track.width, "changing": track.changing, "bytes": len(track.data)}
                for name, track in _of_degree(tracks, degree).items()
            ],
        }

    rows = {**scene.rows, **_count_rows(numbers, scene.fps, visible, gaussians)}
    empty = len(_page(scene, rows, header(0), b"").encode())
    sizes = [
        empty + sum(-(-len(track.data) // 3) * 4 for track in _of_degree(tracks, degree).values())
        for degree in range(len(tracks))
    ]
    fitting = [degree for degree, size in enumerate(sizes) if size <= most_bytes]
    if not fitting:
        raise ValueError(
            f"expected a page of at most {most_bytes / 1e6:.1f} MB, found {sizes[0] / 1e6:.1f} MB without "
            f"view-dependent colours ({gaussians:,} Gaussians, {len(numbers)} frames, {empty / 1e6:.1f} MB of viewer); "
            "take fewer frames (--frames ::2), fewer Gaussians (--min-opacity 0.05), or allow more (--max-mb)"
        )
    degree = fitting[-1]
    data = b"".join(track.data for track in _of_degree(tracks, degree).values())
    text = _page(scene, {**rows, "Colours": _colour_row(degree)}, header(degree), data).encode()
    write_bytes(file, text)
    return PageSize(len(text), empty, degree, sizes, gaussians)


@dataclass(frozen=True, eq=False)
class PageContent:
    """A page read back.

    Attributes:
        header: plain data, see `write_splat_page`.
        values: bytes ``[F,M,B]`` by name.
    """

    header: Mapping[str, Any]
    values: Mapping[str, np.ndarray]

    @property
    def frames(self) -> Sequence[int]:
        """Numbers in the clip, in the order they play."""
        return self.header["frames"]

    def at(self, frame: int) -> Splats:
        """The Gaussians a browser draws at a frame of `frames`.

        Raises:
            ValueError: the page has no such frame.
        """
        if frame not in self.frames:
            raise ValueError(f"expected one of the page's frames {list(self.frames)}, found {frame}")
        position = self.frames.index(frame)
        shown = self.values[_PACKED][position, :, OPACITY_BYTE] > 0
        arrays = {name: bands[position][shown] for name, bands in self.values.items()}
        encoding = SparkEncoding.from_spark(self.header["encoding"])
        return unpack_splats(arrays, encoding, torch.tensor(self.header["centre"], dtype=torch.float32))


def read_splat_page(file: Path) -> PageContent:
    """What `write_splat_page` wrote.

    Raises:
        FileNotFoundError: no file.
        ValueError: no such page, or one of another version.
    """
    text = file.read_text("utf8")
    found = [re.search(rf'<script type="[^"]*" id="{name}">([^<]*)</script>', text) for name in ("scene", "gaussians")]
    if found[0] is None or found[1] is None:
        raise ValueError(f"expected a page that `moegs export --html` wrote, found something else: {file}")
    header = json.loads(found[0][1])
    if header["schema"] != SCHEMA_VERSION:
        raise ValueError(f"expected a page of version {SCHEMA_VERSION} in {file}, found version {header['schema']}")
    data, begin, values = base64.b64decode(found[1][1]), 0, {}
    for one in header["tracks"]:
        end = begin + one["bytes"]
        track = Track(len(header["frames"]), header["gaussians"], one["width"], one["changing"], data[begin:end])
        values[one["name"]], begin = read_track(track), end
    return PageContent(header, values)


def _values(
    frames: Iterable[FrameGaussians], encoding: SparkEncoding, scene: PageScene
) -> tuple[list[int], dict[str, np.ndarray]]:
    """Frames' numbers, and uint8 ``[F,M,B]`` by name, M being all Gaussians that are in any frame."""
    centre = scene.view.look_at.float()
    packed = [(frame.frame, frame.rows.numpy(), pack_splats(frame.splats, encoding, centre)) for frame in frames]
    if not packed or not any(len(rows) for _, rows, _ in packed):
        raise ValueError(f"expected frames with Gaussians to make a page of, found {len(packed)} frames without any")
    who = np.unique(np.concatenate([rows for _, rows, _ in packed]))
    names = set.intersection(*(set(arrays) for _, _, arrays in packed))
    values = {}
    for name in (_PACKED, *(band for band, *_ in SH_BANDS if band in names)):
        bands = np.zeros((len(packed), len(who), packed[0][2][name].shape[1]), np.uint8)
        present = np.zeros((len(packed), len(who)), bool)
        for number, (_, rows, arrays) in enumerate(packed):
            place = np.searchsorted(who, rows)
            bands[number, place], present[number, place] = arrays[name], True
        bands = _held(bands, present)
        if name == _PACKED:
            bands[:, :, OPACITY_BYTE] *= present
        values[name] = bands
    return [number for number, _, _ in packed], values


def _held(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Where a Gaussian is absent, what it was when last present, or will be when first: that takes no space."""
    last = np.maximum.accumulate(np.where(present, np.arange(len(values))[:, None], -1), axis=0)
    source = np.where(last < 0, present.argmax(axis=0), last)
    return np.take_along_axis(values, source[:, :, None], axis=0)


def _of_degree(tracks: Mapping[str, Track], degree: int) -> dict[str, Track]:
    """Without the bands above a degree."""
    return dict(list(tracks.items())[: degree + 1])


def _count_rows(numbers: Sequence[int], fps: float, visible: np.ndarray, gaussians: int) -> dict[str, str]:
    several = f" at {fps:g} per second" if len(numbers) > 1 else ""
    low, high = int(visible.min()), int(visible.max())
    at_once = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return {"Frames": f"{len(numbers)}{several}", "Gaussians": f"{gaussians:,}; {at_once} at a time"}


def _colour_row(degree: int) -> str:
    return f"spherical harmonics of degree {degree}" if degree else "alike from all sides"


def _page(scene: PageScene, rows: Mapping[str, str], header: Mapping[str, Any], data: bytes) -> str:
    """The page's text."""
    libraries = json.loads(_asset("viewer.json"))["packages"]
    software = ", ".join(f"{one['name']} {one['version']} ({one['license']})" for one in libraries)
    fields = {
        "title": escape(scene.title),
        "facts": escape(scene.facts),
        "rows": "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows.items()),
        "last": str(len(header["frames"]) - 1),
        "aspect": f"{scene.view.aspect:.5f}",
        "software": escape(software),
        "licences": escape(_asset("viewer_licences.txt")),
        "style": _asset("player.css"),
        "player": _asset("player.js"),
        "scene": json.dumps(header).replace("<", "\\u003c"),
        "viewer": base64.b64encode(_asset_bytes("viewer.js.gz")).decode(),
        "gaussians": base64.b64encode(data).decode(),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], _asset("page.html"))


@cache
def _asset_bytes(name: str) -> bytes:
    return files("moegs_ns.exporting").joinpath("web", name).read_bytes()


def _asset(name: str) -> str:
    return _asset_bytes(name).decode("utf8")
