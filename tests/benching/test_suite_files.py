"""Suites as files: the shipped ones, TOML and YAML, and what is wrong with others."""

from pathlib import Path

import pytest

from moegs_ns.benching.jobs import suite_jobs
from moegs_ns.benching.suite import Row, Suite, SuiteScene
from moegs_ns.benching.suite_files import known_suites, read_scene_set, read_suite
from moegs_ns.experts.recipes import load_recipe
from moegs_ns.reporting.published import data_sets, published_tables

TWO, THREE = ("ex4dgs", "stg"), ("ex4dgs", "stg", "ed3dgs")
FOUR = (*THREE, "4dgaussians")
#: By suite: its sets of experts, its data set, and the table of the paper.
PAPER = {
    "paper_table_1": ((TWO, THREE, FOUR), "n3v", "table_01"),
    "paper_table_2": ((("4dgaussians",), THREE), "technicolor", "table_02"),
    "paper_table_3": ((TWO,), "n3v", "table_03"),
    "paper_table_4": ((THREE,), "n3v", "table_04"),
    "paper_table_5": ((THREE,), "n3v", "table_05"),
    "paper_table_6": ((("ed3dgs", "stg", "4dgaussians"),), "n3v", "table_06"),
    "paper_table_7": ((THREE,), "technicolor", "table_07"),
    "paper_table_8": ((FOUR,), "n3v", "table_08"),
    "paper_table_9": ((("4dgaussians",), THREE), "technicolor", "table_09"),
    "paper_table_10": ((("4dgaussians", "ed3dgs"),), "hypernerf", "table_10"),
    "paper_table_11": ((THREE,), "technicolor", "table_11"),
    "paper_table_12": ((("ed3dgs", "ex4dgs", "4dgaussians"),), "n3v", "table_12"),
    "paper_table_13": ((THREE,), "technicolor", "table_13"),
    "paper_figure_10": ((FOUR,), "n3v", "figure_10"),
}
#: Rows of the paper's tables that no run here stands for: other people's methods, and two that are not runs.
NOT_OURS = {"without single pass and pruning", "without single pass", "worst of 5 runs", "best of 5 runs"}
GOOD = """
description: Two scenes.
scenes:
  - examples/mixed
  - {data: ../shared/data/basketball, preset: quick, options: [--downscale, "4"]}
experts: [[stg], [stg, 4dgaussians]]
seeds: [1, 2]
preset: demo
routers: [plus]
"""


@pytest.mark.parametrize("name", known_suites())
def test_shipped_suites_name_what_exists(name: str, tmp_path: Path) -> None:
    suite = read_suite(name)
    assert suite.description and suite.seeds
    for scene in suite.scenes:
        for experts in suite.experts:
            for expert in (*experts, *(["router"] if len(experts) > 1 else [])):
                assert load_recipe(expert, suite.preset_of(scene)).steps > 0


def test_every_table_of_the_paper_has_a_suite() -> None:
    assert {name for name in known_suites() if name.startswith("paper_")} == set(PAPER)
    assert [table for *_, table in PAPER.values()] == list(published_tables())


@pytest.mark.parametrize("name", PAPER)
def test_suites_of_the_paper_have_its_experts_and_scenes(name: str) -> None:
    suite, (experts, scenes, table) = read_suite(name), PAPER[name]
    assert suite.experts == experts
    assert suite.paper is not None and suite.paper.name == table
    own = data_sets()[published_tables()[table].data_set]
    assert scenes == own.name
    assert [own.scene(scene.name) for scene in suite.scenes] == list(own.scenes)
    assert suite.seeds == ((42, 43, 44, 45, 46) if name == "paper_table_12" else (42,))


