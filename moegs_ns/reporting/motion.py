"""How an expert's Gaussians move: displacement statistics, and the error against known tracks of surface points.

Everything is counted while a Gaussian is visible: experts with temporal opacity let Gaussians come and go, and where
one drifts while it is transparent nobody sees.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

#: Opacity from which on a Gaussian counts as visible.
VISIBLE = 0.1
#: A Gaussian moves if it travels farther than this share of the camera rig's extent.
MOVING_SHARE = 0.01
#: Tracks are followed by Gaussians that start within this share of the camera rig's extent.
NEAR_SHARE = 0.015
#: Numbers of frames tracks are followed over.
STEPS = (1, 4, 12)
#: Moving Gaussians are compared with this many of their neighbours that move, too.
NEIGHBORS = 8
TRACKS_NAME = "gt_tracks.npz"


@dataclass(frozen=True)
class Motion:
    """Where N Gaussians are at T instants spread evenly over the clip.

    Attributes:
        positions: ``[T,N,3]`` world units.
        opacities: ``[T,N]`` in [0,1].
        extent: of the camera rig, world units; lengths are judged against it.
    """

    positions: np.ndarray
    opacities: np.ndarray
    extent: float

    @property
    def visible(self) -> np.ndarray:
        """``[T,N]`` bool."""
        return self.opacities >= VISIBLE


@dataclass(frozen=True)
class MotionStatistics:
    """Of the Gaussians that are visible at least once.

    Attributes:
        moving: share of them that travel farther than ``MOVING_SHARE`` of the extent while visible.
        lifetime: median share of the clip during which they are visible.
        path: 50th, 90th and 99th percentile of the way travelled while visible, world units.
        speed: 99th percentile of the way per frame while visible, world units.
        straightness: median over the moving ones of net displacement over way; 1 is a straight line.
        coherence: how alike moving neighbours step from frame to frame: 1 less the distance between a Gaussian's step
            and the mean of its neighbours', as a share of the two steps' lengths together, all summed before dividing
            so that long steps count. 1 means alike, 0 opposite or one of them still; NaN with fewer than two moving
            at any time.
        turning: mean angle in degrees between a moving one's steps in a row, weighted by their lengths; 0 is no turn.
            NaN without such steps.
    """

    moving: float
    lifetime: float
    path: tuple[float, float, float]
    speed: float
    straightness: float
    coherence: float
    turning: float


def motion_statistics(motion: Motion) -> MotionStatistics:
    """Displacements while visible.

    Raises:
        ValueError: fewer than two instants, or no Gaussian is ever visible.
    """
    visible = motion.visible
    if len(visible) < 2 or not visible.any():
        raise ValueError(
            f"expected at least two instants and a visible Gaussian, found {len(visible)} and {int(visible.sum())}"
        )
    seen = visible.any(axis=0)
    positions, visible = motion.positions[:, seen], visible[:, seen]
    both = visible[1:] & visible[:-1]
    ways = np.diff(positions, axis=0)
    steps = np.where(both, np.linalg.norm(ways, axis=-1), 0.0)
    path = steps.sum(axis=0)
    first, last = visible.argmax(axis=0), len(visible) - 1 - visible[::-1].argmax(axis=0)
    each = np.arange(positions.shape[1])
    net = np.linalg.norm(positions[last, each] - positions[first, each], axis=-1)
    moving = path > MOVING_SHARE * motion.extent
    return MotionStatistics(
        moving=float(moving.mean()),
        lifetime=float(np.median(visible.mean(axis=0))),
        path=tuple(float(value) for value in np.percentile(path, (50, 90, 99))),  # type: ignore[arg-type]
        speed=float(np.percentile(steps[both], 99)) if both.any() else 0.0,
        # A Gaussian that fades out on the way and comes back elsewhere may end farther off than it was seen to travel.
        straightness=float(np.median(np.minimum(net[moving] / path[moving], 1.0))) if moving.any() else 1.0,
        coherence=_coherence(positions[:, moving], ways[:, moving], both[:, moving]),
        turning=_turning(ways[:, moving], both[:, moving]),
    )


def _coherence(positions: np.ndarray, ways: np.ndarray, both: np.ndarray) -> float:
    """Of N moving Gaussians: positions ``[T,N,3]``, steps ``[T-1,N,3]`` and whether seen at both ends ``[T-1,N]``."""
    distance = length = 0.0
    for place, way, counts in zip(positions[:-1], ways, both, strict=True):
        if counts.sum() < 2:
            continue
        place, way = place[counts], way[counts]
        number = min(NEIGHBORS, len(place) - 1)
        _, near = cKDTree(place).query(place, k=number + 1)
        # A Gaussian is among its own nearest, but not surely the first: others may lie in the same place.
        others = near != np.arange(len(place))[:, None]
        others[others.all(axis=1), -1] = False
        mean = (way[near] * others[..., None]).sum(axis=1) / number
        distance += float(np.linalg.norm(way - mean, axis=-1).sum())
        length += float(np.linalg.norm(way, axis=-1).sum() + np.linalg.norm(mean, axis=-1).sum())
    return 1.0 - distance / length if length else float("nan")


def _turning(ways: np.ndarray, both: np.ndarray) -> float:
    """As `_coherence`; angles between steps in a row."""
    first, second = ways[:-1], ways[1:]
    product = (first * second).sum(axis=-1)
    cross = np.linalg.norm(np.cross(first, second), axis=-1)
    lengths = np.linalg.norm(first, axis=-1) + np.linalg.norm(second, axis=-1)
    weights = np.where(both[:-1] & both[1:] & ((cross > 0) | (product != 0)), lengths, 0.0)
    angles = np.degrees(np.arctan2(cross, product))
    return float((weights * angles).sum() / weights.sum()) if weights.any() else float("nan")


@dataclass(frozen=True)
class TrackError:
    """How well Gaussians that start on an object follow it.

    Attributes:
        followed: share of (point, start) pairs that have a Gaussian near them which is visible at start and end.
        error: mean distance between the Gaussian's displacement and the point's, over those pairs, world units; NaN
            where there is none.
        motion: mean displacement of the points of the same pairs: the error of a Gaussian that stands still.
    """

    followed: float
    error: float
    motion: float


def track_error(motion: Motion, tracks: np.ndarray, step: int) -> TrackError:
    """3D end-point error over ``step`` frames, from every frame of the clip.

    Per surface point and start frame the nearest Gaussian that is visible then counts, if it lies within
    ``NEAR_SHARE`` of the extent and is still visible at the end.

    Args:
        motion: T instants, one per frame.
        tracks: ``[T,P,3]`` surface points over time, world units.
        step: 1 to T - 1.

    Raises:
        ValueError: tracks of another number of frames, or a step that does not fit.
    """
    if len(tracks) != len(motion.positions):
        raise ValueError(f"expected tracks of {len(motion.positions)} frames, found {len(tracks)}")
    if not 1 <= step < len(tracks):
        raise ValueError(f"expected a step of 1 to {len(tracks) - 1} frames, found {step}")
    errors, lengths = [], []
    visible = motion.visible
    for start in range(len(tracks) - step):
        index = np.flatnonzero(visible[start])
        if not len(index):
            continue
        distance, nearest = cKDTree(motion.positions[start, index]).query(
            tracks[start], distance_upper_bound=NEAR_SHARE * motion.extent
        )
        near = np.isfinite(distance)
        gaussian, point = index[nearest[near]], np.flatnonzero(near)
        stays = visible[start + step, gaussian]
        gaussian, point = gaussian[stays], point[stays]
        wanted = tracks[start + step, point] - tracks[start, point]
        found = motion.positions[start + step, gaussian] - motion.positions[start, gaussian]
        errors.append(np.linalg.norm(found - wanted, axis=-1))
        lengths.append(np.linalg.norm(wanted, axis=-1))
    pairs = (len(tracks) - step) * tracks.shape[1]
    error = np.concatenate(errors) if errors else np.zeros(0)
    length = np.concatenate(lengths) if lengths else np.zeros(0)
    return TrackError(
        followed=len(error) / pairs,
        error=float(error.mean()) if len(error) else float("nan"),
        motion=float(length.mean()) if len(length) else float("nan"),
    )


def read_tracks(data: Path) -> dict[str, np.ndarray] | None:
    """Known tracks ``[T,P,3]`` by object of a scene that ships them as ``gt_tracks.npz``; None for others."""
    file = data / TRACKS_NAME
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files if arrays[name].ndim == 3}


def motion_summary(motion: Motion, tracks: Mapping[str, np.ndarray] | None) -> dict[str, Any]:
    """Statistics of the Gaussians and of the tracked points, and errors by object and number of frames, as plain data;
    `statistics_from_plain` and `errors_from_plain` read it. Tracks of another number of frames are left out."""
    errors = None if tracks is None else track_errors(motion, tracks)
    points = None if tracks is None else _points_motion(motion, tracks)
    return {
        "extent": motion.extent,
        "statistics": _plain(asdict(motion_statistics(motion))),
        "points": None if points is None else _plain(asdict(motion_statistics(points))),
        "tracks": [{"object": name, "step": step, **_plain(asdict(one))} for (name, step), one in errors.items()]
        if errors
        else None,
    }


def track_errors(motion: Motion, tracks: Mapping[str, np.ndarray]) -> dict[tuple[str, int], TrackError]:
    """Errors by object and number of frames, `STEPS` as far as the clip is long enough for them; empty if the tracks
    have another number of frames."""
    frames = len(motion.positions)
    return {
        (name, step): track_error(motion, points, step)
        for name, points in tracks.items()
        for step in STEPS
        if len(points) == frames and step < frames
    }


def _points_motion(motion: Motion, tracks: Mapping[str, np.ndarray]) -> Motion | None:
    """All tracked points as if they were Gaussians, always visible; None if none have as many frames."""
    fitting = [points for points in tracks.values() if len(points) == len(motion.positions)]
    if not fitting:
        return None
    positions = np.concatenate(fitting, axis=1).astype(np.float64)
    return Motion(positions, np.ones(positions.shape[:2]), motion.extent)


def statistics_from_plain(plain: Mapping[str, Any]) -> MotionStatistics:
    """The ``statistics`` or the ``points`` of a `motion_summary`."""
    values = _restored(plain)
    return MotionStatistics(**{**values, "path": tuple(values["path"])})


def errors_from_plain(summary: Mapping[str, Any]) -> dict[tuple[str, int], TrackError]:
    """The errors of a `motion_summary` by object and number of frames; empty where it has none."""
    errors = {}
    for one in summary["tracks"] or ():
        values = _restored(one)
        key = values.pop("object"), values.pop("step")
        errors[key] = TrackError(**values)
    return errors


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {name: None if isinstance(one, float) and math.isnan(one) else one for name, one in values.items()}


def _restored(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float("nan") if one is None else one for name, one in values.items()}
