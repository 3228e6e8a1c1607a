"""Drawing an ensemble without some of its experts, or without some Gaussians: for those who look, never for training.

Nothing of the model changes. Gaussians that are left out are drawn with an opacity of 0, so that everything that counts
Gaussians (router weights, shares of opacity) keeps its rows.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from torch import Tensor

from moegs_ns.router.instant import Instant


def off_experts(names: Sequence[str], left_out: Collection[str]) -> list[int]:
    """Places of the experts that are left out.

    Raises:
        ValueError: an unknown name, or no expert would be left.
    """
    unknown = sorted({*left_out} - {*names})
    if unknown:
        raise ValueError(f"expected experts to leave out among {list(names)}, found {unknown}")
    if {*left_out} == {*names}:
        raise ValueError(f"expected at least one of the experts {list(names)} to stay, found all of them left out")
    return [place for place, name in enumerate(names) if name in left_out]


def instant_without(instant: Instant, counts: Sequence[int], off: Sequence[int], gaussians: Tensor | None) -> Instant:
    """An instant whose left out Gaussians are transparent.

    Args:
        instant: of all experts.
        counts: how many Gaussians each expert stores.
        off: places of experts of which nothing is to be seen.
        gaussians: ``[N]`` bool, true for those of all experts' stored Gaussians, end to end, that are left out.

    Raises:
        ValueError: another number of Gaussians.
    """
    if gaussians is not None and gaussians.shape != (sum(counts),):
        raise ValueError(
            f"expected one choice for each of {sum(counts)} stored Gaussians, found {list(gaussians.shape)}"
        )
    parts = list(instant.parts)
    if gaussians is not None:
        for place, (own, rows) in enumerate(zip(gaussians.split(list(counts)), instant.rows, strict=True)):
            gone = own[rows].to(parts[place].opacities.device)
            parts[place] = replace(parts[place], opacities=parts[place].opacities.masked_fill(gone, 0.0))
    for place in off:
        parts[place] = replace(parts[place], opacities=parts[place].opacities * 0.0)
    return replace(instant, parts=parts)
