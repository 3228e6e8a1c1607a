"""What remembering projections would save: how binning is told from compositing, and what the page makes of it."""

import dataclasses
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from moegs_ns.splats import native_backend

if not native_backend.available():
    pytest.skip(f"no native kernels: {native_backend.unavailable_reason()}", allow_module_level=True)


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        names = ("projection_share", "projection_section", "write_performance")
        return {name: importlib.import_module(name) for name in names}


@pytest.mark.parametrize("size", [(320, 180), (33, 50)])
def test_nothing_is_seen_behind_the_curtain(scripts: dict[str, ModuleType], size: tuple[int, int]) -> None:
    """So that compositing does the same with and without the Gaussians behind it."""
    share = scripts["projection_share"]
    parts = share.projected_parts(share.Case("experts", 600, *size, 3), seed=0)
    (images, alphas), (alone, alphas_alone) = parts["behind a curtain"](), parts["curtain"]()
    assert torch.equal(images, alone) and torch.equal(alphas, alphas_alone)
    assert (alphas > 0.998).all()
    assert int((parts["projection"]().radii > 0).sum()) > 300


def test_a_step_moves_every_parameter(scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    share = scripts["projection_share"]
    routers = []
    made = share.VolumeAwareRouter
    monkeypatch.setattr(share, "VolumeAwareRouter", lambda *a, **k: routers.append(made(*a, **k)) or routers[-1])
    step = share.training_step(share.Case("experts", 500, 40, 30, 2), seed=0)
    before = [parameter.clone() for parameter in routers[0].parameters()]
    for _ in range(8):
        step()
    assert all(not torch.equal(one, other) for one, other in zip(routers[0].parameters(), before, strict=True))


def test_it_measures_and_the_page_shows_it(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share, writing = scripts["projection_share"], scripts["write_performance"]
    monkeypatch.setattr(share.torch, "set_num_threads", lambda count: None)
    kept, page = tmp_path / "share.json", tmp_path / "page.md"
    share.main(share.Arguments(rounds=2, gaussians=400, experts=2, width=40, height=30, output=kept))
    report = json.loads(kept.read_text("utf8"))
    assert [row["threads"] for row in report["rows"]] == [1, 2] and all(row["step"] > 0 for row in report["rows"])
    assert {one["scene"] for one in report["visits"]} == {"basketball", "mixed"}
    nothing = {field.name: tmp_path / "none.json" for field in dataclasses.fields(writing.KeptFiles)}
    writing.write_page(page, writing.KeptFiles(**{**nothing, "projection": kept}))
    assert "over 2 frozen experts with 400 Gaussians together, one image of 40x30" in " ".join(page.read_text().split())


@pytest.mark.parametrize(
    ("binning", "said"), [(1.0, "3.8% of a step, less than the 15%"), (7.0, "not less than the 15%")]
)
def test_the_page_says_whether_it_would_pay(scripts: dict[str, ModuleType], binning: float, said: str) -> None:
    machine = {"processor": "A Processor", "cores": 2, "memory_gib": 24, "system": "Linux", "vector_extensions": "AVX2"}
    report: dict[str, Any] = {
        "measurement": {
            "command": "python benchmarks/projection_share.py",
            "seed": 0,
            "measured": "2026-01-02T03:04:05+00:00",
            "machine": machine,
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "source": None,
        },
        "rounds": 3,
        "workload": {"gaussians": 60000, "width": 320, "height": 180, "experts": 4},
        "rows": [{"threads": 1, "step": 40.0, "projection": 0.5, "binning": binning}],
        "visits": [{"scene": "mixed", "preset": "demo", "pairs": 300, "steps": 400}],
    }
    text = " ".join(scripts["projection_section"].projection_section(report).split())
    assert said in text and "25% of the steps see one again" in text
