"""Cases whose message is no line of its own, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """How a message differs.

    Attributes:
        what: it is, and why.
        marks: what all messages of this form have, without spaces.
    """

    what: str
    marks: tuple[str, ...]


CHECK = Form(
    "the table of `moegs data check`, which has a verdict for each of its checks", ("check", "verdict", "found")
)
VETTING = Form(
    "the list of `moegs check-run`, which has a verdict for each file", ("finerun.json:", "refused", "expected")
)

OTHER_FORMS = {
    **dict.fromkeys(
        [
            "truncated video",
            "variable frame rate",
            "images with alpha",
            "16-bit images",
            "truncated image",
            "black pictures",
            "empty cloud",
        ],
        CHECK,
    ),
    **dict.fromkeys(
        [
            "config zero-length",
            "config that is no YAML",
            "config that is no text",
            "config that is plain",
            "config that calls",
            "config that names a stranger",
            "no config",
        ],
        VETTING,
    ),
}
