"""Numbers as tables print them."""

import statistics
from collections.abc import Sequence


def mean_and_deviation(values: Sequence[float], form: str) -> str:
    """``27.31`` for one value, ``27.31 ± 0.05`` (sample standard deviation) for several."""
    said, spread = format(mean(values), form), deviation(values)
    return said if spread is None else f"{said} ± {format(spread, form.removeprefix('+'))}"


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return statistics.fmean(values)


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None of a single value."""
    return statistics.stdev(values) if len(values) > 1 else None
