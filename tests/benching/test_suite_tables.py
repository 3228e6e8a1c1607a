"""Tables over scenes and seeds, with the paper's figures beside ours."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from moegs_ns.benching.jobs import CommandJob, PlannedJob
from moegs_ns.benching.suite import PaperTable, Row, Suite, SuiteScene
from moegs_ns.benching.suite_tables import (
    Outcome,
    geometry_table,
    read_outcomes,
    scene_tables,
    suite_tables,
    write_tables,
)
from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.reporting.tables import Table
from moegs_ns.training.stages import Scene, Stage
from tests.reporting.runs import leave_expert, leave_mixture

EXPERTS = ("ed3dgs", "stg", "4dgaussians")
MIX = Row(EXPERTS)
SCENES = ("sear_steak", "flame_salmon_1")


def suite(seeds: Sequence[int] = (1,), scenes: Sequence[str] = SCENES) -> Suite:
    """One like the paper's Table 6."""
    paper = PaperTable("table_06", {"": "budget 100%", "budget-50": "budget 50%"})
    return Suite("try", "A try.", tuple(map(SuiteScene, scenes)), (EXPERTS,), tuple(seeds), paper=paper)


def outcome(tmp_path: Path, row: Row, scene: str, seed: int, psnr: float) -> Outcome:
    label = row.variant or "paper"
    if len(row.experts) == 1:
        run = leave_expert(tmp_path / scene, row.experts[0], psnr, seed, label)
    else:
        run = leave_mixture(tmp_path / f"{scene}-{label}", dict.fromkeys(row.experts, psnr - 1), psnr, seed)
    return Outcome(row, scene, seed, read_result(run))


def cells(table: Table) -> dict[str, list[str]]:
    return {label: rest for label, *rest in table.rows}


def test_scores_stand_beside_the_papers(tmp_path: Path) -> None:
    half = Row(("stg",), "budget-50")
    made = [
        *(outcome(tmp_path, Row(("stg",)), scene, 1, psnr) for scene, psnr in zip(SCENES, (30.0, 31.0), strict=True)),
        outcome(tmp_path, half, SCENES[0], 1, 29.0),
        *(outcome(tmp_path, MIX, scene, 1, psnr) for scene, psnr in zip(SCENES, (32.0, 34.0), strict=True)),
    ]
    by_scene, means = suite_tables(suite(), made)
    assert by_scene.header == ["", *SCENES, "average"]
    assert cells(by_scene) == {
        "stg": ["30.00", "31.00", "30.50"],
        "paper: STG, budget 100%": ["-", "-", "31.92"],  # Table 6 has averages only
        "stg, budget-50": ["29.00", "n/a", "n/a"],  # not the mean of what is there
        "paper: STG, budget 50%": ["-", "-", "31.76"],
        "ed3dgs + stg + 4dgaussians": ["32.00", "34.00", "33.00"],
        "paper: MoE-GS (N=3), budget 100%": ["-", "-", "33.23"],
    }
    assert [by_scene.rows[number][0] for number in by_scene.emphasised] == ["ed3dgs + stg + 4dgaussians"]
    assert any("Table 6 of MoE-GS" in note for note in by_scene.notes)
    assert any(note.startswith("sear_steak, flame_salmon_1: Protocol: test split") for note in by_scene.notes)
    values = dict(zip(means.header[1:], cells(means)["stg"], strict=True))
    assert (values["PSNR"], values["LPIPS (VGG)"], values["FPS"], values["MB"]) == ("30.50", "n/a", "50.0", "0.2")
    assert (values["dyn. PSNR"], values["flicker"]) == ("27.50", "0.50")
    assert cells(means)["paper: STG, budget 100%"][1] == "", "the paper does not measure it"


def test_the_papers_scenes_are_found_by_our_folders(tmp_path: Path) -> None:
    eight = Suite("try", "", tuple(map(SuiteScene, SCENES)), (("stg",),), (1,), paper=PaperTable("table_08"))
    made = [outcome(tmp_path, Row(("stg",)), scene, 1, 30.0) for scene in SCENES]
    by_scene, means = suite_tables(eight, made)
    assert cells(by_scene)["paper: STG"] == ["33.77", "29.09", "-"]  # Table 8 prints no average
    assert "paper: STG" not in cells(means)


