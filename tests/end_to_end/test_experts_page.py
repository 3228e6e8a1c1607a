"""docs/experts.md from kept runs made by hand: every sentence about numbers follows from them."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.end_to_end.test_suites import kept_run

PHASES = [[0, 7, False], [8, 16, True], [17, 23, False]]


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        names = ("experts_page", "experts_answers", "expert_families", "write_results")
        return {name: importlib.import_module(name) for name in names}


def shown(there: float, gone: float, before: float, after: float) -> dict[str, Any]:
    """What a picture shows of an object in frames 8 to 16, otherwise, and in the frames next to its stay."""
    frames = [gone] * 7 + [before] + [there] * 9 + [after] + [gone] * 6
    return {"psnr": [30.0, 20.0 + 10 * there, 31.0], "shown": [gone, there, gone], "shown_per_frame": frames}


def expert(name: str, seed: int, psnr: float, seconds: float, ball: float, popup: Any, motion: Any) -> dict[str, Any]:
    run = json.loads(json.dumps(kept_run(seed, psnr)))
    run["run"] = f"mixed/moegs-{name}/quick-seed{seed}"
    run["record"] |= {"method": f"moegs-{name}", "expert": {"name": name, "config": {}}}
    run["record"]["progress"]["training_seconds"] = seconds
    run["objects"] = {
        "objects": {"static": 0.9, "ball": 0.1},
        "psnr": {"temporal_mean": {"static": 34.0, "ball": 11.0}, "rgb": {"static": 35.0 + ball / 100, "ball": ball}},
        "appearing": {
            "popup": {
                "frames": list(range(24)),
                "phases": PHASES,
                "pixels": 100.0,
                "rows": {"temporal_mean": shown(0.375, 0.375, 0.375, 0.375), "rgb": popup},
            }
        },
    }
    run["motion"] = motion
    return run


def motion(error: float | None, coherence: float, speed: float = 0.1) -> dict[str, Any]:
    statistics = {
        "moving": 0.5, "lifetime": 1.0, "path": [0.0, 0.5, 1.0], "speed": speed, "straightness": 0.5,
        "coherence": coherence, "turning": 10.0,
    }  # fmt: skip
    track = {"followed": 0.0 if error is None else 0.5, "error": error, "motion": None if error is None else 0.5}
    tracks = [{"object": "ball", "step": step, **track} for step in (1, 4, 12)]
    return {"extent": 2.0, "statistics": statistics, "points": {**statistics, "coherence": 0.97}, "tracks": tracks}


def mixture(seed: int, psnr: float) -> dict[str, Any]:
    names = ("stg", "4dgaussians")
    run = expert("router", seed, psnr, 8.0, 20.0, shown(1, 0, 0, 0), None)
    run["run"] = f"mixed/moegs-router/quick-seed{seed}-stg+4dgaussians"
    folders = [f"mixed/moegs-{name}/quick-seed{seed}" for name in names]
    run["record"]["expert"]["config"] = {"experts": folders}
    run["record"]["model"] = {"experts": list(names), "num_gaussians": 30000}
    run["scores"] |= {f"expert_{name}/psnr": 28.0 for name in names} | {f"expert_{name}/ssim": 0.9 for name in names}
    return run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two seeds of two experts and of their mixture."""
    runs = [
        expert("4dgaussians", 1, 27.0, 90.0, 12.0, shown(0.9, 0.1, 0.1, 0.1), motion(0.49, 0.7, speed=0.2)),
        expert("4dgaussians", 2, 28.0, 90.0, 14.0, shown(0.9, 0.1, 0.1, 0.1), motion(0.51, 0.7, speed=0.2)),
        expert("stg", 1, 28.0, 60.0, 21.0, shown(1.0, 0.0, 0.4, 0.2), motion(0.1, 0.5)),
        expert("stg", 2, 29.0, 60.0, 23.0, shown(1.0, 0.0, 0.4, 0.2), motion(0.2, 0.3)),
        *(mixture(seed, 29.0) for seed in (1, 2)),
    ]
    for number, run in enumerate(runs):
        file = tmp_path / "results" / "try" / f"{number}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(run))
    return tmp_path / "results"


def rows_below(text: str, title: str) -> dict[str, list[str]]:
    """Label to cells of the table under a bold title."""
    lines = iter(text[text.index(f"**{title}") :].splitlines()[2:])
    rows = {}
    for line in lines:
        if not line.startswith("|"):
            break
        label, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[label] = cells
    return rows


