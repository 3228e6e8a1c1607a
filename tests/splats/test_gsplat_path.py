"""The CUDA path's Python, executed on the CPU: see ``gsplat_fakes``. The live comparison is ``test_gsplat_live``."""

from __future__ import annotations

import inspect
import subprocess
import sys

import gsplat
import gsplat.cuda._wrapper
import pytest
import torch

from moegs_ns.splats import gsplat_backend
from moegs_ns.splats import rasterize as rasterize_module
from moegs_ns.splats.conventions import conventions_of_gsplat
from moegs_ns.splats.projection import ProjectionSettings
from tests.splats.gsplat_fakes import KERNEL_CHANNELS, SIGNATURES, fake_wrapper, signature
from tests.splats.random_scenes import (
    ANTIALIASED,
    CLASSIC,
    compare_renderings,
    hard_cases,
    random_scene,
    render,
)

# gsplat's torch intersection loops over tiles in Python: whole-image Gaussians only in small numbers.
SCENES = [scene for scene in hard_cases() if len(scene.splats) <= 100]


@pytest.fixture(params=sorted(SIGNATURES))
def wrapper(request, monkeypatch):
    """gsplat's wrapper of one version, replaced by fakes; and a resolver that lets CPU tensors through."""
    fakes = fake_wrapper(request.param)
    fakes.conventions = conventions_of_gsplat(request.param)
    for name in SIGNATURES[request.param]:
        monkeypatch.setattr(gsplat.cuda._wrapper, name, getattr(fakes, name))
    monkeypatch.setattr(rasterize_module, "resolve_backend", lambda device, requested="auto": requested)
    return fakes


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_it_renders_what_the_twin_renders(wrapper, scene):
    actual, expected = render(scene, "gsplat"), render(scene.under(wrapper.conventions), "torch")
    # The two projections round differently in float32.
    compare_renderings(actual, expected, gradient_tolerance=2e-5, rounding=scene.rounding)
    assert torch.isfinite(actual.result.means2d).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 10, 16, 18])
def test_channels_are_padded_to_a_kernel_width_and_cut_back(wrapper, count):
    scene = random_scene(count, 10, k=2, c=count, width=20, height=20)
    actual = render(scene, "gsplat", depth=False)
    expected = render(scene.under(wrapper.conventions), "torch", depth=False)
    assert actual.result.images.shape == (2, 20, 20, count)
    compare_renderings(actual, expected, gradient_tolerance=2e-5)


def test_one_projection_per_group_and_one_compositing(wrapper):
    settings = (CLASSIC, ANTIALIASED, CLASSIC, ProjectionSettings(near=0.5))
    render(random_scene(0, 30, k=4, settings=settings, width=20, height=20), "gsplat")
    assert wrapper.calls == {
        "fully_fused_projection": 3,
        "isect_tiles": 1,
        "isect_offset_encode": 1,
        "rasterize_to_pixels": 1,
    }


def test_absgrad_lands_on_the_returned_means(wrapper):
    scene = random_scene(1, 20, width=20, height=20)
    rendered = render(scene, "gsplat", absgrad=True)
    assert (rendered.gradients["absgrad"] >= rendered.gradients["means2d"].abs() - 1e-6).all()
    assert rendered.gradients["absgrad"].any()
    assert "absgrad" not in render(scene, "gsplat", absgrad=False).gradients


def test_float64_is_refused(wrapper):
    with pytest.raises(ValueError, match=r"expected float32, found means of torch\.float64"):
        render(random_scene(1, 5).to(torch.float64), "gsplat")


def test_too_many_channels_are_refused(wrapper):
    with pytest.raises(ValueError, match="at most 513 channels, found 514"):
        render(random_scene(1, 2, c=514), "gsplat", depth=False)


def test_kernel_widths():
    assert gsplat_backend._SUPPORTED_WIDTHS == KERNEL_CHANNELS


def test_recorded_signatures_are_those_of_the_installed_gsplat():
    version = gsplat.__version__
    if version not in SIGNATURES:
        pytest.skip(f"gsplat {version} is not recorded; run benchmarks/gsplat_signatures.py")
    for name in SIGNATURES[version]:
        installed = inspect.signature(getattr(gsplat.cuda._wrapper, name))
        plain = [p.replace(annotation=inspect.Parameter.empty) for p in installed.parameters.values()]
        assert inspect.Signature(plain) == signature(version, name)


def test_the_fakes_reject_what_the_real_functions_reject():
    """1.4.0 knows cameras, 1.5.3 images: a path written for one only would fail under the other."""
    old, new = fake_wrapper("1.4.0"), fake_wrapper("1.5.3")
    tensors = (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int32), torch.zeros(0), 16, 1, 1)
    with pytest.raises(TypeError, match="n_images"):
        old.isect_tiles(*tensors, packed=True, n_images=1)
    with pytest.raises(TypeError, match="n_cameras"):
        new.isect_tiles(*tensors, packed=True, n_cameras=1)


def test_gsplat_is_not_imported_before_it_is_known_to_run():
    """With nvcc but no GPU, gsplat's first call compiles for many minutes and then fails."""
    program = (
        "import sys, torch\n"
        "torch.cuda.is_available = lambda: False\n"
        "import moegs_ns.splats.gsplat_backend\n"
        "from moegs_ns.splats.rasterize import resolve_backend\n"
        "for device, name in (('cuda', 'auto'), ('cpu', 'cuda')):\n"
        "    try:\n"
        "        resolve_backend(device, name)\n"
        "        sys.exit('resolved')\n"
        "    except ValueError:\n"
        "        pass\n"
        "sys.exit('gsplat was imported' if 'gsplat' in sys.modules else 0)\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
