"""Panels without a server: what they remember, tell and refuse. What they draw is in test_page.py."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor, nn

from moegs_ns.viewer.experts_panel import ExpertsPanel
from moegs_ns.viewer.picture_panel import PicturePanel
from moegs_ns.viewer.pruning_panel import PruningPanel
from moegs_ns.viewer.statistics_panel import StatisticsPanel
from moegs_ns.viewer.training_views import TrainingViews
from tests.viewer.fake_viewer import fake_running
from tests.viewer.live import Photographs, row_of_images


class Prunable(nn.Module):
    """A mixture of ten Gaussians, the later the more important."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.arange(10.0))
        self.seen: list[tuple[int, bool]] = []

    def describe(self) -> dict[str, Any]:
        """How many there are."""
        return {"num_gaussians": len(self.weights)}

    def pruning_scores(self, cameras: Iterable[Cameras], criterion: str) -> Tensor:
        """The weights; notes which views were looked at."""
        if criterion == "impossible":
            raise ValueError("expected another criterion")
        self.seen = [(int(camera.width), self.training) for camera in cameras]
        return self.weights.detach().clone()

    def pruned_at(self, scores: Tensor, ratio: float) -> Tensor:
        """The lowest."""
        return scores < scores.quantile(ratio) if ratio else torch.zeros_like(scores, dtype=torch.bool)


def test_experts_are_left_out_but_never_all() -> None:
    running, gui, events = fake_running()
    panel = ExpertsPanel({"stg": 12, "ex4dgs": 1_000})
    panel.install(running)
    gui.elements["stg"].value = False
    assert panel.left_out == {"stg"} and events == ["rerender"]
    gui.elements["ex4dgs"].value = False
    assert panel.left_out == {"stg"} and gui.elements["ex4dgs"].value
    assert "One expert has to stay" in events
    gui.elements["stg"].value = True
    assert panel.left_out == frozenset()


def test_scores_hide_the_lowest_until_they_are_forgotten() -> None:
    model = Prunable().train()
    running, gui, events = fake_running(model)
    panel = PruningPanel(["gate", "opacity"], row_of_images())
    panel.install(running)
    slider, text = gui.elements["Hide lowest %"], gui.texts[0]
    assert slider.disabled and panel.hidden(model) is None
    gui.elements["Score Gaussians"].press()
    assert model.seen == [(320, False)] * 10 and model.training  # scored in evaluation mode, small, then as before
    assert not slider.disabled and panel.hidden(model) is None
    slider.value = 30
    assert panel.hidden(model).tolist() == [True] * 3 + [False] * 7
    assert "**3** of 10 Gaussians hidden" in text.content and "--ratio 0.300" in text.content
    assert events[-1] == "rerender"
    gui.elements["Criterion"].value = "opacity"
    assert panel.hidden(model) is None and slider.disabled and slider.value == 0


def test_scores_of_gaussians_that_are_gone_are_forgotten() -> None:
    model = Prunable()
    running, gui, _ = fake_running(model)
    panel = PruningPanel(["gate"], row_of_images())
    panel.install(running)
    panel.score()
    gui.elements["Hide lowest %"].value = 50
    model.weights = nn.Parameter(torch.arange(4.0))  # training pruned
    assert panel.hidden(model) is None
    assert gui.elements["Hide lowest %"].disabled


def test_scores_that_cannot_be_are_told() -> None:
    running, gui, events = fake_running(Prunable())
    panel = PruningPanel(["impossible"], row_of_images())
    panel.install(running)
    panel.score()
    assert events == ["Gaussians could not be scored"]
    assert not gui.elements["Score Gaussians"].disabled and gui.elements["Hide lowest %"].disabled


def outputs(gate: float = 0.25) -> dict[str, Tensor]:
    """Of a mixture of two experts, 6 x 8 pixels."""
    return {
        "rgb": torch.full((6, 8, 3), 0.5),
        "accumulation": torch.ones(6, 8, 1),
        "depth": torch.full((6, 8, 1), 4.0),
        "expert_a": torch.zeros(6, 8, 3),
        "expert_b": torch.ones(6, 8, 3),
        "gate_a": torch.full((6, 8, 1), gate),
        "gate_b": torch.full((6, 8, 1), 1 - gate),
    }


def test_what_nobody_looks_at_is_not_made() -> None:
    running, gui, _ = fake_running()
    photographs = Photographs()
    panel = PicturePanel(["a", "b"], TrainingViews(photographs, photographs.metadata))
    panel.install(running)
    rendered: list[Cameras] = []

    def render(camera: Cameras) -> dict[str, Tensor]:
        rendered.append(camera)
        return {"rgb": torch.full((int(camera.height), int(camera.width), 3), 0.5)}

    camera = row_of_images()[8:9]  # right, frame 3, of 0.6
    shown = panel.complete(outputs(), camera, render)
    assert not rendered and shown["error"] is shown["winner"] and panel.compared == ""
    assert gui.elements["Show"].options[:3] == ["Mixture", "Expert: a", "Expert: b"]
    assert gui.elements["Gate tint"].visible and shown["gate_a"].shape == (6, 8, 3)

    running.control_panel.output_render = "error"
    shown = panel.complete(outputs(), camera, render)
    assert len(rendered) == 1 and torch.equal(rendered[0].camera_to_worlds, camera.camera_to_worlds)
    assert panel.compared == "right, frame 3: 20.0 dB"
    assert float(shown["error"].std(dim=(0, 1)).max()) < 1e-6

    running.control_panel.output_render = "winner"
    assert panel.complete(outputs(), camera, render)["winner"][0, 0].tolist() == pytest.approx(
        [230 / 255, 159 / 255, 0]
    )
    assert panel.compared == "" and len(rendered) == 1


def test_a_single_model_has_neither_tint_nor_winner() -> None:
    running, gui, _ = fake_running()
    panel = PicturePanel()
    panel.install(running)
    single = {name: image for name, image in outputs().items() if name in ("rgb", "depth", "accumulation")}
    shown = panel.complete(single, row_of_images()[:1], lambda _: {})
    assert set(shown) == set(single) and gui.elements["Show"].options == ["Picture", "Opacity", "Depth"]
    assert not gui.elements["Gate tint"].visible


def test_statistics_say_how_many_and_how_large() -> None:
    running, gui, _ = fake_running(Prunable())
    panel = StatisticsPanel()
    panel.install(running)
    panel.update({"Moving": "24 fps"}, settled=True)
    assert gui.texts[0].content.splitlines()[2:] == [
        "| Gaussians | 10 |",
        "| Parameters | 0.0 MB |",
        "| Moving | 24 fps |",
    ]
    panel.update({"Moving": "23 fps"}, settled=False)  # too soon
    assert "23" not in gui.texts[0].content
