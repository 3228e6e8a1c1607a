"""The benchmark of passes: every way renders the same pictures, and the page says what was kept."""

import dataclasses
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.splats.comparisons import compare_images
from tests.splats.mixture_libraries import built_library


@pytest.fixture(scope="module")
def passes(project_root: Path) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return importlib.import_module("expert_passes")


def side_by_side(drawn: Any) -> tuple[Tensor, Tensor]:
    """Images ``[K,H,W,6]`` and opacities ``[K,H,W]``."""
    return torch.cat(drawn.images, dim=-1), drawn.alphas


@pytest.mark.parametrize("experts", [1, 3])
def test_all_ways_render_the_same_pictures(passes: ModuleType, experts: int) -> None:
    at = passes.expert_scene(passes.Case("experts", 200, 40, 30, experts), seed=3)
    expected, alphas = side_by_side(passes.single_pass(at, backend="torch"))
    assert expected.shape == (experts, 30, 40, 6) and alphas.mean() > 0.1
    for draw in passes.WAYS.values():
        images, own = side_by_side(draw(at))
        torch.testing.assert_close(images, expected, rtol=0, atol=4e-5)
        torch.testing.assert_close(own, alphas, rtol=0, atol=2e-5)


@pytest.mark.parametrize("experts", [1, 3])
def test_all_ways_give_every_expert_the_same_gradients(passes: ModuleType, experts: int) -> None:
    """Of the same function of the images; of opacities only the colours' pass is asked, as one would."""
    gradients = {}
    for way, draw in passes.WAYS.items():
        at = passes.expert_scene(passes.Case("experts", 150, 40, 30, experts), seed=4).learning()
        assert all(leaf.is_leaf and leaf.requires_grad for leaf in at.leaves()) and len(at.leaves()) == 6 * experts
        images, alphas = side_by_side(draw(at))
        gradients[way] = torch.autograd.grad([(images**2).sum(), alphas.sum()], at.leaves())
    for way in ("2K passes", "K passes"):
        for one, other in zip(gradients[way], gradients["single pass"], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_gaussians_are_dealt_out_whole(passes: ModuleType) -> None:
    at = passes.expert_scene(passes.Case("experts", 11, 16, 16, 3), seed=0)
    assert [len(one.splats) for one in at.experts] == [3, 4, 4]
    addresses = {leaf.data_ptr() for leaf in at.leaves()}
    assert len(addresses) == 18, "each expert has tensors of its own"


@pytest.mark.parametrize("experts", [1, 3, 4])
def test_fused_inference_draws_the_picture_of_the_ordinary_path(passes: ModuleType, experts: int) -> None:
    """By the host's twin of its kernels."""
    ways = importlib.import_module("expert_ways")
    at = passes.expert_scene(passes.Case("experts", 300, 40, 30, experts), seed=5)
    router = passes.make_router(at)
    expected = passes.draw_ordinarily(at, router)
    fused = passes.draw_fused(at, router, built_library("host"))
    assert experts == 1 or expected.gates.std(dim=0).mean() > 0.05
    for name in ("pictures", "gates"):
        compare_images(getattr(fused, name), getattr(expected, name), tolerance=2e-5, what=name)
    for name in ("rgb", "accumulation"):
        compare_images(getattr(fused, name)[None], getattr(expected, name)[None], tolerance=2e-5, what=name)
    seen = (expected.accumulation > 0.05)[None]
    depths = [torch.where(seen, frame.depth[None], 0.0) / 10 for frame in (fused, expected)]
    compare_images(*depths, tolerance=2e-5, what="depth")
    images, _ = side_by_side(ways.single_pass(at))
    compare_images(expected.pictures, images[..., :3].clamp(0, 1), tolerance=2e-5, what="pictures of the pass")


def test_fused_inference_is_for_cuda_only(passes: ModuleType) -> None:
    device = torch.device("cpu")
    assert passes.fused_library(device) == "it runs on CUDA, and this is on 'cpu'"
    assert (passes.FUSED, "forward") not in passes.measured_ways(device)
    at = passes.expert_scene(passes.Case("experts", 20, 16, 16, 2), seed=0)
    with pytest.raises(ValueError, match="kernels of fused inference, found none: it runs on CUDA"):
        passes.job(passes.FUSED, "forward", at)


@pytest.mark.parametrize("fused", [False, True])
def test_it_measures_and_the_page_shows_it(
    passes: ModuleType, fused: bool, tmp_path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(project_root / "benchmarks"))
    monkeypatch.setattr(passes, "peak_megabytes", lambda *of: 12.5)  # a process each; tried below
    if fused:
        monkeypatch.setattr(passes, "fused_library", lambda device: built_library("host"))
    kept = tmp_path / "passes.json"
    passes.main(
        passes.Arguments(
            rounds=2, device="cpu", threads=1, gaussians=(60, 90), images=((24, 16),), experts=(1, 2), output=kept
        )
    )
    report = json.loads(kept.read_text("utf8"))
    # Three ways in two directions and the one or two to the picture; the twin on the smallest scene.
    assert len(report["rows"]) == 5 * (3 * 2 + 1 + fused) + 2
    assert all(row["min_ms"] > 0 for row in report["rows"])
    charts = sorted(tmp_path.glob("*.png"))
    assert [chart.name for chart in charts] == [f"passes_{axis}.png" for axis in ("experts", "gaussians", "image")]
    page = tmp_path / "performance.md"
    writing = importlib.import_module("write_performance")
    nothing = {field.name: tmp_path / "none.json" for field in dataclasses.fields(writing.KeptFiles)}
    writing.write_page(page, writing.KeptFiles(**{**nothing, "passes": kept}))
    text = page.read_text("utf8")
    assert "## Several experts in one pass" in text and "with gradients 12 MB" in text
    assert "The torch twin, 60 Gaussians, forward:" in text
    assert ("ordinary / fused" in text) == fused
    assert ("Fused inference is not in these tables: it runs on CUDA, and this is on 'cpu'." in text) == (not fused)
    assert text.count("| 24x16 |") == 2  # the passes, and the way to the picture


@pytest.mark.slow
def test_a_call_of_many_channels_needs_the_memory_of_its_images(
    passes: ModuleType, project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six channels of a 1920x1080 image are 50 MB; what libraries freed before may hold a few of them."""
    monkeypatch.syspath_prepend(str(project_root / "benchmarks"))  # where the fresh process finds the module
    case = passes.Case("image", 2000, 1920, 1080, 1)
    assert passes.peak_megabytes(case, "single pass", "forward", 0, "cpu") >= 40.0
