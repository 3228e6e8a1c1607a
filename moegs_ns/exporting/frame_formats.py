"""Formats with one file per frame, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from moegs_ns.exporting.gaussian_ply import ply_bytes_per_gaussian, read_gaussian_ply, write_gaussian_ply
from moegs_ns.exporting.splat_file import SPLAT_BYTES_PER_GAUSSIAN, read_splat, write_splat
from moegs_ns.splats.splats import Splats


@dataclass(frozen=True)
class FrameFormat:
    """A format.

    Attributes:
        suffix: of its files.
        write: a file from Gaussians on the CPU with spherical harmonics; last, the positions ``[V,3]`` the scene was
            recorded from, for formats whose colours do not depend on the view, or None.
        read: the Gaussians of a file, with spherical harmonics.
        bytes_per_gaussian: of a number of spherical harmonics coefficients per channel.
    """

    suffix: str
    write: Callable[[Path, Splats, Tensor | None], None]
    read: Callable[[Path], Splats]
    bytes_per_gaussian: Callable[[int], int]


FRAME_FORMATS: dict[str, FrameFormat] = {
    "ply": FrameFormat(
        ".ply", lambda path, splats, _: write_gaussian_ply(path, splats), read_gaussian_ply, ply_bytes_per_gaussian
    ),
    "splat": FrameFormat(".splat", write_splat, read_splat, lambda _: SPLAT_BYTES_PER_GAUSSIAN),
}
