"""Ways a camera moves through a scene, made of where the scene's own cameras stand.

Poses are camera-to-world ``[...,3,4]`` float64, OpenGL axes: x right, y up, the camera looks along -z. Moves that end
where they began leave out the last pose, so that a video of them can be repeated without a jerk.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

_MOST_POSES = 12  # of a camera that moved itself: a spline through more would shake as the hand did
_FULL_CIRCLE = 360.0
_SURROUNDED = 270.0  # degrees; cameras seen over more than this from the middle stand all around it
_SPIRAL_SHARE = 0.5  # of the typical distance between the central camera and the others
_LONE_SPIRAL_SHARE = 0.1  # of the distance to what is looked at, where there is one place only
_SPIRAL_DEPTH = 0.5  # of the spiral's radius, forwards and backwards
_NO_SWING = 0.1  # degrees
_EDGE_ON = 1e-3  # of the largest singular value: axes this parallel meet nowhere


@dataclass(frozen=True)
class Rig:
    """The places a scene was taken from.

    Attributes:
        poses: ``[n,3,4]``, all different, in the order of the cameras, or of time for one camera that moved.
        default_distance: of what is looked at where the cameras' axes do not tell, in world units.
    """

    poses: np.ndarray
    default_distance: float

    @staticmethod
    def of(poses: np.ndarray, default_distance: float) -> "Rig":
        """Of the poses of all images ``[N,3,4]``, of which equal ones count once.

        Raises:
            ValueError: there is none.
        """
        if not len(poses):
            raise ValueError("expected at least one camera to make a camera path of, found none")
        poses = np.asarray(poses, np.float64)
        _, first = np.unique(poses.reshape(len(poses), -1), axis=0, return_index=True)
        return Rig(poses[np.sort(first)], default_distance)

    @property
    def central(self) -> int:
        """Number of the pose nearest to the mean place."""
        places = self.poses[:, :, 3]
        return int(np.linalg.norm(places - places.mean(axis=0), axis=1).argmin())

    @property
    def up(self) -> np.ndarray:
        """``[3]`` unit vector; that of the central camera where cameras do not agree on one."""
        mean = self.poses[:, :, 1].mean(axis=0)
        length = np.linalg.norm(mean)
        return mean / length if length > 0.1 else self.poses[self.central, :, 1]

    def distance(self, pose: np.ndarray) -> float:
        """How far ahead of ``pose`` lies what all cameras look at: the place nearest to all their axes."""
        axes = -self.poses[:, :, 2]
        across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
        matrix = across.sum(axis=0)
        strengths = np.linalg.svd(matrix, compute_uv=False)
        if len(self.poses) < 2 or strengths[-1] < _EDGE_ON * strengths[0]:
            return self.default_distance
        place = np.linalg.solve(matrix, (across @ self.poses[:, :, 3:]).sum(axis=0)[:, 0])
        ahead = float((place - pose[:, 3]) @ -pose[:, 2])
        return ahead if ahead > 0 else self.default_distance


def along(poses: np.ndarray, count: int) -> np.ndarray:
    """A smooth way through poses ``[n,3,4]`` in their order, at an even pace: ``[count,3,4]``, first and last included.

    Raises:
        ValueError: fewer than two poses, or fewer than two places on the way.
    """
    if len(poses) < 2 or count < 2:
        raise ValueError(
            f"expected at least two cameras and two frames for a way between them, found "
            f"{len(poses)} and {count}; name more"
        )
    turns = Rotation.from_matrix(poses[:, :, :3])
    ways = np.linalg.norm(np.diff(poses[:, :, 3], axis=0), axis=1)
    angles = (turns[:-1].inv() * turns[1:]).magnitude()
    # Both what is walked and what is turned takes time, so that equal places, or equal directions, are no obstacle.
    paces = sum(one / one.mean() for one in (ways, angles) if one.mean() > 1e-9)
    clock = np.concatenate([[0.0], np.cumsum(np.maximum(paces, 1e-6))])
    moments = np.linspace(0.0, clock[-1], count)
    places = CubicSpline(clock, poses[:, :, 3], bc_type="natural")(moments)
    return np.concatenate([RotationSpline(clock, turns)(moments).as_matrix(), places[:, :, None]], axis=2)


def through_rig(rig: Rig, count: int, fixed: bool) -> np.ndarray:
    """`along` a short way past all cameras; of a camera that moved (not ``fixed``), along some of its own places."""
    if fixed:
        return along(rig.poses[short_tour(rig.poses[:, :, 3])], count)
    chosen = np.unique(np.linspace(0, len(rig.poses) - 1, min(_MOST_POSES, len(rig.poses))).round().astype(int))
    return along(rig.poses[chosen], count)


def short_tour(places: np.ndarray) -> list[int]:
    """An order in which ``places [n,3]`` are visited on a short way that does not return: the best of the ways to the
    nearest place still unseen, with crossings undone (2-opt)."""
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    tours = [_untangled(_nearest_first(distances, start), distances) for start in range(len(places))]
    best = min(tours, key=lambda tour: _length(tour, distances))
    return best if best[0] <= best[-1] else best[::-1]


def spiral(pose: np.ndarray, distance: float, radius: float, turns: int, count: int) -> np.ndarray:
    """Circles around ``pose`` that go on looking at the place ``distance`` ahead of it; world units.

    Raises:
        ValueError: numbers of which no spiral can be made.
    """
    if not (radius > 0 and distance > 0 and turns >= 1 and count >= 2):
        raise ValueError(
            f"expected a radius above 0, at least one turn and two frames for a spiral, found {radius}, {turns} and "
            f"{count}"
        )
    angle = 2 * np.pi * np.arange(count) / count
    offsets = np.stack(
        [np.cos(turns * angle), np.sin(turns * angle), _SPIRAL_DEPTH * np.sin(angle)], axis=1
    )  # of the camera
    places = pose[:, 3] + radius * offsets @ pose[:, :3].T
    return looking_at(places, pose[:, 3] - distance * pose[:, 2], pose[:, 1])


def spiral_radius(rig: Rig, distance: float) -> float:
    """A radius that stays among the cameras of the rig, in world units."""
    places = rig.poses[:, :, 3]
    away = np.linalg.norm(np.delete(places, rig.central, axis=0) - places[rig.central], axis=1)
    away = away[away > 1e-6]
    return _SPIRAL_SHARE * float(np.median(away)) if len(away) else _LONE_SPIRAL_SHARE * distance


def orbit(rig: Rig, pose: np.ndarray, count: int, degrees: float | None = None) -> np.ndarray:
    """``pose`` turned, as it is, around what the rig looks at and what is up for it: once around, or there and back.

    Args:
        rig: of the scene.
        pose: to begin with.
        count: of poses.
        degrees: 360 or more goes once around; less swings so far in all, half to each side. None: as far as the rig's
            cameras stand around, or once around where they stand on all sides.

    Raises:
        ValueError: not above 0, too few poses, or a rig in one direction only that does not say how far.
    """
    if count < 2 or (degrees is not None and not 0 < degrees < np.inf):
        raise ValueError(f"expected degrees above 0 and at least two frames for an orbit, found {degrees} and {count}")
    middle = pose[:, 3] - rig.distance(pose) * pose[:, 2]
    low, high = _swing(rig, pose, middle) if degrees is None else (-degrees / 2, degrees / 2)
    if high - low < _NO_SWING:
        raise ValueError("expected cameras on several sides of the scene for an orbit, found one; give --degrees")
    share = np.arange(count) / count
    if high - low >= _FULL_CIRCLE:
        angles = _FULL_CIRCLE * share
    else:
        # Begins at the pose and swings from one end to the other.
        begin = np.arcsin(np.clip(-(low + high) / (high - low), -1.0, 1.0))
        angles = (low + high) / 2 + (high - low) / 2 * np.sin(begin + 2 * np.pi * share)
    turns = Rotation.from_rotvec(np.radians(angles)[:, None] * rig.up).as_matrix()
    places = middle + turns @ (pose[:, 3] - middle)
    return np.concatenate([turns @ pose[:, :3], places[:, :, None]], axis=2)


def looking_at(places: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Poses ``[n,3,4]`` at ``places [n,3]`` that look at ``target [3]`` with ``up [3]`` upwards in the picture."""
    back = places - target
    back = back / np.linalg.norm(back, axis=1, keepdims=True)
    right = np.cross(up, back)
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack([right, np.cross(back, right), back, places], axis=2)


