"""Texts for the viewer, whose Markdown is MDX: it runs what stands in braces, and makes elements of tags."""

_PLAIN = frozenset(" -.,%")


def as_words(text: str) -> str:
    """A text that shows as it is, whatever names from data are in it."""
    return "".join(char if char.isalnum() or char in _PLAIN else f"&#{ord(char)};" for char in text)
