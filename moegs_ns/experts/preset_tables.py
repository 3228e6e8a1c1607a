"""Tables of a preset held against what they may say: names of options and, where it is cheap, their types.

Standard library only: planning reads presets without torch.
"""

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

#: What the types of TOML values are called in its specification.
_TOML_NAMES = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "a table",
}


def check_names(
    names: Collection[str],
    known: Collection[str],
    expected: str,
    table: str,
    file: Path,
    elsewhere: Mapping[str, str] | None = None,
) -> None:
    """Refuse names that a table may not hold.

    Args:
        names: what the table holds.
        known: what it may hold.
        expected: the known names, in words.
        table: its name, such as ``stg.model``.
        file: the preset's.
        elsewhere: which table a name belongs in that is right in another one.

    Raises:
        ValueError: unknown names; the message has similar known ones.
    """
    strangers = sorted(set(names) - set(known))
    if strangers:
        found = ", ".join(name + _advice(name, known, elsewhere or {}) for name in strangers)
        raise ValueError(f"expected {expected} in [{table}] of {file}, found {found}; correct or remove them")


def check_types(values: Mapping[str, Any], types: Mapping[str, Any], table: str, file: Path) -> None:
    """Refuse values that cannot be of their option's type.

    Args:
        values: what the table holds; names without a type pass.
        types: type annotation of each option.
        table: its name, such as ``stg.model``.
        file: the preset's.

    Raises:
        ValueError: a string for a number, say.
    """
    for name, value in values.items():
        if name in types and not may_be(value, types[name]):
            raise ValueError(
                f"expected {type_in_words(types[name])} for {name} in [{table}] of {file}, found {value!r}, "
                f"{_TOML_NAMES.get(type(value), 'a date or time')}; correct the value"
            )


def check_table(value: Any, table: str, file: Path) -> dict[str, Any]:
    """``value`` as a table.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, dict):
        raise ValueError(f"expected a table [{table}] in {file}, found {value!r}; write its numbers below that heading")
    return value


def may_be(value: Any, annotation: Any) -> bool:
    """Whether a TOML value can be given for an option of this type.

    Integers pass for floats, arrays for tuples, strings for paths, ``"None"``, as on the command line, for None; tables
    for nothing: no option is one.
    """
    kind, parts = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if kind is Annotated:
        return may_be(value, parts[0])
    if kind in (Union, UnionType):
        return any(may_be(value, part) for part in parts)
    if kind is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if kind is tuple:
        if not isinstance(value, list):
            return False
        items = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return len(items) == len(value) and all(map(may_be, value, items))
    if annotation is NoneType:
        return value == "None"
    if annotation is Path:
        return isinstance(value, str)
    if annotation is float:
        return type(value) in (int, float)
    return type(value) is annotation


def type_in_words(annotation: Any) -> str:
    """A type as a preset's author would say it."""
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return type_in_words(parts[0])
    if kind in (Union, UnionType):
        return " or ".join('"None"' if part is NoneType else type_in_words(part) for part in parts)
    if kind is Literal:
        return " or ".join(f'"{part}"' if isinstance(part, str) else str(part) for part in parts)
    if kind is tuple:
        number = "" if parts[-1] is Ellipsis else f"{len(parts)} "
        return f"an array of {number}{getattr(parts[0], '__name__', parts[0])}s"
    names = {**_TOML_NAMES, float: "a number", bool: "true or false", Path: "a path (a string)"}
    return names.get(annotation, "what a preset cannot hold")


def _advice(name: str, known: Collection[str], elsewhere: Mapping[str, str]) -> str:
    if name in elsewhere:
        return f" (belongs in [{elsewhere[name]}])"
    similar = difflib.get_close_matches(name, sorted(known))
    return f" (did you mean {' or '.join(similar)}?)" if similar else ""
