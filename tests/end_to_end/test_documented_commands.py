"""Every command line of the README and of docs/usage.md is one that the commands understand."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import tyro

PAGES = ("README.md", "docs/usage.md", "docs/export.md", "examples/mixed/README.md")
COMMANDS = ("ns-train", "ns-eval", "ns-render", "ns-viewer", "moegs", "python", "make", "source")


def documented() -> list[tuple[str, list[str]]]:
    """Page and words of every command in a fenced or indented block, continued lines joined."""
    root = Path(__file__).resolve().parents[2]
    found = []
    for page in PAGES:
        text = (root / page).read_text("utf8")
        blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        blocks += re.findall(r"^ {4}(?=ns-|moegs )(.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
        for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and "=" not in words[0]:
                found.append((page, words))
    return found


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
    shown = {words[0] for _, words in documented()}
    assert shown <= set(COMMANDS)
    assert {"ns-train", "ns-eval", "ns-render", "ns-viewer", "moegs"} <= shown


@pytest.mark.parametrize(("page", "words"), documented(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_documented_command_is_understood(page: str, words: list[str], project_root: Path) -> None:
    command, *arguments = words
    if command == "python":
        assert (project_root / arguments[0]).is_file()
        return
    if command in ("make", "source"):
        return  # targets: tests/packaging/test_repository.py
    if command == "moegs" and "--" in arguments:
        arguments = arguments[: arguments.index("--")]  # the rest is the data parser's
    try:
        tyro.cli(parser(command, arguments), args=[argument.replace("$RUN", "outputs/run") for argument in arguments])
    except SystemExit as exit:
        pytest.fail(f"{page}: {shlex.join(words)} is not understood ({exit})")


def test_documented_paths_exist(project_root: Path) -> None:
    """Scenes of the checkout that commands name."""
    named = {word for _, words in documented() for word in words if word.startswith("examples/")}
    assert named
    assert all((project_root / name).is_dir() for name in named)
