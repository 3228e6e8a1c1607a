"""The commands that README, docs/ and the sample scenes' pages show, in the order in which a reader meets them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: What a page says that a script writes. Commands there are records of what was run, not something to type.
GENERATED = "do not edit"
#: A page in the navigation of mkdocs.yml.
_NAVIGATED = re.compile(r"^ +- .*?:? *([\w/.-]+\.md)$", re.MULTILINE)
_ELSEWHERE = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "examples/mixed.md": "examples/mixed/README.md",
}
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4}(?=(?:ns-\w|moegs ))(?P<text>.*)$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True)
class DocumentedCommand:
    """One command line.

    Attributes:
        page: path of the page in the checkout.
        line: number of the command's first line there, from 1.
        words: as a shell would split them, variables not yet replaced.
        variables: what the page set before (``RUN=...``), or on the line itself.
    """

    page: str
    line: int
    words: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return shlex.join(self.words)

    def arguments(self) -> list[str]:
        """The words with the page's variables replaced; others stay as they are."""
        return [re.sub(r"\$\{?(\w+)\}?", self._value, word) for word in self.words]

    def _value(self, match: re.Match[str]) -> str:
        return self.variables.get(match[1], match[0])


def pages(root: Path) -> list[str]:
    """Every page that people write, in the order of the site's navigation, which is that in which they are read."""
    named = _NAVIGATED.findall((root / "mkdocs.yml").read_text("utf8"))
    found = [_ELSEWHERE.get(page, f"docs/{page}") for page in named]
    return [page for page in found if GENERATED not in (root / page).read_text("utf8")[:2000]]


def documented_commands(root: Path) -> list[DocumentedCommand]:
    """Every command in a block for a shell, continued lines joined, in reading order."""
    return [command for page in pages(root) for command in _commands(page, (root / page).read_text("utf8"))]


def _commands(page: str, text: str) -> Iterator[DocumentedCommand]:
    variables: dict[str, str] = {}
    for line, shown in _shell_lines(text):
        words = shlex.split(shown, comments=True)
        own = dict(variables)
        while words and _ASSIGNMENT.match(words[0]):
            name, _, value = words.pop(0).partition("=")
            own[name] = value
            if not words:  # a line of its own: for all that follow
                variables = own
        if words:
            yield DocumentedCommand(page, line, tuple(words), own)


def _shell_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line in the blocks, in order; a line that continues is one."""
    blocks = [
        (match.start("text"), match["text"]) for match in _FENCE.finditer(text) if match["language"] in ("bash", "sh")
    ]
    prose = _FENCE.sub(lambda match: re.sub(r"[^\n]", ".", match.group()), text)
    blocks += [(match.start("text"), match["text"]) for match in _INDENTED.finditer(prose)]
    for start, block in sorted(blocks):
        number = text.count("\n", 0, start) + 1
        waiting, first = "", number
        for shown in block.splitlines():
            first = first if waiting else number
            waiting += shown
            number += 1
            if waiting.endswith("\\"):
                waiting = waiting[:-1]
                continue
            yield first, waiting
            waiting = ""


def expanded(words: list[str], folder: Path) -> list[str]:
    """The words with patterns replaced by what they match below ``folder``, as a shell does; others stay."""
    result = []
    for word in words:
        matches = (
            sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if re.search(r"[*?]", word) else []
        )
        result += matches or [word]
    return result
