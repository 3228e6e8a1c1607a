"""Fused inference on a GPU against the twin and against gsplat. ``test_mixture_frame`` runs its code without one."""

from __future__ import annotations

import pytest
import torch

from moegs_ns.splats.kernel_cache import NativeBuildError
from moegs_ns.splats.mixture_frame import MixtureFrame
from moegs_ns.splats.mixture_library import MixtureLibrary, mixture_library
from tests.splats.mixture_cases import (
    MixtureCase,
    all_cases,
    as_case,
    compare_frames,
    draw,
    draw_ordinarily,
    fuzzed_case,
    make_gate,
)
from tests.splats.random_scenes import ANTIALIASED, CLASSIC, random_scene

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

# Exponentials of the GPU's fast unit, as gsplat's.
TOLERANCE = 2e-5
LARGE = as_case(
    random_scene(
        90, 20000, k=4, c=6, width=333, height=250, settings=(CLASSIC, ANTIALIASED) * 2, pixels=(0.5, 9.0), name="large"
    ),
    make_gate(90),
)


@pytest.fixture(scope="module")
def library() -> MixtureLibrary:
    try:
        return mixture_library(torch.device("cuda"))
    except NativeBuildError as error:
        pytest.skip(str(error))


def on_cpu(frame: MixtureFrame) -> MixtureFrame:
    return MixtureFrame(**{name: image.cpu() for name, image in vars(frame).items()})


@pytest.mark.parametrize("case", [*all_cases(), *map(fuzzed_case, range(100, 110)), LARGE], ids=lambda case: case.name)
def test_kernels_draw_what_the_twin_draws(library: MixtureLibrary, case: MixtureCase) -> None:
    expected, alphas = draw_ordinarily(case.to(torch.float64), backend="torch")
    compare_frames(case, on_cpu(draw(library, case.to("cuda"))), expected, alphas, tolerance=TOLERANCE)


@pytest.mark.parametrize("case", [*all_cases(), LARGE], ids=lambda case: case.name)
def test_kernels_draw_what_gsplat_draws(library: MixtureLibrary, case: MixtureCase) -> None:
    gsplat = pytest.importorskip("gsplat")
    if not gsplat.__version__.startswith("1.4."):
        pytest.skip(f"gsplat {gsplat.__version__} bounds Gaussians at 3.33 sigma; the numeric profile is 1.4's")
    there = case.to("cuda")
    expected, alphas = draw_ordinarily(there, backend="cuda")
    compare_frames(case, on_cpu(draw(library, there)), on_cpu(expected), alphas.cpu(), tolerance=TOLERANCE)


def test_frames_are_the_same_bit_for_bit_every_time(library: MixtureLibrary) -> None:
    there = LARGE.to("cuda")
    first, again = draw(library, there), draw(library, there)
    for name in vars(first):
        assert torch.equal(getattr(first, name), getattr(again, name)), name


def test_another_stream(library: MixtureLibrary) -> None:
    there = LARGE.to("cuda")
    expected = draw(library, there)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        frame = draw(library, there)
    stream.synchronize()
    assert torch.equal(frame.rgb, expected.rgb)


def test_nothing_is_drawn_of_an_unknown_expert(library: MixtureLibrary) -> None:
    there = all_cases()[1].to("cuda")
    there.scene.expert_ids[3] = 2
    with pytest.raises(ValueError, match="found 1 outside"):
        draw(library, there)
