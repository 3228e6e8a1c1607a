"""What benchmarks/export_losses.py keeps: the promises of docs/export.md, and the page made of it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

#: Families that project as viewers do, and what else is exact.
EXACT = ("stg", "4dgaussians", "ed3dgs", "stg, student")
#: Decibels to the model's own pictures.
LEAST = {"ply": 45.0, "splat": 42.0, "4dgs": 42.0}
LEAST_GAIN_OF_FITTING = 10.0
LEAST_BAKED = 38.0


@pytest.fixture
def kept(project_root: Path) -> dict[str, Any]:
    return json.loads((project_root / "benchmarks" / "results" / "export_losses.json").read_text("utf8"))


def test_every_kind_of_model_was_exported_in_every_format(kept: dict[str, Any]) -> None:
    assert {*EXACT, "ex4dgs", "fused", "stg (full head, baked)"} == {*kept["runs"]}
    for label, run in kept["runs"].items():
        for name, least in LEAST.items():
            psnr = run["exports"][name]["mean"]["psnr"]
            if "baked" not in label:
                assert psnr >= (99.0 if label in EXACT and name == "ply" else least), (label, name)
    assert kept["runs"]["stg (full head, baked)"]["exports"]["ply"]["mean"]["psnr"] >= LEAST_BAKED


def test_fitting_to_viewers_pays(kept: dict[str, Any]) -> None:
    for label in ("ex4dgs", "fused"):
        exports = kept["runs"][label]["exports"]
        fitted, plain = exports["ply"]["mean"], exports["ply, not fitted"]["mean"]
        assert fitted["psnr"] >= plain["psnr"] + LEAST_GAIN_OF_FITTING
        assert fitted["exported_truth_psnr"] > plain["exported_truth_psnr"]


def test_one_file_for_the_clip_is_small(kept: dict[str, Any]) -> None:
    for run in kept["runs"].values():
        exports = run["exports"]
        assert 5 * exports["4dgs"]["bytes"] < exports["ply"]["bytes"] < 25 * exports["4dgs"]["bytes"]
        assert exports["splat"]["bytes"] < exports["ply"]["bytes"]


def test_the_page_shows_them(project_root: Path, kept: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(project_root / "benchmarks"))
    from export_section import export_section  # type: ignore[import-not-found]

    monkeypatch.delitem(sys.modules, "export_section")
    lines = export_section(project_root / "benchmarks" / "results" / "export_losses.json")
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(("| model", "| ---"))]
    assert len(rows) == sum(len(run["exports"]) for run in kept["runs"].values())
    assert "\n".join(lines) in (project_root / "docs" / "results.md").read_text("utf8")
    assert export_section(project_root / "nowhere.json") == []
