"""What a mixture's router is called in tables."""

from typing import Any

from moegs_ns.reporting.evaluation_files import RunResult

_NAMES = {
    "pixel": "pixel router",
    "volume": "volume router",
    "volume-aware": "volume-aware pixel router",
}
#: The paper's, as the authors' code has it.
USUAL_ROUTER = _NAMES["volume-aware"]
#: Options beyond the paper, by field name: their usual value, and how another one is said.
_BEYOND: dict[str, tuple[Any, str]] = {
    "kernel_size": (1, "{0}x{0} kernels"),
    "hidden": ([6, 3], "hidden {0}"),
    "compare": ([], "compares {0}"),
    "distrust": (0.0, "distrust {0}"),
    "top_k": (0, "top-{0}"),
    "experts_learn_from": (0, "experts learn from step {0}"),
}


def router_label(result: RunResult) -> str:
    """Name of a mixture's router, with what it has beyond the paper's: equal for mixtures that may be taken as seeds of
    one experiment."""
    config = result.record["expert"].get("config", {})
    name = config.get("router", "volume-aware")
    said = [
        form.format(_plain(config[key])) for key, (usual, form) in _BEYOND.items() if config.get(key, usual) != usual
    ]
    return f"{_NAMES.get(name, name)}{', ' if said else ''}{', '.join(said)}"


def _plain(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)
