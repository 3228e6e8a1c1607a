"""The paper's figures: transcribed completely, consistent with one another as far as the paper is, and shown only for
its own scenes."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest

from moegs_ns.experts.recipes import known_experts
from moegs_ns.reporting.published import (
    AVERAGE,
    DEVICE,
    PublishedScore,
    PublishedTable,
    data_sets,
    published_scores,
    published_tables,
    read_table,
)
from moegs_ns.scene.dataparsers.layouts import LAYOUTS

TABLES = published_tables()
#: Half of the last printed digit, and a little for binary fractions.
ROUNDING = {"psnr": 0.00501, "ssim": 0.000501, "lpips": 0.000501}
COUNTS = {f"table_{number:02}": rows for number, rows in enumerate((14, 7, 5, 3, 4, 16, 6, 5, 6, 3, 9, 12, 3), start=1)}


def rows(table: PublishedTable) -> dict[str, dict[str, PublishedScore]]:
    """Scores by row and scene."""
    found: dict[str, dict[str, PublishedScore]] = defaultdict(dict)
    for score in table.scores:
        found[score.label][score.scene] = score
    return found


def row(table: str, label: str, metric: str = "psnr") -> dict[str, float]:
    """One row of a table."""
    return {scene: getattr(score, metric) for scene, score in rows(TABLES[table])[label].items()}


def test_every_table_is_there_with_all_its_rows() -> None:
    assert {name: len(rows(table)) for name, table in TABLES.items()} == {**COUNTS, "figure_10": 0}
    assert [table.source for table in TABLES.values()] == [*(f"Table {n}" for n in range(1, 14)), "Figure 10"]
    for table in TABLES.values():
        assert len(table.scores) == len(rows(table)) * len(table.scenes), "a row's label is given twice"


@pytest.mark.parametrize("name", TABLES)
def test_printed_averages_follow_from_printed_scenes_or_are_listed(name: str) -> None:
    table, found = TABLES[name], {}
    for label, scores in rows(table).items():
        for metric, rounding in ROUNDING.items():
            values = {scene: getattr(score, metric) for scene, score in scores.items()}
            if len(values) == 1 or AVERAGE not in values or None in values.values():
                continue
            printed = values.pop(AVERAGE)
            if abs(printed - fmean(values.values())) > rounding:
                found[label, metric] = (
                    printed,
                    pytest.approx(fmean(values.values()), abs=1e-4 if printed < 1 else 1e-3),
                )
    listed = {(one.label, one.metric): (one.printed, one.computed) for one in table.discrepancies}
    assert listed == found


@pytest.mark.parametrize("expert", ["4DGaussians", "E-D3DGS", "STG", "Ex4DGS", "MoE-GS (N=4)"])
def test_tables_1_and_8_agree_but_for_the_scene_their_notes_name(expert: str) -> None:
    first, eighth = row("table_01", expert), row("table_08", expert)
    differing = {scene for scene in eighth if first[scene] != eighth[scene]}
    assert differing == ({"cut_roasted_beef"} if expert == "MoE-GS (N=4)" else set())


def test_summaries_repeat_the_tables_they_summarise_but_for_what_their_notes_name() -> None:
    seventh, eleventh, thirteenth = (rows(TABLES[f"table_{number}"]) for number in ("07", "11", "13"))
    differing = {
        (label, metric)
        for summary in (seventh, thirteenth)
        for label, scores in summary.items()
        for metric in ROUNDING
        if getattr(scores[AVERAGE], metric) != getattr(eleventh[label][AVERAGE], metric)
    }
    assert differing == {("STG, distilled", "psnr"), ("E-D3DGS, distilled", "ssim")}
    assert row("table_11", "STG, distilled")[AVERAGE] == 33.11
    for expert in ("E-D3DGS", "STG", "4DGaussians"):
        assert row("table_06", f"{expert}, budget 100%")[AVERAGE] == row("table_01", expert)[AVERAGE]
    for expert in ("E-D3DGS", "Ex4DGS", "4DGaussians", "MoE-GS (N=3)"):
        assert row("table_12", f"{expert}, best of 5 runs")[AVERAGE] == row("table_01", expert)[AVERAGE]


def test_budgets_and_repetitions_are_ordered() -> None:
    for method in ("E-D3DGS", "STG", "4DGaussians", "MoE-GS (N=3)"):
        scores = [row("table_06", f"{method}, budget {percent}%")[AVERAGE] for percent in (100, 50, 20, 10)]
        assert all(more > less for more, less in pairwise(scores))
    for method in ("E-D3DGS", "Ex4DGS", "4DGaussians", "MoE-GS (N=3)"):
        worst, mean, best = (
            row("table_12", f"{method}, {one} of 5 runs")[AVERAGE] for one in ("worst", "mean", "best")
        )
        assert worst < mean < best


def test_methods_of_this_project_name_its_experts() -> None:
    named = {"4DGaussians": "4dgaussians", "E-D3DGS": "ed3dgs", "STG": "stg", "Ex4DGS": "ex4dgs"}
    for table in TABLES.values():
        for score in table.scores:
            assert set(score.experts) <= set(known_experts())
            if score.method.startswith("MoE-GS"):
                assert f"N={len(score.experts)}" in score.method
            else:
                assert score.experts == ((named[score.method],) if score.method in named else ())


def test_scores_are_found_by_the_names_of_data_folders() -> None:
    for folder in ("flame_salmon_1", "flame_salmon"):
        scores = published_scores("n3v", folder)
        assert {score.source for score in scores} == {"Table 1", "Table 8"}
        assert {score.scene for score in scores} == {"flame_salmon"}
        stg = next(score for score in scores if score.source == "Table 8" and score.experts == ("stg",))
        assert (stg.psnr, stg.ssim, stg.lpips, stg.lpips_backbone) == (29.09, 0.928, 0.057, "not stated")
    assert {score.source for score in published_scores("hypernerf", "vrig-chicken")} == {"Table 10"}
    assert {score.source for score in published_scores("technicolor", "Birthday")} == {"Table 2", "Table 9", "Table 11"}


def test_averages_have_speed_size_and_time() -> None:
    scores = published_scores("n3v", AVERAGE)
    (pruned,) = (score for score in scores if score.label == "MoE-GS (N=2), 55% pruning")
    assert (pruned.psnr, pruned.fps, pruned.megabytes, pruned.lpips_backbone) == (32.80, 83, 351.2, None)
    assert {score.method: score.hours for score in scores if score.hours} == {
        "E-D3DGS": 4.2,
        "STG": 2.2,
        "4DGaussians": 1.5,
    }
    assert DEVICE == "NVIDIA A6000"


@pytest.mark.parametrize(
    ("data_set", "scene"),
    [("n3v", "basketball"), ("n3v", "mixed"), ("hypernerf", "coffee_martini"), ("blender", "lego"), ("n3v", "stage_1")],
)
def test_scenes_the_paper_does_not_have_get_no_figures(data_set: str, scene: str) -> None:
    assert published_scores(data_set, scene) == []


def test_what_is_not_printed_is_none() -> None:
    (dynerf,) = (
        score for score in published_scores("technicolor", "Fabien") if score.label == "DyNeRF" and score.lpips
    )
    assert (dynerf.psnr, dynerf.ssim, dynerf.lpips) == (32.76, None, 0.242)


def test_data_sets_lie_in_layouts_there_are() -> None:
    assert {one.layout for one in data_sets().values()} <= set(LAYOUTS)
    assert all(one.name == one.layout for one in data_sets().values()), "run records name the layout"


def test_a_table_with_a_missing_figure_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "table_99.toml"
    head = 'section = "Z"\ndata_set = "n3v"\nscenes = ["sear_steak", "average"]\n'
    file.write_text(f'{head}[[rows]]\nmethod = "STG"\npsnr = [30.0]\n')
    with pytest.raises(ValueError, match=r"expected 2 figures for psnr of STG in .*table_99.toml, found 1"):
        read_table(file)
    file.write_text(f'{head}[[rows]]\nmethod = "STG"\npnsr = [30.0, 30.0]\n')
    with pytest.raises(ValueError, match="found pnsr"):
        read_table(file)
