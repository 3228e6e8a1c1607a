"""Depth against truth: rendered depth at known points of moving surfaces (``gt_tracks.npz`` and object masks).

Views can agree on a surface that is in the wrong place. Where a scene ships tracks of surface points and masks of the
same objects, the points a camera sees tell what its depth should be.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.spatial import ConvexHull, QhullError

from moegs_ns.reporting.depth_consistency import ConsistencyRules, DepthView, project, sample_depth, within

# Radius of the sphere points are mirrored in, as a multiple of the farthest one's distance. Larger takes more points
# for visible. At this one 98 % or more of those taken of each object of the sample scene lie within 0.05 world units of
# its true depth; at ten times as much, 69 % of the ball's.
_MIRROR = 100.0


@dataclass(frozen=True)
class DepthError:
    """Of rendered depth at the visible points of one object, over all images.

    Attributes:
        points: how many were visible to a camera, counted per image.
        shown: share of them where something was rendered. Only these enter the errors.
        error: mean of |rendered depth - the point's depth|, world units; NaN without points.
        relative: the same as a share of the point's depth.
    """

    points: int
    shown: float
    error: float
    relative: float


@dataclass
class DepthErrors:
    """Errors at known surface points: `update` once per image, then `compute`."""

    rules: ConsistencyRules
    _points: dict[str, int] = field(default_factory=dict)
    _errors: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def update(self, view: DepthView, points: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]) -> None:
        """Count one image.

        Args:
            view: what was rendered.
            points: object name to its surface points ``[P,3]`` at the instant, world units.
            masks: object name to ``[H,W]`` bool, where the camera sees it. Objects without a mask are left out.
        """
        for name, own in points.items():
            if name not in masks:
                continue
            places = torch.from_numpy(own).to(view.viewmat.device).double()
            visible = visible_points(places, view, masks[name])
            pixels, depths = project(places[visible], view)
            rendered, covered = sample_depth(view, pixels, self.rules)
            errors = (rendered - depths).abs()[covered]
            both = torch.stack([errors, errors / depths[covered]])
            self._points[name] = self._points.get(name, 0) + int(visible.sum())
            self._errors.setdefault(name, []).append(both.cpu().numpy())

    def compute(self) -> dict[str, DepthError]:
        """Errors by object; objects no camera saw a point of are left out."""
        found = {}
        for name, points in self._points.items():
            if not points:
                continue
            errors = np.concatenate(self._errors[name], axis=1)
            error, relative = errors.mean(axis=1).tolist() if errors.size else (float("nan"), float("nan"))
            found[name] = DepthError(points, errors.shape[1] / points, error, relative)
        return found


def visible_points(points: torch.Tensor, view: DepthView, mask: np.ndarray) -> torch.Tensor:
    """``[P]`` which of an object's surface points ``[P,3]`` a camera sees.

    Those that project where the mask ``[H,W]`` shows the object, in a pixel whose eight neighbours do so, too (at the
    outline, expected depth mixes with what is behind), and that the object's own points do not hide: mirrored in a
    sphere around the camera, they lie on the convex hull (Katz et al., Direct Visibility of Point Sets, 2007).
    """
    pixels, depths = project(points, view)
    seen = ((depths > 0) & within(pixels, view)).cpu().numpy()
    inner = np.pad(mask, 1)
    height, width = mask.shape
    inner = np.logical_and.reduce([inner[y : y + height, x : x + width] for y in range(3) for x in range(3)])
    places = pixels.cpu().numpy()
    column = np.clip(np.floor(places[:, 0]), 0, width - 1).astype(int)
    row = np.clip(np.floor(places[:, 1]), 0, height - 1).astype(int)
    seen &= inner[row, column]
    viewmat = view.viewmat.double()
    centre = -viewmat[:3, :3].T @ viewmat[:3, 3]
    return torch.from_numpy(seen & _not_hidden((points - centre).cpu().numpy())).to(points.device)


def _not_hidden(points: np.ndarray) -> np.ndarray:
    """``[P]`` which points ``[P,3]``, relative to the eye, no others hide."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    mirrored = points + 2 * (_MIRROR * lengths.max() - lengths) * points / lengths
    front = np.zeros(len(points), bool)
    try:
        corners = ConvexHull(np.vstack([mirrored, np.zeros(3)])).vertices
    except QhullError:  # fewer than four points, or all in one plane with the eye: none can hide another
        return ~front
    front[corners[corners < len(points)]] = True
    return front
