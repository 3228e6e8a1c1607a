"""How many Gaussians a mixture can lose, by which criterion, and at what cost.

    python benchmarks/run_suite.py mixed_demo
    python benchmarks/pruning_curves.py mixed_demo --seed 42
    python benchmarks/write_results.py

Takes a mixture that a suite trained. Every Gaussian is scored once per criterion on the training views; the lowest go,
in growing shares, and what is left is rendered as it is, and after the router was trained on for some steps (`moegs
prune RUN --finetune-steps`, a run per point). Resumable: every point is kept as soon as it is measured. Writes
benchmarks/results/pruning/<suite>-seed<seed>.json.
"""

import copy
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro
from machine import describe_measurement
from rich.console import Console
from suites import PRUNING_RESULTS, ROOT, SCHEMA_VERSION, portable, run_key, write_json

from moegs_ns.benching.suite import Suite
from moegs_ns.benching.suite_files import read_suite
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.router.pruning import PruningTarget, choose, every, remove_gaussians, set_sizes, winning_shares
from moegs_ns.router.pruning_options import Criterion
from moegs_ns.router.pruning_scores import PruningScores, score_gaussians
from moegs_ns.runs.record import read_run_record
from moegs_ns.training.load_run import LoadedRun, dataparser_of, load_run
from moegs_ns.training.render_scores import render_scores, scores_of_model
from moegs_ns.training.stages import Stage

RATIOS = (0.15, 0.3, 0.45, 0.6, 0.75)
_MOEGS = (sys.executable, "-P", "-c", "from moegs_ns.cli.main import main; main()")


@dataclass
class Arguments:
    """Prune a mixture of a suite by several criteria and ratios."""

    suite: Annotated[str, tyro.conf.Positional]
    """Name of a file in configs/suites, or a TOML file."""
    seed: int | None = None
    """Which of its runs. Default: the suite's first seed."""
    experts: tuple[str, ...] = ()
    """Which of its mixtures, by the experts. Default: the only one."""
    ratios: tuple[float, ...] = RATIOS
    """Shares of all Gaussians to remove."""
    criteria: tuple[Criterion, ...] = get_args(Criterion)
    """By which scores."""
    finetune_steps: int = 500
    """Also measure after training the router on for this many steps; 0 = do not."""
    view_stride: int = 1
    """Score by every so-manieth training image only."""
    split: str = "test"
    """Cameras to render; choices are made on val."""
    output_dir: Path = ROOT / "outputs" / "suites"
    """Where the suite's runs lie; pruned runs lie beside the mixture."""
    results: Path = PRUNING_RESULTS
    """Where the results are kept."""
    device: str | None = None
    """CUDA device number to train on, or cpu. Default: the first there is."""
    plan: bool = False
    """Only print what is missing."""


def find_mixture(suite: Suite, seed: int, experts: tuple[str, ...], output_dir: Path) -> Stage:
    """The suite's router stage of a seed.

    Raises:
        ValueError: the suite has no such seed or mixture, or several, or the run is not finished.
    """
    if seed not in suite.seeds:
        raise ValueError(f"expected one of the suite's seeds {list(suite.seeds)}, found {seed}")
    mixtures = [names for names in suite.experts if len(names) > 1]
    chosen = experts or (mixtures[0] if len(mixtures) == 1 else ())
    if chosen not in mixtures:
        raise ValueError(
            f"expected --experts to name one of the suite's mixtures {mixtures}, found {list(experts) or 'none'}"
        )
    only = replace(suite, experts=(chosen,), seeds=(seed,), routers=())
    stage = only.plans(output_dir)[0][-1]
    if stage.state() != "finished":
        raise ValueError(
            f"expected the finished run {stage.run}, found it {stage.state()}; run benchmarks/run_suite.py "
            f"{suite.name} first"
        )
    return stage


def missing_points(arguments: Arguments, content: dict[str, Any]) -> list[tuple[Criterion, float, int]]:
    """What is still to be measured: criterion, ratio, further steps; points without further training come first."""
    present = {(one["criterion"], one["ratio"], one["finetune_steps"]) for one in content["points"]}
    wanted = [
        (criterion, ratio, steps)
        for steps in dict.fromkeys((0, arguments.finetune_steps))
        for criterion in arguments.criteria
        for ratio in sorted(arguments.ratios)
    ]
    return [point for point in wanted if point not in present]


def untrained_point(run: LoadedRun, scores: PruningScores, criterion: str, ratio: float) -> dict[str, Any]:
    """What is left of a mixture without its lowest Gaussians, rendered as it is."""
    original = run.model
    assert isinstance(original, MixtureModel)
    model = copy.deepcopy(original)
    removed = choose(scores.values, set_sizes(model), PruningTarget(ratio))
    remove_gaussians(model, removed)
    return {
        "criterion": criterion,
        "ratio": ratio,
        "finetune_steps": 0,
        "winning": winning_shares(scores, removed),
        "scores": scores_of_model(replace(run, model=model)),
    }


