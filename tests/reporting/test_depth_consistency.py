"""Multi-view depth consistency on planes whose depth in every view is known in closed form, and against plain numpy."""

import math

import numpy as np
import pytest
import torch

from moegs_ns.reporting.depth_consistency import (
    ConsistencyRules,
    DepthConsistency,
    DepthView,
    depth_consistency,
    ordered_pairs,
)

HEIGHT, WIDTH = 24, 32
#: The plane n.x = d, tilted against all views below.
NORMAL, DISTANCE = np.array([0.15, -0.1, 1.0]), 4.0
CENTRES = [(-0.4, 0.1, 0.0), (0.3, -0.2, 0.1), (0.0, 0.3, -0.2)]


def camera(centre: tuple[float, float, float], turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """World-to-camera and intrinsics, turned about the vertical; the principal point is off the centre."""
    cosine, sine = math.cos(turn), math.sin(turn)
    rotation = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ np.array(centre)
    return viewmat, np.array([[40.0, 0, 13.0], [0, 36.0, 14.5], [0, 0, 1]])


def plane_depth(viewmat: np.ndarray, intrinsics: np.ndarray, normal: np.ndarray, distance: float) -> np.ndarray:
    """z-depth ``[H,W]`` of the plane normal.x = distance."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(intrinsics).T @ viewmat[:3, :3]
    centre = -viewmat[:3, :3].T @ viewmat[:3, 3]
    return (distance - normal @ centre) / (rays @ normal)


def view_of(depth: np.ndarray, cover: np.ndarray, viewmat: np.ndarray, intrinsics: np.ndarray) -> DepthView:
    return DepthView(*(torch.from_numpy(array.astype(np.float64)) for array in (depth, cover, viewmat, intrinsics)))


def plane_views() -> list[DepthView]:
    views = []
    for number, centre in enumerate(CENTRES):
        viewmat, intrinsics = camera(centre, 0.06 * (number - 1))
        depth = plane_depth(viewmat, intrinsics, NORMAL, DISTANCE)
        views.append(view_of(depth, np.ones_like(depth), viewmat, intrinsics))
    return views


def facing_views(first: float | np.ndarray, second: float | np.ndarray) -> list[DepthView]:
    """Two views from one place in one direction, each with its depth."""
    viewmat, intrinsics = camera((0.0, 0.0, 0.0))
    ones = np.ones((HEIGHT, WIDTH))
    return [view_of(depth * ones, ones, viewmat, intrinsics) for depth in (first, second)]


def by_loops(source: DepthView, target: DepthView, rules: ConsistencyRules) -> tuple[list[int], float, float]:
    """Numbers of compared, occluded, outside and empty pixels, and the sums of errors, pixel by pixel."""
    counts, total, unruled = [0, 0, 0, 0], 0.0, 0.0
    inverse = np.linalg.inv(source.viewmat.numpy())
    intrinsics, depth, cover = target.intrinsics.numpy(), target.depth.numpy(), target.accumulation.numpy()
    stride = rules.pixel_stride
    for row in range(stride // 2, HEIGHT, stride):
        for column in range(stride // 2, WIDTH, stride):
            if source.accumulation[row, column] < rules.min_accumulation:
                counts[3] += 1
                continue
            ray = np.linalg.solve(source.intrinsics.numpy(), [column + 0.5, row + 0.5, 1.0])
            point = inverse @ np.append(ray * float(source.depth[row, column]), 1.0)
            local = (target.viewmat.numpy() @ point)[:3]
            x, y, _ = intrinsics @ local / local[2]
            if local[2] <= 0 or not (0.5 <= x <= WIDTH - 0.5 and 0.5 <= y <= HEIGHT - 0.5):
                counts[2] += 1
                continue
            nearest = min(int(y), HEIGHT - 1), min(int(x), WIDTH - 1)
            if cover[nearest] < rules.min_accumulation:
                counts[3] += 1
                continue
            left, top = min(int(x - 0.5), WIDTH - 2), min(int(y - 0.5), HEIGHT - 2)
            block = depth[top : top + 2, left : left + 2]
            surface = depth[nearest]
            covered = (cover[top : top + 2, left : left + 2] >= rules.min_accumulation).all()
            if covered and block.max() <= (1 + rules.occlusion_tolerance) * block.min():
                right, down = x - 0.5 - left, y - 0.5 - top
                surface = 1 / (np.array([1 - down, down]) @ (1 / block) @ np.array([1 - right, right]))
            error = abs(local[2] - surface)
            unruled += error
            if local[2] > (1 + rules.occlusion_tolerance) * surface:
                counts[1] += 1
                continue
            counts[0] += 1
            total += error
    return counts, total, unruled


def test_a_tilted_plane_is_consistent() -> None:
    meter = DepthConsistency(ConsistencyRules(pixel_stride=1))
    meter.update(plane_views())
    scores = meter.compute()
    assert scores.error < 1e-12 and scores.relative < 1e-12 and scores.unruled < 1e-12
    assert scores.compared > 0.6 and scores.occluded == scores.empty == 0
    assert scores.compared + scores.outside == pytest.approx(1.0)
    assert scores.pairs == scores.all_pairs == 6


@pytest.mark.parametrize("stride", [1, 3])
def test_rough_depth_against_loops(stride: int) -> None:
    random = np.random.default_rng(3)
    rules = ConsistencyRules(occlusion_tolerance=0.03, pixel_stride=stride)
    views = []
    for view in plane_views():
        bumps = 1 + 0.1 * (random.random((HEIGHT, WIDTH)) < 0.2) * random.standard_normal((HEIGHT, WIDTH))
        cover = (random.random((HEIGHT, WIDTH)) < 0.95).astype(float)
        views.append(view_of(view.depth.numpy() * bumps, cover, view.viewmat.numpy(), view.intrinsics.numpy()))
    for (i, j), found in depth_consistency(views, rules).items():
        counts, total, unruled = by_loops(views[i], views[j], rules)
        assert [found.compared, found.occluded, found.outside, found.empty] == counts
        assert min(counts) > 0
        assert found.error == pytest.approx(total) and found.unruled == pytest.approx(unruled)


def test_a_plane_moved_in_one_view_is_off_by_that_much() -> None:
    first, second = facing_views(4.0, 4.1)  # 2.5 % apart: within the tolerance from either side
    pairs = depth_consistency([first, second])
    assert pairs[0, 1].error / pairs[0, 1].compared == pytest.approx(0.1)
    assert pairs[0, 1].relative / pairs[0, 1].compared == pytest.approx(0.1 / 4.1)
    assert pairs[1, 0].error / pairs[1, 0].compared == pytest.approx(0.1)
    assert pairs[1, 0].relative / pairs[1, 0].compared == pytest.approx(0.1 / 4.0)


def test_what_lies_behind_is_occluded_and_what_lies_in_front_counts() -> None:
    meter = DepthConsistency(ConsistencyRules(pixel_stride=1))
    meter.update(facing_views(4.0, 2.0))
    behind, front = depth_consistency(facing_views(4.0, 2.0), ConsistencyRules(pixel_stride=1)).values()
    assert behind.compared == 0 and behind.occluded == HEIGHT * WIDTH and behind.unruled == 2.0 * HEIGHT * WIDTH
    assert front.occluded == 0 and front.error == 2.0 * HEIGHT * WIDTH
    scores = meter.compute()
    assert (scores.error, scores.unruled, scores.occluded, scores.pairs) == (2.0, 2.0, 0.5, 1)


def test_an_occluder_of_one_view_hides_only_itself() -> None:
    depth = np.full((HEIGHT, WIDTH), 4.0)
    depth[5:10, 8:16] = 2.0
    hidden, _ = depth_consistency(facing_views(4.0, depth), ConsistencyRules(pixel_stride=1)).values()
    assert hidden.occluded == 40 and hidden.compared == HEIGHT * WIDTH - 40 and hidden.error == 0.0


def test_pixels_without_a_surface_are_left_out() -> None:
    first, second = facing_views(4.0, 4.0)
    first.accumulation[:6], first.depth[:6] = 0.49, 1.0
    second.accumulation[-3:], second.depth[-3:] = 0.0, 0.0
    one, other = depth_consistency([first, second], ConsistencyRules(pixel_stride=1)).values()
    assert one.empty == other.empty == 9 * WIDTH and one.compared == (HEIGHT - 9) * WIDTH
    assert one.error == other.error == 0.0


def test_points_behind_the_other_camera_are_outside() -> None:
    first, _ = facing_views(4.0, 4.0)
    viewmat, intrinsics = camera((0.0, 0.0, 5.0))
    ahead = view_of(np.full((HEIGHT, WIDTH), 9.0), np.ones((HEIGHT, WIDTH)), viewmat, intrinsics)
    assert depth_consistency([first, ahead], ConsistencyRules(pixel_stride=1))[0, 1].outside == HEIGHT * WIDTH


def test_nothing_to_compare_is_no_perfect_score() -> None:
    views = facing_views(4.0, 4.0)
    for view in views:
        view.accumulation.zero_()
    meter = DepthConsistency()
    meter.update(views)
    scores = meter.compute()
    assert math.isnan(scores.error) and scores.pairs == 0 and scores.empty == 1.0


def test_order_of_views_and_split_into_instants_do_not_matter() -> None:
    random = np.random.default_rng(0)
    views = plane_views()
    for view in views:
        view.depth.mul_(torch.from_numpy(1 + 0.02 * random.standard_normal((HEIGHT, WIDTH))))
    forward, backward = DepthConsistency(), DepthConsistency()
    for instant in (views, views[:2]):
        forward.update(instant)
    for instant in (views[1::-1], views[::-1]):
        backward.update(instant)
    one, other = forward.compute(), backward.compute()
    assert one.error == pytest.approx(other.error) and one.relative == pytest.approx(other.relative)
    assert one.compared == other.compared and one.error > 0


def test_views_of_different_sizes_and_float32() -> None:
    views = plane_views()
    cut = DepthView(views[0].depth[:20, :25], views[0].accumulation[:20, :25], views[0].viewmat, views[0].intrinsics)
    single = [DepthView(*(getattr(v, name).float() for name in v.__annotations__)) for v in (cut, *views[1:])]
    meter = DepthConsistency()
    meter.update(single)
    assert meter.compute().error < 1e-5


def test_neighbors_are_the_nearest_cameras() -> None:
    views = [
        view_of(np.ones((2, 2)), np.ones((2, 2)), *camera((place, 0.0, 0.0), turn=0.3 * place))
        for place in (0.0, 5.0, 1.0, 5.5)
    ]
    assert ordered_pairs(views, 1) == [(0, 2), (1, 3), (2, 0), (3, 1)]
    assert len(ordered_pairs(views)) == len(ordered_pairs(views, 9)) == 12


def test_what_is_refused() -> None:
    views = plane_views()
    with pytest.raises(ValueError, match="at least two views"):
        depth_consistency(views[:1])
    with pytest.raises(ValueError, match="expected depth"):
        depth_consistency([DepthView(v.depth[None], v.accumulation, v.viewmat, v.intrinsics) for v in views])
    with pytest.raises(ValueError, match="call update"):
        DepthConsistency().compute()
    for wrong in ({"occlusion_tolerance": 0.0}, {"min_accumulation": 0.0}, {"pixel_stride": 0}, {"neighbors": -1}):
        with pytest.raises(ValueError, match="expected"):
            ConsistencyRules(**wrong)
