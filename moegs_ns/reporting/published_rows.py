"""The MoE-GS paper's figures beside rows of ours: only for the paper's own scenes, only for the same method."""

from collections.abc import Sequence

from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.published import PublishedScore, data_sets, published_scores
from moegs_ns.reporting.rows import Row

#: Header of the column.
PUBLISHED = "PSNR (paper)"


def published_matches(result: RunResult, rows: Sequence[Row]) -> list[PublishedScore | None]:
    """Per row what the paper prints of the same method on the same scene; None where it prints nothing.

    Args:
        result: any run of the scene.
        rows: of the table.
    """
    known = scores_of_scene(result)
    return [_match(row, known) for row in rows]


def published_cell(score: PublishedScore) -> str:
    """``32.33 [Table 1]``."""
    return f"{score.psnr:.2f} [{score.source}]"


def published_notes(result: RunResult) -> list[str]:
    """What to know of the column."""
    known = scores_of_scene(result)
    data_set = data_sets()[known[0].data_set].title
    return [
        f"{PUBLISHED}: as printed in MoE-GS (ICLR 2026) for {known[0].scene} of {data_set}, in the first table "
        "that has the method with these experts; another training on another machine at the paper's settings, to be "
        "compared only where the protocol above is the paper's (whole clip, its resolution and test camera)."
    ]


def scores_of_scene(result: RunResult) -> list[PublishedScore]:
    """What the paper prints of a run's scene, table by table; nothing for scenes it does not have."""
    layout = str(result.record["scene"].get("layout"))
    return [score for score in published_scores(layout, result.scene) if score.psnr is not None]


def _match(row: Row, known: Sequence[PublishedScore]) -> PublishedScore | None:
    if not row.families:
        return None
    wanted = sorted(row.families)
    return next((one for one in known if sorted(one.experts) == wanted and one.variant == row.variant), None)
