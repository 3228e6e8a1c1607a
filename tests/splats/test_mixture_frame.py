"""Fused inference without a GPU: the code it shares with the host, and the CUDA kernels emulated, against the twin.

On a GPU: ``test_mixture_live``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from moegs_ns.splats.conventions import GSPLAT_1_5
from moegs_ns.splats.mixture_frame import MixtureFrame, draw_mixture
from moegs_ns.splats.native_build import find_compiler
from moegs_ns.splats.projection import project_torch
from moegs_ns.splats.torch_backend import tile_bounds
from tests.splats.mixture_cases import (
    MixtureCase,
    all_cases,
    as_case,
    compare_frames,
    draw,
    draw_ordinarily,
    fuzzed_case,
    make_gate,
    named_cases,
)
from tests.splats.mixture_libraries import KINDS, built_library, compile_for_cpu
from tests.splats.random_scenes import CLASSIC, random_scene

ROOT = Path(__file__).resolve().parents[2]


def assert_same_bits(one: MixtureFrame, other: MixtureFrame) -> None:
    for name in vars(one):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_the_shared_code_draws_what_the_twin_draws(case: MixtureCase) -> None:
    actual = draw(built_library("host"), case)
    compare_frames(case, actual, *draw_ordinarily(case.to(torch.float64)))
    sums = actual.gates.sum(dim=0)
    torch.testing.assert_close(sums, torch.ones_like(sums))


@pytest.mark.parametrize("seed", range(100, 125))
def test_anything_it_takes_is_drawn_as_the_twin_draws_it(seed: int) -> None:
    case = fuzzed_case(seed)
    compare_frames(case, draw(built_library("host"), case), *draw_ordinarily(case.to(torch.float64)))


@pytest.mark.parametrize("case", [*all_cases(), *map(fuzzed_case, range(100, 110))], ids=lambda case: case.name)
def test_the_emulated_kernels_draw_what_the_host_draws_bit_for_bit(case: MixtureCase) -> None:
    assert_same_bits(draw(built_library("emulated"), case), draw(built_library("host"), case))


def test_the_cases_would_show_a_wrong_gate() -> None:
    """Each case but those of one expert differs from an even blend, and some pictures would leave [0,1]."""
    cases = [case for case in named_cases() if case.scene.num_experts > 1 and len(case.scene.splats)]
    frames = [draw_ordinarily(case)[0] for case in cases]
    for case, frame in zip(cases, frames, strict=True):
        assert (frame.rgb - frame.pictures.mean(dim=0)).abs().max() > 1e-3, case.name
    assert sum(float(frame.pictures.max()) == 1 for frame in frames) > len(frames) / 2


def test_expert_k_of_the_pass_equals_expert_k_alone_bit_for_bit() -> None:
    case = next(case for case in named_cases() if case.name == "four-in-groups")
    together = draw(built_library("host"), case)
    for expert in range(4):
        alone = draw(built_library("host"), MixtureCase(case.scene.expert(expert), case.gate))
        assert torch.equal(together.pictures[expert], alone.pictures[0])
        assert together.pictures[expert].std() > 0.05


def test_the_order_of_gaussians_does_not_matter() -> None:
    case = next(case for case in named_cases() if case.name == "three-antialiased")
    order = torch.randperm(len(case.scene.splats), generator=torch.Generator().manual_seed(1))
    permuted = MixtureCase(case.scene.permuted(order), case.gate)
    for kind in KINDS:
        assert_same_bits(draw(built_library(kind), case), draw(built_library(kind), permuted))


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_that_cannot_show_a_gaussian_are_left_out(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of faint Gaussians the box of what shows is smaller than the square of three sigma; values are tested above."""
    library, counted = built_library(kind), []
    draw_bytes = library.draw_bytes
    monkeypatch.setattr(
        library, "draw_bytes", lambda scene, pairs, device: counted.append(pairs) or draw_bytes(scene, pairs, device)
    )
    scene = random_scene(5, 300, c=6, width=150, height=100, pixels=(1.0, 12.0), opacity_range=(0.004, 0.04))
    draw(library, as_case(scene, make_gate(1)))
    projected = project_torch(
        *(getattr(scene.splats, name) for name in ("means", "quats", "scales")),
        *(scene.viewmat, scene.K, scene.width, scene.height, CLASSIC),
    )
    first, last = tile_bounds(projected.means2d, projected.radii, scene.width, scene.height)
    squares = int(((last - first).prod(dim=1) * (projected.radii > 0)).sum())
    assert 0.1 * squares < counted[0] < 0.8 * squares


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_drawn_of_an_unknown_expert(kind: str) -> None:
    case = named_cases()[1]
    ids = case.scene.expert_ids.clone()
    ids[3], ids[8] = 2, -1
    with pytest.raises(ValueError, match=r"expert_ids in \[0, 2\), found 2 outside"):
        draw(built_library(kind), MixtureCase(replace(case.scene, expert_ids=ids), case.gate))


