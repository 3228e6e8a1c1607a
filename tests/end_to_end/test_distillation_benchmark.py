"""The distillation benchmark: which runs there are, that it resumes, what the table says of them."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moegs_ns.benching.suite_files import read_suite
from moegs_ns.runs.record import read_run_record, write_run_record
from tests.reporting.runs import protocol
from tests.training.fake_processes import FakeProcesses, value_of

PRESET = """
[stg]
steps = 60
[4dgaussians]
steps = 50
[router]
steps = 40
"""
PSNR = {"moegs-stg": 26.0, "moegs-4dgaussians": 27.0, "moegs-router": 29.0, "unweighted": 26.5, "weighted": 26.75}


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return {name: importlib.import_module(name) for name in ("suites", "distillation", "distillation_section")}


class Trained(FakeProcesses):
    """Leaves records and scores that can be kept; each seed scores as many dB more."""

    def run(self, command: Sequence[str], log: Path, device: str | None = None, append: bool = False) -> None:
        super().run(command, log, device, append)
        if command[0] != "ns-train":
            return
        record, method = read_run_record(log.parent), command[1].removeprefix("moegs-")
        record |= {
            "expert": {"name": "stg" if method == "distill" else method, "config": {}},
            "seed": int(value_of(command, "--machine.seed")),
            "model": {"num_gaussians": 2400, **({"experts": ["stg", "4dgaussians"]} if method == "router" else {})},
            "num_parameters": 250_000,
            "device": {"name": "A Processor", "type": "cpu"},
            "source": {"commit": "0123456789abcdef", "modified": False},
            "scene": {"scene": "mixed"},
            "progress": {"training_seconds": 160.0, "processor_seconds": 150.0},
        }
        if method == "distill":
            errors = {"image_rms": 0.001, "gate_rms": 0.002}
            record["distilled"] = {"ground_truth_weight": 0.5, "quantisation": errors}
        write_run_record(log.parent / "run.json", record)

    def _evaluate(self, command: Sequence[str]) -> None:
        run = Path(value_of(command, "--load-config")).parent
        record = read_run_record(run)
        step = 59 if record["expert"]["name"] == "stg" else {"router": 39}.get(record["expert"]["name"], 49)
        psnr = PSNR.get(run.name.rpartition("-")[2], PSNR.get(run.parent.name, 0.0)) + record["seed"]
        row = {"camera": "cam00", "frame": 0, "psnr": psnr}
        scores = {"psnr": psnr, "ssim": 0.9, "fps": 40.0, "protocol": protocol(step), "per_image": [row]}
        scores |= {f"expert_{name}/psnr": psnr - 1.0 for name in record["model"].get("experts", ())}
        Path(value_of(command, "--output-path")).write_text(json.dumps({"results": scores}))


@pytest.fixture
def arguments(scripts: dict[str, ModuleType], tmp_path: Path) -> Any:
    (tmp_path / "preset.toml").write_text(PRESET)
    file = tmp_path / "try.toml"
    file.write_text(
        f'description = "A scene to try."\ndata = "examples/mixed"\npreset = "{tmp_path}/preset.toml"\n'
        'experts = [["stg"], ["stg", "4dgaussians"]]\nseeds = [1, 2]\n'
    )
    return scripts["distillation"].Arguments(
        str(file), students=("stg",), output_dir=tmp_path / "runs", results=tmp_path / "kept"
    )


def test_students_have_their_experts_steps_and_seed_and_wait_for_the_teacher(
    scripts: dict[str, ModuleType], arguments: Any
) -> None:
    suite = read_suite(arguments.suite)
    planned = scripts["distillation"].teachings(suite, arguments)
    assert [set(one.students) for one in planned] == [{("stg", "unweighted"), ("stg", "weighted")}] * 2
    for seed, one in zip((1, 2), planned, strict=True):
        assert [stage.method for stage in one.stages] == ["moegs-stg", "moegs-4dgaussians", "moegs-router"]
        student = one.students["stg", "weighted"]
        command = student.command()
        assert student.needs == (one.mixture.run,) and value_of(command, "--teacher") == str(one.mixture.run)
        assert (value_of(command, "--max-num-iterations"), value_of(command, "--machine.seed")) == ("60", str(seed))
        assert student.run.name == f"preset-seed{seed}-stg+4dgaussians-stg-variant-weighted"
    arguments.students = ("ed3dgs",)
    with pytest.raises(ValueError, match="students among stg, 4dgaussians, found ed3dgs"):
        scripts["distillation"].teachings(suite, arguments)


def test_it_trains_what_is_missing_and_the_table_compares_with_the_expert_alone(
    scripts: dict[str, ModuleType], arguments: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = {
        "retrained": {"video": 28.0, "teacher": 30.5},
        "unweighted": {"video": 28.0, "teacher": 30.5},
        "weighted": {"video": 29.0, "teacher": 30.0},
    }

    def fit(teacher: Path, students: dict[str, Path]) -> dict[str, dict[str, float]]:
        assert teacher.parent.name == "moegs-router"
        return {"mixture": {"video": 31.0}, **{name: fits[name] for name in students}}

    monkeypatch.setattr(scripts["distillation"], "training_fit", fit)
    processes = Trained(stop_after={"moegs-distill": 20})
    with pytest.raises(Exception, match="ended after 20 of 60 steps"):
        scripts["distillation"].main(arguments, processes)
    processes = Trained()
    scripts["distillation"].main(arguments, processes)
    assert processes.trained().count("moegs-distill") == 4  # the first goes on
    assert sum("--load-dir" in call for call in processes.calls) == 1
    again = Trained()
    scripts["distillation"].main(arguments, again)
    assert again.calls == []
    contents = [json.loads(file.read_text("utf8")) for file in sorted(arguments.results.glob("*.json"))]
    assert len(contents) == 2
    table = scripts["distillation_section"].student_table(contents)
    rows = {row[0]: row[1:] for row in table.rows}
    assert [*rows] == ["mixture", "retrained", "unweighted", "weighted"]
    assert rows["retrained"][:2] == ["27.50 ± 0.71", "-"]
    assert rows["weighted"][:2] == ["28.25 ± 0.71", "+0.75 ± 0.00"] and rows["mixture"][1] == "+3.00 ± 0.00"
    assert rows["weighted"][3:5] == ["29.00 ± 0.00", "30.00 ± 0.00"] and rows["mixture"][3:5] == ["31.00 ± 0.00", "-"]
    assert rows["weighted"][5:] == ["40.0 ± 0.0", "2,400 ± 0", "1.0 ± 0.0", "150 ± 0"]
    assert table.emphasised == (3,)
    evidence = scripts["distillation_section"].evidence_table([contents]).rows
    assert [row[1] for row in evidence] == ["unweighted", "weighted"] and evidence[1][0] == ""
    assert evidence[1][2:] == ["+0.75 ± 0.00", "+0.0000 ± 0.0000", "+1.00 ± 0.00", "-0.50 ± 0.00", "+0.50 ± 0.71"]
    text = scripts["distillation_section"].distillation_section(contents)
    assert "Lambda of Eq. 11: 0.5." in text and "1.00 (pictures) and 2.00 (gates) thousandths" in text
