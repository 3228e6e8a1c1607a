"""Tables of how experts' Gaussians move, one row per expert; several seeds become means and standard deviations."""

import math
from collections.abc import Mapping, Sequence

from moegs_ns.reporting.motion import (
    MOVING_SHARE,
    NEAR_SHARE,
    NEIGHBORS,
    VISIBLE,
    MotionStatistics,
    TrackError,
)  # fmt: skip
from moegs_ns.reporting.tables import Table, mean_and_deviation

UNKNOWN = "n/a"


def statistics_table(title: str, statistics: Mapping[str, Sequence[MotionStatistics]]) -> Table:
    """Statistics by expert, one per seed."""
    rows = []
    for name, seeds in statistics.items():
        ways = [_cell([one.path[number] for one in seeds], ".3f") for number in range(3)]
        rows.append(
            [
                name,
                f"{_cell([100 * one.moving for one in seeds], '.1f')} %",
                f"{_cell([100 * one.lifetime for one in seeds], '.0f')} %",
                *ways,
                _cell([one.speed for one in seeds], ".3f"),
                _cell([one.straightness for one in seeds], ".2f"),
                _cell([one.coherence for one in seeds], ".2f"),
                _cell([one.turning for one in seeds], ".0f"),
            ]
        )
    return Table(
        title=title,
        header=[
            *("", "moving", "lifetime", "way 50 %", "way 90 %", "way 99 %", "speed 99 %", "straightness"),
            *("coherence", "turning"),
        ],
        rows=rows,
        notes=[
            f"Counted while visible (opacity at least {VISIBLE}); ways in world units, speed per frame. Moving: a way "
            f"of more than {100 * MOVING_SHARE:.0f} % of the camera rig's extent. Lifetime: median share of the clip.",
            "Of the moving ones: straightness, median of net displacement over way; coherence, how alike a Gaussian's "
            f"step from frame to frame and the mean of its {NEIGHBORS} nearest moving neighbours' are (1 alike, 0 "
            "opposite); turning, mean angle between steps in a row, in degrees; long steps count more in both.",
        ],
    )


def track_table(title: str, errors: Mapping[str, Sequence[Mapping[tuple[str, int], TrackError]]]) -> Table:
    """Errors by expert, one mapping from object and number of frames per seed; a row for every number of frames."""
    keys = list(next(iter(errors.values()))[0])
    objects, steps = list(dict.fromkeys(name for name, _ in keys)), sorted({step for _, step in keys})
    rows = [
        [f"{name}, {_frames(step)}", *(_error([seed[item, step] for seed in seeds]) for item in objects)]
        for step in steps
        for name, seeds in errors.items()
    ]
    return Table(
        title=title,
        header=["", *objects],
        rows=rows,
        notes=[
            "Mean error of displacement over so many frames / mean displacement of the points themselves, world units, "
            f"of surface points with a Gaussian within {100 * NEAR_SHARE:.1f} % of the camera rig's extent that is "
            "visible at both ends; in brackets the share of such points. A Gaussian that stands still is as far off as "
            "the points move."
        ],
    )


def _frames(step: int) -> str:
    return f"{step} frame{'s' if step > 1 else ''}"


def _error(seeds: Sequence[TrackError]) -> str:
    followed = mean_and_deviation([100 * one.followed for one in seeds], ".0f")
    error, motion = _cell([one.error for one in seeds], ".3f"), _mean([one.motion for one in seeds])
    return f"{error} / {motion} ({followed} %)"


def _mean(values: Sequence[float]) -> str:
    return UNKNOWN if any(map(math.isnan, values)) else f"{sum(values) / len(values):.3f}"


def _cell(values: Sequence[float], form: str) -> str:
    return UNKNOWN if any(map(math.isnan, values)) else mean_and_deviation(values, form)
