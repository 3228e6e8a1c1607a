"""The Gaussians of single frames, ready for files and pages that other programs read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from torch import Tensor

from moegs_ns.exporting.orientation import rotated
from moegs_ns.splats.splats import Splats, sh_of

#: A Gaussian less opaque than this is drawn in no pixel: the rasterizers of 3D Gaussian Splatting leave out what adds
#: less than one step of 8 bits.
INVISIBLE = 1.0 / 255.0


class GaussianSource(Protocol):
    """Experts, students and fused models."""

    def exportable_splats(self, time: float) -> tuple[Splats, Tensor]:
        """Gaussians at ``time`` in [0,1] with spherical harmonics, and where each stands among those stored."""


@dataclass(frozen=True)
class Selection:
    """What of a frame's Gaussians is exported, and in which axes.

    Attributes:
        min_opacity: Gaussians less opaque at that instant are left out; up to `INVISIBLE` no picture changes.
        sh_degree: highest degree of spherical harmonics, 0 to 3; None for what the model has.
        rotation: ``[3,3]`` from the model's world to the exported one; None leaves it as it is.

    Raises:
        ValueError: a value outside its range.
    """

    min_opacity: float = INVISIBLE
    sh_degree: int | None = None
    rotation: Tensor | None = None

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
        splats, rows = source.exportable_splats(time)
        yield FrameGaussians(frame, time, *_selected(splats, rows, selection))


def time_of_frame(frame: int, num_frames: int) -> float:
    """Time in [0,1] of a frame, rounded as cameras hold it.

    Raises:
        ValueError: there is no such frame.
    """
    if not 0 <= frame < num_frames:
        raise ValueError(f"expected frames from 0 to {num_frames - 1}, found {frame}")
    return float(np.float32(frame / max(1, num_frames - 1)))


def _selected(splats: Splats, rows: Tensor, selection: Selection) -> tuple[Splats, Tensor]:
    kept = splats.opacities >= selection.min_opacity
    sh = sh_of(splats)
    if selection.sh_degree is not None:
        sh = sh[:, : (selection.sh_degree + 1) ** 2]
    chosen = Splats(splats.means[kept], splats.quats[kept], splats.scales[kept], splats.opacities[kept], sh=sh[kept])
    chosen = chosen.detach().to("cpu")
    if selection.rotation is not None:
        chosen = rotated(chosen, selection.rotation)
    return replace(chosen, **{name: getattr(chosen, name).float() for name in _TENSORS}), rows[kept].cpu()


_TENSORS = ("means", "quats", "scales", "opacities", "sh")
