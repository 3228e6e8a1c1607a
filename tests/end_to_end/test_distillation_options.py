"""The screening of distillation's options: which students there are, that only val cameras are scored, its tables."""

import importlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moegs_ns.runs.record import read_run_record, write_run_record
from tests.training.fake_processes import FakeProcesses


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        names = ("distillation_options", "distillation_options_section")
        return {name: importlib.import_module(name) for name in names}


class Trained(FakeProcesses):
    """Leaves records that can be kept."""

    def run(self, command: Sequence[str], log: Path, device: str | None = None, append: bool = False) -> None:
        super().run(command, log, device, append)
        record = read_run_record(log.parent)
        record |= {
            "model": {"num_gaussians": 1234},
            "source": {"commit": "0123456789abcdef", "modified": False},
            "progress": {"training_seconds": 1.0},
        }
        write_run_record(log.parent / "run.json", record)


def test_every_option_is_compared_on_val_cameras_with_the_same_training_alone(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = scripts["distillation_options"]
    scored: list[Path] = []

    def score(run: Path, device: str | None) -> dict[str, Any]:
        scored.append(run)
        return {"psnr": 30.0 + 0.1 * len(scored), "ssim": 0.9, "protocol": {"cameras": ["cam05"]}}

    made: list[str] = []
    monkeypatch.setattr(script, "score", score)
    monkeypatch.setattr(script.Screening, "_prune", lambda self, share: made.append(f"pruned by {share}"))
    monkeypatch.setattr(script.Screening, "_fuse", lambda self: made.append("fused"))
    arguments = script.Arguments(output_dir=tmp_path / "runs", results=tmp_path / "kept.json")
    processes = Trained()
    script.main(arguments, processes)
    assert made == ["pruned by 0.3", "pruned by 0.5", *["fused"] * 3]
    trained = [call for call in processes.calls if call[0] == "ns-train"]
    assert len(trained) == len(processes.calls)  # nothing evaluates: ns-eval would read the test camera
    assert {tuple(call[-3:]) for call in trained} == {("--val-cams", "cam05", "cam08")}
    students = [call for call in trained if call[1] == "moegs-distill"]
    assert len(students) == 15 and sum("--load-dir" in call for call in students) == 6
    content = json.loads(arguments.results.read_text("utf8"))
    assert len({row["run"] for row in content["rows"]}) == len(content["rows"]) == 17
    tables = scripts["distillation_options_section"].options_tables(content)
    assert [table.rows[0][0] for table in tables] == ["alone"] * 4
    assert [row[2] for row in tables[0].rows][:3] == ["-", "+0.10", "+0.20"]
    page = scripts["distillation_options_section"].options_section(arguments.results)
    assert "| weighted (Eq. 11), λ = 0.5 | 30.30 | +0.10 | 0.9000 | 1,234 | 30.10 |" in page
    assert str(tmp_path) not in page
    before = len(processes.calls)
    script.main(arguments, processes)
    assert len(processes.calls) == before  # finished runs are kept
    content = json.loads(arguments.results.read_text("utf8"))
    for folder in (tmp_path / "runs").glob("*/moegs-distill"):
        shutil.rmtree(folder)
    script.main(arguments, processes)
    assert len(processes.calls) == before  # and rows whose runs are gone
    assert json.loads(arguments.results.read_text("utf8"))["rows"][1] == content["rows"][1]
