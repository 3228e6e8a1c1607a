"""From a router run to a fused run, and its fine-tuning (MoE-GS App. D): what ``moegs fuse`` does.

The fusion itself is written as a checkpoint that counts as the first training step, in a run folder of its own.
``ns-train moegs-fused`` then goes on from there, for no step at all or to fine-tune, and leaves an ordinary run.
"""

import dataclasses
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moegs_ns.router.fused import fuse
from moegs_ns.router.lifting import lift, views_of_stride
from moegs_ns.runs import checkpoints
from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER, find_checkpoint
from moegs_ns.runs.paths import absolute
from moegs_ns.runs.record import (
    RUN_RECORD_NAME,
    SCHEMA_VERSION,
    describe_source,
    describe_versions,
    plain,
    read_run_record,
    write_run_record,
)
from moegs_ns.training.load_run import dataparser_of, layout_of, load_run
from moegs_ns.training.pipeline import describe_model
from moegs_ns.training.processes import CPU, RunCommand
from moegs_ns.training.random_state import capture_random_state
from moegs_ns.training.run_stages import evaluate_stage, train_stage
from moegs_ns.training.stages import FUSED_METHOD, Scene, Stage

#: What fine-tuning changes, see `FusedModelConfig.finetune`.
Finetune = Literal["opacity", "all"]
#: Behind the fused set, see `EnsembleModelConfig.background`.
Background = Literal["own", "black", "white"]
METHOD = FUSED_METHOD
#: The fusion counts as one.
STEPS_OF_FUSION = 1

#: Options of the mixture that decide how its Gaussians look as one set.
_SHARED_OPTIONS = ("background", "default_time", "ssim_weight")


@dataclass(frozen=True)
class FusionPlan:
    """A fused run to be, and maybe its fine-tuning.

    Attributes:
        source: folder of the router run.
        record: its ``run.json``.
        frame_stride: responsibilities are taken from every so-manieth frame ...
        camera_stride: ... of every so-manieth training camera.
        fused: the fused run.
        finetuned: by what fine-tuning changes, the run that starts from the fused one.
    """

    source: Path
    record: dict[str, Any]
    frame_stride: int
    camera_stride: int
    fused: Stage
    finetuned: dict[Finetune, Stage]

    @property
    def origin(self) -> dict[str, Any]:
        """What tells this fusion from others of the same name."""
        checkpoint = find_checkpoint(self.source)
        return {
            "source": str(self.source),
            "checkpoint": checkpoint.name,
            "frame_stride": self.frame_stride,
            "camera_stride": self.camera_stride,
            "background": self.record["expert"]["config"].get("background", "own"),
        }


def plan_fusion(
    run: Path,
    output_dir: Path | None = None,
    name: str | None = None,
    finetune_steps: int = 0,
    finetune: Sequence[Finetune] = ("opacity",),
    frame_stride: int = 1,
    camera_stride: int = 1,
    share_maps: bool = False,
    background: Background | None = None,
) -> FusionPlan:
    """Which runs there will be.

    Args:
        run: folder of a finished router run.
        output_dir: where runs are filed; by default where ``run`` is.
        name: of the fused run; by default that of ``run``. Fine-tuned runs add ``-opacity`` or ``-all``.
        finetune_steps: 0 for no fine-tuning.
        finetune: what it changes, a run each.
        frame_stride, camera_stride: see `FusionPlan`.
        share_maps: whether the runs render each expert's share.
        background: behind the fused set; None as behind the mixture's experts.

    Raises:
        FileNotFoundError: no run, or none of its checkpoints.
        ValueError: not the run of a router that gates pixels, or data that cannot be read again.
    """
    run = absolute(run)
    run = run if run.is_dir() else run.parent
    record = read_run_record(run)
    if record["expert"]["name"] != "router":
        raise ValueError(
            f"expected the run of a mixture (moegs-router), found a run of '{record['method']}' at {run}; "
            "name a mixture's"
        )
    if record["expert"]["config"].get("router") == "volume":
        raise ValueError(
            f"expected a mixture whose router gates pixels, found one with the volume router at {run}: it renders all "
            "Gaussians as one set already"
        )
    if finetune_steps < 0:
        raise ValueError(f"expected 0 or more steps of fine-tuning, found {finetune_steps}")
    find_checkpoint(run)
    if background is not None:
        config = {**record["expert"]["config"], "background": background}
        record = {**record, "expert": {**record["expert"], "config": config}}
    scene = scene_of_record(record, run.parents[2] if output_dir is None else output_dir)
    name, options = name or run.name, _options(record, share_maps)
    return FusionPlan(
        source=run,
        record=record,
        frame_stride=frame_stride,
        camera_stride=camera_stride,
        fused=_stage(scene, name, STEPS_OF_FUSION, options),
        finetuned={
            what: _stage(scene, f"{name}-{what}", STEPS_OF_FUSION + finetune_steps, options, what)
            for what in (finetune if finetune_steps else ())
        },
    )


