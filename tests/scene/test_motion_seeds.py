"""Seeds on moving things: on the sample scene they lie on its moving objects, as a held-out camera's masks say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.dataset import FrameDataset
from moegs_ns.scene.motion_seeds import FixedCameras, _share_out, _Surface, carve_motion_seeds, fixed_cameras

STATIC = 1  # object id in the masks


def sample(scene: Path, split: str) -> FrameDataset:
    return FrameDataset(N3VDataParserConfig(data=scene, downscale=2).setup().get_dataparser_outputs(split))


def test_seeds_lie_on_moving_objects_in_an_unseen_camera(sample_scene: Path) -> None:
    train, test = sample(sample_scene, "train"), sample(sample_scene, "test")
    bounds = train.scene_box.aabb
    seeds = carve_motion_seeds(fixed_cameras(train), bounds, count=400, slices=4)
    points, colors, times = seeds.points, seeds.colors, seeds.times
    assert 200 <= len(points) <= 400 and len(times.unique()) == 4
    assert float(colors.min()) >= 0 and float(colors.max()) <= 1
    assert ((points >= bounds[0] - 0.1) & (points <= bounds[1] + 0.1)).all()
    held_out = fixed_cameras(test)
    hits = []
    for time in times.unique():
        frame = round(float(time) * (held_out.num_frames - 1))
        mask = np.asarray(Image.open(sample_scene / "mask" / "cam00" / f"{frame:04d}.png"))[::2, ::2]
        projection = held_out.project(points[times == time])
        objects = mask.reshape(-1)[projection.pixels[0][projection.seen[0]].numpy()]
        hits.append((objects != STATIC).mean())
    # Chance would be the share of moving pixels, a few percent.
    assert np.mean(hits) > 0.6, hits
    # Nor do they lie where few cameras look, such as close before one of them.
    assert fixed_cameras(train).project(points).seen.sum(dim=0).min() >= 6


def test_what_passes_gets_its_share_at_its_instant(sample_scene: Path) -> None:
    train = sample(sample_scene, "train")
    truth = json.loads((sample_scene / "ground_truth.json").read_text("utf8"))["frames"]
    cameras, options = fixed_cameras(train), {"per": "place", "surfaces": 0.2}
    seeds = carve_motion_seeds(cameras, train.scene_box.aabb, count=1200, slices=6, **options)
    frames = [truth[round(float(time) * (len(truth) - 1))] for time in seeds.times]
    near = {
        name: (seeds.points - torch.tensor([frame[name] for frame in frames])[:, :3, 3]).norm(dim=1) < radius
        for name, radius in (("ball", 0.2), ("rotor", 0.3))
    }
    # The ball's pixels are 0.7 % of the picture; it never comes back, the rotor turns where it stands.
    assert near["ball"].float().mean() > 0.06
    assert seeds.durations[near["ball"]].median() <= 2 / 6
    assert seeds.durations[near["rotor"]].median() >= 3 / 6


def test_places_share_alike_at_an_instant_or_over_the_clip() -> None:
    """Cell 1 moves at both instants, cells 0 and 2 at one: half of the points are theirs, or two thirds."""

    def surface(time: float, *cells: int) -> _Surface:
        cell = torch.tensor(cells).repeat_interleave(10)
        return _Surface(
            time, torch.zeros(len(cell), 3), torch.zeros(len(cell), 3), cell, torch.arange(10).repeat(len(cells))
        )

    found = [surface(0.0, 0, 1), surface(1.0, 1, 2)]
    generator = torch.Generator().manual_seed(0)
    each = _share_out(found, 12, "instant", 2, 3, generator)
    assert [int((each.durations == d).sum()) for d in (0.5, 1.0)] == [6, 6]
    over = _share_out(found, 12, "place", 2, 3, generator)
    assert [int((over.durations == d).sum()) for d in (0.5, 1.0)] == [8, 4]
    assert [int((over.times == t).sum()) for t in (0.0, 1.0)] == [6, 6]


def test_the_share_of_places_is_checked() -> None:
    with pytest.raises(ValueError, match=r"in \(0,1\], found 0"):
        carve_motion_seeds(still(4, 3), torch.tensor([[-1.0] * 3, [1.0] * 3]), 10, 2, surfaces=0)


def test_the_same_seed_carves_the_same_points(sample_scene: Path) -> None:
    cameras, box = fixed_cameras(sample(sample_scene, "train")), torch.tensor([[-1.0, -1.0, 0.0], [1.0, 1.0, 2.0]])
    state = torch.get_rng_state()
    first, second = (carve_motion_seeds(cameras, box, 50, 2, seed=3) for _ in range(2))
    assert len(first) and torch.equal(first.points, second.points) and torch.equal(first.durations, second.durations)
    assert torch.equal(torch.get_rng_state(), state)


def still(count: int, frames: int) -> FixedCameras:
    image = np.full((8, 10, 3), 100, np.uint8)
    matrix = torch.tensor([[5.0, 0, 5], [0, 5, 4], [0, 0, 1]])
    viewmats = torch.eye(4).repeat(count, 1, 1)
    viewmats[:, 2, 3] = 4
    return FixedCameras(viewmats, matrix.repeat(count, 1, 1), lambda camera, frame: image, frames)


def test_nothing_moves_nothing_is_carved() -> None:
    seeds = carve_motion_seeds(still(4, 3), torch.tensor([[-1.0] * 3, [1.0] * 3]), 10, 2)
    assert seeds.points.shape == seeds.colors.shape == (0, 3) and seeds.times.shape == seeds.durations.shape == (0,)


@pytest.mark.parametrize(("cameras", "frames"), [(2, 5), (4, 1)])
def test_too_little_to_carve_from_is_an_error(cameras: int, frames: int) -> None:
    with pytest.raises(ValueError, match="at least 3 fixed cameras and 2 frames"):
        carve_motion_seeds(still(cameras, frames), torch.tensor([[-1.0] * 3, [1.0] * 3]), 10, 2)


def test_projection_rounds_to_the_pixel_and_knows_what_is_unseen() -> None:
    cameras = still(1, 2)
    points = torch.tensor([[0.0, 0.0, 0.0], [0.9, -0.9, 0.0], [0.0, 0.0, -5.0], [9.0, 0.0, 0.0]])
    projection = cameras.project(points)
    assert projection.seen[0].tolist() == [True, True, False, False]
    # x = 5 * 0.9 / 4 + 5 = 6.1, y = 4 - 1.1 = 2.9
    assert projection.pixels[0, :2].tolist() == [4 * 10 + 5, 2 * 10 + 6]
