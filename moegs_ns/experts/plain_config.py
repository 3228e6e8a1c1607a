"""Configs built again of the plain values that run records and checkpoints hold of them."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from moegs_ns.experts.preset_tables import type_in_words

Config = TypeVar("Config")


def config_from_plain(config: type[Config], values: Mapping[str, Any], name: str) -> Config:
    """A config dataclass with the values a run record holds of it; JSON knows neither tuples, paths nor infinities.

    Args:
        config: its class.
        values: by field.
        name: what the config is called in messages.

    Raises:
        ValueError: options this version does not know, or values that an option cannot have.
    """
    fields = {item.name for item in dataclasses.fields(config) if item.name != "_target"}  # type: ignore[arg-type]
    unknown = sorted(set(values) - fields)
    if unknown:
        raise ValueError(
            f"expected only options of {name} in the run record, found {unknown}: another version made the run; "
            "use that version or train anew"
        )
    declared = typing.get_type_hints(config)
    restored = {option: _restored(value, declared[option]) for option, value in values.items()}
    for option, value in restored.items():
        if not _may_be(value, declared[option]):
            raise ValueError(
                f"expected {type_in_words(declared[option])} for {option} of {name} in the run record, found "
                f"{values[option]!r}: it was altered, or another version made the run; use that "
                "version or train anew"
            )
    return config(**restored)


def _restored(value: Any, declared: Any) -> Any:
    if isinstance(value, list):
        items = next((get_args(one) for one in _alternatives(declared) if get_origin(one) is tuple), ())
        kinds = items[:1] * len(value) if items[-1:] == (Ellipsis,) else items
        return tuple(map(_restored, value, kinds)) if len(kinds) == len(value) else tuple(value)
    if isinstance(value, str) and Path in _alternatives(declared):
        return Path(value)
    return float(value) if isinstance(value, str) and value in ("inf", "-inf") else value


def _alternatives(declared: Any) -> tuple[Any, ...]:
    return get_args(declared) if get_origin(declared) in (Union, types.UnionType) else (declared,)


def _may_be(value: Any, declared: Any) -> bool:
    """Whether a value fits an annotation; annotations of anything but plain values fit all."""
    kind, parts = get_origin(declared), get_args(declared)
    if kind is Annotated:
        return _may_be(value, parts[0])
    if kind in (Union, types.UnionType):
        return any(_may_be(value, part) for part in parts)
    if kind is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        items = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return len(items) == len(value) and all(map(_may_be, value, items))
    if declared is float:
        return type(value) in (int, float)
    if declared in (bool, int, str, types.NoneType):
        return type(value) is declared
    return not (declared is Path or kind in (dict, list)) or isinstance(value, kind or Path)
