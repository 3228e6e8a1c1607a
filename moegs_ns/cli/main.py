"""The ``moegs`` command: ``data``, ``train``, ``bench``, ``report`` and ``render`` with their special kinds, ``prune``,
``fuse``, ``export``, ``check-run``.

Everything heavy is imported inside the commands, so that ``moegs --help`` answers at once.
"""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, NoReturn

import tyro

from moegs_ns.cli.bench import Bench
from moegs_ns.cli.check_run import CheckRun
from moegs_ns.cli.data import Data
from moegs_ns.cli.export import Export
from moegs_ns.cli.films import BulletTime, Fixed, FollowPath, Interpolate, Orbit, Spiral
from moegs_ns.cli.fuse import Fuse
from moegs_ns.cli.gates import ReportGates
from moegs_ns.cli.geometry import ReportGeometry
from moegs_ns.cli.motion import ReportMotion
from moegs_ns.cli.prune import Prune
from moegs_ns.cli.refusals import printable, told
from moegs_ns.cli.render import Render
from moegs_ns.cli.report import Report
from moegs_ns.cli.routers import ReportRouters
from moegs_ns.cli.train import Train
from moegs_ns.command_line import CommandLineError, parse

Command = (
    Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[ReportMotion, tyro.conf.subcommand("report-motion")]
    | Annotated[ReportGeometry, tyro.conf.subcommand("report-geometry")]
    | Annotated[ReportGates, tyro.conf.subcommand("report-gates")]
    | Annotated[ReportRouters, tyro.conf.subcommand("report-routers")]
    | Annotated[Fuse, tyro.conf.subcommand("fuse")]
    | Annotated[Render, tyro.conf.subcommand("render")]
    | Annotated[Fixed, tyro.conf.subcommand("render-fixed")]
    | Annotated[BulletTime, tyro.conf.subcommand("render-bullet-time")]
    | Annotated[Interpolate, tyro.conf.subcommand("render-interpolate")]
    | Annotated[Spiral, tyro.conf.subcommand("render-spiral")]
    | Annotated[Orbit, tyro.conf.subcommand("render-orbit")]
    | Annotated[FollowPath, tyro.conf.subcommand("render-path")]
    | Annotated[Prune, tyro.conf.subcommand("prune")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[CheckRun, tyro.conf.subcommand("check-run")]
)
#: Special commands, as in ``moegs report motion``. A run folder of such a name is given as ./motion.
_KINDS = {
    "report": ("motion", "geometry", "gates", "routers"),
    "render": ("fixed", "bullet-time", "interpolate", "spiral", "orbit", "path"),
}
_NOT_UNDERSTOOD = 2
_DESCRIPTION = (
    "Mixtures of dynamic Gaussian-splat experts: prepare and check data, train one scene's experts and router, or all "
    "of a table, report, render, prune, fuse, export. `moegs --debug COMMAND` shows where an "
    "error comes from."
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of ``moegs``; ``arguments`` default to those of the process."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: Sequence[str]) -> int:
    """Parse, call, and turn expected errors into one line.

    Returns:
        Exit status: 0, 1 for an error that was explained, 2 for a command line that is not understood, 130 or 143 when
        interrupted; a command may have its own.
    """
    arguments, debug = _without_debug(list(arguments))
    own, passed_on = _split(with_kinds(arguments))
    try:
        command = parse(Command, own, "moegs", description=_DESCRIPTION)
    except CommandLineError as error:
        return _fail(printable(str(error)), _NOT_UNDERSTOOD)
    action = command.action if isinstance(command, Data) else command
    if passed_on is not None:
        if not hasattr(action, "data_options"):
            return _fail("only `moegs train` and `moegs data check` take options of the data parser behind '--'")
        action.data_options = tuple(passed_on)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return action.run() or 0
    except KeyboardInterrupt as interrupt:
        from rich.console import Console

        message = getattr(action, "stopped_message", "Stopped. The same command goes on where it stopped.")
        Console(stderr=True, emoji=False).print(f"\n{message}", style="yellow", soft_wrap=True, markup=False)
        return 143 if interrupt.args else 130
    except (ValueError, OSError, RuntimeError) as error:
        sentence = told(error)
        if debug or sentence is None:
            raise
        return _fail(sentence, getattr(action, "failure_status", 1))
    finally:
        signal.signal(signal.SIGTERM, previous)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """``moegs --debug COMMAND`` shows where an error comes from instead of its one line."""
    return (arguments[1:], True) if arguments[:1] == ["--debug"] else (arguments, False)


def with_kinds(arguments: list[str]) -> list[str]:
    """``report motion RUN`` is the command ``report-motion RUN``: ``report`` and ``render`` take run folders, too."""
    if len(arguments) > 1 and arguments[1] in _KINDS.get(arguments[0], ()):
        return [f"{arguments[0]}-{arguments[1]}", *arguments[2:]]
    return arguments


def _split(arguments: list[str]) -> tuple[list[str], list[str] | None]:
    """What stands before and behind the first ``--``; None when there is none."""
    if "--" not in arguments:
        return arguments, None
    cut = arguments.index("--")
    return arguments[:cut], arguments[cut + 1 :]


def _fail(message: str, status: int = 1) -> int:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, emoji=False)
    console.print(f"[bold red]error:[/bold red] {escape(message)}", soft_wrap=True, highlight=False)
    return status


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)
