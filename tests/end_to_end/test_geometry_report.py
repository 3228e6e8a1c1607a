"""``moegs report geometry`` on trained runs."""

import json
from pathlib import Path

import pytest

from moegs_ns.cli.main import run

#: Fast: two instants, every 8th pixel.
FEW = ("--frames", "2", "--pixel-stride", "8")


def test_an_expert_is_rendered_once_for_each_setting(
    trained_run: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["report", "geometry", str(trained_run), *FEW]) == 0
    said = capsys.readouterr().out
    assert "multi-view depth consistency" in said and "one pixel of 8x8" in said and "ball" in said
    kept = json.loads((trained_run / "geometry.json").read_text("utf8"))
    protocol, scores = kept["protocol"], kept["rows"]["stg"]["consistency"]
    assert protocol["cameras"] == [f"cam{number:02d}" for number in range(12) if number != 5]  # cam05 is held out: val
    assert protocol["frames"] == [0, 23] and protocol["resolution"] == [[80, 60]]
    assert scores["all_pairs"] == 2 * 11 * 10 and scores["error"] > 0
    assert sum(scores[kind] for kind in ("compared", "occluded", "outside", "empty")) == pytest.approx(1.0)
    assert set(kept["rows"]["stg"]["truth"]) == {"rotor", "ball", "cloth"}

    def refuse(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr("moegs_ns.cli.geometry._measure", refuse)
    assert run(["report", "geometry", str(trained_run), *FEW, "--format", "markdown"]) == 0
    assert "| stg |" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="rendered again"):
        run(["report", "geometry", str(trained_run), *FEW, "--neighbors", "2"])


@pytest.mark.slow
def test_a_mixture_has_a_row_for_each_expert_and_its_own(
    router_run: Path, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    page = tmp_path / "geometry.md"
    arguments = [str(router_run), str(trained_run), *FEW, "--format", "markdown", "--output", str(page)]
    assert run(["report", "geometry", *arguments]) == 0
    rows = json.loads((router_run / "geometry.json").read_text("utf8"))["rows"]
    assert list(rows) == ["stg", "4dgaussians", "mixture"]
    alone = json.loads((trained_run / "geometry.json").read_text("utf8"))["rows"]["stg"]
    assert rows["stg"]["consistency"]["error"] == pytest.approx(alone["consistency"]["error"], rel=1e-3)
    text = page.read_text("utf8")
    assert f"| **mixture ({router_run.name})** |" in text and f"| stg ({trained_run.name}) |" in text


def test_options_out_of_range(trained_run: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["report", "geometry", str(trained_run), "--pixel-stride", "0"]) == 1
    assert "pixel stride" in capsys.readouterr().err