def test_every_section_says_what_the_kept_runs_say(scripts: dict[str, ModuleType], results: Path) -> None:
    text = scripts["experts_page"].page(results)
    assert "- `try`: stg (seeds 1, 2); 4dgaussians (seeds 1, 2); not kept: " in text
    # Costs: 28.5 against 27.5.
    assert "PSNR: stg 28.50, 4dgaussians 27.50 dB; the highest is 1.00 dB above the lowest." in text
    assert "shortest training stg" in text
    assert "Against the temporal mean: stg +2.00 ± 0.71 dB, 4dgaussians +1.00 ± 0.71 dB." in text
    # Objects.
    assert "Highest: static stg (35.2), ball stg (22.0)." in text
    objects = rows_below(text, "mixed: PSNR per object")
    assert objects["temporal mean"] == ["34.00", "11.00"] and objects["stg"][1] == "22.00 ± 1.41"
    # What comes and goes: of 15 frames without it, the bell shows 0.4 and 0.2 in one each.
    assert "Separation: stg 0.96, 4dgaussians 0.80." in text
    # 1 - 0.4 and 1 - 0.2 for one, 0.9 - 0.1 twice for the other.
    assert "at the frames where the object does: 4dgaussians 80 %, stg 70 %." in text
    popup = rows_below(text, "mixed: popup")
    assert list(popup) == ["", "---", "temporal mean", "stg", "4dgaussians"]
    assert popup["stg"][-2:] == ["40 ± 0 % / 100 ± 0 %", "100 ± 0 % / 20 ± 0 %"]
    # Motion: 0.15 of 0.5 missed by one, all by the other.
    assert "highest per object: ball stg (70 %)." in text
    assert "(less than 10 % recovered): 4dgaussians on ball." in text
    assert rows_below(text, "mixed: 3D end-point error")["stg, 4 frames"] == ["0.150 ± 0.071 / 0.500 (50 ± 0 %)"]
    assert "As expected: coherence of 4dgaussians above stg's (0.70, 0.40)." in text
    assert "Other than expected" not in text
    assert rows_below(text, "mixed: motion")["surface points"][-2] == "0.97"
    # Mixing: both experts have 28 in it.
    assert "- stg + 4dgaussians: +1.00 ± 0.00 dB from the best expert." in text


def test_what_was_expected_and_not_found_is_said(scripts: dict[str, ModuleType]) -> None:
    restore = importlib.import_module("moegs_ns.reporting.motion").statistics_from_plain
    told = scripts["experts_answers"].expectations_told
    found = {
        "4dgaussians": [restore(motion(None, 0.3)["statistics"])],
        "stg": [restore(motion(None, 0.5)["statistics"])],
    }
    assert told(found) == ["Other than expected, not so: coherence of 4dgaussians above stg's (0.30, 0.50)."]
    assert told({"stg": found["stg"]}) == []


def test_objects_nobody_follows_and_runs_without_masks(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    lost = expert("stg", 1, 28.0, 60.0, 21.0, shown(1.0, 0.0, 0.4, 0.2), motion(None, 0.5))
    lost["objects"] = None
    other = {**expert("4dgaussians", 1, 28.0, 60.0, 21.0, shown(1, 0, 0, 0), motion(None, 0.5)), "motion": None}
    other["objects"] = None
    (tmp_path / "try").mkdir()
    for number, run in enumerate((lost, other)):
        (tmp_path / "try" / f"{number}.json").write_text(json.dumps(run))
    text = scripts["experts_page"].page(tmp_path)
    assert "highest per object: ball none." in text and "Not followed" not in text
    assert rows_below(text, "mixed: 3D end-point error")["stg, 1 frame"] == ["n/a / n/a (0 %)"]
    assert text.count("No runs that tell it have been kept yet.") == 3  # objects, what comes and goes, mixtures


def test_without_results_the_page_is_words(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    text = scripts["experts_page"].page(tmp_path)
    assert "No suite has been run yet." in text
    assert text.count("No runs that tell it have been kept yet.") == 6


def test_every_registered_expert_is_described(scripts: dict[str, ModuleType]) -> None:
    from moegs_ns.experts.registry import EXPERTS

    families = scripts["expert_families"]
    assert {family.name for family in families.known_families(list(EXPERTS))} == set(EXPERTS)
    with pytest.raises(ValueError, match="words about other in"):
        families.known_families(["stg", "other"])


def test_the_results_page_has_a_table_per_mixture(scripts: dict[str, ModuleType], results: Path) -> None:
    """What is said of one mixture counts its own runs, and a rival stands below its own mixture only."""
    trio = mixture(1, 31.0)
    trio["run"] = "mixed/moegs-router/quick-seed1-stg+4dgaussians+stg"
    trio["record"]["model"]["experts"] = ["stg", "4dgaussians", "stg_2"]
    trio["record"]["expert"]["config"]["experts"].append("mixed/moegs-stg/quick-seed2")
    trio["scores"] |= {"expert_stg_2/psnr": 28.0, "expert_stg_2/ssim": 0.9}
    rival = expert("stg", 1, 28.0, 60.0, 21.0, shown(1, 0, 0, 0), None)
    rival["run"] = "mixed/moegs-stg/rival-seed1"
    rival["equal_budget"] = {"rival_of": trio["run"], "steps": 24, "own_steps": 12, "slowdown": 1.5, "router": "volume"}
    alone = expert("ed3dgs", 1, 26.0, 60.0, 21.0, shown(1, 0, 0, 0), None)
    for name, run in (("trio", trio), ("rival", rival), ("alone", alone)):
        (results / "try" / f"{name}.json").write_text(json.dumps(run))
    text = scripts["write_results"].page(results)
    pair, three, single = (
        rows_below(text, f"mixed: {title}")
        for title in ("stg + 4dgaussians, mean", "stg + 4dgaussians + stg_2, seed 1", "single experts, seed 1")
    )
    assert (
        "stg (rival)" in three and "stg (rival)" not in pair and list(single)[2:] == ["temporal mean", "ed3dgs (quick)"]
    )
    assert "mixture +2.50 ± 0.00 dB." in text  # 29 above 26.5, not the mean with 31
    assert "mixture +4.50 dB, stg (rival) +1.50 dB." in text
    again = "equal_budget.py try --slowdown 1.5 --experts stg 4dgaussians stg_2 --router volume --name rival"
    assert f"`python benchmarks/{again}`" in text


def test_the_page_in_the_repository_is_what_the_script_writes(
    scripts: dict[str, ModuleType], project_root: Path
) -> None:
    page = project_root / "docs" / "experts.md"
    assert page.read_text("utf8") == scripts["experts_page"].page(project_root / "benchmarks" / "results")
