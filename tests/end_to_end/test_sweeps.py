"""Running a sweep: experts trained once, a router per choice, scores on val cameras only, the section of the page."""

import dataclasses
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moegs_ns.training.processes import StageFailedError
from tests.end_to_end.sweeping import ROUTERS, SWEEP, Trained, loaded
from tests.training.fake_processes import leave_run, value_of


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    names = ("sweeps", "run_sweep", "sweep_section", "write_results")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return {name: importlib.import_module(name) for name in names}


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    file = tmp_path / "try.toml"
    file.write_text(SWEEP)
    return file


@dataclasses.dataclass
class Call:
    """One call of run_sweep: what was trained, loaded and said."""

    processes: Trained
    loaded: list[tuple[str, str]]
    said: list[str]


@pytest.fixture
def sweep_call(
    scripts: dict[str, ModuleType], sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    def call(**processes: Any) -> Call:
        done = Call(Trained(**processes), [], [])

        def load(run: Path, split: str, device: str | None) -> Any:
            done.loaded.append((run.name, split))
            return loaded()

        monkeypatch.setattr(scripts["run_sweep"], "load_run", load)
        arguments = scripts["run_sweep"].Arguments(
            str(sweep_file), output_dir=tmp_path / "runs", results=tmp_path / "results" / "sweeps"
        )
        sweep = scripts["sweeps"].read_sweep(str(sweep_file))
        scripts["run_sweep"].run_sweep(sweep, arguments, done.processes, done.said.append)
        return done

    return call


def kept(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "results" / "sweeps" / "try.json").read_text())


# -- running ---------------------------------------------------------------------------------------------------------


def test_experts_are_trained_once_routers_per_choice_and_nothing_is_evaluated_on_test(
    sweep_call: Any, tmp_path: Path
) -> None:
    done = sweep_call()
    assert {command[0] for command in done.processes.calls} == {"ns-train"}
    assert done.processes.trained() == ["moegs-stg", "moegs-4dgaussians", "moegs-router", "moegs-router"]
    assert done.loaded == [(name, "val") for name in ROUTERS]
    assert not list((tmp_path / "runs").rglob("eval_test.json"))
    content = kept(tmp_path)
    assert [(row["label"], row["eval_temperature"]) for row in content["rows"]] == [
        ("soft", 1.0),
        ("hard, 1", 1.0),
        ("hard, 0.5", 0.5),
    ]
    assert content["rows"][0]["scores"]["psnr"] == content["rows"][1]["scores"]["psnr"]  # one fake model for all
    assert content["rows"][1]["scores"]["psnr"] != content["rows"][2]["scores"]["psnr"]
    assert content["rows"][1]["command"] == content["rows"][2]["command"]
    assert "--max-num-iterations 30" in content["rows"][1]["command"]
    assert [entry["run"] for entry in content["experts"]] == [
        "mixed/moegs-stg/sweep-try-seed7",
        "mixed/moegs-4dgaussians/sweep-try-seed7",
    ]
    assert "per_image" not in content["rows"][0]


def test_a_second_call_does_nothing(sweep_call: Any, tmp_path: Path) -> None:
    sweep_call()
    before = (tmp_path / "results" / "sweeps" / "try.json").read_text()
    done = sweep_call()
    assert done.processes.calls == [] and done.loaded == []
    assert (tmp_path / "results" / "sweeps" / "try.json").read_text() == before


def test_an_interrupted_sweep_goes_on_where_it_stopped(sweep_call: Any, tmp_path: Path) -> None:
    with pytest.raises(StageFailedError, match="ended after 20 of 40 steps"):
        sweep_call(stop_after={"moegs-router": 20})
    done = sweep_call()
    assert done.processes.trained() == ["moegs-router", "moegs-router"]
    assert value_of(done.processes.calls[0], "--load-dir").endswith(ROUTERS[0])
    assert "--load-dir" not in done.processes.calls[1]
    assert len(kept(tmp_path)["rows"]) == 3


def test_a_new_choice_is_added_and_a_new_way_of_scoring_trains_nothing(
    sweep_call: Any, sweep_file: Path, tmp_path: Path
) -> None:
    sweep_call()
    sweep_file.write_text(SWEEP.replace("frame_step = 2", "frame_step = 1") + '[[choice]]\nlabel = "again"\n')
    done = sweep_call()
    assert done.processes.trained() == ["moegs-router"]
    assert [name for name, _ in done.loaded] == [*ROUTERS, "sweep-try-seed7-again"]
    rows = kept(tmp_path)["rows"]
    assert [row["label"] for row in rows] == ["soft", "hard, 1", "hard, 0.5", "again"]
    assert {row["scores"]["protocol"]["images"] for row in rows} == {6}
    sweep_file.write_text(sweep_file.read_text().replace('label = "again"', 'label = "last"'))
    sweep_call()
    assert [row["label"] for row in kept(tmp_path)["rows"]][-1] == "last"


