"""Try the options of distillation on val cameras, one seed each; the test camera stays untouched.

    python benchmarks/distillation_options.py
    python benchmarks/write_results.py

On the sample scene at the preset demo, without its val cameras: the experts, their mixture, then one student per row.
Resumable: finished runs are kept, and so are rows whose runs were removed since. Writes
benchmarks/results/distillation_options.json.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from machine import describe_measurement
from rich.console import Console
from run_sweep import bring_to_end
from suites import RESULTS, ROOT, SCHEMA_VERSION, portable, run_key, shown_with_state, write_json

from moegs_ns.benching.find_data import find_data
from moegs_ns.reporting.metrics import MetricsProtocol
from moegs_ns.router.pruning import PruningTarget
from moegs_ns.runs.record import read_run_record
from moegs_ns.training.fusion import STEPS_OF_FUSION, make_finetuned, make_fused, plan_fusion
from moegs_ns.training.load_run import load_run
from moegs_ns.training.processes import CPU, Processes
from moegs_ns.training.prune_run import PruningPlan, prune_run
from moegs_ns.training.stages import Scene, Stage, distill_stage, plan

FILE = RESULTS / "distillation_options.json"
DATA, PRESET, SEED = "examples/mixed", "demo", 42
VAL_CAMS = ("cam05", "cam08")
EXPERTS = ("ex4dgs", "stg", "ed3dgs", "4dgaussians")
#: The family taught where a row says nothing else.
STUDENT = "stg"
#: A teacher without the family it teaches.
PAIR, OUTSIDER = ("ex4dgs", "stg"), "4dgaussians"
#: Steps of those that go on from a finished run, and of fine-tuning before.
FURTHER_STEPS = 1000
PRUNED_SHARES, PRUNED_TUNING = (0.3, 0.5), 100


@dataclass
class Arguments:
    """Screen the options of distillation."""

    output_dir: Path = ROOT / "outputs" / "distillation_options"
    """Where the runs lie."""
    results: Path = FILE
    """Where the results are kept."""
    device: str | None = None
    """CUDA device number to train on, or cpu. Default: the first there is."""
    plan: bool = False
    """Only print the command lines and how far each run is."""


@dataclass(frozen=True)
class Arm:
    """One row.

    Attributes:
        group: rows of a group are compared with its first one.
        label: of the row.
        stage: what is trained for it.
        prepare: makes what the stage needs besides runs of other rows.
        teacher: run of the mixture that teaches, where it is not the one of all rows.
    """

    group: str
    label: str
    stage: Stage
    prepare: Callable[[], None] = lambda: None
    teacher: Path | None = None


class Screening:
    """The runs of the table.

    Args:
        output_dir: where they lie.
        device: to train on.
        processes: who runs nerfstudio's commands.
    """

    def __init__(self, output_dir: Path, device: str | None, processes: Processes) -> None:
        self._device, self._processes = device, processes
        scene = Scene(find_data(DATA), "n3v-data", ("--val-cams", *VAL_CAMS), output_dir.absolute())
        *self.experts, self.mixture = plan(scene, EXPERTS, PRESET, SEED)
        self.pair = plan(scene, PAIR, PRESET, SEED)[-1]
        self.fused = self.mixture.run.parents[1] / "moegs-fused" / f"{self.mixture.run.name}-all"

    def expert(self, name: str) -> Stage:
        """An expert trained alone."""
        return next(stage for stage in self.experts if stage.method == f"moegs-{name}")

    def taught(self, *options: str, teacher: Stage | None = None, student: str = STUDENT) -> Stage:
        """A student trained from scratch."""
        name = Path(student).parts[-2].removeprefix("moegs-") if "/" in student else student
        stage = distill_stage(teacher or self.mixture, name, self.expert(name).steps, SEED, options)
        return stage.with_options(("--student", student))

    def further(self, *options: str) -> Stage:
        """The student's expert gone on with."""
        stage = self.taught(*options)
        steps = self.expert(STUDENT).steps + FURTHER_STEPS
        start = ("--load-dir", str(self.expert(STUDENT).run), "--max-num-iterations", str(steps))
        return stage.named(f"{stage.run.name}-warm").with_options(start)

    def refined(self, *options: str) -> Stage:
        """The mixture's fused and fine-tuned model gone on with."""
        stage = distill_stage(self.mixture, "fused", 0, SEED, options)
        steps = STEPS_OF_FUSION + 2 * FURTHER_STEPS
        return stage.with_options(("--load-dir", str(self.fused), "--max-num-iterations", str(steps)))

    def pruned(self, share: float) -> Stage:
        """The mixture without this share of its Gaussians."""
        return self.mixture.named(f"{self.mixture.run.name}-pruned-{share:.0%}".rstrip("%"))

    def arms(self) -> Iterator[Arm]:
        """The rows in order."""
        scratch, warm = f"{STUDENT}, from scratch", f"{STUDENT}, {FURTHER_STEPS:,} further steps"
        yield Arm(scratch, "alone", self.expert(STUDENT))
        yield Arm(scratch, "weighted (Eq. 11), λ = 0.5", self.taught())
        for share in ("0.2", "0.8"):
            yield Arm(scratch, f"weighted, λ = {share}", self.taught("--ground-truth-weight", share))
        yield Arm(scratch, "unweighted, λ = 0.5", self.taught("--variant", "unweighted"))
        yield Arm(scratch, "weighted, balanced", self.taught("--balanced", "True"))
        yield Arm(scratch, "weighted, 6 pseudo-views an instant", self.taught("--pseudo-views", "6"))
        for part in PRUNED_SHARES:
            label = f"weighted, teacher pruned by {part:.0%}"
            teacher = self.pruned(part)
            yield Arm(scratch, label, self.taught(teacher=teacher), partial(self._prune, part), teacher.run)
        yield Arm(warm, "alone", self.further("--variant", "gt"))
        yield Arm(warm, "weighted", self.further())
        yield Arm(warm, "unweighted", self.further("--variant", "unweighted"))
        outside = f"{OUTSIDER}, taught by {' + '.join(PAIR)}"
        yield Arm(outside, "alone", self.expert(OUTSIDER))
        run = str(self.expert(OUTSIDER).run)
        unweighted = self.taught("--variant", "unweighted", teacher=self.pair, student=run)
        yield Arm(outside, "unweighted, λ = 0.5", unweighted, lambda: self._train(self.pair), self.pair.run)
        fused = f"fused model, fine-tuned for {FURTHER_STEPS:,} steps, {FURTHER_STEPS:,} further ones"
        yield Arm(fused, "alone", self.refined("--variant", "gt"), self._fuse)
        yield Arm(fused, "unweighted, λ = 0.5", self.refined("--variant", "unweighted"), self._fuse)
        taught_only = ("--variant", "unweighted", "--ground-truth-weight", "0")
        yield Arm(fused, "the teacher's pictures alone", self.refined(*taught_only), self._fuse)

    def _train(self, stage: Stage) -> None:
        bring_to_end(stage, self._processes, self._device, set(), lambda _: None)

    def _prune(self, share: float) -> None:
        if self.pruned(share).state() == "missing":
            how = PruningPlan(PruningTarget(share), finetune_steps=PRUNED_TUNING)
            prune_run(self.mixture.run, self.pruned(share).run, how)

    def _fuse(self) -> None:
        plan = plan_fusion(self.mixture.run, background="black", finetune_steps=FURTHER_STEPS, finetune=("all",))
        make_fused(plan, self._processes.run, self._device, scored=False)
        make_finetuned(plan, "all", self._processes.run, self._device, scored=False)


