"""What the pages made of kept results have in common."""

import dataclasses
from collections.abc import Sequence

from suites import Kept, StoredResult

from moegs_ns.reporting.rows import MIXTURE, single_row
from moegs_ns.reporting.tables import Table, mean_and_deviation

TEMPORAL_MEAN = "temporal mean"


def with_temporal_mean(table: Table, psnr: float, labelled: Sequence[tuple[str, StoredResult]]) -> Table:
    """The table with the temporal mean as its first row, and how far above it the runs of each label are."""
    row = [TEMPORAL_MEAN, *(f"{psnr:.2f}" if name == "PSNR" else "-" for name in table.header[1:])]
    leads: dict[str, list[float]] = {}
    for label, result in labelled:
        leads.setdefault(label, []).append(result.scores["psnr"] - psnr)
    said = ", ".join(f"{label} {mean_and_deviation(values, '+.2f')} dB" for label, values in leads.items())
    return dataclasses.replace(
        table,
        rows=[row, *table.rows],
        notes=[f"Against the temporal mean: {said}.", *table.notes],
        emphasised=tuple(number + 1 for number in table.emphasised),
    )


def temporal_mean_of(kept: Sequence[Kept]) -> float | None:
    """The temporal mean of the runs' test cameras; None if it is unknown or not the same for all."""
    means = {round(one["temporal_mean"]["psnr"], 6) for one, _ in kept if one["temporal_mean"]}
    return next(iter(means)) if len(means) == 1 else None


def label_of(kept: Kept) -> str:
    """What a kept run is called: an equal-budget expert must not pass for the one that is mixed."""
    one, result = kept
    if "equal_budget" in one:
        return f"{result.expert} ({single_row(result).detail})"
    return MIXTURE if result.expert_names else result.expert
