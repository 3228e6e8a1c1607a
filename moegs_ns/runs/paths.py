"""Paths as a user typed them, made independent of the working folder."""

import os
from pathlib import Path


def absolute(path: Path) -> Path:
    """Absolute without following symbolic links: runs are filed under the name the user typed."""
    return Path(os.path.normpath(Path(path).expanduser().absolute()))
