"""Where the package finds the data files it ships and where it may keep derived files.

Imports the standard library only, so every room may use it.
"""

import os
from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent


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
