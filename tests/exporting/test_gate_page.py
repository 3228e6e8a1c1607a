"""The page of a mixture stands alone; charts and panels show the numbers they were given."""

import re
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from moegs_ns.exporting.charts import Chart, Curve, svg
from moegs_ns.exporting.gate_page import GatePage, Instant, gate_page
from moegs_ns.exporting.gate_panels import MeanQuantities, error_scale_top, panels, reduced
from moegs_ns.exporting.palette import EXPERT_COLORS, error_colors
from moegs_ns.reporting.tables import Table
from tests.exporting.html_pages import read_page

EXPERTS = ("stg", "4dgaussians", "ex<4>dgs & more")
HEIGHT, WIDTH = 12, 16


def quantities(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    gates = rng.dirichlet((1, 1, 1), size=(HEIGHT, WIDTH))
    best = np.eye(3)[rng.integers(0, 3, (HEIGHT, WIDTH))]
    found = {name: rng.random((HEIGHT, WIDTH, 3)) for name in ("truth", "rgb")}
    found |= {name: rng.random((HEIGHT, WIDTH)) for name in ("entropy", "error_rgb")}
    for number, name in enumerate(EXPERTS):
        found |= {f"expert_{name}": rng.random((HEIGHT, WIDTH, 3)), f"error_{name}": rng.random((HEIGHT, WIDTH))}
        found |= {f"gate_{name}": gates[..., number], f"best_{name}": best[..., number]}
    return found


def page(instants: int = 2) -> GatePage:
    files = {name: f"pictures/0-{name}.png" for name in panels(quantities(), 0.5)}
    chart = Chart("Gates & more", "frame", "share (%)", [0, 1], [Curve(EXPERTS[2], [1.0, 2.0], "#000")])
    return GatePage(
        title="mixed: <gates>",
        facts="frames 0 to 23",
        summary=["stg wins."],
        experts=EXPERTS,
        error_top=0.1,
        instants=[Instant(f"frame {n}", float(n), files, {"rgb": "29.60 dB"}) for n in range(instants)],
        charts=[svg(chart)],
        tables=[Table("Numbers", ["", "PSNR"], [["stg", "27.54"]], ["a note"])],
        definitions={"skill": "how well"},
    )


def test_the_page_stands_alone() -> None:
    text = gate_page(page())
    read = read_page(text)
    assert len(read.images) == 2 * (3 * (2 + len(EXPERTS)) + 2)  # the two maps have the picture below them
    assert set(map(unquote, read.references)) == set(page().instants[0].files.values())
    assert not re.search(r"https?:|//\w|@import|url\(", text)
    shown = " ".join(read.text)
    assert all(name in shown for name in EXPERTS)
    assert "29.60 dB" in shown and "27.54" in shown and "frame 0" in text and "0.1 and more (26 of 255)" in shown
    with pytest.raises(ValueError, match="at least one instant"):
        gate_page(page(instants=0))


def test_a_chart_places_its_points() -> None:
    chart = Chart("a < b", "frame", "dB", [0, 10, 20], [Curve("x", [0.0, 50.0, 100.0], "#f00")], (0.0, 100.0))
    root = ET.fromstring(svg(chart))
    (line,) = root.iter("polyline")
    points = np.array([[float(part) for part in point.split(",")] for point in line.attrib["points"].split()])
    np.testing.assert_allclose(np.diff(points[:, 0]), (points[2, 0] - points[0, 0]) / 2, atol=0.1)
    np.testing.assert_allclose(np.diff(points[:, 1]), (points[2, 1] - points[0, 1]) / 2, atol=0.1)
    assert points[2, 1] < points[0, 1]  # up is more
    ticks = {one.text: float(one.attrib["y"]) - 4 for one in root.iter("text") if one.get("text-anchor") == "end"}
    assert ticks["0"] == pytest.approx(points[0, 1]) and ticks["100"] == pytest.approx(points[2, 1])
    assert (root.get("data-left"), root.get("data-right")) == (f"{points[0, 0]:.1f}", f"{points[2, 0]:.1f}")
    assert {"frame", "dB", "a < b", "x"} <= {one.text for one in root.iter("text")}


def test_gaps_and_single_points_are_drawn() -> None:
    chart = Chart("c", "x", "y", [0, 1, 2, 3], [Curve("one", [None, 1.0, None, 2.0], "#000")])
    root = ET.fromstring(svg(chart))
    assert len([*root.iter("circle")]) == 2
    with pytest.raises(ValueError, match=r"curves of 2 > 0 values, found \[1\]"):
        svg(Chart("c", "x", "y", [0, 1], [Curve("one", [1.0], "#000")]))


def test_panels_show_gates_winners_and_errors() -> None:
    given = quantities()
    drawn = panels(given, top=0.5)
    assert set(drawn) == {name for name in given if not name.startswith("best_")} | {"winner", "best"}
    gates = np.stack([given[f"gate_{name}"] for name in EXPERTS])
    np.testing.assert_array_equal(drawn["winner"], EXPERT_COLORS[gates.argmax(axis=0)])
    np.testing.assert_array_equal(drawn["gate_stg"][..., 1], np.round(255 * given["gate_stg"]).astype(np.uint8))
    white = drawn["error_rgb"].sum(axis=-1) == error_colors(np.array(1.0), 1.0).sum()
    np.testing.assert_array_equal(white, np.sqrt(given["error_rgb"]) >= 0.5)


def test_error_colours_grow_lighter() -> None:
    lightness = error_colors(np.linspace(0, 0.2, 50), 0.2).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all() and lightness[0] == 0


def test_smaller_pictures_keep_means() -> None:
    given = quantities()
    small = reduced(given, WIDTH // 4)
    expected = given["rgb"].reshape(HEIGHT // 4, 4, WIDTH // 4, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small["rgb"], expected, atol=1e-6)
    assert small["entropy"].shape == (HEIGHT // 4, WIDTH // 4)
    assert reduced(given, 100)["rgb"] is given["rgb"]


def test_the_mean_over_frames() -> None:
    mean, frames = MeanQuantities(), [quantities(seed) for seed in range(3)]
    for frame in frames:
        mean.add(frame)
    np.testing.assert_allclose(mean.mean()["rgb"], np.mean([one["rgb"] for one in frames], axis=0), rtol=1e-6)


def test_the_error_scale_ignores_few_glints() -> None:
    errors = np.full((100, 100), 0.09**2)
    errors[0, :20] = 1.0
    assert error_scale_top([{"error_rgb": errors, "entropy": np.ones((2, 2))}]) == 0.1
