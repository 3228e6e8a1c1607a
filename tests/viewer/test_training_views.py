"""Which photograph is nearest."""

import torch

from moegs_ns.viewer.training_views import TrainingViews
from tests.viewer.live import FRAMES, Photographs, row_of_images


def views() -> TrainingViews:
    photographs = Photographs()
    return TrainingViews(photographs, {**photographs.metadata, "first_frame": 100})


def test_the_instant_comes_first_then_place_and_direction() -> None:
    camera = row_of_images()[7:8]  # right, frame 2
    assert views().nearest(camera) == 7
    camera.camera_to_worlds[0, 0, 3] = -0.2
    assert views().nearest(camera) == 2  # left, frame 2
    camera.times = torch.tensor([[0.95]])
    assert views().nearest(camera) == FRAMES - 1
    camera.times = None
    assert views().nearest(camera) == 0


def test_direction_decides_between_places_equally_far() -> None:
    one = views()
    one._directions[FRAMES:] = torch.tensor([0.0, 1.0, 0.0])
    camera = row_of_images()[7:8]
    camera.camera_to_worlds[0, 0, 3] = 0.3  # nearer to the right one, which looks elsewhere
    assert one.nearest(camera) == 2


def test_photographs_shrink_to_the_picture_and_not_beyond_themselves() -> None:
    one = views()
    small = one.camera(3, 160 * 120)
    assert (int(small.width), int(small.height)) == (160, 120)
    assert float(small.fx) == 160.0 and float(one.camera(3, 1e9).fx) == 640.0
    photograph = one.photograph(3, 120, 160)
    assert photograph.shape == (120, 160, 3)
    torch.testing.assert_close(photograph, torch.full_like(photograph, 3 / FRAMES))


def test_labels_name_camera_and_frame() -> None:
    assert views().label(7) == "right, frame 102"
    photographs = Photographs()
    assert TrainingViews(photographs, {}).label(7) == "1, frame 2"
    photographs.cameras.metadata = {}
    assert TrainingViews(photographs, {}).label(7) == "image 7"
