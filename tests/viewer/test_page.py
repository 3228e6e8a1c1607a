"""The page in a running viewer, watched by a client without a browser: every panel does what it says."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from moegs_ns.exporting.palette import EXPERT_COLORS
from moegs_ns.router.fused import fuse
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.viewer.page import ViewerPage
from tests.router.building import make_expert, make_mixture, randomise_router, save_run
from tests.viewer.live import FRAMES, live_page, look
from tests.viewer.viewer_client import ViewerClient

pytestmark = pytest.mark.slow
QUIET = 0.5


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> MixtureModel:
    folder = tmp_path_factory.mktemp("experts")
    stg = save_run(folder / "stg", make_expert("stg", seed=1, count=30), "stg")
    ex4dgs = save_run(folder / "ex4dgs", make_expert("ex4dgs", seed=2, count=50), "ex4dgs")
    model = make_mixture([stg, ex4dgs], background="black")
    randomise_router(model)
    return model


@pytest.fixture(scope="module")
def live(mixture: MixtureModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ViewerPage, ViewerClient]]:
    with live_page(mixture, tmp_path_factory.mktemp("viewer")) as (page, port), ViewerClient(port) as client:
        client.settled_picture(lambda: look(client), QUIET)
        yield page, client


@pytest.fixture
def page(live: tuple[ViewerPage, ViewerClient]) -> ViewerPage:
    return live[0]


@pytest.fixture
def client(live: tuple[ViewerPage, ViewerClient]) -> ViewerClient:
    """Stands before the scene; every test leaves the panels as it found them."""
    return live[1]


def picture(client: ViewerClient, label: str, value: object) -> np.ndarray:
    return client.settled_picture(lambda: client.set(label, value), QUIET)


def test_the_menu_names_every_picture(client: ViewerClient) -> None:
    assert list(client.element("Show")["options"]) == [
        "Mixture",
        "Expert: stg",
        "Expert: ex4dgs",
        "Gate: stg",
        "Gate: ex4dgs",
        "Winner map",
        "Error, nearest training view",
        "Opacity",
        "Depth",
    ]


def test_what_is_chosen_is_drawn_and_both_choosers_agree(client: ViewerClient) -> None:
    mixture = picture(client, "Frame", 2)
    stg = picture(client, "Show", "Expert: stg")
    assert client.value("Output type") == "expert_stg"
    assert np.abs(stg - mixture).max() > 0.05
    winner = picture(client, "Show", "Winner map")
    distances = np.abs(winner[:, :, None] - EXPERT_COLORS[:2] / 255).max(axis=-1).min(axis=-1)
    assert np.quantile(distances, 0.8) < 0.05  # but for JPEG's edges
    gate = picture(client, "Output type", "gate_stg")
    assert client.value("Show") == "Gate: stg"
    assert np.ptp(gate, axis=-1).max() < 0.05
    again = picture(client, "Show", "Mixture")
    np.testing.assert_allclose(again, mixture, atol=0.03)
    picture(client, "Frame", 0)


def test_the_tint_turns_the_picture_into_the_experts_colours(client: ViewerClient) -> None:
    plain = client._last()
    half, full = picture(client, "Gate tint", 0.5), picture(client, "Gate tint", 1.0)
    np.testing.assert_allclose(half, (plain + full) / 2, atol=0.05)
    stg = picture(client, "Show", "Gate: stg")
    expected = stg[..., :1] * EXPERT_COLORS[0] / 255 + (1 - stg[..., :1]) * EXPERT_COLORS[1] / 255
    np.testing.assert_allclose(full, expected, atol=0.06)
    picture(client, "Show", "Mixture")
    np.testing.assert_allclose(picture(client, "Gate tint", 0.0), plain, atol=0.03)


def test_an_expert_switched_off_is_not_in_the_picture(client: ViewerClient) -> None:
    whole = client._last()
    without = picture(client, "stg", False)
    np.testing.assert_allclose(without, picture(client, "Show", "Expert: ex4dgs"), atol=0.03)
    assert np.abs(without - whole).max() > 0.05
    client.set("ex4dgs", False)  # the last one stays
    client.wait_for(lambda: client.value("ex4dgs"), "the last expert to stay")
    picture(client, "Show", "Mixture")
    np.testing.assert_allclose(picture(client, "stg", True), whole, atol=0.03)


def test_errors_are_those_of_the_nearest_training_view(client: ViewerClient, mixture: MixtureModel) -> None:
    picture(client, "Frame", 3)
    client.settled_picture(lambda: look(client, aside=6.0), QUIET)
    shown = picture(client, "Show", "Error, nearest training view")
    client.wait_for(lambda: "right, frame 3: " in client.markdown(), "the photograph's name")
    assert shown.max() > 0.1
    client.settled_picture(lambda: look(client, aside=-6.0), QUIET)
    client.wait_for(lambda: "left, frame 3: " in client.markdown(), "the photograph's name")
    picture(client, "Show", "Mixture")
    picture(client, "Frame", 0)
    client.settled_picture(lambda: look(client), QUIET)
    client.wait_for(lambda: "left, frame" not in client.markdown(), "the error to go")


def test_low_scores_vanish_and_are_counted(client: ViewerClient, mixture: MixtureModel) -> None:
    whole = client._last()
    assert client.element("Hide lowest %")["disabled"]
    client.set("Criterion", "opacity")
    client.set("Score Gaussians", True)
    client.wait_for(lambda: not client.element("Hide lowest %")["disabled"], "scores")
    total = mixture.describe()["num_gaussians"]
    pruned = picture(client, "Hide lowest %", 50)
    client.wait_for(lambda: f"**{round(total / 2)}** of {total} Gaussians hidden" in client.markdown(), "a count")
    assert np.abs(pruned - whole).max() > 0.05
    assert mixture.describe()["num_gaussians"] == total
    np.testing.assert_allclose(picture(client, "Criterion", "gate"), whole, atol=0.03)  # other scores, or none yet
    assert client.value("Hide lowest %") == 0


def test_gaussians_of_a_region_leave_lines(client: ViewerClient) -> None:
    client.set("Middle of the view", True)
    client.wait_for(lambda: client.lines(), "lines")
    client.wait_for(lambda: "Gaussians there" in client.markdown(), "a summary")
    middle = len(client.lines())
    assert all(len(line) <= FRAMES and line.shape[1] == 3 for line in client.lines())
    client.set("Pick a rectangle", True)
    client.wait_for(lambda: "Drag a rectangle" in client.markdown(), "the request")
    client.send_rectangle((0.0, 0.0), (1.0, 1.0))
    client.wait_for(lambda: len(client.lines()) > middle, "more lines")
    assert not client.element("Pick a rectangle")["disabled"]
    client.set("Clear", True)
    client.wait_for(lambda: not client.lines(), "no lines")


def test_a_clip_plays_and_pauses(client: ViewerClient) -> None:
    client.set("Frames/s", 10)
    pictures = client.pictures_after(lambda: client.set("Play clip", True), 2.0)
    distinct = [b for (_, a), (_, b) in pairwise(pictures) if np.abs(a.mean() - b.mean()) > 1e-4]
    assert len(distinct) >= 3  # beside other work; 20 otherwise
    assert not client.element("Play clip")["visible"] and client.element("Pause clip")["visible"]
    client.settled_picture(lambda: client.set("Pause clip", True), QUIET)
    frame = client.value("Frame")
    time.sleep(0.4)
    assert client.value("Frame") == frame and client.element("Play clip")["visible"]
    assert 0 <= frame < FRAMES
    picture(client, "Frame", (frame + 1) % FRAMES)
    picture(client, "Frame", 0)


def test_a_change_after_a_rest_is_drawn_at_once(client: ViewerClient) -> None:
    """nerfstudio's own thread would draw nothing before it has waited for 0.2 seconds."""
    delays = []
    for frame in (1, 2, 3, 4, 0):
        time.sleep(0.6)
        delays.append(client.pictures_after(lambda frame=frame: client.set("Frame", frame), 0.9)[0][0])
    assert min(delays) < 0.15


