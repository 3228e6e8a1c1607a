"""Configs come back from what JSON made of them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from moegs_ns.experts.plain_config import config_from_plain
from moegs_ns.runs.record import plain


@dataclass
class Parts:
    """Fields of every kind that configs have."""

    folders: tuple[Path, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    perhaps: tuple[str, ...] | None = None
    place: Path | None = None
    far: float = 1.0


@pytest.mark.parametrize(
    "parts",
    [
        Parts(),
        Parts((Path("a/b"), Path("c")), (0.5, 2.0), ("x",), Path("d"), float("inf")),
        Parts(pair=(1.0, float("inf")), perhaps=()),
    ],
)
def test_what_was_recorded_comes_back(parts: Parts) -> None:
    recorded = json.loads(json.dumps(plain(asdict(parts))))
    assert config_from_plain(Parts, recorded, "parts") == parts


@pytest.mark.parametrize(
    ("values", "found"),
    [({"folders": [1]}, r"\[1\]"), ({"pair": [1.0]}, r"\[1.0\]"), ({"far": "near"}, "'near'"), ({"near": 1}, "near")],
)
def test_other_values_are_refused(values: dict, found: str) -> None:
    with pytest.raises(ValueError, match=f"expected .* found .*{found}"):
        config_from_plain(Parts, values, "parts")
