"""``moegs check-run``: may a run from somewhere else be given to nerfstudio's commands?"""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass
class CheckRun:
    """Look whether a run of unknown origin is safe to load with ns-eval, ns-render and ns-viewer; nothing of it is run.

    nerfstudio's commands build whatever a run's config.yml names. This one reads the file without building anything and
    holds it against what moegs_ns itself writes, sees that commands would write, and read checkpoints, in this folder
    only, reads checkpoints as tensors only, and follows no links out of the folder. Exit status: 0 if all is well, 1
    otherwise.
    """

    run_folder: tyro.conf.Positional[Path]
    """Run folder."""

    def run(self) -> int:
        """Look, print.

        Returns:
            Exit status.

        Raises:
            FileNotFoundError: no such folder.
        """
        from rich.markup import escape

        from moegs_ns import compat
        from moegs_ns.cli.console import make_console
        from moegs_ns.cli.refusals import printable
        from moegs_ns.runs.vetting import vet_run

        compat.apply()
        console = make_console()
        findings = vet_run(self.run_folder)
        for found in findings:
            word = "[green]fine[/]" if found.good else "[bold red]refused[/]"
            file = escape(printable(str(found.file.relative_to(self.run_folder))))
            console.print(f"{word}  {file}: {escape(printable(found.sentence))}", soft_wrap=True, highlight=False)
        return 0 if all(found.good for found in findings) else 1