def test_statistics_are_there(client: ViewerClient, mixture: MixtureModel) -> None:
    text = client.markdown()
    assert f"| Gaussians | {mixture.describe()['num_gaussians']} |" in text
    for row in ("Parameters", "Moving", "At rest", "Picture"):
        assert f"| {row} | " in text
    assert "512 x 384 px" in text and " MB" in text


def test_an_error_is_told_and_the_viewer_lives_on(
    client: ViewerClient, mixture: MixtureModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(MixtureModel, "get_outputs", lambda *_: 1 / 0)
        client.set("Frame", 1)
        client.wait_for(lambda: any("division by zero" in note["body"] for note in client.notes), "a note")
    picture(client, "Frame", 2)
    picture(client, "Frame", 0)


def test_panels_that_make_no_sense_do_not_appear(mixture: MixtureModel, tmp_path: Path) -> None:
    always = {"Clip", "Picture", "Statistics", "Paths of Gaussians"}
    some = always | {"Experts", "Pruning preview"}
    fused = fuse(mixture, [torch.ones(expert.num_gaussians) for expert in mixture.expert_models], {})
    for name, model, expected in (("fused", fused, always | {"Experts"}), ("one", make_expert("stg"), always)):
        (tmp_path / name).mkdir()
        with live_page(model, tmp_path / name) as (_, port), ViewerClient(port) as client:
            client.settled_picture(lambda client=client: look(client), QUIET)
            assert client.labels() & some == expected
            tint = client.element("Gate tint")
            assert not tint["visible"]
            client.settled_picture(lambda client=client: client.set("Frame", 3), QUIET)
            client.set("Middle of the view", True)
            client.wait_for(lambda client=client: "Gaussians there" in client.markdown(), "a summary")
