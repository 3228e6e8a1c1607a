"""What tyro refuses is one line that says what was found, what would be right and where to read more."""

import io
import os
import re
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import tyro

from moegs_ns.command_line import CommandLineError, parse, parse_data_options


@dataclass
class Paint:
    """Paint."""

    wall: tyro.conf.Positional[str]
    """Which one."""
    coats: int = 1
    """How many layers of paint are put on, one after another, each when the one below has become dry enough for it."""
    colour: Literal["red", "blue"] = "red"
    """Which one."""


@dataclass
class Wash:
    """Wash."""

    times: int = 1
    """How often."""
    warm: bool = True
    """Water."""


COMMANDS = Annotated[Paint, tyro.conf.subcommand("paint")] | Annotated[Wash, tyro.conf.subcommand("wash")]
LONG = "a-path-of-many-words/" * 12


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pant"], ["`house --help`", "found one with unrecognized options: pant; known: paint, wash"]),
        (["paint", "a", "--colr", "red"], ["unrecognized options: --colr, red", "; perhaps you meant --colour"]),
        (["paint", "a", "--coats", "two"], ["found one with error parsing --coats", "'two'"]),
        (["paint", "a", "--colour", LONG], ["`house paint --help`", f"invalid choice '{LONG}'", "'red', 'blue'"]),
        (["paint", "a", "--coats"], ["`house paint --help`", "missing value for argument '--coats'"]),
        (["paint"], ["`house paint --help`", "found one without STR Which one."]),
        ([], ["expected one of {paint, wash}, found none; see `house --help`"]),
    ],
)
def test_a_refusal_is_one_line(
    words: list[str],
    expected: list[str],
    encoding: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))  # which decides on borders
    with pytest.raises(CommandLineError) as refused:
        parse(COMMANDS, words, "house")
    message = str(refused.value)
    assert message.startswith("expected ")
    assert "found" in message
    for part in expected:
        assert part in message
    assert not re.search(r"\n|[│─╭]|----", message)
    assert not any(capfd.readouterr()), "the box is not shown too"


def test_only_what_is_like_it_is_suggested() -> None:
    with pytest.raises(CommandLineError) as refused:
        parse(COMMANDS, ["paint", "a", "--coats", "x"], "house")
    assert "perhaps" not in str(refused.value)


def test_what_is_understood_is_returned() -> None:
    assert parse(COMMANDS, ["paint", "north", "--coats", "2"], "house") == Paint("north", 2)


def test_other_things_that_are_said_are_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    def talkative(text: str) -> str:
        sys.stderr.write("mind the step\n")
        return text

    assert parse(Annotated[str, tyro.conf.arg(constructor=talkative)], ["--text", "a"], "house") == "a"
    assert capfd.readouterr().err == "mind the step\n"


def test_help_is_shown_as_ever(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit) as ended:
        parse(COMMANDS, ["paint", "--help"], "house")
    assert not ended.value.code
    shown = capfd.readouterr().out
    assert "--coats" in shown
    assert max(len(line) for line in shown.splitlines() if line.startswith("│")) == 60


def test_the_width_of_the_terminal_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in ("77", None):
        monkeypatch.delenv("COLUMNS", raising=False)
        if width is not None:
            monkeypatch.setenv("COLUMNS", width)
        with pytest.raises(CommandLineError):
            parse(COMMANDS, ["pant"], "house")
        assert os.environ.get("COLUMNS") == width


def test_options_of_a_data_parser_are_said_with_the_command_that_explains_them() -> None:
    assert parse_data_options(Wash(3), ["--times", "4"], "wash-data") == Wash(4)
    assert parse_data_options(Wash(3), [], "wash-data") == Wash(3)
    assert parse_data_options(Wash(3), ["--warm", "False"], "wash-data") == Wash(3, warm=False)
    with pytest.raises(CommandLineError, match="`ns-train moegs-stg wash-data --help`"):
        parse_data_options(Wash(3), ["--time", "4"], "wash-data")