def test_seeds_are_means_with_deviations_and_a_table_of_their_spread(tmp_path: Path) -> None:
    made = [
        outcome(tmp_path, Row(("ed3dgs",)), scene, seed, 30.0 + seed + (scene == SCENES[1]))
        for scene in SCENES
        for seed in (1, 2, 3)
    ]
    twelve = Suite("try", "", tuple(map(SuiteScene, SCENES)), (("ed3dgs",),), (1, 2, 3), paper=PaperTable("table_12"))
    by_scene, _, spread = suite_tables(twelve, made)
    assert cells(by_scene)["ed3dgs"] == ["32.00 ± 1.00", "33.00 ± 1.00", "32.50 ± 1.00"]
    assert spread.header == ["", "worst", "best", "mean"]
    assert cells(spread) == {
        "ed3dgs": ["31.50", "33.50", "32.50"],
        "paper: E-D3DGS, 5 runs": ["30.78", "32.33", "31.19"],
    }
    assert len(suite_tables(twelve, made[:-1])) == 3
    assert cells(suite_tables(twelve, made[:-1])[0])["ed3dgs"] == ["32.00 ± 1.00", "n/a", "n/a"]


def test_nothing_finished_makes_no_table() -> None:
    assert suite_tables(suite(), []) == scene_tables([]) == []


def test_mixtures_of_several_budgets_are_no_seeds_of_one(tmp_path: Path) -> None:
    made = [
        outcome(tmp_path, row, SCENES[0], 1, psnr) for row, psnr in ((MIX, 32.0), (Row(EXPERTS, "budget-50"), 31.0))
    ]
    tables = scene_tables(made)
    assert [table.title.endswith("budget-50") for table in tables] == [False, True]
    mixtures = [row for table in tables for row in table.rows if row[0] == "mixture"]
    assert [row[1] for row in mixtures] == ["32.00", "31.00"]


def test_only_finished_and_scored_runs_count(tmp_path: Path) -> None:
    scene = Scene(Path("examples/mixed"), output_dir=tmp_path)
    done = leave_expert(tmp_path / "mixed", "stg", 30.0)
    stages = [Stage("moegs-stg", done, steps, (), scene) for steps in (100, 101)]
    planned = [PlannedJob(stage, "mixed", 1, Row(("stg",))) for stage in stages]
    assert [found.result.scores["psnr"] for found in read_outcomes(planned)] == [30.0]


def test_depth_consistency_by_scene(tmp_path: Path) -> None:
    planned = []
    for scene, error in zip(SCENES, (0.5, 0.7), strict=True):
        for method, rows in (("moegs-router", {"stg": 1.0, "mixture": 0.9}), ("moegs-fused", {"fused": error})):
            file = tmp_path / scene / method / "paper-seed1" / "geometry.json"
            file.parent.mkdir(parents=True)
            content = {name: {"consistency": {"error": value}} for name, value in rows.items()}
            file.write_text(json.dumps({"rows": content}))
            job = CommandJob(("moegs", "report", "geometry"), file.parent, tmp_path / "jobs", file, ())
            planned.append(PlannedJob(job, scene, 1))
    (table,) = geometry_table(suite(), planned)
    assert cells(table) == {
        "stg": ["1.0000", "1.0000", "1.0000"],
        "mixture (ed3dgs + stg + 4dgaussians)": ["0.9000", "0.9000", "0.9000"],
        "fused": ["0.5000", "0.7000", "0.6000"],
    }
    assert geometry_table(suite(), []) == []


def test_tables_are_written_as_markdown(tmp_path: Path) -> None:
    made = [outcome(tmp_path, Row(("stg",)), scene, 1, 30.0) for scene in SCENES]
    file = write_tables(suite_tables(suite(), made), suite(), [], tmp_path / "reports")
    text = file.read_text()
    assert file == tmp_path / "reports" / "try.md"
    assert text.startswith("# try\n\nA try.\n") and "| stg | 30.00 | 30.00 | 30.00 |" in text


@pytest.mark.parametrize("variant", ["", "budget-50"])
def test_rows_say_their_variant(variant: str) -> None:
    assert Row(("stg", "ed3dgs"), variant).label == "stg + ed3dgs" + (f", {variant}" if variant else "")
