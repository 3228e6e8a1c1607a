"""The kept results of the suites still say what the project promises."""

import importlib
import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

#: A dynamic model must beat the best static one clearly; ``quick`` must be quick; a mixture must pay.
LEAST_LEAD_DB = 1.5
MOST_SECONDS = 360
LEAST_GAIN_DB = 0.1
LEAST_LEAD_OVER_RIVAL_DB = 0.1
WANTED_LEAD_OVER_RIVAL_DB = 0.3
LEAST_DEMO_LEAD_DB = 1.0
MOST_ROUTER_SHARE = 0.05
SEEDS = (42, 43, 44)
EQUAL_DB = 0.01  # what rendering again may differ by
EXPERTS = ("ex4dgs", "stg", "ed3dgs", "4dgaussians")
#: Something that is in each place for two frames must be learnt by one expert at least, and one mixture's experts are
#: of about one quality.
LEAST_BALL_DB = 20.0
MOST_APART_DB = 1.5
#: The longest training of a mixture's experts, in multiples of the best expert's: none catches up by taking longer.
MOST_TIMES_THE_BEST = 1.3


def kept(project_root: Path, suite: str, method: str, seed: int) -> dict[str, Any]:
    scene, preset = suite.split("_")
    mixed = f"-{'+'.join(EXPERTS)}" if method == "router" else ""
    name = f"{scene}_moegs-{method}_{preset}-seed{seed}{mixed}.json"
    return json.loads((project_root / "benchmarks" / "results" / suite / name).read_text("utf8"))


