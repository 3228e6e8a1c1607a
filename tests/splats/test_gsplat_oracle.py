"""The torch twin against the torch functions of the installed gsplat: an oracle nobody here wrote."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from moegs_ns.splats.projection import Projected, ProjectionSettings, project_torch
from moegs_ns.splats.torch_backend import TILE, _tiles, tile_bounds
from tests.splats.gsplat_torch import PROFILE, covariances_of, encode_offsets, fully_fused_projection, intersect
from tests.splats.random_scenes import Scene, compare_gradients, hard_cases, random_scene

SCENES = [scene for scene in hard_cases() if len(scene.splats) > 0]
FEW = [scene for scene in SCENES if len(scene.splats) <= 60]
PROJECTED = ("means2d", "depths", "conics", "compensations")


def leaves_of(scene: Scene) -> list[torch.Tensor]:
    return [getattr(scene.splats, name).clone().requires_grad_() for name in ("means", "quats", "scales")]


def project_by_gsplat(leaves: list[torch.Tensor], scene: Scene, settings: ProjectionSettings) -> Projected:
    means, quats, scales = leaves
    covariances = covariances_of(quats, scales)
    radii, means2d, depths, conics, compensations = fully_fused_projection(
        means,
        covariances,
        scene.viewmat[None],
        scene.K[None],
        scene.width,
        scene.height,
        eps2d=settings.eps2d,
        near_plane=settings.near,
        far_plane=settings.far,
        calc_compensations=settings.antialiased,
    )
    compensations = compensations[0] if settings.antialiased else torch.ones_like(depths[0])
    return Projected(means2d[0], depths[0], conics[0], compensations, radii[0])


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_projection_values_and_gradients(scene):
    scene = scene.to(torch.float64)
    # gsplat's torch function has no radius_clip; the rules it lacks are tested below.
    settings = replace(scene.settings[0], radius_clip=0.0, conventions=PROFILE)
    mine, theirs = leaves_of(scene), leaves_of(scene)
    actual = project_torch(*mine, scene.viewmat, scene.K, scene.width, scene.height, settings)
    expected = project_by_gsplat(theirs, scene, settings)
    assert torch.equal(actual.radii, expected.radii)
    visible = expected.radii > 0

    # Quotients of determinants lose digits on needles, hence not the 1e-15 of float64.
    for name in PROJECTED:
        torch.testing.assert_close(
            getattr(actual, name)[visible], getattr(expected, name)[visible], rtol=1e-7, atol=1e-9
        )
    if not visible.any():
        return
    generator = torch.Generator().manual_seed(7)
    losses = [torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)]
    for name in PROJECTED:
        weights = torch.randn(getattr(expected, name).shape, generator=generator, dtype=torch.float64)
        weights[~visible] = 0.0
        if name == "compensations":
            weights[expected.compensations < 1e-2] = 0.0  # there the 1e-6 of gsplat's CUDA gradient is felt
        losses = [
            loss + (getattr(projected, name) * weights)[visible].sum()
            for loss, projected in zip(losses, (actual, expected), strict=True)
        ]
    for loss in losses:
        loss.backward()
    tolerance = 2e-4 if settings.antialiased else 1e-7
    for name, leaf, reference in zip(("means", "quats", "scales"), mine, theirs, strict=True):
        compare_gradients(leaf.grad, reference.grad, tolerance=tolerance, flip_share=0.0, what=name)
        assert not leaf.grad[~visible].any(), f"culled Gaussians must not receive gradients ({name})"


@pytest.mark.parametrize("scene", FEW, ids=lambda scene: scene.name)
def test_tile_lists(scene):
    """Same Gaussians in the same order in every tile, and the counts gsplat reports."""
    projected = project_torch(
        scene.splats.means,
        scene.splats.quats,
        scene.splats.scales,
        scene.viewmat,
        scene.K,
        scene.width,
        scene.height,
        scene.settings[0],
    )
    # gsplat's torch function loops over tiles in Python: leave out what covers very many.
    radii = torch.where(projected.radii < 400, projected.radii, 0)
    across, down = math.ceil(scene.width / TILE), math.ceil(scene.height / TILE)
    counts, keys, ids = intersect(projected.means2d[None], radii[None], projected.depths[None], TILE, across, down)
    first, last = tile_bounds(projected.means2d, radii, scene.width, scene.height)
    assert torch.equal(((last - first).prod(dim=1) * (radii > 0)).int(), counts[0])

    ids = ids.tolist()
    offsets = [*encode_offsets(keys, 1, across, down).flatten().tolist(), len(ids)]
    expected = {
        (tile // across, tile % across): ids[offsets[tile] : offsets[tile + 1]]
        for tile in range(across * down)
        if offsets[tile + 1] > offsets[tile]
    }
    one_expert = torch.zeros(len(radii), dtype=torch.int32)
    actual = {
        (rows.start // TILE, columns.start // TILE): indices.tolist()
        for (_, rows, columns), indices in _tiles(
            projected.means2d, projected.depths, radii, one_expert, 1, scene.width, scene.height
        )
    }
    assert actual == expected


def project_points(points: list[list[float]], scale: float = 0.01, **settings) -> Projected:
    """Projects small spheres at camera-space points with a plain 32x32 camera of focal length 20."""
    means = torch.tensor(points, dtype=torch.float64)
    K = torch.tensor([[20.0, 0, 16], [0, 20, 16], [0, 0, 1]], dtype=torch.float64)
    quats = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64).expand(len(means), -1)
    return project_torch(
        means,
        quats,
        torch.full_like(means, scale),
        torch.eye(4, dtype=torch.float64),
        K,
        32,
        32,
        ProjectionSettings(**settings),
    )


def test_near_and_far_planes_are_themselves_inside():
    """As in gsplat 1.4.0's kernel; its torch function leaves them out."""
    depths = [0.49, 0.5, 1.0, 4.0, 4.01, -1.0, 0.0]
    projected = project_points([[0.0, 0.0, z] for z in depths], near=0.5, far=4.0)
    assert (projected.radii > 0).tolist() == [False, True, True, True, False, False, False]


