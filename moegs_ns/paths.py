"""Where the package finds the data files it ships, where it may keep derived files, and which names stay in a folder.

Imports the standard library only, so every room may use it.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent
_LONGEST_NAME = 100  # characters, which are up to four bytes each; files get suffixes


def resource_dir(name: Literal["cuda", "configs"]) -> Path:
    """Folder of shipped data files: native kernel sources (``cuda``) or recipes and presets (``configs``).

    In a wheel these lie inside the package; in a checkout (also an editable install) at its top level.

    Raises:
        FileNotFoundError: neither place exists, so the installation is incomplete.
    """
    installed = _PACKAGE / f"_{name}"
    checkout = _PACKAGE.parent / name
    for candidate in (installed, checkout):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(
        f"expected the package data folder '{name}' at {installed} or {checkout}, found neither; reinstall moegs_ns"
    )


def prebuilt_kernels_dir() -> Path:
    """Folder of compiled CPU kernels that a wheel may carry. Need not exist: a checkout and pure wheels have none."""
    return _PACKAGE / "_kernels"


def user_cache_dir() -> Path:
    """Root of everything that can be rebuilt: compiled kernels, decoded frames. Created when missing.

    ``$MOEGS_CACHE_DIR`` overrides; otherwise ``$XDG_CACHE_HOME/moegs_ns`` or ``~/.cache/moegs_ns``.
    """
    override = os.environ.get("MOEGS_CACHE_DIR")
    if override:
        root = Path(override).expanduser()
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moegs_ns"
    root.mkdir(parents=True, exist_ok=True)
    return root


def check_plain_names(names: Iterable[str], what: str) -> None:
    """Refuse names from data that could not be parts of file names, or would lead out of the folder files are put in.

    Args:
        names: of cameras, experts, files.
        what: they are, for the message, such as ``names of cameras in transforms.json``.

    Raises:
        ValueError: one that is empty, too long, begins with a dot, or has a slash, a backslash or a control character.
    """
    for name in names:
        text = str(name)
        unfit = any(char in "/\\" or not char.isprintable() for char in text)
        if not text or unfit or text.startswith(".") or len(text) > _LONGEST_NAME:
            raise ValueError(
                f"expected {what} that can be names of files (up to {_LONGEST_NAME} letters, no slashes, no dot at the "
                f"beginning), found {text[: 2 * _LONGEST_NAME]!r}; rename it"
            )
