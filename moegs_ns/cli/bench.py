"""``moegs bench``: a whole table, over scenes, experts and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from moegs_ns.benching.cluster import Resources
    from moegs_ns.benching.jobs import PlannedJob
    from moegs_ns.benching.suite import Suite


@dataclass
class Bench:
    """Train and evaluate every run of a suite, a table's scenes, experts and seeds, and print the table.

    Run it again after an interruption: finished runs are skipped, others go on from their last checkpoint. Suites of
    one --output-dir share their experts' runs. Without a suite, lists those there are.
    """

    suite: tyro.conf.Positional[str] = ""
    """Name of a file in configs/suites (paper_table_1 to paper_table_13 and paper_figure_10 are the paper's), or a
    TOML or YAML file."""
    scenes: tuple[str, ...] = ()
    """Only these scenes, by the names of their folders. Default: all of the suite."""
    seeds: tuple[int, ...] = ()
    """Seeds. Default: those of the suite."""
    preset: str | None = None
    """Presets behind all others of the suite, such as quick: a table for a try, not to be compared with the paper's."""
    data_dir: Path | None = None
    """Folder in which the suite's scenes are looked for first, such as the --output-dir of moegs data download. Further
    ones: the working folder, its folder data, and $MOEGS_DATA_DIR."""
    output_dir: Path = Path("outputs/bench")
    """Where runs are filed, as <output-dir>/<scene>/<method>/<name>, and the table, as <output-dir>/<suite>.md."""
    devices: tuple[str, ...] = ()
    """CUDA devices to train on, such as: 0 1; independent runs are handed out to them. `cpu` for none. Default: all
    there are. `cpu cpu` trains two at a time on a CPU, each with half of the threads."""
    stop_at_failure: bool = False
    """Begin no further runs once one has failed. Default: those that do not need it are still begun, without
    --cluster local or debug."""
    plan: bool = False
    """Only print what would be done, which data are missing, and how to get them."""
    report: bool = False
    """Only print and write the tables of what is finished."""
    cluster: Literal["none", "slurm", "local", "debug"] = "none"
    """Where to: `slurm` submits a Slurm job per run, begun when those it needs have ended well (needs submitit: pip
    install 'moegs_ns[cluster]'). `local` and `debug` take the same path on this machine, one run after the other, in
    processes of their own or in this one."""
    wait: bool = False
    """With --cluster slurm, wait for all jobs and print the tables. Default: return when all are submitted."""
    partition: str | None = None
    """Slurm partition."""
    hours: float = 24.0
    """Longest time of a Slurm job; one that is cut off is queued again and goes on."""
    memory_gb: int = 64
    """Memory of a Slurm job in GB."""
    cpus: int = 8
    """Processor cores of a Slurm job."""
    gpus: int = 1
    """GPUs of a Slurm job; 0 for none."""
    slurm_options: tuple[str, ...] = ()
    """Further options of sbatch as name=value, such as: account=lab."""
    logs: Path | None = None
    """Folder for what Slurm jobs print, which all nodes must see. Default: <output-dir>/slurm."""

    def run(self) -> None:
        """Plan, train, evaluate, report.

        Raises:
            ValueError, FileNotFoundError: a suite or options that do not fit, or missing data; nothing was begun.
            StageFailedError: runs failed; the message names the log of the first.
        """
        from moegs_ns.benching.find_data import how_to_get
        from moegs_ns.benching.jobs import suite_jobs
        from moegs_ns.benching.suite_files import read_suite
        from moegs_ns.cli.console import make_console
        from moegs_ns.command_line import CommandLineError
        from moegs_ns.training.processes import StageFailedError

        console = make_console()
        if not self.suite:
            _list_suites(console)
            return
        self._check_options()
        suite = self._chosen(read_suite(self.suite))
        folders = [] if self.data_dir is None else [self.data_dir]
        only_look = self.plan or self.report
        missing = _missing_data(suite, folders)
        _check_parsers(suite)
        if missing and not only_look:
            raise FileNotFoundError(
                f"expected the data of {suite.name}, found none of {', '.join(missing)}; {how_to_get(missing)}; or "
                "name the scenes that are here with --scenes"
            )
        jobs = suite_jobs(suite, self.output_dir.absolute(), folders, assume_data=only_look)
        if not self.report:
            try:
                _check_data_options(jobs)
            except CommandLineError as error:
                raise ValueError(f"{error} (options in {self.suite} and its presets)") from error
        if self.plan:
            _show_plan(suite, jobs, missing, console)
            return
        try:
            ended = self.report or self._carry_out(jobs, console)
        except StageFailedError:
            self._show_tables(suite, jobs, console)  # of what has not failed; what has is said behind
            raise
        if ended:
            self._show_tables(suite, jobs, console)

    def _check_options(self) -> None:
        """Refuse what would be refused later, after the plan or after hours."""
        from moegs_ns.cli.devices import check_training_device

        if self.data_dir is not None and not self.data_dir.is_dir():
            raise FileNotFoundError(f"expected a folder with scenes at {self.data_dir}, found none; change --data-dir")
        if self.output_dir.exists() and not self.output_dir.is_dir():
            raise ValueError(f"expected a folder for runs at {self.output_dir}, found a file; change --output-dir")
        if any(seed < 0 for seed in self.seeds) or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"expected different --seeds of 0 or more, found {' '.join(map(str, self.seeds))}")
        for device in self.devices:
            check_training_device(device)
        self._resources()

    def _resources(self) -> "Resources":
        from moegs_ns.benching.cluster import Resources

        return Resources(self.partition, self.hours, self.memory_gb, self.cpus, self.gpus, self.slurm_options)

    def _chosen(self, suite: "Suite") -> "Suite":
        """The part of the suite that is asked for."""
        known = {scene.name: scene for scene in suite.scenes}
        unknown = sorted(set(self.scenes) - set(known))
        if unknown:
            raise ValueError(f"expected scenes among {', '.join(known)}, found {', '.join(unknown)}")
        scenes = tuple(known[name] for name in self.scenes) or suite.scenes
        if self.preset is not None:
            scenes = tuple(
                replace(scene, preset="+".join(one for one in (scene.preset, self.preset) if one)) for scene in scenes
            )
        return replace(suite, scenes=scenes, seeds=self.seeds or suite.seeds)

    def _carry_out(self, jobs: Sequence["PlannedJob"], console: "Console") -> bool:
        """Do all jobs, or submit them; whether they have ended."""
        if self.cluster != "none":
            return self._submit(jobs, console)
        from moegs_ns.benching.jobs import bring_job_to_end
        from moegs_ns.cli.bench_lines import JobLines
        from moegs_ns.cli.devices import chosen_devices
        from moegs_ns.training.run_jobs import run_jobs

        lines = JobLines(len(jobs), console)
        work = [one.job for one in jobs]
        devices = chosen_devices(self.devices)
        run_jobs(work, bring_job_to_end, devices, lines.notify, keep_going=not self.stop_at_failure)
        return True

    def _submit(self, jobs: Sequence["PlannedJob"], console: "Console") -> bool:
        from moegs_ns.benching.cluster import submit_jobs, wait_for

        assert self.cluster != "none"
        logs = (self.logs or self.output_dir / "slurm").absolute()

        def say(line: str) -> None:
            console.print(line, soft_wrap=True, highlight=False, markup=False)

        submitted = submit_jobs([one.job for one in jobs], self.cluster, logs, self._resources(), say)
        if self.cluster == "slurm" and not self.wait:
            say(f"{len(submitted.new)} jobs submitted, logs in {logs}; the tables: the same command with --report")
            return False
        wait_for(submitted.new)
        return not submitted.queued

    def _show_tables(self, suite: "Suite", jobs: Sequence["PlannedJob"], console: "Console") -> None:
        from moegs_ns.benching.suite_tables import (
            geometry_table,
            read_outcomes,
            scene_tables,
            suite_tables,
            write_tables,
        )

        outcomes = read_outcomes(jobs)
        tables = [*scene_tables(outcomes), *geometry_table(suite, jobs), *suite_tables(suite, outcomes)]
        for table in tables:
            console.print(table.terminal())
        for note in suite.notes:
            console.print(f"note: {note}", soft_wrap=True, highlight=False, markup=False)
        if not tables:
            console.print(f"No run of {suite.name} is finished in {self.output_dir}.", soft_wrap=True, highlight=False)
            return
        console.print(str(write_tables(tables, suite, jobs, self.output_dir)), soft_wrap=True, highlight=False)


