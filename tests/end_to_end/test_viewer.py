"""ns-viewer on an expert's and a router's run, watched by a client without a browser: sliders move the picture."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moegs_ns.runs.record import read_run_record
from tests.end_to_end.conftest import FRAMES
from tests.end_to_end.pictures import read_pictures
from tests.training.inprocess import render_dataset
from tests.viewer.live import free_port
from tests.viewer.viewer_client import ViewerClient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["trained_run", "router_run"])
def viewed_run(request: pytest.FixtureRequest) -> Path:
    """The run folder shown."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def client(viewed_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewerClient]:
    folder = tmp_path_factory.mktemp("viewer")  # another folder than that of training
    port = free_port()
    command = [Path(sys.executable).with_name("ns-viewer"), "--load-config", viewed_run / "config.yml"]
    with (folder / "log").open("w") as log:
        viewer = subprocess.Popen(
            [str(part) for part in [*command, "--viewer.websocket-port", port]], cwd=folder, stdout=log, stderr=log
        )
        try:
            with ViewerClient(port) as client:
                yield client
            assert viewer.poll() is None, (folder / "log").read_text()[-2000:]
        finally:
            viewer.terminate()
            viewer.wait(30)


@pytest.fixture(scope="module")
def first_camera(viewed_run: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What ns-render shows of the first training camera, frame by frame."""
    files = render_dataset(viewed_run, tmp_path_factory.mktemp("train"), split="train", image_format="png")
    return read_pictures([file for file in files if file.parent.name == "cam01"])


def nearest_frame(picture: np.ndarray, frames: np.ndarray) -> int:
    """Which of the frames a (larger) picture resembles most."""
    height, width = frames.shape[1:3]
    shrunk = Image.fromarray((255 * picture).astype(np.uint8)).resize((width, height), Image.Resampling.BOX)
    errors = np.square(frames - np.asarray(shrunk) / 255).mean(axis=(1, 2, 3))
    return int(errors.argmin())


def per_expert_outputs(run: Path) -> set[str]:
    """What a router's run shows besides the blend; nothing for the run of an expert."""
    experts = read_run_record(run)["model"].get("experts", [])
    return {f"{kind}_{name}" for kind in ("expert", "gate") for name in experts}


def test_the_panels_offer_time_frames_and_outputs(client: ViewerClient, viewed_run: Path) -> None:
    assert (client.element("Time")["min"], client.element("Time")["max"]) == (0.0, 1.0)
    assert (client.element("Frame")["min"], client.element("Frame")["max"]) == (0, FRAMES - 1)
    client.settled_picture(lambda: client.stand_at_camera(0))
    # nerfstudio adds a depth buffer of its own.
    offered = set(client.element("Output type")["options"]) - {"not set", "gl_z_buf_depth"}
    maps = {"winner", "error"} if "moegs-router" in viewed_run.parts else {"error"}
    assert offered == {"rgb", "depth", "accumulation"} | maps | per_expert_outputs(viewed_run)
    assert len(offered) == (9 if "moegs-router" in viewed_run.parts else 4)


def test_nobody_else_reaches_it(client: ViewerClient) -> None:
    """On 127.0.0.1 alone, where ns-viewer's own default is every address of the machine."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", client.port), timeout=5)


def test_a_new_viewer_is_led_to_a_camera_of_the_scene(client: ViewerClient) -> None:
    """Messages of viser 0.2.7; nerfstudio shows worlds ten times as large."""
    client.settled_picture(lambda: client.stand_at_camera(0))  # the server answers to a client's first own position
    wanted = {
        "SetCameraPositionMessage",
        "SetCameraLookAtMessage",
        "SetCameraUpDirectionMessage",
        "SetCameraFovMessage",
    }
    client.wait_for(lambda: wanted <= set(client.moved), "to be led somewhere")
    position = np.array(client.moved["SetCameraPositionMessage"]["position"]) / 10
    centres = client.camera_positions() / 10
    assert np.linalg.norm(centres - position, axis=1).min() < 0.05


def test_sliders_and_buttons_show_the_frames_they_name(client: ViewerClient, first_camera: np.ndarray) -> None:
    """Each picture is recognised among the renders of the same camera by ns-render."""
    start = client.settled_picture(lambda: client.stand_at_camera(0))
    assert start.shape[1] / start.shape[0] == pytest.approx(4 / 3, abs=0.02)
    assert nearest_frame(start, first_camera) == 0

    half = client.settled_picture(lambda: client.set("Time", 0.5))
    assert nearest_frame(half, first_camera) in (11, 12)

    chosen = client.settled_picture(lambda: client.set("Frame", 20))
    assert nearest_frame(chosen, first_camera) == 20
    assert client.value("Time") == pytest.approx(20 / (FRAMES - 1), abs=0.006)  # the slider shows hundredths

    following = client.settled_picture(lambda: client.set("Next frame", True))
    assert nearest_frame(following, first_camera) == 21
    assert client.value("Frame") == 21

    again = client.settled_picture(lambda: client.set("Frame", 0))
    np.testing.assert_allclose(again, start, atol=4 / 255)


def test_depth_is_shown_and_the_viewer_lives_on(client: ViewerClient) -> None:
    """An exception while rendering would end the client's render thread without a word."""
    rgb = client.settled_picture(lambda: client.set("Frame", 5))
    depth = client.settled_picture(lambda: client.set("Output type", "depth"))
    assert np.abs(depth - rgb).mean() > 0.05
    back = client.settled_picture(lambda: client.set("Output type", "rgb"))
    np.testing.assert_allclose(back, rgb, atol=4 / 255)


@pytest.mark.parametrize("viewed_run", ["router_run"], indirect=True)
def test_every_picture_of_a_mixture_is_shown_and_moves(client: ViewerClient, viewed_run: Path) -> None:
    client.settled_picture(lambda: client.stand_at_camera(0))
    shown = {}
    for output in ["rgb", "depth", *sorted(per_expert_outputs(viewed_run))]:
        if client.value("Output type") != output:
            client.settled_picture(lambda output=output: client.set("Output type", output))
        early = client.settled_picture(lambda: client.set("Frame", 2))
        shown[output] = client.settled_picture(lambda: client.set("Frame", 20))
        assert np.abs(shown[output] - early).max() > 8 / 255, output
    client.set("Output type", "rgb")
    for name, picture in shown.items():
        for other, another in shown.items():
            assert name == other or np.abs(picture - another).mean() > 0.01, (name, other)
