"""The MoE-GS paper's figures beside rows of ours: only for the paper's own scenes, only for the same method."""

from collections.abc import Sequence

from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.published import PublishedScore, published_scores
from moegs_ns.reporting.rows import Row

#: Header of the column.
PUBLISHED = "PSNR (paper)"


def published_cells(result: RunResult, rows: Sequence[Row]) -> list[str]:
    """Per row the paper's PSNR and its table, ``32.33 [Table 1]``; empty where it has none.

    Args:
        result: any run of the scene.
        rows: of the table.

    Returns:
        Nothing at all for scenes the paper does not have, or where no row matches.
    """
    known = _scores(result)
    matches = [_match(row, known) for row in rows]
    return [_cell(score) for score in matches] if any(matches) else []


def published_notes(result: RunResult) -> list[str]:
    """What to know of `published_cells`."""
    known = _scores(result)
    return [
        f"{PUBLISHED}: as printed in MoE-GS (ICLR 2026) for {known[0].data_set}'s {known[0].scene}, in the first table "
        "that has the method with these experts; another training on another machine at the paper's settings, to be "
        "compared only where the protocol above is the paper's (whole clip, its resolution and test camera)."
    ]


def _scores(result: RunResult) -> list[PublishedScore]:
    layout = str(result.record["scene"].get("layout"))
    return [score for score in published_scores(layout, result.scene) if score.psnr is not None]


def _match(row: Row, known: Sequence[PublishedScore]) -> PublishedScore | None:
    if not row.families:
        return None
    wanted = sorted(row.families)
    return next((one for one in known if sorted(one.experts) == wanted and one.variant == row.variant), None)


def _cell(score: PublishedScore | None) -> str:
    return "" if score is None else f"{score.psnr:.2f} [{score.source}]"
