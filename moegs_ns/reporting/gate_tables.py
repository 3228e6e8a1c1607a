"""What a mixture's gates do, as tables and sentences."""

from moegs_ns.reporting.gate_statistics import MIXTURE_PICTURE, ORACLE_PICTURES, WINNER_PICTURE, GateStatistics
from moegs_ns.reporting.rows import REFERENCES
from moegs_ns.reporting.tables import Table

NOTHING = "-"
_LABELS = {
    MIXTURE_PICTURE: "mixture",
    WINNER_PICTURE: "winner alone",
    **{name: REFERENCES[name] for name in ORACLE_PICTURES},
}


def gate_tables(statistics: GateStatistics) -> list[Table]:
    """Utilisation per expert; the gates as a whole; every expert in every expert's region."""
    return [_utilisation(statistics), _whole(statistics), _regions(statistics)]


def sentences(statistics: GateStatistics) -> list[str]:
    """The gist in words."""
    whole = statistics.overall
    used = ", ".join(
        f"{name} wins {_percent(won)} (mean gate {gate:.2f}, the best choice in {_percent(best)})"
        for name, won, gate, best in zip(
            statistics.experts, whole.share_won, whole.mean_gate, whole.share_best_smoothed, strict=True
        )
    )
    best = max(statistics.experts, key=lambda name: whole.psnr[name])
    said = [
        f"Of the pixels, {used}.",
        f"The winner is the expert with the smaller error in {_percent(whole.agreement)} of the pixels, "
        f"{_percent(whole.weighted_agreement)} weighted by what is at stake there, and "
        f"{_percent(whole.agreement_smoothed)} by errors averaged over 9x9 pixels.",
        f"The mixture scores {whole.psnr[MIXTURE_PICTURE]:.2f} dB, the best expert ({best}) {whole.psnr[best]:.2f} dB, "
        f"the smoothed oracle {whole.psnr['smoothed_oracle']:.2f} dB.",
    ]
    unused = [name for name, won in zip(statistics.experts, whole.share_won, strict=True) if won < 0.01]
    if unused:
        said.append(f"Hardly used, below 1 % of the pixels: {', '.join(unused)}.")
    return said


def _utilisation(statistics: GateStatistics) -> Table:
    whole = statistics.overall
    columns = whole.mean_gate, whole.share_won, whole.share_best, whole.share_best_smoothed
    rows = []
    for name, gate, *shares in zip(statistics.experts, *columns, strict=True):
        rows.append([name, f"{gate:.3f}", *map(_percent, shares), f"{whole.psnr[name]:.2f}"])
    for name, label in _LABELS.items():
        rows.append([label, *[NOTHING] * 4, f"{whole.psnr[name]:.2f}"])
    return Table(
        title="Utilisation per expert",
        header=["", "mean gate", "pixels won", "pixels best", "pixels best, 9x9", "PSNR"],
        rows=rows,
        notes=[
            "Won: its gate is the largest. Best: its squared error is the smallest (9x9: averaged over 9x9 pixels). "
            "PSNR in dB, mean over the measured frames. Winner alone: each pixel from the expert with the largest gate."
        ],
    )


def _whole(statistics: GateStatistics) -> Table:
    whole = statistics.overall
    values = [
        ("entropy of the gates / log K", f"{whole.entropy:.3f}"),
        ("largest gate, mean", f"{whole.max_gate:.3f}"),
        ("change of gates between measured frames", _percent(whole.change, ".2f")),
        ("pixels whose winner changes between measured frames", _percent(whole.switched, ".2f")),
        ("winner is the best expert", _percent(whole.agreement)),
        ("the same, weighted by what is at stake", _percent(whole.weighted_agreement)),
        ("the same, errors averaged over 9x9 pixels", _percent(whole.agreement_smoothed)),
        ("regret of the winner to the pixel oracle", _small(whole.regret)),
        ("regret of the winner to the smoothed oracle", _small(whole.regret_smoothed)),
        ("regret of the mixture to the pixel oracle", _small(whole.mixture_regret)),
        ("skill (0 blind choice, 1 pixel oracle)", NOTHING if whole.skill is None else f"{whole.skill:.2f}"),
    ]
    return Table(
        title="The gates as a whole",
        header=["", "value"],
        rows=[list(row) for row in values],
        notes=["At stake in a pixel: the experts' mean squared error less the smallest. Regrets are squared errors."],
    )


def _regions(statistics: GateStatistics) -> Table:
    rows = [
        [name, *([NOTHING] * len(statistics.experts) if scores is None else [f"{one:.2f}" for one in scores])]
        for name, scores in zip(statistics.experts, statistics.regional_psnr, strict=True)
    ]
    return Table(
        title="PSNR of every expert in the pixels one expert wins",
        header=["won by", *statistics.experts],
        rows=rows,
        notes=["dB over all measured frames. Where a row's largest number is that of its own expert, it wins rightly."],
    )


def _percent(share: float | None, form: str = ".1f") -> str:
    return NOTHING if share is None else f"{100 * share:{form}} %"


def _small(squared_error: float) -> str:
    return f"{1e4 * squared_error:.2f}e-4"