def _swing(rig: Rig, pose: np.ndarray, middle: np.ndarray) -> tuple[float, float]:
    """Between which angles around ``middle`` the cameras stand, in degrees from ``pose``."""
    forward = pose[:, 3] - middle
    forward = forward - (forward @ rig.up) * rig.up
    side = np.cross(rig.up, forward)
    away = rig.poses[:, :, 3] - middle
    angles = np.sort(np.degrees(np.arctan2(away @ side, away @ forward)))
    gaps = np.diff(np.concatenate([angles, [angles[0] + _FULL_CIRCLE]]))
    if _FULL_CIRCLE - gaps.max() > _SURROUNDED:
        return -_FULL_CIRCLE / 2, _FULL_CIRCLE / 2
    return min(0.0, float(angles[0])), max(0.0, float(angles[-1]))


def _nearest_first(distances: np.ndarray, start: int) -> list[int]:
    tour, left = [start], set(range(len(distances))) - {start}
    while left:
        tour.append(min(left, key=lambda other: distances[tour[-1], other]))
        left.remove(tour[-1])
    return tour


def _untangled(tour: list[int], distances: np.ndarray) -> list[int]:
    shorter = True
    while shorter:
        shorter = False
        for first in range(len(tour) - 1):
            for last in range(first + 1, len(tour)):
                turned = tour[:first] + tour[first : last + 1][::-1] + tour[last + 1 :]
                if _length(turned, distances) < _length(tour, distances) - 1e-9:
                    tour, shorter = turned, True
    return tour


def _length(tour: Sequence[int], distances: np.ndarray) -> float:
    return float(distances[list(tour[:-1]), list(tour[1:])].sum())
