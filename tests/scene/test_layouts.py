"""Every layout alike: cameras written out and parsed back have the same rays, known points land on their pixels, images
can be held out, options are documented, and the one list of layouts is the one nerfstudio sees."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from scipy.spatial.transform import Rotation

from moegs_ns.scene.dataparsers.base import DynamicDataParserConfig
from moegs_ns.scene.dataparsers.layouts import LAYOUTS, find_layout
from moegs_ns.scene.dataset import FrameDataset
from tests.scene.layouts.clip import Clip, Distortion, Shot, joined, mixed_clip, moving_capture
from tests.scene.layouts.parsing import labels, parse, project, rays
from tests.scene.layouts.writers import write_blender, write_hypernerf, write_n3v, write_technicolor, write_transforms

LENS = Distortion(radial=(-0.12, 0.03, 0.01), tangential=(0.003, -0.006))


def opaque(shot: Shot) -> np.ndarray:
    return np.dstack([shot.image, np.full(shot.image.shape[:2], 255, np.uint8)])


def premultiplied_away(shot: Shot) -> np.ndarray:
    """Transparent where the image is dark; over black it is the image again."""
    alpha = shot.image.max(axis=2, keepdims=True).astype(float)
    return np.dstack([(255.0 * shot.image / alpha.clip(1)).round().clip(0, 255), alpha]).astype(np.uint8)


@dataclass(frozen=True)
class Case:
    """A way to write a clip in a layout, and to parse it back at the size it was written."""

    layout: str
    write: Callable[[Path, Clip], Path]
    options: dict[str, Any]
    splits: tuple[str, ...] = ("train", "test")


def rig(clip: Clip) -> Clip:
    return clip


def half_held_out(shot: Shot) -> bool:
    return (shot.frame % 2 == 0) == (shot.camera == "left")


CASES = {
    "n3v": Case("n3v", write_n3v, {}),
    "technicolor": Case("technicolor", write_technicolor, {"test_cams": ("cam01",), "num_frames": 3}),
    "hypernerf": Case("hypernerf", lambda folder, clip: write_hypernerf(folder, clip, half_held_out), {"downscale": 1}),
    "hypernerf with distortion": Case(
        "hypernerf",
        lambda folder, clip: write_hypernerf(folder, clip, half_held_out, replace(LENS, skew=2.0)),
        {"downscale": 1},
    ),
    "transforms of a rig": Case("transforms", write_transforms, {}),
    "transforms of one camera": Case("transforms", write_transforms, {"test_cams": ("1",)}),
    "transforms with distortion": Case("transforms", lambda folder, clip: write_transforms(folder, clip, LENS), {}),
    "blender": Case(
        "blender",
        lambda folder, clip: write_blender(
            folder,
            {
                "train": replace(clip, shots=clip.shots[::2]),
                "val": replace(clip, shots=clip.shots[1::4]),
                "test": replace(clip, shots=clip.shots[3::4]),
            },
            premultiplied_away,
        ),
        {"background": "black"},
        ("train", "val", "test"),
    ),
}


def test_every_layout_has_a_case() -> None:
    assert {case.layout for case in CASES.values()} == set(LAYOUTS)


# -- rays --------------------------------------------------------------------------------------------------------------


def random_clip(case: str, frames: int = 3) -> Clip:
    """Cameras as general as the layout can state: random rotations, focal lengths, principal points and positions."""
    random = np.random.default_rng(len(case))
    width, height = 36, 28
    moving = CASES[case].layout in ("hypernerf", "blender") or case == "transforms of one camera"
    square = CASES[case].layout in ("n3v", "blender")
    names = {"hypernerf": ["left", "right"], "blender": ["any"]}.get(CASES[case].layout, ["cam00", "cam01", "cam02"])
    names = ["images"] if case == "transforms of one camera" else names

    def camera(name: str) -> Shot:
        pose = np.column_stack(
            [Rotation.random(random_state=random.integers(1 << 30)).as_matrix(), random.normal(0, 3, 3)]
        )
        focal = random.uniform(25, 45) if CASES[case].layout != "blender" else 33.0
        fx, fy = focal, focal if square else focal * random.uniform(0.9, 1.1)
        off = np.zeros(2) if square else random.uniform(-4, 4, 2)
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Shot(name, 0, pose, fx, fy, width / 2 + off[0], height / 2 + off[1], image)

    shots = []
    for name in names:
        fixed = camera(name)
        shots += [replace(camera(name) if moving else fixed, frame=frame) for frame in range(frames)]
    if CASES[case].layout == "blender":  # several images of an instant, from anywhere
        shots += [replace(camera("any"), frame=shot.frame) for shot in [*shots, *shots]]
    points = random.normal(0, 2, (200, 3))
    return Clip(shots, frames, points, np.full(points.shape, 90), (0.5, 9.0))


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")  # nerfstudio's own indexing
@pytest.mark.parametrize("case", [name for name in CASES if "distortion" not in name])
def test_cameras_written_out_and_parsed_back_have_the_same_rays(case: str, tmp_path: Path) -> None:
    clip, options = random_clip(case), CASES[case].options
    data = CASES[case].write(tmp_path / "scene", clip)
    pixels = np.random.default_rng(1).uniform([0, 0], [36, 28], (50, 2))
    seen = 0
    for split in CASES[case].splits:
        outputs = parse(CASES[case].layout, data, split, near=0.5, far=9.0, **options)
        for image, (name, frame) in enumerate(labels(outputs)):
            candidates = [shot for shot in clip.shots if shot.frame == frame - outputs.metadata["first_frame"]]
            same = [shot for shot in candidates if shot.camera == name] or candidates
            found = rays(outputs.cameras, image, pixels)
            errors = [
                max(np.abs(found[0] - origins).max(), np.abs(found[1] - directions).max())
                for origins, directions in (shot.rays(pixels) for shot in same)
            ]
            assert min(errors) < 1e-5
            assert outputs.cameras.times[image].item() == pytest.approx((frame - outputs.metadata["first_frame"]) / 2)
        seen += len(outputs.cameras)
    assert seen == len(clip.shots)


# -- tracked points ----------------------------------------------------------------------------------------------------


#: Surface points of the bundled scene that all cameras used here see at the frames used here.
TRACKED = {"rotor": 7, "ball": 7, "cloth": 140}


def dotted(shot: Shot, points: np.ndarray) -> Shot:
    """Black, with a red, a green and a blue dot where three points appear."""
    rows, columns = np.mgrid[: shot.size[1], : shot.size[0]] + 0.5
    image = np.zeros((*rows.shape, 3))
    for channel, (column, row) in enumerate(shot.pixels(points)):
        image[..., channel] = 255 * np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * 2.5**2))
    return replace(shot, image=image.round().astype(np.uint8))


def centres(image: np.ndarray) -> np.ndarray:
    """``[3,2]`` where the dots are: their centre of mass near the brightest pixel, column and row."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    found = []
    for channel in np.moveaxis(image.astype(float), 2, 0):
        row, column = np.unravel_index(channel.argmax(), channel.shape)
        near = np.where((columns - column) ** 2 + (rows - row) ** 2 < 12**2, channel, 0.0)
        found.append([(near * columns).sum() / near.sum(), (near * rows).sum() / near.sum()])
    return np.array(found)


