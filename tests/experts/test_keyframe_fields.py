"""Curves through keyframes against scipy, temporal windows against numpy, gradients against finite differences."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation, Slerp

from moegs_ns.experts.fields.hermite import hermite_basis, keyframed_position
from moegs_ns.experts.fields.slerp import keyframed_rotation, slerp
from moegs_ns.experts.fields.temporal_window import temporal_window


def rotation(quats: np.ndarray) -> Rotation:
    """scipy has the scalar last."""
    return Rotation.from_quat(np.roll(quats, -1, axis=-1))


def test_positions_equal_scipys_spline() -> None:
    keyframes = np.random.default_rng(0).standard_normal((5, 7, 3))
    tangents = (keyframes[:, 2:] - keyframes[:, :-2]) / 2
    spline = CubicHermiteSpline(np.arange(1, 6), keyframes[:, 1:-1], tangents, axis=1)
    for position in (1.0, 1.25, 2.0, 3.99, 4.5, 5.0):
        actual = keyframed_position(torch.tensor(keyframes), position)
        np.testing.assert_allclose(actual.numpy(), spline(position), atol=1e-12)


def test_positions_pass_through_the_keyframes_and_are_smooth_there() -> None:
    keyframes = torch.tensor(np.random.default_rng(2).standard_normal((5, 7, 3)))
    step = 1e-5

    def at(position: float) -> torch.Tensor:
        return keyframed_position(keyframes, position)

    for keyframe in (2, 3, 4):
        torch.testing.assert_close(at(keyframe), keyframes[:, keyframe], rtol=0, atol=1e-12)
        arriving = (at(keyframe) - at(keyframe - step)) / step
        leaving = (at(keyframe + step) - at(keyframe)) / step
        tangent = (keyframes[:, keyframe + 1] - keyframes[:, keyframe - 1]) / 2
        torch.testing.assert_close(arriving, tangent, rtol=0, atol=1e-3)
        torch.testing.assert_close(leaving, tangent, rtol=0, atol=1e-3)


def test_uniform_motion_is_reproduced() -> None:
    start, speed = torch.randn(2, 4, 1, 3, dtype=torch.float64)
    keyframes = start + speed * torch.arange(6)[:, None]
    torch.testing.assert_close(keyframed_position(keyframes, 2.7), (start + 2.7 * speed)[:, 0])


def test_the_basis_interpolates() -> None:
    assert hermite_basis(0.0) == (1, 0, 0, 0) and hermite_basis(1.0) == (0, 0, 1, 0)
    assert sum(hermite_basis(0.3)[0::2]) == pytest.approx(1)


@pytest.mark.parametrize("position", [0.9, 4.1, -1.0])
def test_positions_beyond_the_keyframes_are_refused(position: float) -> None:
    with pytest.raises(ValueError, match="position from 1 to 4 among 6 keyframes"):
        keyframed_position(torch.zeros(2, 6, 3), position)


def test_rotations_equal_scipys_slerp() -> None:
    rng = np.random.default_rng(1)
    quats = rng.standard_normal((9, 4, 4))  # of any length and sign
    quats[1, 1] = -3 * quats[1, 0]  # the same rotation, on the other side
    quats[2, 1] = quats[2, 0] + 1e-4 * rng.standard_normal(4)
    for position in (0.0, 0.3, 1.0, 2.75, 3.0):
        actual = keyframed_rotation(torch.tensor(quats), position).numpy()
        np.testing.assert_allclose(np.linalg.norm(actual, axis=-1), 1, atol=1e-12)
        for row, keyframes in zip(actual, quats, strict=True):
            expected = Slerp(np.arange(4), rotation(keyframes))(position)
            assert (rotation(row).inv() * expected).magnitude() < 1e-7


def test_the_sign_of_a_quaternion_does_not_matter() -> None:
    quats = torch.tensor(np.random.default_rng(3).standard_normal((6, 4, 4)))
    signs = torch.tensor([1.0, -1, -1, 1], dtype=torch.float64)
    for position in (0.4, 1.5, 2.9):
        one, other = keyframed_rotation(quats, position), keyframed_rotation(quats * signs[:, None], position)
        torch.testing.assert_close((one * other).sum(dim=-1).abs(), torch.ones(6, dtype=torch.float64))


def test_float32_is_precise_for_close_and_far_rotations() -> None:
    axis = np.array([0.36, 0.48, 0.8])
    for degrees in (0.0, 1e-3, 0.5, 1.5, 2.0, 90.0, 179.0):
        turned = Rotation.from_rotvec(np.radians(degrees) * axis)
        second = torch.tensor(np.roll(turned.as_quat(), 1), dtype=torch.float32)[None]
        first = torch.tensor([[1.0, 0.0, 0.0, 0.0]], requires_grad=True)
        middle = slerp(first, second, 0.25)
        expected = Rotation.from_rotvec(0.25 * np.radians(degrees) * axis)
        assert (rotation(middle.detach().numpy()[0]).inv() * expected).magnitude() < 1e-6
        middle.sum().backward()
        assert first.grad is not None and bool(first.grad.isfinite().all())


@pytest.mark.parametrize("time", [-1.0, 0.4, 1.0, 1.5, 2.0, 2.3, 9.0])
def test_windows_fade_from_the_nearest_centre(time: float) -> None:
    centers = np.array([[1.0, 2.0], [2.0, 1.0], [1.2, 1.2], [0.5, 1.9]])
    log_widths = np.array([[-1.0, 0.5], [0.3, -0.7], [0.0, 0.0], [1.0, -2.0]])
    expected = []
    for (first, last), (before, after) in zip(np.sort(centers), log_widths, strict=True):
        distance, width = (first - time, before) if time < first else (max(0.0, time - last), after)
        expected.append(np.exp(-((distance / (np.exp(width) + 0.127)) ** 2)))
    actual = temporal_window(time, torch.tensor(centers), torch.tensor(log_widths), 0.127)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)


def test_gradients_equal_finite_differences() -> None:
    torch.manual_seed(0)
    quats = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    keyframes = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)
    centers = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    log_widths = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q: keyframed_rotation(q, 1.3), quats)
    assert torch.autograd.gradcheck(lambda p: keyframed_position(p, 2.6), keyframes)
    for time in (-2.0, 0.1, 2.0):
        assert torch.autograd.gradcheck(lambda c, w, t=time: temporal_window(t, c, w, 0.1), (centers, log_widths))
