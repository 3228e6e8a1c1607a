"""Command lines read by tyro, whose refusals become one line."""

import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any, TypeVar

T = TypeVar("T")

_REFUSED = 2  # exit status of command lines that are not understood
_WIDE = "4000"  # so wide that nothing is broken into rows but where a sentence ends
_CORNER, _TITLE = "╭", "─ "
_RULE = re.compile(r"─+|-+")
_BORDERS = re.compile(r"[│╭╮╰╯]")
_LACKING = re.compile(r"Missing from [^:]*: ")
_CHOICES = "Available subcommands: "
_NEAR = "Perhaps you meant:"


class CommandLineError(ValueError):
    """A command line that is not understood; the message is one line."""


def parse(kind: Any, arguments: Sequence[str], prog: str, **more: Any) -> Any:
    """``tyro.cli``; what it refuses is raised instead of drawn as a box of many lines.

    Args:
        kind: what to make of the arguments.
        arguments: as typed.
        prog: the command, as it is typed to read its ``--help``.
        more: of ``tyro.cli``.

    Raises:
        CommandLineError: arguments that are unknown, missing or of a wrong type.
        SystemExit: ``--help`` was asked for, and printed.
    """
    import tyro

    return _told_shortly(lambda: tyro.cli(kind, args=list(arguments), prog=prog, **more), prog)


def parse_data_options(default: T, options: Sequence[str], parser: str) -> T:
    """A data parser's config as ``ns-train METHOD PARSER OPTIONS`` would have it, with ``--switch True``.

    Args:
        default: its config where nothing is said.
        options: as typed.
        parser: its name on the command line.

    Raises:
        CommandLineError: options that are unknown or of a wrong type.
    """
    import tyro

    as_nerfstudio = (tyro.conf.FlagConversionOff,)
    config: T = parse(type(default), options, f"ns-train moegs-stg {parser}", default=default, config=as_nerfstudio)
    return config


def _told_shortly(read: Callable[[], T], prog: str) -> T:
    said, refused = io.StringIO(), False
    try:
        with redirect_stderr(said):
            return read()
    except SystemExit as stopped:
        refused = stopped.code == _REFUSED
        if not refused:
            raise
    finally:
        if not refused:
            sys.stderr.write(said.getvalue())  # warnings, for example
    again = io.StringIO()
    with redirect_stderr(again), _wide_terminal(), suppress(SystemExit):
        read()
    raise CommandLineError(_sentence(again.getvalue(), prog))


@contextmanager
def _wide_terminal() -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDE
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _sentence(box: str, prog: str) -> str:
    """A box as tyro draws it, on one line: what it found, what it would take, and where to read more.

    It has a title, in its border or, without Unicode, above a rule; and up to three parts between rules: what is wrong;
    what would be right, if tyro has an idea; and which command's help tells more.
    """
    parts: list[list[str]] = [[]]
    for line in box[max(box.rfind(_CORNER), 0) :].splitlines():
        row = _BORDERS.sub("", line).strip()
        if _RULE.fullmatch(row):
            parts.append([])
        elif row and not row.startswith(_TITLE):
            parts[-1].append(row)
    wrong, *further = parts if _CORNER in box else parts[1:]
    hints = [row for part in further for row in part]
    helps = re.compile(rf"({re.escape(prog)}[\w -]*) --help$")
    helped = next((hit[1] for row in reversed(hints) if (hit := helps.search(row))), prog)
    found = " ".join(wrong).rstrip(".") or "what it does not know"
    if found.startswith("Expected "):
        return f"expected {found.removeprefix('Expected ')}, found none; see `{helped} --help`"
    lacking = _LACKING.match(found)
    found = f"without {found[lacking.end() :]}" if lacking else f"with {found[0].lower()}{found[1:]}"
    sentence = f"expected a command line as `{helped} --help` explains it, found one {found}"
    for row in hints:
        if row.startswith(_CHOICES):
            sentence += f"; known: {row.removeprefix(_CHOICES)}"
    near = dict.fromkeys(row.split()[0] for row in hints if row.startswith("--")) if _NEAR in hints else {}
    return sentence + (f"; perhaps you meant {' or '.join(near)}" if near else "")
