"""Values of a file's table, held against the types they should have."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args


class Fields:
    """Takes values out of a table one by one; `finish` refuses what nobody asked for.

    Every method raises a ValueError that names the file, the key, what was expected and what was found.

    Args:
        table: what was read.
        file: where from.
        within: the table's place in the file, such as ``scenes[0]``; empty for the whole.
    """

    def __init__(self, table: Any, file: Path, within: str = "") -> None:
        self._file, self._within = file, within
        if not isinstance(table, Mapping) or not all(isinstance(key, str) for key in table):
            raise self._wrong("", "a table of names and values", table)
        self._left: dict[str, Any] = dict(table)
        self._asked: list[str] = []

    def has(self, key: str) -> bool:
        """Whether the table names it."""
        self._asked.append(key)
        return self._left.get(key) is not None

    def take(self, key: str) -> Any:
        """The value as it is, None where there is none."""
        self._asked.append(key)
        return self._left.pop(key, None)

    def text(self, key: str) -> str | None:
        """A text, None where there is none."""
        value = self.take(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, "a text", value)
        return value

    def choice(self, key: str, choices: Sequence[str]) -> str | None:
        """One of some texts, None where there is none."""
        value = self.text(key)
        if value is not None and value not in choices:
            raise self._wrong(key, f"one of {', '.join(choices)}", value)
        return value

    def flag(self, key: str) -> bool:
        """True or false; false where there is none."""
        value = self.take(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return bool(value)

    def count(self, key: str, default: int) -> int:
        """A whole number of 0 or more."""
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._wrong(key, "a whole number of 0 or more", value)
        return value

    def texts(self, key: str, choices: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of texts, each one of ``choices`` if there are any; empty where there is none."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._wrong(key, "a list of texts", value)
        others = [one for one in value if choices is not None and one not in choices]
        if others:
            raise self._wrong(key, f"a list of some of {', '.join(choices or ())}", others)
        return tuple(value)

    def numbers(self, key: str, whole: bool = False) -> tuple[Any, ...]:
        """A list of different numbers; empty where there is none."""
        value = self.take(key)
        if value is None:
            return ()
        kinds = (int,) if whole else (int, float)
        right = isinstance(value, list) and all(isinstance(one, kinds) and not isinstance(one, bool) for one in value)
        if not right or len(set(value)) != len(value):
            raise self._wrong(key, f"a list of different {'whole ' if whole else ''}numbers", value)
        return tuple(value)

    def mapping(self, key: str) -> dict[str, str]:
        """A table of texts; empty where there is none."""
        value = self.take(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(text, str) for pair in value.items() for text in pair):
            raise self._wrong(key, "a table of texts", value)
        return dict(value)

    def inner(self, key: str) -> "Fields | None":
        """A table within this one, None where there is none."""
        value = self.take(key)
        return None if value is None else Fields(value, self._file, f"{self._within}.{key}".lstrip("."))

    def finish(self) -> None:
        """Refuse keys nobody asked for."""
        if self._left:
            raise self._wrong("", f"the keys {', '.join(dict.fromkeys(self._asked))}", ", ".join(self._left))

    def missing(self, key: str, expected: str) -> ValueError:
        """The error for a key that has to be there."""
        return self._wrong(key, expected, None)

    def wrong(self, key: str, expected: str, found: Any) -> ValueError:
        """The error for a value that does not do."""
        return self._wrong(key, expected, found)

    def _wrong(self, key: str, expected: str, found: Any) -> ValueError:
        place = ".".join(part for part in (self._within, key) if part)
        shown = "nothing" if found is None else found if key == "" and isinstance(found, str) else repr(found)
        return ValueError(
            f"expected {expected}{f' as {place}' if place else ''} in {self._file}, found {shown}; correct it"
        )


def literals(kind: Any) -> tuple[str, ...]:
    """The texts of a ``Literal``."""
    return get_args(kind)
