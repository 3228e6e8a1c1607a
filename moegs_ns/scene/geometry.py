"""Poses of cameras: the size of a rig, rotations that are none. numpy only: data parsers use it."""

from collections.abc import Sequence

import numpy as np

_ROTATION_TOLERANCE = 1e-3
#: OpenCV's camera axes (x right, y down, z forward) in OpenGL's (x right, y up, z backward), or the other way round.
FLIP_Y_AND_Z = np.diag([1.0, -1.0, -1.0])


def camera_extent(centres: np.ndarray) -> float:
    """1.1 times the largest distance of a camera from the rig's mean centre, in world units.

    3D Gaussian Splatting and its descendants state learning rates of positions, and the size above which Gaussians are
    split, in this unit.

    Args:
        centres: ``[C,3]`` camera centres, C >= 1.

    Returns:
        The extent; 1 for a single camera or several at one place, where it would be 0.
    """
    distances = np.linalg.norm(centres - centres.mean(axis=0), axis=1)
    extent = 1.1 * float(distances.max())
    return extent if extent > 0 else 1.0


def check_rotations(rotations: np.ndarray, what: str, labels: Sequence[object], advice: str) -> None:
    """Refuse matrices ``[N,3,3]`` that are not orthonormal and right-handed.

    Args:
        rotations: to check.
        what: they are, with where they stand, for the message.
        labels: of each.
        advice: what to do.

    Raises:
        ValueError: some are none.
    """
    gram = np.einsum("nki,nkj->nij", rotations, rotations)
    error = np.abs(gram - np.eye(3)).max(axis=(1, 2), initial=0.0)
    determinant = np.linalg.det(rotations)
    bad = np.flatnonzero(~(error <= _ROTATION_TOLERANCE) | ~(determinant > 0))
    if len(bad):
        first = int(bad[0])
        raise ValueError(
            f"expected orthonormal right-handed {what}, found deviation {error[first]:.3g} and determinant "
            f"{determinant[first]:.3g} in {labels[first]} ({len(bad)} of {len(rotations)} are so); {advice}"
        )
