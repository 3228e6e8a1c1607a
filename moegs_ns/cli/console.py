"""Where the ``moegs`` command prints."""

from rich.console import Console

_WIDTH_OF_FILES = 120


def make_console() -> Console:
    """The terminal; a file or pipe gets lines of a fixed, generous width, whatever the environment says."""
    # Paths and labels may hold words between colons, which are no names of pictures.
    console = Console(emoji=False)
    return console if console.is_terminal else Console(width=_WIDTH_OF_FILES, emoji=False)
