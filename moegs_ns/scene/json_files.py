"""JSON files of scenes, with errors that say what was expected where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path, what: str) -> dict[str, Any]:
    """An object from a JSON file.

    Raises:
        FileNotFoundError: no such file; the message says ``what`` it would hold.
        ValueError: no JSON, or another kind of value.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected {what} at {path}, found no such file; check --data")
    try:
        value = json.loads(path.read_text("utf8"))
    except (ValueError, RecursionError) as error:  # brackets nested thousands deep are the latter
        raise ValueError(f"expected JSON in {path}, found something else ({error}); copy it again") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected {what} as an object in {path}, found {type(value).__name__}; copy it again")
    return value
