"""Runs every documented command: ``python -m tests.end_to_end.command_driver RESULTS``, in a copy of the checkout.

All commands run in this one process, which pays for the imports once; only viewers are programs of their own. What
`command_rules` says is applied, and nothing else changed. Each command's outcome is a line of JSON in RESULTS.
"""

import importlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.end_to_end import command_rules as rules
from tests.end_to_end.command_scenes import write_scenes
from tests.end_to_end.documented_commands import DocumentedCommand, documented_commands, expanded

#: Modules and classes behind nerfstudio's commands.
_NERFSTUDIO = {
    "ns-eval": ("nerfstudio.scripts.eval", "ComputePSNR"),
    "ns-render": ("nerfstudio.scripts.render", "Commands"),
}
_PATIENCE = 300.0  # seconds for a viewer's first picture, on a busy machine
_TRAINED_BY_RUNS = ("moegs-router", "moegs-distill", "moegs-fused")


def main() -> None:
    """Run all commands of the checkout in the working folder and write what became of them."""
    folder, results = Path.cwd(), Path(sys.argv[1])
    shrink_presets(folder)
    shrink_suites(folder)
    write_scenes(folder)
    Commands(folder).take_over_processes()
    needs = rules.Needs(Path(os.environ["MOEGS_DATA_DIR"]))
    with results.open("w") as output:
        for command in documented_commands(folder):
            output.write(json.dumps(outcome(command, needs, folder)) + "\n")
            output.flush()


def outcome(command: DocumentedCommand, needs: rules.Needs, folder: Path) -> dict[str, Any]:
    """What running a command led to: ``skipped`` (why) or ``failed`` (how, None when it did not), and ``seconds``."""
    result: dict[str, Any] = {"page": command.page, "line": command.line, "command": str(command)}
    words = command.arguments()
    reason = rules.reason_not_to_run(words) or needs.missing(words)
    if reason:
        return {**result, "skipped": reason}
    start = time.monotonic()
    print(f"\n=== {command.page}:{command.line}: {command}", flush=True)  # noqa: T201  a log, read when something fails
    try:
        for alternative in rules.removed_before(words):
            shutil.rmtree(folder / alternative)
        for before in rules.taken_for_granted(words):
            Commands(folder).run(before)
        failure = Commands(folder).run(rules.small(expanded(words, folder)))
    except (Exception, SystemExit):
        failure = traceback.format_exc()
    sys.stdout.flush()
    return {**result, "failed": failure, "seconds": round(time.monotonic() - start, 1)}


def shrink_presets(folder: Path) -> None:
    """Give the copy's presets the numbers of tests/training/tiny.toml, those of layers on them the rules' numbers."""
    presets = folder / "configs" / "presets"
    for name in rules.TINY_PRESETS:
        shutil.copyfile(folder / "tests" / "training" / "tiny.toml", presets / f"{name}.toml")
    for name, numbers in rules.LAYER_NUMBERS.items():
        text = (presets / f"{name}.toml").read_text("utf8")
        for key, number in numbers.items():
            text, count = re.subn(rf"^{key} = \d+", f"{key} = {number}", text, flags=re.MULTILINE)
            assert count == 1, f"{name}.toml: expected one line '{key} = ...', found {count}"
        (presets / f"{name}.toml").write_text(text, "utf8")


def shrink_suites(folder: Path) -> None:
    """Leave suites of the copy, but the paper's, and sweeps one small mixture and one seed, and sweeps two choices."""
    for path in [*(folder / "configs" / "suites").glob("*.toml"), *(folder / "configs" / "sweeps").glob("*.toml")]:
        if path.name.startswith("paper_"):
            continue  # planned only: their data are nowhere
        text = path.read_text("utf8")
        experts = tomllib.loads(text).get("experts", [""])
        mixture = json.dumps(rules.SUITE_EXPERTS)
        text = with_value(text, "experts", f"[{mixture}]" if isinstance(experts[0], list) else mixture)
        text = with_value(text, "seeds", "[42]")
        text = with_value(text, "routers", "[]")
        path.write_text("[[choice]]".join(text.split("[[choice]]")[:3]), "utf8")


def with_value(text: str, key: str, value: str) -> str:
    """TOML with another value of a key that stands at the top and holds a list; as it is where there is none."""
    return re.sub(rf"^{key} = \[(?:[^\[\]#]|#.*|\[[^\]]*\])*\]", f"{key} = {value}", text, count=1, flags=re.MULTILINE)


