"""One frame as a PLY file in the layout of 3D Gaussian Splatting's reference implementation, which every viewer reads.

Properties of a vertex, all float32: ``x y z``; ``nx ny nz``, always 0; ``f_dc_0..2`` and ``f_rest_*``, the spherical
harmonics; ``opacity`` as its logit; ``scale_0..2`` as their logarithms; ``rot_0..3``, a quaternion wxyz. ``f_rest``
goes channel by channel: all of red's coefficients in the order of the basis, then green's, then blue's.
"""

import math
from pathlib import Path

import numpy as np
import torch

from moegs_ns.files import written_whole
from moegs_ns.scene.points import read_ply_vertices
from moegs_ns.splats.splats import Splats, sh_of

# Raw values must be finite: an opacity of 1 has no logit, a scale of 0 no logarithm. Neither limit shows in a picture.
_LARGEST_OPACITY = 1.0 - 1e-6
_SMALLEST = 1e-12


def ply_properties(bases: int) -> list[str]:
    """Names of a vertex's properties, in order, for ``bases`` spherical harmonics coefficients per channel."""
    return [
        *("x", "y", "z", "nx", "ny", "nz"),
        *(f"f_dc_{channel}" for channel in range(3)),
        *(f"f_rest_{number}" for number in range(3 * (bases - 1))),
        "opacity",
        *(f"scale_{axis}" for axis in range(3)),
        *(f"rot_{part}" for part in range(4)),
    ]


def ply_bytes_per_gaussian(bases: int) -> int:
    """Size of a vertex."""
    return 4 * len(ply_properties(bases))


def write_gaussian_ply(path: Path, splats: Splats) -> None:
    """Write Gaussians with spherical harmonics.

    Args:
        path: file to write.
        splats: on the CPU, with ``sh [N,B,3]``.
    """
    sh = sh_of(splats)
    opacities = splats.opacities.double().clamp(_SMALLEST, _LARGEST_OPACITY)
    columns = [
        splats.means,
        torch.zeros_like(splats.means),
        sh[:, 0],
        sh[:, 1:].transpose(1, 2).flatten(1),
        torch.logit(opacities)[:, None],
        splats.scales.clamp_min(_SMALLEST).log(),
        splats.quats,
    ]
    table = torch.cat([column.float() for column in columns], dim=1).numpy().astype("<f4")
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(splats)}"]
    header += [f"property float {name}" for name in ply_properties(sh.shape[1])]
    with written_whole(path) as scratch, scratch.open("wb") as file:
        file.write(("\n".join([*header, "end_header"]) + "\n").encode("ascii"))
        file.write(np.ascontiguousarray(table).tobytes())


def read_gaussian_ply(path: Path) -> Splats:
    """Gaussians of a PLY file in this layout, by the names of its properties, in whatever order these stand.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.
    """
    vertices = read_ply_vertices(path)
    rest = sum(name.startswith("f_rest_") for name in vertices)
    missing = [name for name in ply_properties(1 + rest // 3) if name not in vertices and not name.startswith("n")]
    if missing or rest % 3 or math.isqrt(1 + rest // 3) ** 2 != 1 + rest // 3:
        raise ValueError(f"expected the properties of 3D Gaussians in {path}, found {', '.join(vertices)}")

    def stacked(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([vertices[name].astype(np.float32) for name in names], axis=1))

    base = stacked("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    if rest:
        others = stacked(*(f"f_rest_{number}" for number in range(rest)))
        base = torch.cat([base, others.reshape(len(others), 3, rest // 3).transpose(1, 2)], dim=1)
    quats = stacked("rot_0", "rot_1", "rot_2", "rot_3")
    return Splats(
        means=stacked("x", "y", "z"),
        quats=quats / quats.norm(dim=1, keepdim=True),
        scales=stacked("scale_0", "scale_1", "scale_2").exp(),
        opacities=stacked("opacity")[:, 0].sigmoid(),
        sh=base,
    )
