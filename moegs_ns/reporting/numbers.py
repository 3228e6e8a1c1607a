"""Numbers as tables print them."""

import statistics
from collections.abc import Sequence


def mean_and_deviation(values: Sequence[float], form: str) -> str:
    """``27.31`` for one value, ``27.31 ± 0.05`` (sample standard deviation) for several."""
    mean = format(statistics.fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {format(statistics.stdev(values), form.removeprefix('+'))}"
