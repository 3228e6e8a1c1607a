"""What differs between gsplat's releases, and that nothing else of their new rules could change an image."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from moegs_ns.splats import torch_backend
from moegs_ns.splats.conventions import GSPLAT_1_4, GSPLAT_1_5, Conventions, conventions_of_gsplat
from moegs_ns.splats.projection import Projected, ProjectionSettings
from moegs_ns.splats.rasterize import _load_backend
from tests.splats.random_scenes import (
    ANTIALIASED,
    CLASSIC,
    Scene,
    compare_images,
    compare_radii,
    compare_renderings,
    hard_cases,
    random_scene,
    render,
)

WIDE = random_scene(60, 250, k=2, c=3, width=120, height=90, pixels=(0.7, 14.0), opacity_range=(0.5, 1.0))


def projected(scene: Scene, backend: str, settings: ProjectionSettings) -> Projected:
    splats, camera = scene.splats, (scene.viewmat, scene.K, scene.width, scene.height)
    return _load_backend(backend).project(splats.means, splats.quats, splats.scales, *camera, settings)


def composited(scene: Scene, backend: str, screen: Projected, radii: Tensor, opacities: Tensor) -> Tensor:
    return _load_backend(backend).composite(
        screen.means2d,
        screen.conics,
        opacities,
        scene.channels,
        screen.depths,
        radii,
        scene.expert_ids,
        scene.num_experts,
        scene.width,
        scene.height,
    )[0]


@pytest.mark.parametrize(
    ("version", "profile"),
    [("1.4.0", GSPLAT_1_4), ("1.4.0+pt21cu118", GSPLAT_1_4), ("1.5.0", GSPLAT_1_5), ("1.5.3", GSPLAT_1_5)],
)
def test_the_profile_of_a_release(version, profile):
    assert conventions_of_gsplat(version) == profile


@pytest.mark.parametrize("version", ["1.3.0", "1.6.0", "2.0", "unknown", ""])
def test_releases_nobody_has_read_are_refused(version):
    with pytest.raises(ValueError, match=r"conventions are known \(1\.4, 1\.5\), found"):
        conventions_of_gsplat(version)


def test_the_default_is_what_nerfstudio_pins():
    assert ProjectionSettings().conventions == GSPLAT_1_4


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="sigmas > 0"):
        Conventions("none", sigmas=0.0, per_axis=False)


def one_gaussian(conventions: Conventions, backend: str, across: float = 6.0, **settings: float) -> Projected:
    """Standard deviations of ``across`` and 2 pixels down, at pixel (x, y) of 64x64; without blur."""
    return _load_backend(backend).project(
        torch.tensor([[0.0, 0.0, 1.0]]),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        torch.tensor([[0.01 * across, 0.02, 0.01]]),
        torch.eye(4),
        torch.tensor([[100.0, 0.0, settings.pop("x", 32.0)], [0.0, 100.0, settings.pop("y", 32.0)], [0.0, 0.0, 1.0]]),
        64,
        64,
        ProjectionSettings(eps2d=0.0, conventions=conventions, **settings),
    )


def test_extents(backend):
    assert one_gaussian(GSPLAT_1_4, backend).radii.tolist() == [18]
    assert one_gaussian(GSPLAT_1_5, backend).radii.tolist() == [math.ceil(3.33 * 6)]
    assert one_gaussian(GSPLAT_1_5, backend, radius_clip=19.0).radii.tolist() == [20]
    assert one_gaussian(GSPLAT_1_5, backend, radius_clip=20.0).radii.tolist() == [0], "both half sides are small"


def test_a_rectangle_leaves_the_image_on_its_own_side(backend):
    """Nine pixels above the image a square of 18 still touches it, a rectangle of 7 rows does not."""
    assert one_gaussian(GSPLAT_1_4, backend, y=-9.0).radii.tolist() == [18]
    assert one_gaussian(GSPLAT_1_5, backend, y=-9.0).radii.tolist() == [0]
    assert one_gaussian(GSPLAT_1_5, backend, x=-9.0).radii.tolist() == [20]
    assert one_gaussian(GSPLAT_1_4, backend, across=2.5, x=-8.5).radii.tolist() == [0]
    assert one_gaussian(GSPLAT_1_5, backend, across=2.5, x=-8.5).radii.tolist() == [9]


@pytest.mark.parametrize("scene", hard_cases(), ids=lambda scene: scene.name)
def test_native_equals_the_twin_under_the_newer_profile(scene):
    native = _load_backend("native")
    if not native.available():
        pytest.skip(f"no native kernels: {native.unavailable_reason()}")
    newer = scene.under(GSPLAT_1_5)
    actual, expected = render(newer, "native"), render(newer.to(torch.float64), "torch")
    compare_renderings(actual, expected, rounding=scene.rounding)


def test_the_profiles_differ_where_they_should(backend):
    """Most Gaussians reach farther; the images differ beyond 3 standard deviations only, by less than 1 %."""
    older, newer = (render(WIDE.under(profile), backend).result for profile in (GSPLAT_1_4, GSPLAT_1_5))
    assert (newer.radii > older.radii).float().mean() > 0.3
    difference = (newer.images - older.images).detach().abs().max()
    assert 1e-5 < float(difference) < 0.012


@pytest.mark.parametrize("settings", [CLASSIC, ANTIALIASED], ids=["classic", "antialiased"])
def test_under_the_newer_profile_alpha_alone_cuts(backend, settings):
    """Why compositing needs no profile: tiles beyond 3.33 standard deviations, and a rectangle's, change nothing."""
    screen = projected(WIDE, backend, replace(settings, conventions=GSPLAT_1_5))
    opacities = WIDE.splats.opacities * screen.compensations
    image = composited(WIDE, backend, screen, screen.radii, opacities)
    everywhere = torch.where(screen.radii > 0, 1000, 0).int()
    compare_images(composited(WIDE, backend, screen, everywhere, opacities), image, tolerance=1e-6)
    older = projected(WIDE, backend, replace(settings, conventions=GSPLAT_1_4))
    cut = composited(WIDE, backend, older, older.radii, WIDE.splats.opacities * older.compensations)
    assert float((cut - image).abs().max()) > 1e-5, "under the older profile tiles do cut"