def make_fused(
    plan: FusionPlan,
    run: RunCommand,
    device: str | None = None,
    watch: Callable[[list[int]], Iterable[int]] = iter,
    scored: bool = True,
) -> None:
    """Write and score the fused run, unless it is there.

    Args:
        plan: what to make.
        run: who runs ``ns-train`` and ``ns-eval``.
        device: CUDA device number, ``cpu``, or None for the first there is.
        watch: told the images to look at, hands them out; for a progress bar.
        scored: whether test cameras may be looked at.

    Raises:
        ValueError: the run that is there was made of something else, or experts that cannot be one set.
        StageFailedError: a process failed.
    """
    if plan.fused.state() == "missing":
        _write_fusion(plan, device, watch)
    _check_origin(plan.fused, plan)
    if not plan.fused.config.is_file():
        train_stage(plan.fused, run, device, resume=True)  # no step is left: this writes config.yml and the record
    if scored:
        evaluate_stage(plan.fused, run, device)


def make_finetuned(
    plan: FusionPlan, what: Finetune, run: RunCommand, device: str | None = None, scored: bool = True
) -> None:
    """Train and score a fine-tuned run, or go on with it; the fused run must be there. Arguments as of `make_fused`.

    Raises:
        ValueError: the run that is there was made of something else.
        StageFailedError: a process failed.
    """
    stage = plan.finetuned[what]
    state = stage.state()
    if state == "missing":
        train_stage(stage.with_options(("--load-dir", str(plan.fused.run))), run, device)
    else:
        _check_origin(stage, plan)
    if state == "interrupted":
        train_stage(stage, run, device, resume=True)
    if scored:
        evaluate_stage(stage, run, device)


def _write_fusion(plan: FusionPlan, device: str | None, watch: Callable[[list[int]], Iterable[int]]) -> None:
    loaded = load_run(plan.source, "train", device if device in (None, CPU) else f"cuda:{device}")
    mixture: Any = loaded.model
    cameras = loaded.dataset.cameras
    chosen = views_of_stride(cameras, plan.frame_stride, plan.camera_stride)
    started = time.perf_counter()
    found = lift(mixture, (cameras[index : index + 1] for index in watch(chosen)))
    seconds = time.perf_counter() - started
    names = mixture.expert_names
    total = sum(len(values) for values in found.values)
    facts = {
        **plan.origin,
        "step": loaded.step,
        "router": mixture.config.router,
        "temperature": mixture.config.eval_temperature,
        "top_k": mixture.config.top_k,
        "views": found.views,
        "lifting_seconds": round(seconds, 3),
        "unseen": found.unseen,
        "unseen_share": round(found.unseen / max(1, total), 6),
        "mean_responsibility": {
            name: round(float(values.mean()), 6) for name, values in zip(names, found.values, strict=True)
        },
    }
    background = plan.record["expert"]["config"].get("background", mixture.config.background)
    _write_run(plan, fuse(mixture, found.values, facts, background), seconds)