@pytest.mark.parametrize("name", PAPER)
def test_every_row_of_the_paper_is_planned_for_every_scene(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOEGS_DATA_DIR", str(tmp_path))
    suite = read_suite(name)
    assert suite.paper is not None
    jobs = suite_jobs(suite, tmp_path, assume_data=True)
    planned = {scene.name: {one.row for one in jobs if one.scene == scene.name} for scene in suite.scenes}
    rows = {
        (frozenset(score.experts), score.variant)
        for score in published_tables()[suite.paper.name].scores
        if score.experts and score.variant not in NOT_OURS
    }
    for found in planned.values():
        ours = {(frozenset(row.experts), suite.paper.variants.get(row.variant, row.variant)) for row in found if row}
        assert rows <= ours
    runs = [one.job.run for one in jobs]
    assert len(set(runs)) == len(runs)


def test_stg_is_two_models_of_150_frames_with_colours_the_router_can_mix() -> None:
    for scene in read_scene_set("n3v"):
        stg = load_recipe("stg", scene.preset)
        assert (stg.model["clip_frames"], stg.model["head"], stg.data["num_frames"]) == (150, "sh", 300)
        assert stg.optimizers["means"].decay_steps == 60000
    assert {load_recipe("stg", scene.preset).model["head"] for scene in read_scene_set("technicolor")} == {"sh"}


def test_a_suite_in_yaml(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    assert read_suite(str(file)) == Suite(
        "mine",
        "Two scenes.",
        (SuiteScene("examples/mixed"), SuiteScene("../shared/data/basketball", "quick", options=("--downscale", "4"))),
        (("stg",), ("stg", "4dgaussians")),
        (1, 2),
        "demo",
        ("plus",),
    )


def test_the_least_a_suite_says(tmp_path: Path) -> None:
    file = tmp_path / "least.yml"
    file.write_text("data: examples/mixed\nexperts: [[stg]]\n")
    suite = read_suite(str(file))
    assert (suite.scenes, suite.seeds, suite.preset) == ((SuiteScene("examples/mixed"),), (42,), None)
    assert Row(suite.experts[0]).label == "stg"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds: [1, 2]", "seeds: 3"), "expected a list of different whole numbers as seeds in .*mine.yaml, found 3"),
        (("seeds: [1, 2]", "seeds: [1, 1]"), "a list of different whole numbers"),
        (("seeds: [1, 2]", "seeds: [1.5]"), "a list of different whole numbers"),
        (("seeds: [1, 2]", "seeds: [yes]"), "a list of different whole numbers"),
        (("experts: [[stg], [stg, 4dgaussians]]", "experts: [stg]"), "a list of sets of experts.*found \\['stg'\\]"),
        (("experts: [[stg], [stg, 4dgaussians]]", ""), "a list of sets of experts.*found nothing"),
        (("[[stg]", "[[sgt]"), "expected experts among .*found \\['sgt'\\]"),
        (("preset: demo", "preset: [demo]"), "expected a text as preset"),
        (("preset: demo", "presets: demo"), "expected the keys .*, found presets"),
        (("preset: quick,", "presets: quick,"), r"expected the keys .* as scenes\[1\] in .*, found presets"),
        (("data: ../shared/data/basketball, ", ""), r"expected the folder of the scene as scenes\[1\].data"),
        (("../shared/data/basketball", "../shared/data/mixed"), "different names .*found mixed more than once"),
        (("description:", "data: x\ndescription:"), "either data .* or scenes .*found both"),
        (("routers: [plus]", "routers: plus"), "expected a list of texts as routers .*found 'plus'"),
        (("[stg, 4dgaussians]]", "[stg]]"), "several experts in the last set, for routers as experts"),
        (("routers: [plus]", "distill: {students: [ex4dgs]}"), "as distill.students .*found \\['ex4dgs'\\]"),
        (("routers: [plus]", "prune: {ratios: [1.5]}"), "shares between 0 and 1 as prune.ratios"),
        (("routers: [plus]", "prune: 0.5"), "expected a table of names and values as prune"),
        (("routers: [plus]", "fuse: {finetune: [all]}"), "both finetune and finetune_steps"),
        (("routers: [plus]", "geometry: 1"), "expected true or false as geometry"),
        (("routers: [plus]", "paper: {table: table_99}"), "expected one of table_01, .* as paper.table"),
        (("routers: [plus]", "routers: [plus"), "expected YAML of plain values in .*mine.yaml"),
        (("Two scenes.", "!!python/object/apply:os.system [true]"), "expected YAML of plain values"),
    ],
)
def test_what_is_wrong_with_a_suite_is_said(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    file = tmp_path / "mine.yaml"
    assert change[0] in GOOD
    file.write_text(GOOD.replace(*change))
    with pytest.raises(ValueError, match=message):
        read_suite(str(file))


def test_a_suite_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="unknown suite 'nothing'; known: .*paper_table_9, paper_table_10"):
        read_suite("nothing")


def test_a_file_without_a_table_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("")
    with pytest.raises(ValueError, match="expected a table of names and values in .*empty.yaml, found nothing"):
        read_suite(str(file))
