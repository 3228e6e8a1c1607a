"""The Gaussians of single frames, ready for files and pages that other programs read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moegs_ns.exporting.orientation import rotated
from moegs_ns.exporting.viewer_fit import fit_to_viewers
from moegs_ns.exporting.viewpoints import Viewpoint
from moegs_ns.splats.exportable import ExportablePart
from moegs_ns.splats.splats import Splats, concatenate, sh_of

#: A Gaussian less opaque than this is drawn in no pixel: the rasterizers of 3D Gaussian Splatting leave out what adds
#: less than one step of 8 bits.
INVISIBLE = 1.0 / 255.0


class GaussianSource(Protocol):
    """Experts, students and fused models."""

    def exportable_parts(self, time: float) -> list[ExportablePart]:
        """Gaussians at ``time`` in [0,1], as other programs can draw them."""


@dataclass(frozen=True)
class Selection:
    """What of a frame's Gaussians is exported, and how.

    Attributes:
        min_opacity: Gaussians less opaque at that instant are left out; up to `INVISIBLE` no picture changes.
        sh_degree: highest degree of spherical harmonics, 0 to 3; None for what the model has.
        rotation: ``[3,3]`` from the model's world to the exported one; None leaves it as it is.
        viewpoints: from where viewers, which have one way to project, are to see what an expert with another one shows
            (`fit_to_viewers`); none leaves Gaussians as they are. On the model's device.

    Raises:
        ValueError: a value outside its range.
    """

    min_opacity: float = INVISIBLE
    sh_degree: int | None = None
    rotation: Tensor | None = None
    viewpoints: Sequence[Viewpoint] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_opacity < 1.0:
            raise ValueError(f"expected a smallest opacity from 0 to below 1, found {self.min_opacity}")
        if self.sh_degree not in (None, 0, 1, 2, 3):
            raise ValueError(f"expected a spherical harmonics degree from 0 to 3, found {self.sh_degree}")


@dataclass(frozen=True, eq=False)
class FrameGaussians:
    """One frame.

    Attributes:
        frame: number in the clip, from 0.
        time: in [0,1] from first to last frame.
        splats: on the CPU, float32, with ``sh [N,B,3]``: colour is 0.5 plus the series, as in 3D Gaussian
            Splatting.
        rows: ``[N]`` int64, who each Gaussian is: the same number is the same Gaussian in every frame.
    """

    frame: int
    time: float
    splats: Splats
    rows: Tensor

    def __len__(self) -> int:
        return len(self.splats)


def frame_gaussians(
    source: GaussianSource, frames: Iterable[int], num_frames: int, selection: Selection | None = None
) -> Iterator[FrameGaussians]:
    """The exportable Gaussians of frames, one frame in memory at a time.

    Args:
        source: the model, in evaluation mode.
        frames: numbers from 0 to below ``num_frames``, in any order.
        num_frames: of the clip the model was trained on (``scene.num_frames`` of its run record).
        selection: what of them; by default all that is visible, as it is.

    Raises:
        ValueError: a frame outside the clip, or Gaussians whose colours are no spherical harmonics.
    """
    selection = selection or Selection()
    for frame in frames:
        time = time_of_frame(frame, num_frames)
        yield FrameGaussians(frame, time, *_joined(source.exportable_parts(time), selection))


def time_of_frame(frame: int, num_frames: int) -> float:
    """Time in [0,1] of a frame, rounded as cameras hold it.

    Raises:
        ValueError: there is no such frame.
    """
    if not 0 <= frame < num_frames:
        raise ValueError(f"expected frames from 0 to {num_frames - 1}, found {frame}")
    return float(np.float32(frame / max(1, num_frames - 1)))


def _joined(parts: Sequence[ExportablePart], selection: Selection) -> tuple[Splats, Tensor]:
    """What is selected of all parts as one set on the CPU, with the rows of its Gaussians."""
    chosen = [_selected(part, selection) for part in parts]
    widest = max(sh_of(splats).shape[1] for splats, _ in chosen)
    splats, _ = concatenate([replace(splats, sh=_padded(sh_of(splats), widest)) for splats, _ in chosen])
    if selection.rotation is not None:
        splats = rotated(splats, selection.rotation)
    return splats, torch.cat([rows for _, rows in chosen])


def _selected(part: ExportablePart, selection: Selection) -> tuple[Splats, Tensor]:
    splats = part.splats
    if selection.viewpoints:
        splats = fit_to_viewers(splats, part.settings, selection.viewpoints)
    kept = splats.opacities >= selection.min_opacity
    sh = sh_of(splats)
    if selection.sh_degree is not None:
        sh = sh[:, : (selection.sh_degree + 1) ** 2]
    tensors = (splats.means, splats.quats, splats.scales, splats.opacities, sh)
    means, quats, scales, opacities, sh = (tensor[kept].detach().float().cpu() for tensor in tensors)
    return Splats(means, quats, scales, opacities, sh=sh), part.rows[kept].cpu()


def _padded(sh: Tensor, bases: int) -> Tensor:
    """``[N,bases,3]``: coefficients of higher degrees are 0."""
    return F.pad(sh, (0, 0, 0, bases - sh.shape[1]))