def trained_point(run: Path, criterion: str, ratio: float, arguments: Arguments) -> dict[str, Any]:
    """The same after the router was trained on; the pruned run is kept."""
    steps, stride = arguments.finetune_steps, arguments.view_stride
    target = run.with_name(f"{run.name}-curve-{criterion.replace('*', '-')}-{round(100 * ratio)}-{steps}-{stride}")
    record = target / "run.json"
    if not (record.is_file() and read_run_record(target)["progress"]["status"] == "finished"):
        if target.is_dir():  # interrupted; it is short, so it begins anew
            shutil.rmtree(target)
        command = ["prune", str(run), "--ratio", str(ratio), "--criterion", criterion, "--split", "none"]
        command += ["--finetune-steps", str(steps), "--view-stride", str(stride), "--output", str(target)]
        chosen = {"cpu": ""}.get(arguments.device or "", arguments.device)
        environment = os.environ if chosen is None else {**os.environ, "CUDA_VISIBLE_DEVICES": chosen}
        # A process of its own: nerfstudio keeps what belongs to a run in module globals.
        subprocess.run([*_MOEGS, *command], check=True, env=environment, stdout=subprocess.DEVNULL)
    (entry,) = read_run_record(target)["pruned"][-1:]
    return {
        "criterion": criterion,
        "ratio": ratio,
        "finetune_steps": steps,
        "winning": entry["winning"],
        "scores": render_scores(target, arguments.split),
    }


def start(arguments: Arguments, suite: Suite, stage: Stage, file: Path) -> dict[str, Any]:
    """What was measured of this run before, or an empty beginning.

    Raises:
        ValueError: what is kept was measured otherwise.
    """
    record = read_run_record(stage.run)
    facts = {
        "suite": suite.name,
        "seed": record["seed"],
        "run": run_key(stage.run),
        "steps": record["progress"]["steps_done"],
        "experts": record["model"]["experts"],
        "scene": record["scene"]["scene"],
        "split": arguments.split,
        "view_stride": arguments.view_stride,
        "eval_temperature": record["expert"]["config"]["eval_temperature"],
    }
    if not file.is_file():
        return {"schema_version": SCHEMA_VERSION, "pruning": facts, "baseline": None, "points": []}
    content = json.loads(file.read_text("utf8"))
    if content["schema_version"] != SCHEMA_VERSION or content["pruning"] != facts:
        raise ValueError(
            f"expected {file} to hold points of {facts}, found {content['pruning']}; delete it to start anew"
        )
    return content


def measure(arguments: Arguments, stage: Stage, content: dict[str, Any], file: Path, console: Console) -> None:
    """Measure and keep every missing point."""

    def keep() -> None:
        write_json(file, portable({**content, "measurement": describe_measurement(content["pruning"]["seed"])}))

    device = "cpu" if arguments.device == "cpu" else None
    run = load_run(stage.run, arguments.split, device)
    model = run.model
    assert isinstance(model, MixtureModel)
    if content["baseline"] is None:
        content["baseline"] = scores_of_model(run)
        keep()
    cameras = dataparser_of(run.record).setup().get_dataparser_outputs("train").cameras
    known: dict[str, PruningScores] = {}
    for criterion, ratio, steps in missing_points(arguments, content):
        if steps:
            point = trained_point(stage.run, criterion, ratio, arguments)
        else:
            if criterion not in known:
                known[criterion] = _scores(model, cameras, criterion, arguments.view_stride)
            point = untrained_point(run, known[criterion], criterion, ratio)
        content["points"].append(point)
        keep()
        change = point["scores"]["psnr"] - content["baseline"]["psnr"]
        console.print(f"{criterion} {ratio:.0%}, {steps} further steps: {change:+.3f} dB", highlight=False)


def _scores(model: MixtureModel, cameras: Any, criterion: Criterion, stride: int) -> PruningScores:
    model.train()  # views of one instant then share the experts' Gaussians
    try:
        return score_gaussians(model, every(cameras, stride), criterion)
    finally:
        model.eval()
        model.forget_splats()


def main(arguments: Arguments) -> None:
    console = Console()
    suite = read_suite(arguments.suite)
    seed = suite.seeds[0] if arguments.seed is None else arguments.seed
    stage = find_mixture(suite, seed, arguments.experts, arguments.output_dir.absolute())
    name = "-".join([suite.name, *(arguments.experts or ()), f"seed{seed}"])
    suffix = "" if arguments.split == "test" else f"-{arguments.split}"
    file = arguments.results / f"{name}{suffix}.json"
    content = start(arguments, suite, stage, file)
    if arguments.plan:
        for criterion, ratio, steps in missing_points(arguments, content):
            console.print(f"missing: {criterion} {ratio:.0%}, {steps} further steps", highlight=False)
        return
    measure(arguments, stage, content, file, console)
    console.print("now: python benchmarks/write_results.py")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
