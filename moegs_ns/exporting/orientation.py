"""Which way is up: Gaussians turned from a data set's world into the one that viewers expect.

Viewers of 3D Gaussian Splatting files take the worlds of COLMAP for granted, in which y points down as in its cameras.
"""

import math

import torch
from torch import Tensor

from moegs_ns.splats.sh import MAX_DEGREE, evaluate_sh_torch
from moegs_ns.splats.splats import Splats, sh_of

_DIRECTIONS = 64  # at which both series must agree; more than the 16 there are coefficients


def rotation_to_y_down(camera_to_worlds: Tensor) -> Tensor:
    """``[3,3]`` the shortest turn that makes what is up for the cameras, on average, point along -y.

    Args:
        camera_to_worlds: ``[C,3,4]`` OpenGL poses, whose second column points up in the picture.

    Raises:
        ValueError: no cameras, or their ups cancel out.
    """
    up = camera_to_worlds[:, :3, 1].double().sum(dim=0)
    if not up.norm() > 1e-3 * max(1, len(camera_to_worlds)):
        raise ValueError(
            f"expected cameras that agree on what is up, found {len(camera_to_worlds)} that do not; export in the data "
            "set's own axes (--axes own)"
        )
    return shortest_turn(up / up.norm(), up.new_tensor([0.0, -1.0, 0.0])).float()


def shortest_turn(start: Tensor, end: Tensor) -> Tensor:
    """``[3,3]`` rotation that takes the unit vector ``start [3]`` to ``end [3]`` about their common normal."""
    cosine = float(start @ end)
    if cosine < -1.0 + 1e-9:  # opposite: half a turn about any axis across
        across = torch.linalg.cross(start, torch.eye(3, dtype=start.dtype)[int(start.abs().argmin())])
        across = across / across.norm()
        return 2.0 * torch.outer(across, across) - torch.eye(3, dtype=start.dtype)
    x, y, z = torch.linalg.cross(start, end).tolist()
    skew = start.new_tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return torch.eye(3, dtype=start.dtype) + skew + skew @ skew / (1.0 + cosine)


def rotated(splats: Splats, rotation: Tensor) -> Splats:
    """The same Gaussians, colours included, in a world turned by ``rotation [3,3]``: ``x' = rotation @ x``."""
    turn = rotation.to(splats.means)
    quats = _products(_quaternion_of(rotation).to(splats.quats), splats.quats)
    return Splats(
        means=splats.means @ turn.T,
        quats=quats / quats.norm(dim=-1, keepdim=True),
        scales=splats.scales,
        opacities=splats.opacities,
        sh=rotated_sh(sh_of(splats), rotation),
    )


def rotated_sh(sh: Tensor, rotation: Tensor) -> Tensor:
    """``[N,B,3]`` coefficients that show in the direction ``rotation @ d`` what ``sh [N,B,3]`` shows in ``d``.

    Degrees do not mix, and within one the change is linear: its matrix follows from the values of the basis functions
    at some directions before and after the turn.
    """
    degree = math.isqrt(sh.shape[1]) - 1
    if degree == 0:
        return sh
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(_DIRECTIONS, 3, generator=generator, dtype=torch.float64)
    before = _basis(degree, directions)
    after = _basis(degree, directions @ rotation.double().T)
    # after @ new = before @ old at every direction.
    matrix = torch.linalg.lstsq(after, before).solution
    return torch.einsum("ab,nbc->nac", matrix.to(sh), sh)


def _basis(degree: int, directions: Tensor) -> Tensor:
    """``[D,B]`` values of the basis functions."""
    bases = (degree + 1) ** 2
    assert degree <= MAX_DEGREE
    ones = torch.eye(bases, dtype=directions.dtype)[:, :, None].expand(bases, bases, 3)
    return torch.stack([evaluate_sh_torch(degree, one.expand(bases, 3), ones)[:, 0] for one in directions])


def _quaternion_of(rotation: Tensor) -> Tensor:
    """``[4]`` wxyz of a rotation matrix: the eigenvector of the largest eigenvalue, which no angle makes singular."""
    m = rotation.double()
    symmetric = m.new_tensor(
        [
            [float(m.trace()), 0.0, 0.0, 0.0],
            [float(m[2, 1] - m[1, 2]), float(2 * m[0, 0] - m.trace()), 0.0, 0.0],
            [float(m[0, 2] - m[2, 0]), float(m[0, 1] + m[1, 0]), float(2 * m[1, 1] - m.trace()), 0.0],
            [
                float(m[1, 0] - m[0, 1]),
                float(m[0, 2] + m[2, 0]),
                float(m[1, 2] + m[2, 1]),
                float(2 * m[2, 2] - m.trace()),
            ],
        ]
    )
    return torch.linalg.eigh(symmetric, UPLO="L").eigenvectors[:, -1]


def _products(left: Tensor, right: Tensor) -> Tensor:
    """``[N,4]`` Hamilton products of ``left [4]`` with ``right [N,4]``, wxyz."""
    w, x, y, z = left
    matrix = torch.stack(
        [
            torch.stack([w, -x, -y, -z]),
            torch.stack([x, w, -z, y]),
            torch.stack([y, z, w, -x]),
            torch.stack([z, -y, x, w]),
        ]
    )
    return right @ matrix.T