@pytest.mark.parametrize("downscale", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_tracked_points_land_on_their_pixels(case: str, downscale: int, sample_scene: Path, tmp_path: Path) -> None:
    """Axes, intrinsics, distortion, the order of cameras and frames and the images themselves, all at once: the centres
    of dots drawn at tracked points of the bundled scene are where the parsed cameras project these points to."""
    tracks = np.load(sample_scene / "gt_tracks.npz")
    frames = [6, 12, 20]
    points = np.stack([tracks[label][frames, index] for label, index in TRACKED.items()], axis=1)
    clip = mixed_clip(sample_scene, (0, 2, 7), frames[-1] + 1)
    clip = replace(
        clip, num_frames=3, shots=[replace(s, frame=frames.index(s.frame)) for s in clip.shots if s.frame in frames]
    )
    if CASES[case].layout == "technicolor":
        clip = clip.changed(lambda shot: shot.cropped(17, 6, 260, 220))  # off-centre principal points
    if CASES[case].layout == "hypernerf":
        clip = joined(moving_capture(clip, 0, "left"), moving_capture(clip, 1, "right"))
        clip = clip.changed(lambda shot: shot.cropped(10, 20, 300, 200))
    if case == "transforms of one camera":
        clip = moving_capture(clip, camera="images")
    drawn = clip.changed(lambda shot: dotted(shot, points[shot.frame]))
    data = CASES[case].write(tmp_path / "scene", drawn)
    checked = 0
    for split in CASES[case].splits:
        options = {**CASES[case].options, "downscale": downscale}
        outputs = parse(CASES[case].layout, data, split, **options)
        dataset = FrameDataset(outputs)
        for image, (_, frame) in enumerate(labels(outputs)):
            now = points[frame - outputs.metadata["first_frame"]]
            expected = project(outputs.cameras, image, now)
            found = centres(dataset.get_numpy_image(image))
            np.testing.assert_allclose(found, expected, atol=0.12)
            checked += 1
    assert checked == len(clip.shots)


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_val_cams_are_neither_trained_nor_tested_on(case: str, tmp_path: Path) -> None:
    clip, options = random_clip(case), {**CASES[case].options, "near": 0.5, "far": 9.0}
    data = CASES[case].write(tmp_path / "scene", clip)
    layout = CASES[case].layout
    before = {split: parse(layout, data, split, **options).image_filenames for split in ("train", "test")}
    chosen = labels(parse(layout, data, **options))[0]
    whole_cameras = layout in ("n3v", "technicolor") or case in ("transforms of a rig", "transforms with distortion")
    value = chosen[0] if whole_cameras else str(chosen[1])
    after = {s: parse(layout, data, s, val_cams=(value,), **options).image_filenames for s in ("train", "val", "test")}
    assert after["val"] and after["train"]
    assert set(after["train"]) | set(after["val"]) == set(before["train"])
    assert not set(after["train"]) & set(after["val"])
    assert after["test"] == before["test"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_option_is_documented(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``ns-train METHOD PARSER --help`` shows what it shows of these."""
    config = LAYOUTS[layout].config
    assert issubclass(config, DynamicDataParserConfig)
    text = io.StringIO()
    monkeypatch.setenv("COLUMNS", "300")
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        tyro.cli(config, args=["--help"])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue())
    options = [item.name for item in fields(config) if item.name != "_target"]
    assert {"data", "test_cams", "val_cams", "exclude_cams", "downscale", "near", "far", "fps"} <= set(options)
    # A flag, what it takes, then its explanation up to the next flag.
    parts = re.split(r"^[│ ]*(--[a-z-]+)", shown, flags=re.MULTILINE)
    explained = dict(zip(parts[1::2], parts[2::2], strict=True))
    for name in options:
        words = re.findall(r"[a-z]{2,}", explained[f"--{name.replace('_', '-')}"].partition("(default")[0])
        assert len(words) >= 3, f"{layout}: {name}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"downscale": 0}, "--downscale >= 1"),
        ({"random_points": -1}, "--random-points >= 0"),
        ({"fps": 0.0}, "--fps > 0"),
        ({"near": 9.0, "far": 2.0}, "0 < near < far"),
        ({"test_cams": ("nobody",)}, "for --test-cams|--test-cams out of"),
        ({"val_cams": ("nobody",)}, "for --val-cams|--val-cams out of"),
        ({"exclude_cams": ("nobody",)}, "for --exclude-cams|--exclude-cams out of"),
        ({"downscale": 64}, "at least one pixel|multiple of"),
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_options_that_cannot_be(case: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    data = CASES[case].write(tmp_path / "scene", random_clip(case))
    with pytest.raises(ValueError, match=message):
        parse(CASES[case].layout, data, **{"near": 0.5, "far": 9.0, **CASES[case].options, **options})


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_split_is_refused(case: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of the splits train, val, test, found 'trian'"):
        parse(CASES[case].layout, tmp_path, "trian")


@pytest.mark.parametrize("case", CASES)
def test_metadata_is_what_all_consumers_read(case: str, tmp_path: Path) -> None:
    clip, options = random_clip(case), {**CASES[case].options, "near": 0.5, "far": 9.0}
    data = CASES[case].write(tmp_path / "scene", clip)
    for split in ("train", "val", "test"):
        outputs = parse(CASES[case].layout, data, split, **options)
        metadata, cameras = outputs.metadata, outputs.cameras
        assert (metadata["layout"], metadata["scene"]) == (CASES[case].layout, "scene")
        assert (metadata["num_frames"], metadata["near"], metadata["far"]) == (3, 0.5, 9.0)
        assert metadata["fps"] > 0 and metadata["camera_extent"] > 0 and len(metadata["files_digest"]) == 16
        assert len(outputs.image_filenames) == len(set(outputs.image_filenames)) == len(cameras)
        assert sum(one.num_frames for one in metadata["frame_sources"]) == len(cameras)
        assert len(metadata["frame_sources"]) == len(metadata["camera_names"])
        assert cameras.distortion_params is None
        for key in ("camera_index", "frame_index"):
            assert cameras.metadata[key].dtype == torch.int64 and cameras.metadata[key].shape == (len(cameras), 1)
        if len(cameras):
            assert cameras.times.min() >= 0 and cameras.times.max() <= 1
            assert outputs.scene_box.within(cameras.camera_to_worlds[:, :, 3]).all()
    digests = {
        parse(CASES[case].layout, data, split, **options).metadata["files_digest"] for split in ("train", "test")
    }
    assert len(digests) == 2


# -- registration ------------------------------------------------------------------------------------------------------


def test_entry_points_are_the_layouts(project_root: Path) -> None:
    """Read from pyproject.toml: what is installed follows at the next `make env`."""
    project = tomllib.loads((project_root / "pyproject.toml").read_text("utf8"))["project"]
    targets = project["entry-points"]["nerfstudio.dataparser_configs"]
    assert sorted(targets) == sorted(layout.parser for layout in LAYOUTS.values())
    by_parser = {layout.parser: layout for layout in LAYOUTS.values()}
    for name, target in targets.items():
        module, attribute = target.split(":")
        specification = getattr(importlib.import_module(module), attribute)
        assert isinstance(specification, DataParserSpecification)
        assert type(specification.config) is by_parser[name].config
        assert specification.description == by_parser[name].description


def test_layouts_are_found_by_the_name_runs_give_them() -> None:
    assert all(find_layout(name) is layout and layout.name == name for name, layout in LAYOUTS.items())
    for name in ("colmap", None):
        with pytest.raises(ValueError, match=f"layouts n3v, .* found {name!r}; ns-eval"):
            find_layout(name)
