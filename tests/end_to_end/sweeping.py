"""A sweep to try, and what stands in for its trainings and its mixture."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from moegs_ns.runs.record import read_run_record, write_run_record
from moegs_ns.training.load_run import View
from tests.training.fake_processes import FakeProcesses, value_of

TINY = Path(__file__).parents[1] / "training" / "tiny.toml"
SWEEP = f"""
description = "A choice to make."
data = "examples/mixed"
preset = "{TINY}"
experts = ["stg", "4dgaussians"]
seeds = [7]
val_cams = ["cam05", "cam08"]
frame_step = 2
[[choice]]
label = "soft"
options = ["--pipeline.model.train-temperature", "1"]
[[choice]]
label = "hard / 0.5"
options = ["--pipeline.model.train-temperature", "0.1", "--max-num-iterations", "30"]
evaluate = [{{ label = "hard, 1", eval_temperature = 1.0 }}, {{ label = "hard, 0.5", eval_temperature = 0.5 }}]
"""
ROUTERS = ["sweep-try-seed7-soft", "sweep-try-seed7-hard-0.5"]


class Trained(FakeProcesses):
    """Leaves records a sweep can keep; every training takes a second longer than the one before."""

    trained_before = 0

    def run(self, command: Sequence[str], log: Path, device: str | None = None, append: bool = False) -> None:
        super().run(command, log, device, append)
        record = read_run_record(log.parent)
        own = {"eval_temperature": 1.0, "experts": ["a run", "another"]} if command[1] == "moegs-router" else {}
        type(self).trained_before += 1
        record |= {
            "expert": {"name": command[1].removeprefix("moegs-"), "config": own},
            "seed": int(value_of(command, "--machine.seed")),
            "model": {"num_gaussians": 500, "experts": ["stg", "4dgaussians"]},
            "scene": {"scene": "mixed", "cameras": {"test": ["cam00"], "val": ["cam05", "cam08"]}},
            "source": {"commit": "0123456789abcdef", "modified": False},
            "progress": {"steps_done": 1, "training_seconds": float(type(self).trained_before)},
        }
        write_run_record(log.parent / "run.json", record)


class TwoExperts:
    """A mixture of a black and a grey picture whose gates follow the temperature."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(eval_temperature=1.0)

    def get_outputs_for_camera(self, camera: float) -> dict[str, torch.Tensor]:
        first = torch.zeros(12, 16, 3)
        second = torch.full((12, 16, 3), camera)
        gate = torch.softmax(torch.tensor([1.0, 0.0]) / self.config.eval_temperature, dim=0)
        gates = gate[:, None, None, None].expand(2, 12, 16, 1)
        return {
            "rgb": gates[0] * first + gates[1] * second,
            "expert_stg": first,
            "expert_4dgaussians": second,
            "gate_stg": gates[0],
            "gate_4dgaussians": gates[1],
        }


def loaded(first_frame: int = 3) -> Any:
    """Two cameras of three frames; the "camera" is the brightness of the second expert's picture."""
    truth = torch.full((12, 16, 3), 0.2)
    truth[:, :4] = 0.0
    views = [
        View(name, first_frame + frame, 0.5 + 0.1 * frame, truth)  # type: ignore[arg-type]
        for name in ("cam05", "cam08")
        for frame in range(3)
    ]
    dataset = SimpleNamespace(metadata={"first_frame": first_frame})
    return SimpleNamespace(model=TwoExperts(), dataset=dataset, step=29, views=lambda: iter(views))
