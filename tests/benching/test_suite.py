"""Which runs a suite is made of."""

from pathlib import Path

import pytest

from moegs_ns.benching.find_data import assumed_data, find_data, how_to_get
from moegs_ns.benching.jobs import CommandJob, name_of, suite_jobs
from moegs_ns.benching.suite import Fusion, Pruning, Row, Suite, SuiteScene
from moegs_ns.training.stages import Stage

MIXED = (SuiteScene("examples/mixed"),)


def runs(suite: Suite, output_dir: Path) -> list[list[str]]:
    """Runs by seed, below the scene's folder."""
    return [[f"{stage.run.parent.name}/{stage.run.name}" for stage in stages] for stages in suite.plans(output_dir)]


def test_runs_of_scenes_with_options_lie_apart(tmp_path: Path) -> None:
    usual = Suite("usual", "", MIXED, (("stg",),), (1,), "demo")
    other = Suite("other", "", (SuiteScene("examples/mixed", options=("--x", "y")),), (("stg",),), (1,), "demo")
    (mine,), (theirs,) = usual.plans(tmp_path)[0], other.plans(tmp_path)[0]
    assert mine.run == tmp_path / "mixed" / "moegs-stg" / "demo-seed1"
    assert theirs.run == tmp_path / "other" / "mixed" / "moegs-stg" / "demo-seed1"
    assert theirs.parser_options()[-2:] == ["--x", "y"]


def test_experts_that_sets_share_are_one_stage(tmp_path: Path) -> None:
    sets = (("stg", "4dgaussians"), ("stg", "ed3dgs", "4dgaussians"), ("stg",))
    suite = Suite("try", "", MIXED, sets, (1, 2), "demo")
    for seed, names in zip((1, 2), runs(suite, tmp_path), strict=True):
        assert names == [
            f"moegs-stg/demo-seed{seed}",
            f"moegs-4dgaussians/demo-seed{seed}",
            f"moegs-router/demo-seed{seed}-stg+4dgaussians",
            f"moegs-ed3dgs/demo-seed{seed}",
            f"moegs-router/demo-seed{seed}-stg+ed3dgs+4dgaussians",
        ]
    stages = suite.plans(tmp_path)[0]
    names = {stage.run: stage.method for stage in stages}
    assert [[names[run] for run in stage.needs] for stage in stages if stage.needs] == [
        ["moegs-stg", "moegs-4dgaussians"],
        ["moegs-stg", "moegs-ed3dgs", "moegs-4dgaussians"],
    ]


def test_further_routers_share_the_experts_of_the_last_set(tmp_path: Path) -> None:
    sets = (("stg", "4dgaussians"), ("stg", "ed3dgs"))
    suite = Suite("some", "a scene", MIXED, sets, (1,), "demo", routers=("pixel-router",))
    assert runs(suite, tmp_path) == [
        [
            "moegs-stg/demo-seed1",
            "moegs-4dgaussians/demo-seed1",
            "moegs-router/demo-seed1-stg+4dgaussians",
            "moegs-ed3dgs/demo-seed1",
            "moegs-router/demo-seed1-stg+ed3dgs",
            "moegs-router/demo+pixel-router-seed1-stg+ed3dgs",
        ]
    ]


def test_budgets_train_every_set_anew_with_the_presets_of_each_scene(tmp_path: Path) -> None:
    scenes = (SuiteScene("examples/mixed", "quick"), SuiteScene("examples/other"))
    suite = Suite("try", "", scenes, (("stg", "4dgaussians"),), (1,), None, variants=("budget-10",))
    jobs = suite_jobs(suite, tmp_path, assume_data=True)
    shares = {(one.scene, one.row): one.job.steps for one in jobs if isinstance(one.job, Stage)}
    assert len(shares) == len(jobs) == 12
    for scene in ("mixed", "other"):
        assert shares[scene, Row(("stg",), "budget-10")] == shares[scene, Row(("stg",))] / 10
        mixtures = [shares[scene, Row(("stg", "4dgaussians"), variant)] for variant in ("", "budget-10")]
        assert mixtures[0] == mixtures[1], "the router keeps its recipe"
    assert [name_of(one.job) for one in jobs][3] == "mixed/moegs-stg/quick+budget-10-seed1"
    assert [name_of(one.job) for one in jobs][9] == "other/moegs-stg/paper+budget-10-seed1"