def _list_suites(console: "Console") -> None:
    from moegs_ns.benching.suite_files import known_suites, read_suite

    for name in known_suites():
        console.print(f"{name}: {read_suite(name).description}", soft_wrap=True, highlight=False, markup=False)


def _read_data(jobs: Sequence["PlannedJob"]) -> None:
    """Let the data parser look at each scene, as training will.

    Raises:
        ValueError, FileNotFoundError: data that it refuses.
    """
    from moegs_ns.training.same_data import read_facts
    from moegs_ns.training.stages import Stage

    stages = [one.job for one in jobs if isinstance(one.job, Stage)]
    ways = {(one.scene.data, one.scene.parser, tuple(one.parser_options())) for one in stages}
    for data, parser, options in sorted(ways):
        read_facts(data, parser, options)


def _missing_data(suite: "Suite", folders: Sequence[Path]) -> list[str]:
    """Data folders of the suite that are nowhere."""
    from moegs_ns.benching.find_data import find_data

    missing = []
    for scene in suite.scenes:
        try:
            find_data(scene.data, folders)
        except FileNotFoundError:
            missing.append(scene.data)
    return missing


def _check_parsers(suite: "Suite") -> None:
    """Refuse data parsers that do not exist, also of scenes whose data are nowhere."""
    from moegs_ns.scene.dataparsers.layouts import LAYOUTS

    known = [layout.parser for layout in LAYOUTS.values()]
    for scene in suite.scenes:
        if scene.parser not in known:
            raise ValueError(
                f"expected a data parser out of {', '.join(known)} for {scene.name} in {suite.name}, found "
                f"{scene.parser!r}"
            )


