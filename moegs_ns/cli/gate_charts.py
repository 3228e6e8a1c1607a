"""The curves of ``moegs report gates``: what the gates do over the clip."""

from collections.abc import Callable

from moegs_ns.exporting.charts import Chart, Curve
from moegs_ns.exporting.palette import expert_color
from moegs_ns.reporting.gate_statistics import MIXTURE_PICTURE, GateNumbers, GateStatistics

_BLACK, _GREY = "#000000", "#888888"


def gate_charts(statistics: GateStatistics, stride: int) -> list[Chart]:
    """Utilisation, decidedness, steadiness, scores and agreement over the frames, measured ``stride`` frames apart."""
    colors = ["#{:02x}{:02x}{:02x}".format(*expert_color(number)) for number in range(len(statistics.experts))]
    since = "the frame before" if stride == 1 else f"{stride} frames before"

    def curve(label: str, of: Callable[[GateNumbers], float | None], color: str = _BLACK, dashes: str = "") -> Curve:
        return Curve(label, [of(one) for one in statistics.per_frame], color, dashes)

    def chart(title: str, unit: str, curves: list[Curve], y_range: tuple[float, float] | None = None) -> Chart:
        return Chart(title, "frame", unit, statistics.frames, curves, y_range)

    def per_expert(of: Callable[[GateNumbers], list[float]], factor: float) -> list[Curve]:
        return [
            curve(name, lambda one, number=number: factor * of(one)[number], colors[number])  # type: ignore[misc]
            for number, name in enumerate(statistics.experts)
        ]

    scores = [
        curve(name, lambda one, name=name: one.psnr[name], color)  # type: ignore[misc]
        for name, color in zip(statistics.experts, colors, strict=True)
    ]
    scores.append(curve("mixture", lambda one: one.psnr[MIXTURE_PICTURE]))
    scores.append(curve("9x9-smoothed oracle", lambda one: one.psnr["smoothed_oracle"], _GREY, "6 3"))
    return [
        chart("Mean gate per expert", "mean gate", per_expert(lambda one: one.mean_gate, 1.0), (0.0, 1.0)),
        chart(
            "Pixels won per expert", "share of pixels (%)", per_expert(lambda one: one.share_won, 100.0), (0.0, 100.0)
        ),
        chart(
            "How decided the gates are",
            "entropy, gate (0 to 1)",
            [
                curve("entropy / log K", lambda one: one.entropy),
                curve("largest gate, mean", lambda one: one.max_gate, _GREY, "6 3"),
            ],
            (0.0, 1.0),
        ),
        chart(
            f"Change since {since}",
            "share (%)",
            [
                curve("gates", lambda one: _percent(one.change)),
                curve("winners (share of pixels)", lambda one: _percent(one.switched), _GREY, "6 3"),
            ],
        ),
        chart("PSNR against the camera", "PSNR (dB)", scores),
        chart(
            "How often the winner is the best expert",
            "share (%)",
            [
                curve("pixels", lambda one: _percent(one.agreement)),
                curve("9x9-smoothed errors", lambda one: _percent(one.agreement_smoothed), _GREY, "6 3"),
                curve("weighted by what is at stake", lambda one: _percent(one.weighted_agreement), _BLACK, "2 3"),
            ],
            (0.0, 100.0),
        ),
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