def test_radius_clip_culls_up_to_and_including_its_value():
    free = project_points([[0.0, 0.0, 1.0]], scale=0.1)
    radius = int(free.radii)
    # Standard deviation 2 px and blur: ceil(3 sqrt(4 + 0.3 + sqrt(max(0, 0.01)))).
    assert radius == math.ceil(3 * math.sqrt(4.3 + 0.1)) == 7
    assert int(project_points([[0.0, 0.0, 1.0]], scale=0.1, radius_clip=radius - 0.5).radii) == radius
    assert int(project_points([[0.0, 0.0, 1.0]], scale=0.1, radius_clip=radius).radii) == 0


def test_squares_that_only_touch_the_border_are_culled():
    radius = 2  # of a point: ceil(3 sqrt(0.3 + sqrt(0.01)))
    touching = (-16.0 - radius) / 20.0
    for axis in (0, 1):
        for side in (-1.0, 1.0):
            outside, inside = [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]
            outside[axis], inside[axis] = side * touching, side * (touching + 0.01)
            assert project_points([outside, inside], scale=1e-5).radii.tolist() == [0, radius], (axis, side)


def test_a_centre_in_the_camera_plane_does_not_spoil_gradients():
    means = torch.tensor([[0.1, 0.2, 0.0], [0.0, 0.0, 0.0], [0.1, 0.2, 1.0]], dtype=torch.float64, requires_grad=True)
    quats = torch.tensor([[1.0, 0, 0, 0]] * 3, dtype=torch.float64)
    eye = torch.eye(4, dtype=torch.float64)
    settings = ProjectionSettings(antialiased=True)
    projected = project_torch(means, quats, torch.full_like(means, 0.1), eye, eye[:3, :3], 2, 2, settings)
    sum(getattr(projected, name).sum() for name in PROJECTED).backward()
    assert torch.isfinite(means.grad).all()
    assert means.grad.any(dim=1).tolist() == [False, False, True]


def test_compensation_is_the_energy_ratio():
    """det of the sharp over det of the blurred covariance, square root; one without blur."""
    sharp = project_points([[0.0, 0.0, 1.0]], scale=0.05, eps2d=0.5, antialiased=True)
    torch.testing.assert_close(sharp.compensations, torch.tensor([1.0 / 1.5], dtype=torch.float64))
    assert project_points([[0.0, 0.0, 1.0]], scale=0.05, eps2d=0.5).compensations.tolist() == [1.0]
    assert project_points([[0.0, 0.0, 1.0]], scale=0.05, eps2d=0.0, antialiased=True).compensations.tolist() == [1.0]


@pytest.mark.parametrize("antialiased", [False, True])
def test_gradients_against_finite_differences(antialiased):
    scene = random_scene(3, 4, pixels=(1.0, 6.0)).to(torch.float64)
    settings = ProjectionSettings(eps2d=0.1, antialiased=antialiased)

    def function(*leaves):
        projected = project_torch(*leaves, scene.viewmat, scene.K, scene.width, scene.height, settings)
        return tuple(getattr(projected, name) for name in PROJECTED)

    assert torch.autograd.gradcheck(function, leaves_of(scene), rtol=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"near": 0.0}, {"near": -1.0}, {"near": 2.0, "far": 1.0}, {"eps2d": -0.1}, {"radius_clip": -1.0}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match="ProjectionSettings: expected"):
        ProjectionSettings(**wrong)