def _check_data_options(jobs: Sequence["PlannedJob"]) -> None:
    """Refuse options that data parsers do not have, also of scenes whose data are nowhere.

    Raises:
        CommandLineError: there are some.
    """
    from moegs_ns.command_line import parse_data_options
    from moegs_ns.scene.dataparsers.layouts import LAYOUTS
    from moegs_ns.training.stages import Stage

    configs = {layout.parser: layout.config for layout in LAYOUTS.values()}
    stages = [one.job for one in jobs if isinstance(one.job, Stage)]
    for parser, options in sorted({(stage.scene.parser, tuple(stage.parser_options())) for stage in stages}):
        parse_data_options(configs[parser](), options, parser)


def _show_plan(suite: "Suite", jobs: Sequence["PlannedJob"], missing: list[str], console: "Console") -> None:
    """Print what the suite is, what it lacks, its command lines and how far each run is.

    Raises:
        ValueError, FileNotFoundError: runs that are there do not belong to this plan.
    """

    from moegs_ns.benching.find_data import how_to_get

    def say(line: str, style: str | None = None) -> None:
        console.print(line, style=style, soft_wrap=True, highlight=False, markup=False)

    say(f"{suite.name}: {suite.description}", "bold")
    say(f"experts: {'; '.join(' + '.join(names) for names in suite.experts)}")
    say(f"scenes: {', '.join(scene.name for scene in suite.scenes)}")
    say(f"seeds: {', '.join(map(str, suite.seeds))}")
    for note in suite.notes:
        say(f"note: {note}")
    if missing:
        say(f"missing data: {', '.join(missing)}; {how_to_get(missing)}", "yellow")
    states = [one.job.state() for one in jobs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("finished", "interrupted", "missing"))
    say(f"{len(jobs)} jobs: {counts.replace('missing', 'to do')}")
    for one, state in zip(jobs, states, strict=True):
        say(f"  {one.job.shown()}" + ("" if state == "missing" else f"  # {state}"))
    # Behind the plan, so that a refusal is the last thing said; what training will refuse, --plan refuses too.
    elsewhere = {Path(data).stem for data in missing}
    _read_data([one for one in jobs if one.scene not in elsewhere])
    for one in jobs:
        for warning in one.job.check_made_alike() if one.scene not in elsewhere else ():
            say(f"warning: {warning}", "yellow")
