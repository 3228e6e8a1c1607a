"""Every command line of the pages is one that the commands understand; `test_commands_run` runs them."""

from pathlib import Path
from typing import Any

import pytest
import tyro

from moegs_ns.cli.main import with_kinds
from tests.end_to_end.documented_commands import DocumentedCommand, documented_commands, expanded, pages

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = documented_commands(ROOT)
UNDERSTOOD = ("ns-train", "ns-eval", "ns-render", "ns-viewer", "moegs")
#: Others that pages show. Make's targets: tests/packaging/test_repository.py.
OTHERS = ("python", "make", "source", "pip", "export", "nerfbaselines")


def _name(command: DocumentedCommand) -> str:
    return f"{command.page}:{command.line}: {command}"


def parser(command: str, words: list[str]) -> Any:
    """What tyro is to parse the words of a command into."""
    if command == "ns-train":
        from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

        return AnnotatedBaseConfigUnion
    if command == "ns-eval":
        from nerfstudio.scripts.eval import ComputePSNR

        return tyro.conf.FlagConversionOff[ComputePSNR]
    if command == "ns-render":
        from nerfstudio.scripts.render import Commands

        return Commands
    if command == "ns-viewer":
        from nerfstudio.scripts.viewer.run_viewer import RunViewer

        return tyro.conf.FlagConversionOff[RunViewer]
    from moegs_ns.cli.main import Command

    return Command


def test_the_pages_show_every_command() -> None:
    shown = {command.words[0] for command in COMMANDS}
    assert shown <= {*UNDERSTOOD, *OTHERS}
    assert set(UNDERSTOOD) <= shown


@pytest.mark.parametrize("command", COMMANDS, ids=_name)
def test_a_documented_command_is_understood(command: DocumentedCommand) -> None:
    program, *arguments = command.arguments()
    if program == "python":
        assert (ROOT / arguments[0]).is_file()
    if program not in UNDERSTOOD:
        return
    if program == "moegs":
        if "--" in arguments:
            arguments = arguments[: arguments.index("--")]  # the rest is the data parser's
        arguments = with_kinds(arguments)
    try:
        tyro.cli(parser(program, arguments), args=arguments)
    except SystemExit as exit:
        pytest.fail(f"{_name(command)} is not understood ({exit})")


def test_documented_paths_exist(project_root: Path) -> None:
    """Scenes of the checkout that commands name."""
    named = {word for command in COMMANDS for word in command.words if word.startswith("examples/")}
    assert named
    assert all((project_root / name).is_dir() for name in named)


def test_commands_are_found_as_a_reader_sees_them(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "mkdocs.yml").write_text("nav:\n  - First: index.md\n  - usage.md\n  - Made: made.md\n")
    (tmp_path / "README.md").write_text(
        "```bash\nRUN=outputs/a\nns-eval --load-config $RUN/config.yml \\\n    --output-path b.json   # scores\n```\n"
        "```toml\nmoegs = 1\n```\n- a list\n\n  ```bash\n  moegs train x\n  ```\n"
    )
    (tmp_path / "docs" / "usage.md").write_text("By hand\n\n    ns-train moegs-stg --data $RUN\n\n`moegs data`\n")
    (tmp_path / "docs" / "made.md").write_text("Written by a script; do not edit.\n```bash\nmoegs fuse x\n```\n")
    assert pages(tmp_path) == ["README.md", "docs/usage.md"]
    assert [(command.page, command.line, command.arguments()) for command in documented_commands(tmp_path)] == [
        ("README.md", 3, ["ns-eval", "--load-config", "outputs/a/config.yml", "--output-path", "b.json"]),
        ("README.md", 12, ["moegs", "train", "x"]),
        ("docs/usage.md", 3, ["ns-train", "moegs-stg", "--data", "$RUN"]),
    ]


def test_patterns_are_expanded_as_a_shell_does(tmp_path: Path) -> None:
    for name in ("demo-b", "demo-a", "other"):
        (tmp_path / name).mkdir()
    assert expanded(["report", "demo*", "none*"], tmp_path) == ["report", "demo-a", "demo-b", "none*"]
