"""Sizes of a camera rig. numpy only: data parsers use it."""

import numpy as np


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
