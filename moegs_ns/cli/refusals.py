"""Errors of the system and of this project as the one sentence that a user is told."""

import errno
import os

from moegs_ns.files import refusal

#: What a path turned out to be where something else was needed: what was expected of it, and what there was.
_MISPLACED = {
    errno.EEXIST: ("a folder, or a place for one,", "a file"),
    errno.ENOTDIR: ("a place below folders", "a file on the way"),
    errno.EISDIR: ("a file, or a place for one,", "a folder"),
    errno.ELOOP: ("a file or folder", "links that lead back to where they began"),
    errno.ENAMETOOLONG: ("a name that the file system takes", "one that is too long"),
}


def told(error: Exception) -> str | None:
    """What to tell the user of an error, on one line; None for what deserves its traceback."""
    sentence = str(error) if _is_ours(error) else refusal(error) or _misplaced(error)
    return None if sentence is None else printable(sentence)


def printable(text: str) -> str:
    """A text on one line, without what would steer a terminal."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in " ".join(text.split()))


def _misplaced(error: Exception) -> str | None:
    """A path that leads to something else than is needed there."""
    number, path = getattr(error, "errno", None), getattr(error, "filename", None)
    if number not in _MISPLACED or path is None:
        return None
    expected, found = _MISPLACED[number]
    return f"expected {expected} at {os.fspath(path)}, found {found}; name another place"


def _is_ours(error: Exception) -> bool:
    """Whether the project raised it, with a sentence for the user."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("moegs_ns.")