def test_extents_that_shrink_with_opacity_change_no_pixel(backend):
    """What gsplat 1.5 does when its projection knows the opacities: smaller extents, none below 1/255."""
    opacities = WIDE.splats.opacities.clone()
    opacities[::3] *= 0.02
    opacities[::7] = 0.99 / 255
    screen = projected(WIDE, backend, replace(CLASSIC, conventions=GSPLAT_1_5))
    sigmas = (2 * torch.log(255 * opacities)).clamp(min=0).sqrt().clamp(max=3.33)
    variances = torch_backend_variances(screen)
    shrunk = torch.where(opacities < 1 / 255, 0, (sigmas * variances.sqrt()).ceil()).int()
    shrunk = torch.where(screen.radii > 0, shrunk, 0)
    assert ((shrunk > 0) & (shrunk < screen.radii)).float().mean() > 0.2
    assert ((shrunk == 0) & (screen.radii > 0)).any()
    images = [composited(WIDE, backend, screen, radii, opacities) for radii in (shrunk, screen.radii)]
    compare_images(*images, tolerance=1e-6)


def torch_backend_variances(screen: Projected) -> Tensor:
    """[N] the larger of the variances along the image's axes, out of the inverse covariances."""
    xx, xy, yy = screen.conics.double().unbind(-1)
    determinant = xx * yy - xy * xy
    larger = torch.maximum(xx, yy) / torch.where(determinant > 0, determinant, 1.0)
    return larger.float()


def test_experts_of_different_profiles_share_one_pass(backend):
    settings = (CLASSIC, replace(CLASSIC, conventions=GSPLAT_1_5))
    together = render(replace(WIDE, settings=settings), backend).result
    for expert in range(2):
        alone = render(replace(WIDE, settings=settings).expert(expert), backend).result
        compare_images(together.images[expert : expert + 1], alone.images, tolerance=1e-6)
        compare_radii(together.radii[WIDE.expert_ids == expert], alone.radii)


def test_the_tile_rule_names_the_twin():
    """The bound the argument above rests on."""
    assert torch_backend.MIN_ALPHA == 1 / 255
    assert math.sqrt(2 * math.log(1 / torch_backend.MIN_ALPHA)) < GSPLAT_1_5.sigmas
    assert math.sqrt(2 * math.log(1 / torch_backend.MIN_ALPHA)) > GSPLAT_1_4.sigmas