@pytest.mark.parametrize("method", EXPERTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_quick_beats_the_temporal_mean_of_the_real_scene_in_minutes(project_root: Path, method: str, seed: int) -> None:
    result = kept(project_root, "basketball_quick", method, seed)
    assert result["scores"]["psnr"] >= result["temporal_mean"]["psnr"] + LEAST_LEAD_DB
    assert result["record"]["progress"]["training_seconds"] <= MOST_SECONDS
    assert result["record"]["model"]["num_gaussians"] <= 15000
    assert result["record"]["source"]["modified"] is False
    assert result["scores"]["protocol"]["split"] == "test" and result["scores"]["protocol"]["cameras"] == ["cam00"]


def test_quick_mixture_beats_its_best_expert_and_costs_little(project_root: Path) -> None:
    results = {
        method: [kept(project_root, "basketball_quick", method, seed) for seed in SEEDS]
        for method in (*EXPERTS, "router")
    }
    scores = {method: mean(result["scores"]["psnr"] for result in of) for method, of in results.items()}
    assert scores["router"] >= max(scores[method] for method in EXPERTS) + LEAST_GAIN_DB
    seconds = {
        method: sum(result["record"]["progress"]["training_seconds"] for result in of) for method, of in results.items()
    }
    assert seconds["router"] <= MOST_ROUTER_SHARE * sum(seconds[method] for method in EXPERTS)


def test_demo_mixture_beats_the_temporal_mean_and_scores_every_object(project_root: Path) -> None:
    result = kept(project_root, "mixed_demo", "router", 42)
    assert result["scores"]["psnr"] >= result["temporal_mean"]["psnr"] + LEAST_DEMO_LEAD_DB
    assert result["objects"]


@pytest.mark.parametrize(("suite", "seeds"), [("basketball_quick", SEEDS), ("mixed_demo", (42,))])
def test_experts_of_one_mixture_are_of_one_quality(project_root: Path, suite: str, seeds: tuple[int, ...]) -> None:
    scores = [mean(kept(project_root, suite, method, seed)["scores"]["psnr"] for seed in seeds) for method in EXPERTS]
    assert max(scores) - min(scores) <= MOST_APART_DB


@pytest.mark.parametrize(("suite", "seeds"), [("basketball_quick", SEEDS), ("mixed_demo", (42,))])
def test_no_expert_of_a_mixture_has_much_more_time_than_the_best(
    project_root: Path, suite: str, seeds: tuple[int, ...]
) -> None:
    """In processor time, which other work on the machine changes little."""
    results = {method: [kept(project_root, suite, method, seed) for seed in seeds] for method in EXPERTS}
    scores = {method: mean(one["scores"]["psnr"] for one in of) for method, of in results.items()}
    seconds = {
        method: mean(one["record"]["progress"]["processor_seconds"] for one in of) for method, of in results.items()
    }
    best = max(scores, key=lambda method: scores[method])
    assert max(seconds.values()) <= MOST_TIMES_THE_BEST * seconds[best]


def test_demo_one_expert_learns_the_ball_and_none_takes_long(project_root: Path) -> None:
    results = [kept(project_root, "mixed_demo", method, 42) for method in EXPERTS]
    assert max(result["objects"]["psnr"]["rgb"]["ball"] for result in results) >= LEAST_BALL_DB
    assert all(result["record"]["progress"]["training_seconds"] <= MOST_SECONDS for result in results)


def test_by_eq_10_no_more_is_lost_than_by_opacity_or_chance(project_root: Path) -> None:
    (file,) = (project_root / "benchmarks" / "results" / "pruning").glob("basketball_quick-*.json")
    points = json.loads(file.read_text("utf8"))["points"]
    scores = {(one["criterion"], one["ratio"]): one["scores"]["psnr"] for one in points if not one["finetune_steps"]}
    ratios = sorted({ratio for _, ratio in scores})
    assert ratios[0] <= 0.15 and ratios[-1] >= 0.75
    for ratio in ratios:
        for rival in ("opacity", "random"):
            assert scores["gate", ratio] >= scores[rival, ratio] - EQUAL_DB


def router_means(project_root: Path, suite: str, seeds: tuple[int, ...], routers: tuple[str, ...]) -> dict[str, float]:
    """By preset of the router, the mean PSNR of the mixture of all four experts."""
    scene, preset = suite.split("_")
    means = {}
    for router in routers:
        names = [f"{scene}_moegs-router_{preset}{router}-seed{seed}-{'+'.join(EXPERTS)}.json" for seed in seeds]
        files = [project_root / "benchmarks" / "results" / suite / name for name in names]
        means[router] = mean(json.loads(file.read_text("utf8"))["scores"]["psnr"] for file in files)
    return means


@pytest.mark.parametrize(("suite", "seeds"), [("basketball_quick", SEEDS), ("mixed_demo", (42,))])
def test_the_papers_router_is_ahead_of_the_others_of_its_table_4(
    project_root: Path, suite: str, seeds: tuple[int, ...]
) -> None:
    means = router_means(project_root, suite, seeds, ("", "+pixel-router", "+volume-router"))
    assert means[""] > means["+volume-router"] > means["+pixel-router"]


@pytest.mark.parametrize(("suite", "seeds"), [("basketball_quick", SEEDS), ("mixed_demo", (42,))])
def test_plus_is_better_than_the_papers_router(project_root: Path, suite: str, seeds: tuple[int, ...]) -> None:
    means = router_means(project_root, suite, seeds, ("", "+plus"))
    assert means["+plus"] >= means[""] + LEAST_GAIN_DB


def lead_of_plus(project_root: Path, suite: str) -> float:
    """dB by which plus leads, on the real scene, the best expert alone with its Gaussians and its time; the mean over
    cameras and seeds."""
    folder = project_root / "benchmarks" / "results" / suite
    files = [json.loads(file.read_text("utf8")) for file in sorted(folder.glob("*_equal-budget-seed*.json"))]
    rivals = {one["record"]["seed"]: one for one in files}
    assert set(rivals) == set(SEEDS)
    for rival in rivals.values():
        budget, record = rival["equal_budget"], rival["record"]
        assert record["model"]["num_gaussians"] >= 0.95 * budget["gaussians"]
        assert budget["clock"] == "processor"
        assert record["progress"]["processor_seconds"] >= 0.9 * budget["seconds"]
    names = [f"basketball_moegs-router_quick+plus-seed{seed}-{'+'.join(EXPERTS)}.json" for seed in SEEDS]
    plus = [json.loads((folder / name).read_text("utf8"))["scores"]["psnr"] for name in names]
    return mean(plus) - mean(one["scores"]["psnr"] for one in rivals.values())


@pytest.mark.parametrize("suite", ["basketball_quick", "basketball_five"])
def test_plus_is_ahead_of_the_best_expert_of_equal_budget(project_root: Path, suite: str) -> None:
    assert lead_of_plus(project_root, suite) >= LEAST_LEAD_OVER_RIVAL_DB


@pytest.mark.parametrize(
    "suite",
    [
        pytest.param(
            "basketball_quick",
            marks=pytest.mark.xfail(strict=True, reason="0.2 dB on one camera; docs/mixtures.md, When a mixture pays"),
        ),
        "basketball_five",
    ],
)
def test_plus_is_as_far_ahead_as_wanted(project_root: Path, suite: str) -> None:
    assert lead_of_plus(project_root, suite) >= WANTED_LEAD_OVER_RIVAL_DB


def test_the_readmes_table_is_what_the_script_writes(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(project_root / "benchmarks"))
    methods = importlib.import_module("methods_table")
    folder = project_root / "benchmarks" / "results" / methods.SUITE
    contents = [json.loads(file.read_text("utf8")) for file in sorted(folder.glob("*.json"))]
    readme = (project_root / "README.md").read_text("utf8")
    assert methods.with_table(readme, methods.methods_table(contents)) == readme
    with pytest.raises(ValueError, match="found them not"):
        methods.with_table(readme.replace(methods.END, ""), "")
