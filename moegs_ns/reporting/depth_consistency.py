"""Multi-view depth consistency (MDC, MoE-GS Eq. 16, App. D.3): does each camera see surfaces where the others see them?

The paper averages |depth of view i's pixels seen from view j - view j's depth| over all ordered pairs of views of one
instant. It says nothing of what j cannot see, of pixels without a surface, or of sampling; here is what happens to each
pixel of i, in this order:

1. *empty*: its accumulation is below `ConsistencyRules.min_accumulation`. Left out: there is no surface to compare.
2. *outside*: its point lies behind camera j or beyond the centres of j's outermost pixels. Left out.
3. *empty* in j: likewise. Left out.
4. *occluded*: its point lies farther from j than j's surface, by more than `ConsistencyRules.occlusion_tolerance` of
   that surface's depth. Left out: something nearer may rightly hide it from j.
5. *compared*: everything else. Points in front of j's surface always count, however far: j would have to see them.

Ordered pairs make the rule fair. Where view j alone has a surface in mid-air, the pixels of i behind it are taken for
occluded, but j's own pixels on it lie in front of what i sees and count as (j, i). Consistency is not correctness, and
a model that compares little looks good, so the shares of all four kinds stand beside the error, and so does Eq. 16 by
the letter, without rule 4. Where the true depth of the sample scene is known (two cameras, 24 frames), it scores 0.002
world units or 0.04 % at tolerances from 1 % to 10 %, and 0.018 without the rule.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DepthView:
    """What one camera sees of an instant.

    Attributes:
        depth: ``[H,W]`` expected z-depth, world units.
        accumulation: ``[H,W]`` in [0,1]; how much of each pixel is covered.
        viewmat: ``[4,4]`` OpenCV world-to-camera.
        intrinsics: ``[3,3]`` in pixels, pixel centres at +0.5, any principal point, no skew.
    """

    depth: Tensor
    accumulation: Tensor
    viewmat: Tensor
    intrinsics: Tensor


@dataclass(frozen=True)
class ConsistencyRules:
    """What is compared.

    Attributes:
        occlusion_tolerance: share of a depth by which a point has to lie behind a surface to count as hidden by it,
            above 0. Also the step between neighbouring pixels from which on they show two surfaces.
        min_accumulation: pixels less covered than this have no surface; in (0,1].
        pixel_stride: every so-many-th pixel of view i in either direction is looked at, >= 1; view j is always read in
            full resolution.
        neighbors: compare with so many views whose cameras are nearest, instead of all; 0 = all.

    Raises:
        ValueError: a value out of range.
    """

    occlusion_tolerance: float = 0.05
    min_accumulation: float = 0.5
    pixel_stride: int = 2
    neighbors: int = 0

    def __post_init__(self) -> None:
        if not self.occlusion_tolerance > 0:
            raise ValueError(f"expected an occlusion tolerance above 0, found {self.occlusion_tolerance}")
        if not 0 < self.min_accumulation <= 1:
            raise ValueError(f"expected a least accumulation in (0,1], found {self.min_accumulation}")
        if self.pixel_stride < 1 or self.neighbors < 0:
            raise ValueError(
                f"expected a pixel stride of at least 1 and 0 or more neighbors, found {self.pixel_stride} and "
                f"{self.neighbors}"
            )


@dataclass(frozen=True)
class PairErrors:
    """Ordered pair (i, j): how many pixels of i are of which kind, and sums of errors.

    Attributes:
        compared, occluded, outside, empty: numbers of pixels; together all that were looked at.
        error: sum over the compared ones of |point's depth in j - depth of j there|, world units.
        relative: the same, each as a share of j's depth.
        unruled: as ``error``, over the compared and the occluded ones.
    """

    compared: int
    occluded: int
    outside: int
    empty: int
    error: float
    relative: float
    unruled: float


@dataclass(frozen=True)
class ConsistencyScores:
    """Means over ordered pairs of views (at all instants alike) of each pair's mean over pixels, as in Eq. 16.

    Attributes:
        error: world units; NaN where nothing was compared.
        relative: the same as a share of the depth compared with.
        unruled: ``error`` with occluded pixels counted as well: Eq. 16 by the letter.
        compared, occluded, outside, empty: shares of all pixels that were looked at; they sum to 1.
        pairs: number of ordered pairs that had pixels to compare. Only these enter the means.
        all_pairs: number of ordered pairs.
    """

    error: float
    relative: float
    unruled: float
    compared: float
    occluded: float
    outside: float
    empty: float
    pairs: int
    all_pairs: int


class DepthConsistency:
    """MDC over instants: `update` once per instant with all its views, then `compute`."""

    def __init__(self, rules: ConsistencyRules | None = None) -> None:
        self.rules = rules or ConsistencyRules()
        self._pairs: list[PairErrors] = []

    def update(self, views: Sequence[DepthView]) -> None:
        """Count all pairs of the views of ONE instant.

        Raises:
            ValueError: fewer than two views, or tensors of other shapes than expected.
        """
        self._pairs += depth_consistency(views, self.rules).values()

    def compute(self) -> ConsistencyScores:
        """Scores of everything counted so far.

        Raises:
            ValueError: nothing was counted.
        """
        return summarize(self._pairs)


def depth_consistency(
    views: Sequence[DepthView], rules: ConsistencyRules | None = None
) -> dict[tuple[int, int], PairErrors]:
    """Errors by ordered pair (i, j) of the views of ONE instant; the views may differ in size.

    Raises:
        ValueError: fewer than two views, or tensors of other shapes than expected.
    """
    rules = rules or ConsistencyRules()
    if len(views) < 2:
        raise ValueError(f"expected at least two views of an instant, found {len(views)}")
    views = [_checked(view) for view in views]
    points = [_world_points(view, rules) for view in views]
    return {(i, j): _compare(*points[i], views[j], rules) for i, j in ordered_pairs(views, rules.neighbors)}


def summarize(pairs: Iterable[PairErrors]) -> ConsistencyScores:
    """Scores of pairs of any number of instants.

    Raises:
        ValueError: there are none.
    """
    pairs = list(pairs)
    if not pairs:
        raise ValueError("expected pairs of views to summarise, found none; call update first")
    total = sum(pair.compared + pair.occluded + pair.outside + pair.empty for pair in pairs)

    def share(kind: str) -> float:
        return sum(getattr(pair, kind) for pair in pairs) / total

    return ConsistencyScores(
        error=_mean(pair.error / pair.compared for pair in pairs if pair.compared),
        relative=_mean(pair.relative / pair.compared for pair in pairs if pair.compared),
        unruled=_mean(
            pair.unruled / (pair.compared + pair.occluded) for pair in pairs if pair.compared + pair.occluded
        ),
        compared=share("compared"),
        occluded=share("occluded"),
        outside=share("outside"),
        empty=share("empty"),
        pairs=sum(pair.compared > 0 for pair in pairs),
        all_pairs=len(pairs),
    )


def ordered_pairs(views: Sequence[DepthView], neighbors: int = 0) -> list[tuple[int, int]]:
    """All ordered pairs, or of each view only those with the ``neighbors`` views whose cameras are nearest to it."""
    others = range(len(views))
    if not neighbors:
        return [(i, j) for i in others for j in others if i != j]
    centres = torch.stack([-view.viewmat[:3, :3].T @ view.viewmat[:3, 3] for view in views]).double()
    distances = (centres[:, None] - centres[None]).norm(dim=-1).tolist()
    nearest = [sorted((j for j in others if j != i), key=lambda j: distances[i][j])[:neighbors] for i in others]
    return [(i, j) for i in others for j in nearest[i]]


def project(points: Tensor, view: DepthView) -> tuple[Tensor, Tensor]:
    """World points ``[P,3]`` in a view: pixels ``[P,2]`` (x, y) and z-depths ``[P]``.

    Pixels of points that are not in front of the camera mean nothing.
    """
    viewmat, intrinsics = view.viewmat.to(points), view.intrinsics.to(points)
    local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    depths = local[:, 2]
    in_front = torch.where(depths > 0, depths, 1.0)
    pixels = torch.stack(
        [
            intrinsics[0, 0] * local[:, 0] / in_front + intrinsics[0, 2],
            intrinsics[1, 1] * local[:, 1] / in_front + intrinsics[1, 2],
        ],
        dim=1,
    )
    return pixels, depths


def within(pixels: Tensor, view: DepthView) -> Tensor:
    """``[P]`` which pixels ``[P,2]`` lie between the centres of a view's outermost pixels, so that nothing has to be
    extrapolated. Half a thousandth of a pixel is granted to rounding."""
    height, width = view.depth.shape
    last = pixels.new_tensor([width - 0.5, height - 0.5])
    return ((pixels >= 0.5 - _ROUNDING) & (pixels <= last + _ROUNDING)).all(dim=1)


def sample_depth(view: DepthView, pixels: Tensor, rules: ConsistencyRules) -> tuple[Tensor, Tensor]:
    """A view's depth between its pixels' centres.

    Interpolated in 1/depth, which is exact on planes, where the four pixels around are covered and differ by no more
    than the tolerance; else that of the nearest pixel, because a mean of two surfaces is on neither.

    Args:
        view: read in full resolution.
        pixels: ``[P,2]`` (x, y), see `within`.
        rules: its ``occlusion_tolerance`` and ``min_accumulation`` are used.

    Returns:
        Depths ``[P]``, and ``[P]`` whether the nearest pixel shows a surface.
    """
    height, width = view.depth.shape
    limit = pixels.new_tensor([width - 1, height - 1])
    position = (pixels - 0.5).clamp(min=torch.zeros_like(limit), max=limit)
    low = position.floor()
    high = torch.minimum(low + 1, limit)
    part = position - low
    depth = view.depth.to(pixels).reshape(-1)
    covered = _covered(view, rules).reshape(-1)

    def index(x: Tensor, y: Tensor) -> Tensor:
        return (y * width + x).long()

    corners = torch.stack([index(x, y) for y in (low[:, 1], high[:, 1]) for x in (low[:, 0], high[:, 0])])
    around, smooth = depth[corners], covered[corners].all(dim=0)
    smooth &= around.amax(dim=0) <= (1 + rules.occlusion_tolerance) * around.amin(dim=0)
    right, down = part.unbind(dim=1)
    weights = torch.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down])
    between = 1 / (weights / torch.where(smooth, around, 1.0)).sum(dim=0)
    nearest = index(*(position + 0.5).floor().minimum(limit).unbind(dim=1))
    return torch.where(smooth, between, depth[nearest]), covered[nearest]


# Of a pixel, granted to rounding.
_ROUNDING = 5e-4


def _checked(view: DepthView) -> DepthView:
    shapes = [tuple(tensor.shape) for tensor in (view.depth, view.accumulation, view.viewmat, view.intrinsics)]
    if len(shapes[0]) != 2 or shapes[1] != shapes[0] or shapes[2:] != [(4, 4), (3, 3)]:
        raise ValueError(
            "expected depth [H,W], accumulation [H,W], viewmat [4,4] and intrinsics [3,3] of a view, found "
            f"{', '.join(map(str, shapes))}"
        )
    return view


def _covered(view: DepthView, rules: ConsistencyRules) -> Tensor:
    return (view.accumulation >= rules.min_accumulation) & (view.depth > 0)


def _world_points(view: DepthView, rules: ConsistencyRules) -> tuple[Tensor, int]:
    """World points ``[P,3]`` of the pixels looked at that show a surface, and how many show none. In float64: what is
    measured is the difference of large numbers."""
    stride = rules.pixel_stride
    height, width = view.depth.shape
    # From the middle of the first cell on, so that the pixels looked at are spread evenly over small images, too.
    first_y, first_x = (min(stride // 2, extent - 1) for extent in (height, width))
    rows = torch.arange(first_y, height, stride, device=view.depth.device)
    columns = torch.arange(first_x, width, stride, device=view.depth.device)
    depth = view.depth[rows][:, columns].double()
    covered = _covered(view, rules)[rows][:, columns]
    intrinsics, viewmat = view.intrinsics.double(), view.viewmat.double()
    x = ((columns.double() + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]).expand_as(depth)
    y = ((rows.double() + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1])[:, None].expand_as(depth)
    local = torch.stack([x * depth, y * depth, depth], dim=-1)[covered]
    return (local - viewmat[:3, 3]) @ viewmat[:3, :3], int((~covered).sum())


def _compare(points: Tensor, empty: int, target: DepthView, rules: ConsistencyRules) -> PairErrors:
    """Surface points of view i, and how many of its pixels have none, against view j."""
    pixels, depths = project(points, target)
    seen = (depths > 0) & within(pixels, target)
    outside = int((~seen).sum())
    pixels, depths = pixels[seen], depths[seen]
    surface, covered = sample_depth(target, pixels, rules)
    depths, surface = depths[covered], surface[covered]
    occluded = depths > (1 + rules.occlusion_tolerance) * surface
    errors = (depths - surface).abs()
    counted = errors[~occluded]
    return PairErrors(
        compared=len(counted),
        occluded=int(occluded.sum()),
        outside=outside,
        empty=empty + int((~covered).sum()),
        error=float(counted.sum()),
        relative=float((counted / surface[~occluded]).sum()),
        unruled=float(errors.sum()),
    )


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else float("nan")
