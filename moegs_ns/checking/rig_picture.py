"""A picture of the rig: where cameras stand and look, the seed points, near and far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moegs_ns.checking.geometry import centres_of, rig_size
from moegs_ns.checking.views import View
from moegs_ns.files import written_whole
from moegs_ns.scene.points import PointCloud

_MOST_POINTS = 6000
_MOST_NAMES = 40
_PLAIN, _BLAMED, _RANGE = "#2b6cb0", "#c53030", "#a0aec0"


def draw_rig(
    path: Path,
    views: Sequence[View],
    cloud: PointCloud | None,
    near_far: tuple[float, float],
    blamed: Sequence[str] = (),
) -> Path:
    """Write a PNG: the rig in three dimensions, from above and from its side.

    Cameras are pyramids of their field of view, red where something is wrong with them, with a grey line from near to
    far along the axis. Up is the mean up of the cameras.

    Args:
        path: of the file; its folder is made.
        views: at least one.
        cloud: seed points, if any.
        near_far: world units.
        blamed: names of views to draw in red.

    Returns:
        ``path``
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    turn = _upright(views)
    centres = centres_of(views) @ turn.T
    points, colours = _some_points(cloud, turn)
    content = np.concatenate([centres, np.percentile(points, [1, 99], axis=0)]) if len(points) else centres
    reach = 0.05 * max(rig_size(content), 1e-9)
    figure = Figure(figsize=(15, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, 3, 1, projection="3d"), figure.add_subplot(1, 3, 2), figure.add_subplot(1, 3, 3)]
    for axis, shown, title in zip(
        axes, ((0, 1, 2), (0, 1), (0, 2)), ("rig", "from above", "from the side"), strict=True
    ):
        if len(points):
            axis.scatter(*points[:, shown].T, s=3, c=colours, alpha=0.6, linewidths=0)
        for view, centre in zip(views, centres, strict=True):
            colour = _BLAMED if view.name in blamed else _PLAIN
            for line in _pyramid(view, turn, reach):
                axis.plot(*line[:, shown].T, color=colour, linewidth=0.9)
            axis.plot(*_along_axis(view, turn, near_far)[:, shown].T, color=_RANGE, linewidth=0.5, alpha=0.6)
            if len(views) <= _MOST_NAMES or view.name in blamed:
                axis.text(*centre[list(shown)], view.name, fontsize=6, color=colour)
        axis.set_title(title)
        # What matters is the rig and the bulk of its content; strays and far planes may lie outside.
        low, high = content.min(axis=0) - reach, content.max(axis=0) + reach
        for name, index in zip("xyz", shown, strict=False):
            getattr(axis, f"set_{name}lim")(low[index], high[index])
        axis.set_aspect("equal")
    figure.suptitle(
        f"{len(views)} views, {0 if cloud is None else len(cloud)} seed points, near {near_far[0]:.3g} to far "
        f"{near_far[1]:.3g} (grey), world units; z is the cameras' up",
        fontsize=9,
    )
    with written_whole(path) as scratch:
        figure.savefig(scratch, dpi=110)
    return path


def _upright(views: Sequence[View]) -> np.ndarray:
    """Rotation ``[3,3]`` of the world that turns the cameras' mean up into z."""
    up = -np.mean([view.viewmat[1, :3] for view in views], axis=0)
    length = np.linalg.norm(up)
    up = up / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    ahead = np.mean([view.viewmat[2, :3] for view in views], axis=0)
    right = np.cross(ahead, up)
    if np.linalg.norm(right) < 1e-6:
        right = np.cross(np.eye(3)[np.abs(up).argmin()], up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(up, right), up])


def _some_points(cloud: PointCloud | None, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if cloud is None or not len(cloud):
        return np.zeros((0, 3)), np.zeros((0, 3))
    chosen = np.random.default_rng(0).permutation(len(cloud))[:_MOST_POINTS]
    return cloud.xyz[chosen].astype(np.float64) @ turn.T, cloud.rgb[chosen] / 255


def _pyramid(view: View, turn: np.ndarray, depth: float) -> list[np.ndarray]:
    width, height = view.size
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], dtype=np.float64)
    local = corners @ np.linalg.inv(view.intrinsics).T * depth
    tips = _to_world(view, local) @ turn.T
    centre = _to_world(view, np.zeros((1, 3))) @ turn.T
    return [np.concatenate([tips, tips[:1]]), *(np.concatenate([centre, tip[None]]) for tip in tips)]


def _along_axis(view: View, turn: np.ndarray, near_far: tuple[float, float]) -> np.ndarray:
    return _to_world(view, np.array([[0, 0, near_far[0]], [0, 0, near_far[1]]])) @ turn.T


def _to_world(view: View, local: np.ndarray) -> np.ndarray:
    return (local - view.viewmat[:3, 3]) @ view.viewmat[:3, :3]
