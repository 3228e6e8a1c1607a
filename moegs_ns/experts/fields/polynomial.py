"""Polynomial motion and rotation of a Gaussian around its temporal centre (STG, Li et al. 2024, Eq. 8 and 9)."""

from torch import Tensor


def polynomial_displacement(coefficients: Tensor, offset: Tensor) -> Tensor:
    """Cubic displacement ``m1 d + m2 d^2 + m3 d^3``.

    Args:
        coefficients: ``[N,9]``: three linear, three quadratic, three cubic coefficients (each x, y, z), world units.
        offset: ``[N]`` time since the temporal centre, d.

    Returns:
        ``[N,3]`` displacement, zero at d = 0.
    """
    d = offset[:, None]
    linear, quadratic, cubic = coefficients[:, 0:3], coefficients[:, 3:6], coefficients[:, 6:9]
    return d * (linear + d * (quadratic + d * cubic))


def linear_rotation(quats: Tensor, rate: Tensor, offset: Tensor) -> Tensor:
    """Unnormalised quaternion ``q + d * omega``.

    Args:
        quats: ``[N,4]`` wxyz at the temporal centre.
        rate: ``[N,4]`` change per unit of time.
        offset: ``[N]`` time since the temporal centre.
    """
    return quats + offset[:, None] * rate
