"""The benchmark of passes: every way renders the same pictures, and the page says what was kept."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def passes(project_root: Path) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return importlib.import_module("expert_passes")


@pytest.mark.parametrize("experts", [1, 3])
def test_all_ways_render_the_same_pictures(passes: ModuleType, experts: int) -> None:
    at = passes.expert_scene(passes.Case("experts", 200, 40, 30, experts), seed=3)
    scene = at.scene
    expected, alphas = passes.pictures(passes.TWIN, at, scene.splats, scene.channels)
    assert expected.shape == (experts, 30, 40, 6) and alphas.mean() > 0.1
    for way in passes.WAYS:
        images, own = passes.pictures(way, at, scene.splats, scene.channels)
        torch.testing.assert_close(images, expected, rtol=0, atol=2e-5)
        torch.testing.assert_close(own, alphas, rtol=0, atol=2e-5)


def test_gaussians_are_dealt_out_whole(passes: ModuleType) -> None:
    at = passes.expert_scene(passes.Case("experts", 11, 16, 16, 3), seed=0)
    assert at.expert_ids.tolist() == [k for k in range(3) for _ in range(11)[at.rows_of(k)]]
    assert at.rows_of(2).stop == 11


def test_it_measures_and_the_page_shows_it(
    passes: ModuleType, tmp_path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(project_root / "benchmarks"))
    monkeypatch.setattr(passes, "peak_megabytes", lambda *of: 12.5)  # a process each; tried below
    kept = tmp_path / "passes.json"
    passes.main(
        passes.Arguments(
            rounds=2, device="cpu", threads=1, gaussians=(60, 90), images=((24, 16),), experts=(1, 2), output=kept
        )
    )
    report = json.loads(kept.read_text("utf8"))
    assert len(report["rows"]) == 5 * 3 * 2 + 2  # three ways, two directions; the twin on the smallest scene
    assert all(row["min_ms"] > 0 for row in report["rows"])
    charts = sorted(tmp_path.glob("*.png"))
    assert [chart.name for chart in charts] == [f"passes_{axis}.png" for axis in ("experts", "gaussians", "image")]
    page = tmp_path / "performance.md"
    nothing = tmp_path / "none.json"
    importlib.import_module("write_performance").write_page(page, nothing, nothing, kept)
    text = page.read_text("utf8")
    assert "## Several experts in one pass" in text and "with gradients 12 MB" in text
    assert text.count("| 24x16 |") == 1 and "The torch twin, 60 Gaussians, forward:" in text


@pytest.mark.slow
def test_a_call_of_many_channels_needs_the_memory_of_its_images(
    passes: ModuleType, project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six channels of a 1920x1080 image are 50 MB; what libraries freed before may hold a few of them."""
    monkeypatch.syspath_prepend(str(project_root / "benchmarks"))  # where the fresh process finds the module
    case = passes.Case("image", 2000, 1920, 1080, 1)
    assert passes.peak_megabytes(case, "single pass", "forward", 0, "cpu") >= 40.0
