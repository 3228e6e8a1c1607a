"""Paths as a user typed them, made independent of the working folder."""

import os
from pathlib import Path


def absolute(path: Path) -> Path:
    """Absolute without following symbolic links: runs are filed under the name the user typed."""
    return Path(os.path.normpath(Path(path).expanduser().absolute()))


def check_run_name(name: str, option: str = "--name") -> None:
    """Refuse names of runs that are no name of one folder.

    Raises:
        ValueError: empty, or with a separator, or a step up.
    """
    if name in ("", ".", "..") or any(separator in name for separator in ("/", os.sep, "\0")):
        raise ValueError(f"expected the name of a folder for {option}, found '{name}'; folders go into --output-dir")