def score(run: Path, device: str | None) -> dict[str, Any]:
    """Mean PSNR and SSIM on the val cameras."""
    loaded = load_run(run, "val", CPU if device == CPU else None)
    metrics = MetricsProtocol(lpips=())
    rows = [
        metrics.measure(loaded.model.get_outputs_for_camera(view.camera)["rgb"], view.truth) for view in loaded.views()
    ]
    means = {name: sum(float(row[name]) for row in rows) / len(rows) for name in ("psnr", "ssim")}
    protocol = {"split": "val", "cameras": [*VAL_CAMS], "images": len(rows), "step": loaded.step}
    return {**means, "protocol": {**protocol, "metrics": metrics.describe()}}


def entry(arm: Arm, scores: dict[str, Any], device: str | None) -> dict[str, Any]:
    """What is kept of a row."""
    record = read_run_record(arm.stage.run)
    return {
        "group": arm.group,
        "label": arm.label,
        "run": run_key(arm.stage.run),
        "command": arm.stage.shown(),
        "progress": record["progress"],
        "source": record["source"],
        "num_gaussians": record.get("model", {}).get("num_gaussians"),
        "scores": scores,
        **({} if arm.teacher is None else {"teacher_psnr": score(arm.teacher, device)["psnr"]}),
    }


def earlier_rows(results: Path) -> dict[str, dict[str, Any]]:
    """What is kept already, by the command that made it."""
    if not results.is_file():
        return {}
    return {row["command"]: row for row in json.loads(results.read_text("utf8"))["rows"]}


def main(arguments: Arguments, processes: Processes | None = None) -> None:
    console = Console()

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    processes = processes or Processes()
    screening = Screening(arguments.output_dir, arguments.device, processes)
    arms = list(screening.arms())
    if arguments.plan:
        for stage in [*screening.experts, screening.mixture, *(arm.stage for arm in arms)]:
            say(shown_with_state(stage))
        return
    rows = []
    for stage in (*screening.experts, screening.mixture):
        bring_to_end(stage, processes, arguments.device, set(), say)
    teacher = score(screening.mixture.run, arguments.device)
    earlier = earlier_rows(arguments.results)
    kept = [earlier.get(portable({"command": arm.stage.shown()})["command"]) for arm in arms]
    for number, arm in enumerate(arms):
        if (row := kept[number]) is not None and arm.stage.state() == "missing":
            rows.append(row)
        else:
            arm.prepare()
            bring_to_end(arm.stage, processes, arguments.device, set(), say)
            rows.append(entry(arm, score(arm.stage.run, arguments.device), arguments.device))
        say(f"  {arm.group}: {arm.label}: {rows[-1]['scores']['psnr']:.2f} dB")
        content = {
            "schema_version": SCHEMA_VERSION,
            "data": DATA,
            "preset": PRESET,
            "seed": SEED,
            "teacher": {"run": run_key(screening.mixture.run), "scores": teacher},
            "rows": [*rows, *(row for row in kept[number + 1 :] if row is not None)],
            "measurement": {key: value for key, value in describe_measurement().items() if key != "source"},
        }
        write_json(arguments.results, portable(content))
    say(f"kept: {arguments.results}\nnow: python benchmarks/write_results.py")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
