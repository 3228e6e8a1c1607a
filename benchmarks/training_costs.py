"""Write configs/training_costs.toml, by which `moegs data check` estimates times, from what a suite's runs kept.

python benchmarks/training_costs.py
"""

import json
import statistics
from pathlib import Path
from typing import Any

from suites import RESULTS, ROOT

_SUITE, _PRESET = "basketball_quick", "quick"
_HEAD = """\
# Written by benchmarks/training_costs.py from benchmarks/results/{suite} and training_step.json; do not edit.
# Medians over seeds of processor seconds on one thread; `moegs data check` scales them to a scene and a machine.

"""


def main() -> None:
    """Collect and write."""
    kept = [json.loads(path.read_text("utf8")) for path in sorted((RESULTS / _SUITE).glob(f"*_{_PRESET}-seed*.json"))]
    stages: dict[str, list[dict[str, Any]]] = {}
    for one in kept:
        stages.setdefault(Path(one["run"]).parent.name, []).append(one)
    # The usual mixture: all experts.
    routers = stages["moegs-router"]
    most = max(len(one["run"].split("+")) for one in routers)
    stages["moegs-router"] = [one for one in routers if len(one["run"].split("+")) == most]
    width, height = kept[0]["record"]["scene"]["resolution"]
    step = json.loads((RESULTS / "training_step.json").read_text("utf8"))
    machine = step["measurement"]["machine"]
    seconds = {
        name: round(statistics.median(one["record"]["progress"]["processor_seconds"] for one in own), 1)
        for name, own in stages.items()
    }
    memory = max(one["scores"]["peak_memory_mb"] for one in kept)
    lines = [
        f'preset = "{_PRESET}"',
        "downscale = 2",
        f'scene = "{_SUITE.split("_")[0]}"',
        f"pixels = {width * height}",
        f"peak_memory_mb = {memory:.0f}",
        f"matmul_ms = {step['threads']['1']['yardstick']['matmul']['min_ms']}",
        f'machine = "{machine["processor"]}, {machine["vector_extensions"]}"',
        "",
        "[seconds]",
        *(f"{name} = {value}" for name, value in seconds.items()),
    ]
    (ROOT / "configs" / "training_costs.toml").write_text(_HEAD.format(suite=_SUITE) + "\n".join(lines) + "\n", "utf8")


if __name__ == "__main__":
    main()