def _write_run(plan: FusionPlan, model: Any, seconds: float) -> None:
    """What ``ns-train`` needs to go on from: a record, then the checkpoint, whose presence says that all is there."""
    stage, record = plan.fused, plan.record
    stage.run.mkdir(parents=True, exist_ok=True)
    steps = {"steps_done": STEPS_OF_FUSION, "steps_total": STEPS_OF_FUSION}
    written = {
        "schema_version": SCHEMA_VERSION,
        "method": METHOD,
        "expert": {"name": "fused", "config": plain(model.config)},
        "scene": record["scene"],
        "datamanager": record["datamanager"],
        "seed": record.get("seed"),
        "versions": describe_versions(),
        "source": describe_source(),
        "command": stage.shown(),
        "model": describe_model(model),
        "num_parameters": sum(one.numel() for one in model.parameters()),
        "progress": {"status": "fused", **steps, "training_seconds": round(seconds, 3)},
    }
    write_run_record(stage.run / RUN_RECORD_NAME, written)
    state = {
        "step": STEPS_OF_FUSION - 1,
        "pipeline": {f"_model.{key}": value for key, value in model.state_dict().items()},
        "optimizers": {},
        "schedulers": {},
        "scalers": {},
        "moegs": {"random": capture_random_state(), "sampler": None, "training_seconds": seconds},
    }
    folder = stage.run / CHECKPOINT_FOLDER
    checkpoints.write_checkpoint(state, folder, STEPS_OF_FUSION - 1, scratch_folder=stage.run)


def _check_origin(stage: Stage, plan: FusionPlan) -> None:
    """Refuse a run of that name that was made of something else."""
    stage.check_made_alike()
    facts = read_run_record(stage.run).get("model", {}).get("fused", {})
    wanted = plan.origin
    others = [f"{key} {facts.get(key)} instead of {wanted[key]}" for key in wanted if facts.get(key) != wanted[key]]
    if others:
        raise ValueError(
            f"expected the run {stage.run} to be this fusion, found another one ({'; '.join(others)}); give the new "
            "run another --name, or delete that folder"
        )


def scene_of_record(record: dict[str, Any], output_dir: Path) -> Scene:
    """The router's data, read with its options.

    Raises:
        ValueError: a data parser whose options are not known here.
    """
    used = dataparser_of(record)
    default = type(used)()
    options: list[str] = []
    for item in dataclasses.fields(used):
        value = getattr(used, item.name)
        if item.name in ("_target", "data") or value == getattr(default, item.name):
            continue
        values = value if isinstance(value, tuple) else (value,)
        options += [f"--{item.name.replace('_', '-')}", *map(_value, values)]
    return Scene(used.data, layout_of(record).parser, tuple(options), output_dir)


def _options(record: dict[str, Any], share_maps: bool) -> list[str]:
    """What fused runs take over from the router's."""
    options: list[str] = []
    if record.get("seed") is not None:
        options += ["--machine.seed", _value(record["seed"])]
    if (sampling := record["datamanager"].get("sampling_seed")) is not None:
        options += ["--pipeline.datamanager.sampling-seed", _value(sampling)]
    config = record["expert"]["config"]
    for key in _SHARED_OPTIONS:
        if key in config:
            options += [f"--pipeline.model.{key.replace('_', '-')}", _value(config[key])]
    return [*options, *(["--pipeline.model.share-maps", "True"] if share_maps else [])]


def _value(value: Any) -> str:
    """A value of a record as one on a command line, where it must not be taken for another option.

    Raises:
        ValueError: it would be.
    """
    text = str(value)
    if text.startswith("--"):
        raise ValueError(f"expected the value of an option in the run record, found '{text}'; the file was altered")
    return text


def _stage(scene: Scene, name: str, steps: int, options: Sequence[str], finetune: Finetune = "opacity") -> Stage:
    own = ("--max-num-iterations", str(steps), "--pipeline.model.finetune", finetune)
    run = scene.output_dir / scene.name / METHOD / name
    return Stage(METHOD, run, steps, (*own, *options), scene)


def command_lines(plan: FusionPlan) -> list[str]:
    """The equivalent ``ns-train`` lines of what follows the fusion."""
    start = ("--load-dir", str(plan.fused.run))
    return [shlex.join(stage.with_options(start).command()) for stage in plan.finetuned.values()]