def test_what_is_made_of_a_mixture_comes_behind_it(tmp_path: Path) -> None:
    suite = Suite(
        "try",
        "",
        MIXED,
        (("4dgaussians",), ("stg", "ed3dgs")),
        (1,),
        "demo",
        students=("stg",),
        ways=("unweighted", "weighted"),
        pruning=Pruning((0.5, 0.125), finetune_steps=10),
        fusion=Fusion("black", ("all",), 20),
        geometry=True,
    )
    jobs = suite_jobs(suite, tmp_path)
    mixture = tmp_path / "mixed" / "moegs-router" / "demo-seed1-stg+ed3dgs"
    behind: set[Path] = set()
    for one in jobs:
        assert behind.issuperset(one.job.needs), one.job.shown()
        behind.add(one.job.run)
    made = {one.row: one.job for one in jobs if one.row}
    experts = ("stg", "ed3dgs")
    assert [row.label for row in made if row.variant] == [
        "stg, distilled, unweighted",
        "stg, distilled, weighted",
        "stg + ed3dgs, 50% pruned",
        "stg + ed3dgs, 12.5% pruned",
        "stg + ed3dgs, fused",
        "stg + ed3dgs, fused, all fine-tuned",
    ]
    pruned = made[Row(experts, "12.5% pruned")]
    assert pruned.run == mixture.with_name(f"{mixture.name}-gate-12.5-tuned-10")
    assert isinstance(pruned, CommandJob) and pruned.scored is not None
    assert pruned.scored.steps == made[Row(experts)].steps + 10  # type: ignore[union-attr]
    fused = made[Row(experts, "fused, all fine-tuned")]
    assert fused.run == tmp_path / "mixed" / "moegs-fused" / f"{mixture.name}-all"
    assert fused.needs == (mixture, tmp_path / "mixed" / "moegs-fused" / mixture.name)
    measured = [one.job.run.parent for one in jobs if one.row is None]
    assert measured == [mixture, *(made[row].run for row in list(made)[-2:])]


def test_several_scenes_are_not_one(tmp_path: Path) -> None:
    suite = Suite("many", "", (*MIXED, SuiteScene("examples/other")), (("stg",),), (1,))
    with pytest.raises(ValueError, match="expected a suite of one scene, found 2 in 'many'; run it by moegs bench"):
        suite.plans(tmp_path)


def test_data_are_found_where_they_were_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_DATA_DIR", str(tmp_path / "shared"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="download sear_steak, and seed points.*or set MOEGS_DATA_DIR"):
        find_data("n3v/sear_steak")
    assert assumed_data("n3v/sear_steak") == Path("data/n3v/sear_steak")
    for place in ("shared", "data", "own"):
        (tmp_path / place / "n3v" / "sear_steak").mkdir(parents=True)
        first = [Path("own")] if place == "own" else []
        assert find_data("n3v/sear_steak", first) == tmp_path / place / "n3v" / "sear_steak"


def test_advice_names_each_data_set_once() -> None:
    advice = how_to_get(["n3v/sear_steak", "n3v/flame_steak", "hypernerf/broom2", "technicolor/Train"])
    assert advice.startswith(
        "get sear_steak flame_steak by: moegs data download sear_steak flame_steak, and seed points"
    )
    assert advice.count("google/hypernerf") == advice.count("on request") == 1
    assert "SCENE being hypernerf/broom2" in advice and "SCENE being technicolor/Train" in advice
