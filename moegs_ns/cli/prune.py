"""``moegs prune``: a mixture without the Gaussians that matter least, as a new run."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from moegs_ns.reporting.tables import Table


@dataclass
class Prune:
    """Remove the Gaussians of a mixture that matter least; writes a new run and compares the two.

    The new run is one of moegs-router like any other: it can be evaluated, viewed, trained on and pruned again. Its
    run.json says under "pruned" what was done.
    """

    run_folder: tyro.conf.Positional[Path]
    """Run folder of a mixture."""
    ratio: float = 0.0
    """Share of all experts' Gaussians to remove, those that matter least."""
    threshold: float | None = None
    """Instead of a share, remove the Gaussians that score less than this."""
    criterion: Literal["gate", "contribution", "gate*responsibility", "opacity", "random"] = "gate"
    """What matters: *gate* the sensitivity of gates to a Gaussian's weights (MoE-GS Eq. 10), *contribution* what the
    mixture shows of it, gate*responsibility sensitivity of unsaturated gates times responsibility; for comparison
    *opacity* (the largest over time) and *random*."""
    temperature: float | None = None
    """Temperature of the softmax over experts while scoring. Default: that of evaluation."""
    view_stride: int = 1
    """Score by every so-manieth training image only."""
    seed: int = 0
    """Seed of the criterion *random*."""
    finetune_steps: int = 0
    """Train the router on for this many steps."""
    split: Literal["test", "val", "none"] = "test"
    """Cameras on which the runs are compared. Make choices on val."""
    output: Path | None = None
    """Folder of the new run, <outputs>/<scene>/moegs-router/<name>. Default: beside the old one."""

    def run(self) -> None:
        """Prune, compare, print.

        Raises:
            FileNotFoundError, ValueError: not a mixture's run, its data are gone, or options that do not fit.
        """
        from moegs_ns.cli.console import make_console
        from moegs_ns.router.pruning import PruningTarget
        from moegs_ns.runs.record import read_run_record
        from moegs_ns.training.load_run import dataset_of
        from moegs_ns.training.prune_run import PruningPlan, prune_run
        from moegs_ns.training.render_scores import render_scores

        if not self.ratio and self.threshold is None:
            raise ValueError("expected --ratio or --threshold to say how much to prune, found neither")
        plan = PruningPlan(
            PruningTarget(self.ratio, self.threshold),
            self.criterion,
            self.temperature,
            self.view_stride,
            self.seed,
            self.finetune_steps,
        )
        if self.split != "none":
            dataset_of(read_run_record(self.run_folder), self.split)  # which may have no cameras: before any work
        console = make_console()
        target = self.output or self.run_folder.with_name(self._name())
        facts = prune_run(self.run_folder, target, plan)
        if self.split != "none":
            scores = [render_scores(run, self.split) for run in (self.run_folder, target)]
            console.print(_table(self.run_folder.name, facts, *scores).terminal())
        console.print(str(target), soft_wrap=True, highlight=False)

    def _name(self) -> str:
        amount = f"{round(100 * self.ratio)}" if self.threshold is None else f"below-{self.threshold:g}"
        tuned = f"-tuned-{self.finetune_steps}" if self.finetune_steps else ""
        return f"{self.run_folder.absolute().name}-{self.criterion.replace('*', '-')}-{amount}{tuned}"


def _table(name: str, facts: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> "Table":
    from moegs_ns.reporting.tables import Table

    rows = [
        [
            label,
            f"{one['psnr']:.2f}",
            f"{one['ssim']:.4f}",
            f"{one['gaussians']:,}",
            f"{one['megabytes']:.1f}",
            f"{one['fps']:.1f}",
        ]
        for label, one in (("before", before), ("after", after))
    ]
    winning = facts["winning"]
    experts = ", ".join(
        f"{expert} {facts['before'][expert]:,} to {count:,}" for expert, count in facts["after"].items()
    )
    notes = [
        f"{before['images']} images of the {before['split']} split; {experts} Gaussians",
        f"pruned by {facts['criterion']} at temperature {facts['temperature']:g}, scored on {facts['views']} views, "
        f"{facts['finetune_steps']} further steps of the router",
        f"of the pruned, {winning['by_responsibility']:.1%} had a responsibility of one half or more (of all Gaussians "
        f"{winning['of_all_by_responsibility']:.1%}); {winning['by_winner']:.1%} lay where their expert has the "
        f"largest gate (of all {winning['of_all_by_winner']:.1%})",
    ]
    return Table(f"{name}, pruned", ["", "PSNR", "SSIM", "Gaussians", "MB", "FPS"], rows, notes)
