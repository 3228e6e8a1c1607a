"""``moegs train``: all stages of one scene in one command."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from moegs_ns.training.stages import Stage


@dataclass
class Train:
    """Train experts and then a router that mixes them, evaluate each on the test cameras, print the table.

    Run it again after an interruption: finished stages are skipped, others go on from their last checkpoint. Options
    of the data parser go behind `--`: moegs train DATA --preset quick -- --downscale 4.
    """

    data: tyro.conf.Positional[Path]
    """Folder of the scene."""
    experts: tuple[str, ...] = ()
    """Experts to mix, such as: stg 4dgaussians. One named twice is trained with two seeds. Default: the paper's set, as
    far as its experts exist."""
    num_experts: int | None = None
    """Take the paper's set of this size (2, 3 or 4) instead of naming experts."""
    preset: str = "quick"
    """`paper` for the papers' own recipes; `budget-50`, `budget-20`, `budget-10` for these in that percentage of the
    steps; `quick` and `demo` for minutes on a CPU; or a TOML file like those in configs/presets. Several are joined by
    `+`, as `quick+plus`: each varies what those before it say, and runs that agree are shared."""
    distill: tuple[str, ...] = ()
    """Experts the mixture is to teach anew, such as: stg. Each student is an expert run of its own, as small and fast
    as the expert it is named after."""
    seed: int = 42
    """Seed of every stage."""
    parser: str = "n3v-data"
    """Data parser, as ns-train knows it."""
    output_dir: Path = Path("outputs")
    """Where runs are filed, as <output-dir>/<scene>/<method>/<name>."""
    name: str | None = None
    """Name of the runs. Default: <preset>-seed<seed>."""
    devices: tuple[str, ...] = ()
    """CUDA devices to train on, such as: 0 1; independent experts are handed out to them. `cpu` for none. Default: all
    there are. `cpu cpu` trains two experts at a time on a CPU, each with half of the threads."""
    objects: bool = False
    """Also report scores per object, where the scene has object masks."""
    render: bool = False
    """Also write a video of the test camera beside the experts' and a picture of the gates."""
    plan: bool = False
    """Only print what would be done."""
    data_options: tyro.conf.Suppress[tuple[str, ...]] = ()

    def run(self) -> None:
        """Plan, train, evaluate, report.

        Raises:
            ValueError, FileNotFoundError: options that do not fit; nothing was begun.
            StageFailedError: a stage failed; the message names its log.
        """
        from moegs_ns.cli.console import make_console
        from moegs_ns.cli.devices import check_training_device
        from moegs_ns.command_line import CommandLineError
        from moegs_ns.experts.recipes import known_experts
        from moegs_ns.runs.paths import check_run_name
        from moegs_ns.training.same_data import read_facts
        from moegs_ns.training.stages import Scene, default_experts, plan

        if not self.data.is_dir():
            raise FileNotFoundError(f"expected a folder with the scene at {self.data}, found none; check the path")
        if self.experts and self.num_experts is not None:
            raise ValueError("expected one of --experts and --num-experts, found both; give only one")
        if self.seed < 0:
            raise ValueError(f"expected --seed of 0 or more, found {self.seed}")
        if self.name is not None:
            check_run_name(self.name)
        for device in self.devices:
            check_training_device(device)
        known = known_experts()
        experts = list(self.experts) or default_experts(known, self.num_experts)
        unknown = sorted(set(experts) - set(known))
        if unknown:
            raise ValueError(f"unknown experts {', '.join(unknown)}; known: {', '.join(known)}")
        scene = Scene(self.data, self.parser, self.data_options, self.output_dir)
        stages = plan(scene, experts, self.preset, self.seed, self.name, self.distill)

        console = make_console()
        _show_plan(stages, console)
        try:
            read_facts(self.data, self.parser, stages[0].parser_options())  # before anything is begun
        except CommandLineError as error:
            raise ValueError(f"{error} (options of --preset {self.preset} and those behind '--')") from error
        if self.plan:
            return
        self._train(stages, console)
        self._show_results(stages, console)

    def _train(self, stages: list["Stage"], console: "Console") -> None:
        from moegs_ns.cli.devices import chosen_devices
        from moegs_ns.cli.progress import StageProgress
        from moegs_ns.training.run_stages import run_stages

        with StageProgress(stages, console) as progress:
            run_stages(stages, chosen_devices(self.devices), progress.notify, progress.tick)

    def _show_results(self, stages: list["Stage"], console: "Console") -> None:
        from moegs_ns.cli.report import object_tables
        from moegs_ns.reporting.evaluation_files import EVALUATION_NAME, read_result
        from moegs_ns.reporting.tables import build_tables

        students = [read_result(stage.run) for stage in stages if stage.method == "moegs-distill"]
        last = read_result(stages[-1 - len(students)].run)
        tables = build_tables([last, *students])
        if self.objects:
            tables += object_tables([last], console)
        written = []
        if self.render:
            from moegs_ns.cli.pictures import write_pictures

            written = write_pictures(last.folder, last.folder / "pictures", console)
        for table in tables:
            console.print(table.terminal())
        for stage in stages:
            console.print(f"\n{stage.method}", style="bold")
            for file in (stage.config, stage.run / EVALUATION_NAME, stage.log):
                console.print(f"  {file}", soft_wrap=True, highlight=False)
        if written:
            console.print("\npictures", style="bold")
            for file in written:
                console.print(f"  {file}", soft_wrap=True, highlight=False)


def _show_plan(stages: list["Stage"], console: "Console") -> None:
    """Print the command lines and how far each run is.

    Raises:
        ValueError, FileNotFoundError: runs that are there do not belong to this plan.
    """
    console.print("Equivalent command lines:", style="bold")
    for stage in stages:
        state = stage.state()
        note = (
            ""
            if state == "missing"
            else f"  # {state}"
            + (f" after {stage.steps_done()} of {stage.steps} steps" if state == "interrupted" else "")
        )
        console.print(f"  {stage.shown()}{note}", soft_wrap=True, highlight=False, markup=False)
    # Behind the plan, so that a refusal is the last thing said; what training will refuse, --plan refuses too.
    for stage in stages:
        for warning in stage.check_made_alike():
            console.print(f"warning: {warning}", style="yellow", soft_wrap=True, highlight=False, markup=False)
