"""The measurement of what skipping experts could save: its parts on made-up gates, and the section written of it."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return {name: importlib.import_module(name) for name in ("expert_skipping", "skipping_section")}


def test_gates_of_tiles_below_the_limit_go_to_the_others(scripts: dict[str, ModuleType]) -> None:
    small = torch.full((2, 6, 9), 0.5)  # an image of 36x24: tiles of 16 pixels, the last ones cut off
    small[0, :4, :4], small[1, :4, :4] = 0.02, 0.98
    small[0, 3, 3] = 0.04
    tiles = scripts["expert_skipping"].largest_per_tile(small)
    assert tiles.shape == (2, 2, 3)
    assert tiles[:, 0, 0].tolist() == pytest.approx([0.04, 0.98])
    gates = torch.full((2, 24, 36), 0.5)
    for limit, expected in ((0.03, 0.5), (0.05, 0.0)):
        changed = scripts["expert_skipping"].without(gates, tiles, limit)
        assert torch.allclose(changed.sum(dim=0), torch.ones(24, 36))
        assert changed[0, :16, :16].unique().tolist() == [expected]
        assert changed[0, 16:].unique().tolist() == changed[0, :, 16:].unique().tolist() == [0.5]


@pytest.mark.parametrize(("tiles", "verdict"), [(0.1, "experts are not skipped"), (0.6, "At best 50 % of a frame's")])
def test_the_section_weighs_the_look_against_what_it_saves(
    scripts: dict[str, ModuleType], tmp_path: Path, tiles: float, verdict: str
) -> None:
    file = tmp_path / "found.json"
    assert scripts["skipping_section"].skipping_section(file) == []
    machine = {"processor": "A Processor", "cores": 2, "vector_extensions": "AVX2", "memory_gib": 4, "system": "Linux"}
    found = {
        "measurement": {
            "command": "python benchmarks/expert_skipping.py some",
            "machine": machine,
            "versions": {"python": "3", "torch": "2"},
            "source": None,
            "measured": "2020-01-01T00:00:00",
        },
        "limits": [0.01],
        "run": "mixed/moegs-router/some",
        "images": 3,
        "resolution": [36, 24],
        "frame_ms": 20.0,
        "look_ms": 2.0,
        "frames 0.01": 0.0,
        "tiles 0.01": tiles,
        "lost 0.01": 0.001,
    }
    file.write_text(json.dumps(found))
    lines = scripts["skipping_section"].skipping_section(file)
    assert any(verdict in line for line in lines)
    assert f"| 0.01 | 0.0 % | {100 * tiles:.1f} % | 0.001 |" in lines
