"""Who is told what a preparation does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Narrator(Protocol):
    """Such as a terminal."""

    def say(self, sentence: str) -> None:
        """A fact for the user."""

    def task(self, what: str, total: int) -> Callable[[], None]:
        """A step of ``total`` parts begins; the function is to be called after each."""


class Silence:
    """For callers that do not listen."""

    def say(self, sentence: str) -> None:
        del sentence

    def task(self, what: str, total: int) -> Callable[[], None]:
        del what, total
        return lambda: None
