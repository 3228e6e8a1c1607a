"""A mixture's run pruned into a new run: experts and router smaller, the router trained on if wanted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moegs_ns import compat
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.router.pruning import PruningTarget, every, prune
from moegs_ns.router.pruning_options import Criterion
from moegs_ns.router.pruning_scores import check_prunable
from moegs_ns.runs.record import read_run_record
from moegs_ns.training.rebuild import continued_router_run
from moegs_ns.training.trainer import MoegsTrainer


@dataclass(frozen=True)
class PruningPlan:
    """How a run is pruned.

    Attributes:
        target: how many Gaussians go.
        criterion: by which scores.
        temperature: of the softmax while scoring; None is that of evaluation.
        view_stride: score by every so-manieth training image.
        seed: of the criterion ``random``.
        finetune_steps: the router's further training.
    """

    target: PruningTarget
    criterion: Criterion = "gate"
    temperature: float | None = None
    view_stride: int = 1
    seed: int = 0
    finetune_steps: int = 0

    def __post_init__(self) -> None:
        for name, least in (("view_stride", 1), ("finetune_steps", 0)):
            if getattr(self, name) < least:
                option = name.replace("_", "-")
                raise ValueError(f"expected --{option} of {least} or more, found {getattr(self, name)}")
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise ValueError(f"expected a temperature above 0, found {self.temperature}")


def prune_run(run: Path, target: Path, plan: PruningPlan) -> dict[str, Any]:
    """Write the pruned run: ``config.yml``, ``run.json`` with an entry in ``pruned``, and a checkpoint.

    The new run goes on where the old one ended: its optimizers' moments, learning rates, sampler and random state.

    Args:
        run: folder of a router's run; it is not touched, and its experts' runs are not needed.
        target: folder of the new one, ``<outputs>/<scene>/moegs-router/<name>``.
        plan: how.

    Returns:
        The new entry of ``pruned``: what `prune` says, ``step`` and ``source``.

    Raises:
        FileNotFoundError: no run, checkpoint or data.
        ValueError: nothing to prune, or options that do not fit.
    """
    compat.apply()
    check_prunable(read_run_record(run)["expert"]["config"].get("router", "volume-aware"), plan.criterion)
    config = continued_router_run(run, target, plan.finetune_steps)
    config.save_config()
    trainer: MoegsTrainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    model = trainer.pipeline.model
    assert isinstance(model, MixtureModel)
    cameras = every(trainer.pipeline.datamanager.train_dataset.cameras, plan.view_stride)
    trainer.pipeline.train()  # views of one instant then share the experts' Gaussians
    facts = prune(model, cameras, plan.target, plan.criterion, plan.temperature, plan.seed, trainer.optimizers)
    steps = config.max_num_iterations - plan.finetune_steps
    facts = {"step": steps, "source": str(run.absolute()), "finetune_steps": plan.finetune_steps, **facts}
    trainer.note_pruning(facts)
    if plan.finetune_steps:
        trainer.train()
    else:
        trainer.finish_untrained()
    return facts