def test_a_router_that_was_trained_anew_is_scored_anew(sweep_call: Any, tmp_path: Path) -> None:
    sweep_call()
    run = tmp_path / "runs" / "mixed" / "moegs-router" / ROUTERS[0]
    for file in (run / "nerfstudio_models").iterdir():
        file.unlink()
    assert sweep_call().loaded == [(ROUTERS[0], "val")]


def test_routers_of_earlier_experts_and_runs_of_other_options_are_refused(sweep_call: Any, tmp_path: Path) -> None:
    sweep_call()
    run = tmp_path / "runs" / "mixed" / "moegs-stg" / "sweep-try-seed7"
    for file in (run / "nerfstudio_models").iterdir():
        file.unlink()
    with pytest.raises(StageFailedError, match=f"{ROUTERS[0]} was trained on experts that had to be trained anew"):
        sweep_call()
    leave_run(run, ["ns-train", "moegs-stg", "--max-num-iterations", "60"], 60)
    with pytest.raises(ValueError, match="--val-cams unset instead of cam05 cam08"):
        sweep_call()


# -- the section -----------------------------------------------------------------------------------------------------


def test_the_page_shows_choices_beside_experts_and_oracles(
    scripts: dict[str, ModuleType], sweep_call: Any, tmp_path: Path
) -> None:
    sweep_call()
    file = tmp_path / "results" / "sweeps" / "try.json"
    content = json.loads(file.read_text())
    rivals = {"expert_stg": 28.0, "expert_4dgaussians": 27.0, "mean_of_experts": 27.5}
    rivals |= {"smoothed_oracle": 29.0, "pixel_oracle": 30.0}
    for row, psnr in zip(content["rows"], (28.25, 28.5, 27.75), strict=True):
        row["scores"] |= {"psnr": psnr, "ssim": 0.5, "largest_gate": 0.75}
        row["scores"] |= {f"{name}/psnr": value for name, value in rivals.items()}
        row["scores"] |= {f"{name}/ssim": 0.25 for name in rivals}
        row["record"]["progress"]["training_seconds"] = 11.6
    file.write_text(json.dumps(content))
    text = scripts["write_results"].page(tmp_path / "results")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table == [
        "|  | PSNR | SSIM | over best expert | largest gate | router train s |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| best expert (stg) | 28.00 | 0.2500 | - | - | - |",
        "| mean of experts | 27.50 | 0.2500 | -0.50 | - | - |",
        "| mixture: soft | 28.25 | 0.5000 | +0.25 | 0.750 | 12 |",
        "| **mixture: hard, 1** | **28.50** | **0.5000** | **+0.50** | **0.750** | **12** |",
        "| mixture: hard, 0.5 | 27.75 | 0.5000 | -0.25 | 0.750 | 12 |",
        "| 9x9-smoothed oracle | 29.00 | 0.2500 | +1.00 | - | - |",
        "| pixel oracle | 30.00 | 0.2500 | +2.00 | - | - |",
    ]
    assert "### try\n\nA choice to make." in text
    assert "Chosen on val cameras, test camera cam00 not touched: scored on cam05, cam08," in text
    assert "one frame in 2 (4 images of 16x12)" in text
    assert "Highest: hard, 1." in text
    commands = [line for line in text.splitlines() if line.startswith("ns-train")]
    assert [line.split()[1] for line in commands] == ["moegs-stg", "moegs-4dgaussians", "moegs-router", "moegs-router"]
    assert all(line.endswith("# seed 7") for line in commands)
    assert "commit 012345678;" in text
    assert "No suite has been run yet." in text  # the folder of sweeps is not taken for a suite


def test_a_choice_without_all_seeds_has_no_mean(
    scripts: dict[str, ModuleType], sweep_call: Any, tmp_path: Path
) -> None:
    sweep_call()
    content = kept(tmp_path)
    content["sweep"]["seeds"] = [7, 8]
    second = [{**row, "seed": 8} for row in content["rows"] if row["label"] == "soft"]
    content["rows"] += second
    cells = {row[0]: row for row in scripts["sweep_section"].sweep_table(content).rows}
    assert cells["mixture: hard, 1"][1:] == ["n/a"] * 5
    assert cells["mixture: soft"][1].endswith("± 0.00")


def test_sweeps_of_another_version_are_refused(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "old.json").write_text('{"schema_version": 0, "sweep": {"name": "old"}}')
    with pytest.raises(ValueError, match=r"schema version 1 .*others \(old\.json\)"):
        scripts["write_results"].page(tmp_path)