class Commands:
    """Runs command lines in this process.

    Args:
        folder: the copy of the checkout, which is the working folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take_over_processes(self) -> None:
        """Let `moegs` train and evaluate in this process instead of one per stage."""
        from moegs_ns.training.processes import Processes

        commands = self

        def run(
            processes: Processes, words: Sequence[str], log: Path, device: str | None = None, append: bool = False
        ) -> None:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("printed elsewhere\n")
            failure = commands.run([*words], tiny=False)
            assert failure is None, failure

        Processes.run = run  # type: ignore[method-assign]

    def run(self, words: list[str], tiny: bool = True) -> str | None:
        """Run a command; what is wrong with its outcome, None when nothing is.

        Args:
            words: of the command line.
            tiny: give trainings the tiny preset's options.
        """
        name, *arguments = words
        if name == "ns-train":
            return self._train(self.tiny_training(words) if tiny else words)
        if name == "ns-viewer":
            return self._view(words)
        if name in _NERFSTUDIO:
            self._nerfstudio(name, arguments)
        elif name == "moegs":
            from moegs_ns.cli.main import run

            status = run(arguments)
            accepted = next((rules.STATUSES[rule] for rule in rules.STATUSES if rules.begins(words, rule)), (0,))
            if status not in accepted:
                return f"exit status {status}"
        elif name == "python":
            self._script(arguments)
        elif name == "make":
            return self._make(arguments)
        else:
            return f"no rule says how to run {name}"
        return self._missing_files(words)

    def tiny_training(self, words: list[str]) -> list[str]:
        """An ``ns-train`` line with the tiny preset's options behind its own, of which the last count."""
        from moegs_ns.training.stages import Scene, expert_stage, router_stage

        method = words[1]
        parser = next(index for index, word in enumerate(words) if word.endswith("-data") and word[0] != "-")
        options: tuple[str, ...] = ()
        if method == "moegs-router":
            stage = router_stage(Scene(Path(), words[parser]), [], "demo", "tiny", 42)
            options = tuple(option for option in stage.options if option != "--experts")  # the command names them
        elif method not in _TRAINED_BY_RUNS:
            stage = expert_stage(Scene(Path(), words[parser]), method.removeprefix("moegs-"), "demo", "tiny", 42)
            options = stage.options
        smaller = ["--downscale", "8"] if words[parser] == "n3v-data" else []
        return [*words[:2], "--vis", "tensorboard", *words[2:parser], *options, *words[parser:], *smaller]

    def _train(self, words: list[str]) -> str | None:
        from tests.training.inprocess import train

        sys.argv = words  # the run's record quotes it
        run = train(words[1:])
        return None if (run / "run.json").is_file() else f"no run.json in {run}"

    def _nerfstudio(self, name: str, arguments: list[str]) -> None:
        import tyro

        from tests.training.inprocess import with_reset_globals

        module, command = _NERFSTUDIO[name]
        parsed: Any = tyro.cli(getattr(importlib.import_module(module), command), args=arguments)
        with_reset_globals(parsed.main)

    def _view(self, words: list[str]) -> str | None:
        """Start a viewer, wait until it shows a picture, stop it."""
        from tests.viewer.viewer_client import ViewerClient

        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = int(probe.getsockname()[1])
        arguments = [*words[1:], "--viewer.websocket-port", str(port)]
        # A program of its own: a fork of this one would wait for ever for the OpenMP threads that it left behind.
        viewer = subprocess.Popen([str(Path(sys.executable).with_name(words[0])), *arguments])
        try:
            with ViewerClient(port, patience=_PATIENCE) as client:
                client.settled_picture(lambda: client.stand_at_camera(0), quiet=0.2)
            return None if viewer.poll() is None else f"the viewer ended with status {viewer.returncode}"
        finally:
            viewer.kill()
            viewer.wait()

    def _script(self, arguments: list[str]) -> None:
        """A script of the checkout, as its own program, which imports what lies beside it."""
        script = self._folder / arguments[0]
        sys.path.insert(0, str(script.parent))
        sys.argv = [str(script), *arguments[1:]]
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            if end.code not in (0, None):
                raise
        finally:
            sys.path.remove(str(script.parent))

    def _make(self, targets: list[str]) -> str | None:
        """The commands that a target runs, but for making the environment."""
        lines = subprocess.run(["make", "-n", *targets], capture_output=True, text=True, check=True).stdout.splitlines()
        commands = [shlex.split(line) for line in lines if "/bin/" in line and "setup_env" not in line]
        assert commands, f"make {shlex.join(targets)} runs nothing that is known"
        for words in commands:
            program, *arguments = words
            failure = self.run([Path(program).name, *arguments])
            if failure:
                return failure
        return None

    def _missing_files(self, words: list[str]) -> str | None:
        values = [words[index + 1] for index, word in enumerate(words[:-1]) if word in rules.WRITTEN]
        missing = [value for value in values if not (self._folder / value).exists()]
        return f"not written: {', '.join(missing)}" if missing else None


if __name__ == "__main__":
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, line_buffering=True)
    main()
