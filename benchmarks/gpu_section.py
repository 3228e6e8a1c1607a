"""The section of docs/performance.md on what only a CUDA machine can tell and none has told yet."""

import re
from pathlib import Path

SUITE = Path(__file__).resolve().parent / "gpu_suite.sh"
#: What is unknown without a GPU, and the steps of the suite that find it out.
AWAITED = (
    ("fused inference: its values, against the twin and against gsplat", ("kernels", "tests")),
    ("fused inference: its speed, against the single pass to the picture", ("benchmark",)),
    ("the single pass through gsplat: its speed, against 2K passes", ("gsplat", "benchmark")),
    ("golden files of gsplat's outputs, which machines without a GPU compare with", ("golden",)),
    ("compute-sanitizer over the project's CUDA kernels", ("sanitizer",)),
    ("training of experts and a router on CUDA, briefly", ("training",)),
)


def gpu_section(results: Path) -> str:
    """Markdown of what is still awaited.

    Args:
        results: the ``results.txt`` of a run of the suite, if one was kept: what passed in it is awaited no more.

    Raises:
        ValueError: the suite has no such steps.
    """
    known = {name: int(limit) for name, limit in re.findall(r'^    "(\w+)\|(\d+)\|', SUITE.read_text("utf8"), re.M)}
    missing = sorted({step for _, steps in AWAITED for step in steps} - {*known})
    if missing:
        raise ValueError(f"expected the steps {', '.join(missing)} in '{SUITE}', found {', '.join(known)}; name others")
    lines = results.read_text("utf8").splitlines() if results.is_file() else []
    passed = {words[1] for words in map(str.split, lines) if words[:1] == ["passed"]}
    awaited = [(what, steps) for what, steps in AWAITED if not {*steps} <= passed]
    device = next((line.removeprefix("device:").strip() for line in lines if line.startswith("device:")), None)
    return "\n".join(
        [
            "## What awaits a GPU",
            "",
            f"Run on {device}." if device else "No machine with an NVIDIA GPU has run this version yet.",
            "`benchmarks/gpu_suite.sh` finds out all of it within ten minutes, by the steps in brackets"
            + (":" if awaited else "; nothing is left."),
            "",
            *(f"- {what} ({', '.join(steps)})" for what, steps in awaited),
            *([""] if awaited else []),
        ]
    )
