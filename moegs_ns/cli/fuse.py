"""``moegs fuse``: a mixture's Gaussians as one set."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from moegs_ns.reporting.evaluation_files import RunResult


@dataclass
class Fuse:
    """Fuse the experts of a mixture into one set of Gaussians, by how much the router uses each (MoE-GS App. D).

    Writes a new run of the method moegs-fused, scores it on the test cameras and prints it beside the mixture. With
    --finetune-steps a second run is trained from it. Run it again after an interruption: what is there is kept.
    """

    run_folder: tyro.conf.Positional[Path]
    """Run folder of a mixture (moegs-router)."""
    output_dir: Path | None = None
    """Where runs are filed, as <output-dir>/<scene>/moegs-fused/<name>. Default: where the mixture's run is."""
    name: str | None = None
    """Name of the fused run; that of the fine-tuned run adds -opacity or -all. Default: the mixture's."""
    frame_stride: int = 1
    """Look at every so-manieth frame of the training cameras only; 1 = at all."""
    camera_stride: int = 1
    """Look at every so-manieth training camera only; 1 = at all."""
    finetune_steps: int = 0
    """Also train the fused set for so many steps, as a run of its own."""
    finetune: Literal["opacity", "all"] = "opacity"
    """What that changes: the Gaussians' shares of opacity, or also positions, shapes, opacities and colours."""
    share_maps: bool = False
    """Let the runs also render each expert's part of what is seen; nearly doubles the time of a render."""
    background: Literal["own", "black", "white"] | None = None
    """Colour behind the fused set, which has one for all; where the experts' own differ, one must be named. Default: as
    behind the mixture's experts."""
    device: str | None = None
    """CUDA device number, or cpu. Default: the first CUDA device, where there is one."""

    def run(self) -> None:
        """Lift, fuse, evaluate, compare.

        Raises:
            FileNotFoundError, ValueError: not the run of a mixture that can be fused, or its data are gone.
            StageFailedError: training or evaluation failed; the message names its log.
        """
        from moegs_ns.cli.console import make_console
        from moegs_ns.cli.devices import check_training_device
        from moegs_ns.reporting.evaluation_files import read_result
        from moegs_ns.reporting.tables import build_tables
        from moegs_ns.runs.paths import check_run_name
        from moegs_ns.training.fusion import command_lines, make_finetuned, make_fused, plan_fusion
        from moegs_ns.training.processes import Processes

        console = make_console()
        check_training_device(self.device)
        if self.name is not None:
            check_run_name(self.name)
        plan = plan_fusion(
            self.run_folder,
            self.output_dir,
            self.name,
            self.finetune_steps,
            (self.finetune,),
            self.frame_stride,
            self.camera_stride,
            self.share_maps,
            self.background,
        )
        processes = Processes()
        try:
            make_fused(plan, processes.run, self.device, lambda images: _watched(images, console))
            for line in command_lines(plan):
                console.print(line, soft_wrap=True, highlight=False, markup=False)
            for what in plan.finetuned:
                make_finetuned(plan, what, processes.run, self.device)
        except BaseException:
            processes.stop()
            raise
        results = [read_result(stage.run) for stage in (plan.fused, *plan.finetuned.values())]
        facts = results[0].record["model"]["fused"]
        console.print(
            f"Responsibilities from {facts['views']} training images; {facts['unseen']:,} of "
            f"{results[0].num_gaussians:,} Gaussians were not seen and got their expert's mean.",
            soft_wrap=True,
            highlight=False,
        )
        for table in build_tables([*_mixture(plan.source, console), *results]):
            console.print(table.terminal())
        for result in results:
            console.print(str(result.folder), soft_wrap=True, highlight=False)


def _watched(images: list[int], console: "Console") -> Iterable[int]:
    from rich.progress import track

    return track(images, "Lifting gates to Gaussians", console=console, transient=True, disable=not console.is_terminal)


def _mixture(run: Path, console: "Console") -> list["RunResult"]:
    """The mixture's scores, if it has any."""
    from moegs_ns.reporting.evaluation_files import read_result

    try:
        return [read_result(run)]
    except (FileNotFoundError, ValueError) as error:
        console.print(f"Not compared with the mixture: {error}", style="yellow", soft_wrap=True, highlight=False)
        return []
