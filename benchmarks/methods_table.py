"""The README's table of methods: what each is; what it scored, took and weighs in a kept suite of the real scene."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moegs_ns.reporting.tables import mean_and_deviation

SUITE = "basketball_quick"
BEGIN, END = "<!-- methods: written by benchmarks/write_results.py -->", "<!-- end of methods -->"
_ARXIV = "https://arxiv.org/abs"
_METHODS = {
    "moegs-stg": f"[Spacetime Gaussians]({_ARXIV}/2312.16812), CVPR 2024: polynomial motion, temporal opacity",
    "moegs-4dgaussians": f"[4DGaussians]({_ARXIV}/2310.08528), CVPR 2024: a HexPlane field deforms canonical Gaussians",
    "moegs-ed3dgs": f"[E-D3DGS]({_ARXIV}/2404.03613), ECCV 2024: embeddings per Gaussian and of time deform them",
    "moegs-ex4dgs": f"[Ex4DGS]({_ARXIV}/2410.15629), NeurIPS 2024: static Gaussians, dynamic ones between keyframes",
    "moegs-router": "MoE-GS, ICLR 2026: a volume-aware pixel router over experts, `--experts RUN RUN ...`",
}
_PLUS = "with `plus`: experts learn on as one set of Gaussians"


def methods_table(contents: Sequence[dict[str, Any]]) -> str:
    """Markdown of the table, with what it was measured on; mean ± sd over the seeds.

    Args:
        contents: the kept JSON files of the suite.
    """
    lines = [
        "| method | what it is | PSNR, dB | train, CPU min | memory, MB | size, MB | FPS |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    experts_minutes: dict[int, float] = {}
    for method, what in _METHODS.items():
        if method == "moegs-router":
            continue
        runs = [one for one in contents if one["record"]["method"] == method and "equal_budget" not in one]
        for one in runs:
            seed = one["record"]["seed"]
            experts_minutes[seed] = experts_minutes.get(seed, 0.0) + _minutes(one)
        lines.append(_row(f"`{method}`", what, runs, {}))
    mixtures = [one for one in contents if one["record"]["method"] == "moegs-router" and _experts(one) == 4]
    usual = [one for one in mixtures if "+" not in Path(one["run"]).name.partition("-")[0]]
    plus = [one for one in mixtures if Path(one["run"]).name.startswith("quick+plus-")]
    lines.append(_row("`moegs-router`", _METHODS["moegs-router"], usual, experts_minutes))
    lines.append(_row("", _PLUS, plus, experts_minutes))
    seeds = sorted(experts_minutes)
    machine = contents[0]["measurement"]["machine"]
    lines += [
        "",
        f"Test camera of `basketball` (28 cameras, 150 frames, 320x180), preset `quick`, mean of seeds "
        f"{', '.join(map(str, seeds))} on one thread of {machine['processor']} without a GPU; of mixtures with the "
        "training of their four experts. Memory is the evaluating process's. More, and what the best expert makes of "
        "the same time and number of Gaussians, in [docs/results.md](docs/results.md#basketball_quick).",
    ]
    return "\n".join(lines)


def with_table(readme: str, table: str) -> str:
    """The README with its table replaced.

    Raises:
        ValueError: the marks between which it stands are gone.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected the lines {BEGIN!r} and {END!r} in README.md, found them not")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _row(name: str, what: str, runs: Sequence[dict[str, Any]], more_minutes: dict[int, float]) -> str:
    scores = [one["scores"] for one in runs]
    minutes = [_minutes(one) + more_minutes.get(one["record"]["seed"], 0.0) for one in runs]
    megabytes = [one["record"]["num_parameters"] * 4 / 1e6 for one in runs]
    cells = [
        name,
        what,
        mean_and_deviation([score["psnr"] for score in scores], ".2f"),
        f"{sum(minutes) / len(minutes):.1f}",
        f"{sum(score['peak_memory_mb'] for score in scores) / len(scores):.0f}",
        f"{sum(megabytes) / len(megabytes):.1f}",
        f"{sum(score['fps'] for score in scores) / len(scores):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _minutes(one: dict[str, Any]) -> float:
    return one["record"]["progress"]["processor_seconds"] / 60.0


def _experts(one: dict[str, Any]) -> int:
    return len(one["record"]["model"]["experts"])
