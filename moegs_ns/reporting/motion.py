"""How an expert's Gaussians move: displacement statistics, and the error against known tracks of surface points.

Everything is counted while a Gaussian is visible: experts with temporal opacity let Gaussians come and go, and where
one drifts while it is transparent nobody sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from moegs_ns.reporting.tables import Table

#: Opacity from which on a Gaussian counts as visible.
VISIBLE = 0.1
#: A Gaussian moves if it travels farther than this share of the camera rig's extent.
MOVING_SHARE = 0.01
#: Tracks are followed by Gaussians that start within this share of the camera rig's extent.
NEAR_SHARE = 0.015
#: Numbers of frames tracks are followed over.
STEPS = (1, 4)
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
    """

    moving: float
    lifetime: float
    path: tuple[float, float, float]
    speed: float
    straightness: float


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
    steps = np.where(both, np.linalg.norm(np.diff(positions, axis=0), axis=-1), 0.0)
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
    )


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
    with np.load(file) as arrays:
        return {name: arrays[name] for name in arrays.files if arrays[name].ndim == 3}


def statistics_table(title: str, statistics: Mapping[str, MotionStatistics]) -> Table:
    """One row per expert."""
    rows = [
        [
            name,
            f"{100 * one.moving:.1f} %",
            f"{100 * one.lifetime:.0f} %",
            *(f"{value:.3f}" for value in (*one.path, one.speed)),
            f"{one.straightness:.2f}",
        ]
        for name, one in statistics.items()
    ]
    return Table(
        title=title,
        header=["", "moving", "lifetime", "way 50 %", "way 90 %", "way 99 %", "speed 99 %", "straightness"],
        rows=rows,
        notes=[
            f"Counted while visible (opacity at least {VISIBLE}); ways in world units, speed per frame. Moving: a way "
            f"of more than {100 * MOVING_SHARE:.0f} % of the camera rig's extent. Lifetime: median share of the clip. "
            "Straightness: median of net displacement over way among the moving ones."
        ],
    )


def track_table(title: str, errors: Mapping[str, Mapping[tuple[str, int], TrackError]]) -> Table:
    """One row per expert; ``errors`` maps an expert to errors by object and step."""
    columns = list(next(iter(errors.values())))
    rows = []
    for name, own in errors.items():
        cells = [f"{own[key].error:.3f} / {own[key].motion:.3f} ({100 * own[key].followed:.0f} %)" for key in columns]
        rows.append([name, *cells])
    return Table(
        title=title,
        header=["", *(f"{name}, {step} frame{'s' if step > 1 else ''}" for name, step in columns)],
        rows=rows,
        notes=[
            "Mean error of displacement / mean displacement of the points themselves, world units, of surface points "
            f"with a Gaussian within {100 * NEAR_SHARE:.1f} % of the camera rig's extent that is visible at both ends; "
            "in brackets the share of such points."
        ],
    )