def changed(case: MixtureCase, **changes: object) -> MixtureCase:
    """The case with other parts of its scene, splats or gate."""
    scene = {name: value for name, value in changes.items() if hasattr(case.scene, name)}
    splats = {name: value for name, value in changes.items() if hasattr(case.scene.splats, name)}
    gate = {name: value for name, value in changes.items() if hasattr(case.gate, name)}
    changed_scene = replace(case.scene, splats=replace(case.scene.splats, **splats), **scene)
    return MixtureCase(changed_scene, replace(case.gate, **gate))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means": torch.zeros(150, 3, dtype=torch.float64)}, r"means \[150, 3\] of torch.float32 .* torch.float64"),
        ({"channels": torch.zeros(149, 6)}, r"colors \[150, 3\] .*found \[149, 3\]"),
        ({"channels": torch.zeros(150, 7)}, r"weights \[150, 3\] .*found \[150, 4\]"),
        ({"expert_ids": torch.zeros(150, dtype=torch.int64)}, "expert_ids .150. of torch.int32 .* torch.int64"),
        ({"viewmat": torch.eye(3)}, r"viewmat \[4, 4\]"),
        ({"K": torch.eye(4)}, r"K \[3, 3\]"),
        ({"background": torch.zeros(3, 6)}, r"backgrounds \[2, 3\] .*found \[3, 3\]"),
        ({"width": 0}, "0x37 pixels"),
        ({"width": 2**19 + 1}, "too large"),
        ({"settings": (CLASSIC,) * 9, "background": torch.zeros(9, 6)}, "at most 8 experts, these are 9"),
        ({"settings": (), "background": torch.zeros(0, 6)}, "0 experts"),
        ({"settings": (CLASSIC, replace(CLASSIC, conventions=GSPLAT_1_5))}, "'gsplat-1.4', .* found 'gsplat-1.5'"),
        ({"matrices": []}, "0 layers"),
        ({"matrices": [torch.zeros(1, 7)]}, r"matrix 0 of the network \[1, 8\]"),
        ({"matrices": [torch.zeros(4, 8), torch.zeros(1, 5)]}, r"matrix 1 of the network \[1, 4\]"),
        ({"matrices": [torch.zeros(33, 8), torch.zeros(1, 33)]}, r"32 inputs each, this one has \[8, 33\]"),
        ({"matrices": [*[torch.zeros(8, 8)] * 4, torch.zeros(1, 8)]}, "at most 4 layers"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"top_k": 3}, "top_k from 0 to 2, found .* 3"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict, message: str) -> None:
    case = named_cases()[1]
    with pytest.raises(ValueError, match=message):
        draw(built_library("host"), changed(case, **changes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("structure", "field", "value", "message"),
    [
        ("scene", "num_experts", 9, "out of range"),
        ("scene", "num_experts", 0, "out of range"),
        ("scene", "height", 0, "out of range"),
        ("scene", "count", -1, "out of range"),
        ("scene", "count", 2**31, "too large"),
        ("scene", "width", 2**19 + 1, "too large"),
        ("gate", "layers", 5, "out of range"),
        ("gate", "layers", 0, "out of range"),
        ("gate", "ray_count", 7, "out of range"),
        ("gate", "ray_first", -1, "out of range"),
        ("gate", "temperature", 0.0, "out of range"),
        ("gate", "temperature", float("nan"), "out of range"),
        ("gate", "top_k", 3, "out of range"),
        ("gate", "top_k", -1, "out of range"),
        ("gate", "backgrounds", None, "out of range"),
    ],
)
def test_the_c_interface_refuses_what_it_cannot_do(
    kind: str, structure: str, field: str, value: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calls it, past the checks of the Python before it."""
    library = built_library(kind)
    function = "bin" if structure == "scene" else "draw"
    original = getattr(library, function)

    def spoiled(scene, *others):
        setattr(scene if structure == "scene" else others[0], field, value)
        return original(scene, *others)

    monkeypatch.setattr(library, function, spoiled)
    with pytest.raises(ValueError, match=message):
        draw(library, named_cases()[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", ["bin_bytes", "draw_bytes"])
def test_scratch_memory_that_is_too_small_is_refused(kind: str, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = built_library(kind)
    original = getattr(library, function)
    monkeypatch.setattr(library, function, lambda *arguments: original(*arguments) - 1)
    with pytest.raises(ValueError, match="scratch memory is too small"):
        draw(library, named_cases()[1])


@pytest.mark.parametrize("kind", KINDS)
def test_more_pairs_than_fit_are_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = built_library(kind)
    original = library.draw_bytes
    monkeypatch.setattr(library, "draw_bytes", lambda scene, pairs, device: original(scene, 2**31, device))
    with pytest.raises(ValueError, match="too large"):
        draw(library, named_cases()[1])


def test_what_cuda_reports_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    library = built_library("emulated")
    original = library.bin
    monkeypatch.setattr(library, "bin", lambda *arguments: original(*arguments[:4], 7, arguments[5]))
    with pytest.raises(RuntimeError, match="CUDA reports: invalid device ordinal"):
        draw(library, named_cases()[0])


def test_tensors_elsewhere_are_refused() -> None:
    library, case = built_library("host"), named_cases()[0].to("meta")
    with pytest.raises(ValueError, match="tensors on 'cpu', where .* found them on 'meta'"):
        draw(library, case)


def test_gradients_are_neither_needed_nor_given() -> None:
    case = named_cases()[0]
    case.scene.splats.means.requires_grad_()
    assert not draw(built_library("host"), case).rgb.requires_grad


def test_a_call_of_its_own_documentation() -> None:
    """The signature's names, by keyword."""
    case = named_cases()[0]
    scene = case.scene
    frame = draw_mixture(
        library=built_library("host"),
        splats=scene.splats,
        colors=scene.channels[:, :3],
        weights=scene.channels[:, 3:],
        expert_ids=scene.expert_ids,
        settings=scene.settings,
        viewmat=scene.viewmat,
        K=scene.K,
        width=scene.width,
        height=scene.height,
        backgrounds=scene.background[:, :3],
        gate=case.gate,
    )
    assert_same_bits(frame, draw(built_library("host"), case))
    shapes = {name: tuple(image.shape) for name, image in vars(frame).items()}
    assert shapes == {
        "rgb": (37, 50, 3),
        "accumulation": (37, 50),
        "depth": (37, 50),
        "gates": (1, 37, 50),
        "pictures": (1, 37, 50, 3),
    }


# Draws every case with the library in $MIXTURE_LIBRARY.
CHECK = """
import os
from moegs_ns.splats.mixture_library import MixtureLibrary
from tests.splats.mixture_cases import all_cases, draw
library = MixtureLibrary(os.environ["MIXTURE_LIBRARY"])
library.device_type = "cpu"
for case in all_cases():
    draw(library, case)
print("all drawn")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sanitizers_find_nothing(kind: str, tmp_path: Path) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer over every case."""
    library = compile_for_cpu(kind, tmp_path / "sanitized.so", ["-O1", "-g1", "-fsanitize=address,undefined"])
    runtime = subprocess.run(
        [*find_compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip("the compiler has no shared AddressSanitizer runtime")
    result = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=ROOT,
        env={
            **os.environ,
            "MIXTURE_LIBRARY": str(library),
            "LD_PRELOAD": runtime,
            # Python and torch allocate what they never free; fibers have stacks of their own.
            "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "all drawn" in result.stdout
    assert "runtime error" not in result.stderr, result.stderr
