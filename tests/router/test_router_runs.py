"""The router stage through nerfstudio's own commands, also after the experts' runs are gone."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from moegs_ns.runs.checkpoint_files import list_checkpoints
from moegs_ns.runs.record import read_run_record
from tests.training.inprocess import evaluate, render_dataset, train
from tests.training.test_trainer import assert_equal_state, load

STEPS, FRAMES = 12, 4
SCENE = ["n3v-data", "--downscale", "8", "--num-frames", str(FRAMES), "--val-cams", "cam05"]
SMALL = ["--pipeline.model.max-gaussians", "400", "--pipeline.model.sh-degree", "1", "--max-num-iterations", "8"]
TINY_FIELD = [
    "--pipeline.model.coarse-steps",
    "4",
    "--pipeline.model.width",
    "8",
    "--pipeline.model.grid-resolution",
    "4",
]


class Stages:
    """Two experts of one family and one of another, a router on them, and the experts' runs out of reach."""

    def __init__(self, data: Path, output_dir: Path) -> None:
        self.data, self.output_dir = data, output_dir
        self.experts = [
            self.train("moegs-stg", "a", *SMALL),
            self.train("moegs-4dgaussians", "a", *SMALL, *TINY_FIELD),
            self.train("moegs-stg", "b", *SMALL, "--machine.seed", "1"),
        ]
        self.before = [load(run) for run in self.experts]
        self.router = self.train_router("whole", "--experts", *self.experts)
        hidden = output_dir / "hidden"
        hidden.mkdir()
        for index, run in enumerate(self.experts):
            run.rename(hidden / str(index))

    def train(self, method: str, timestamp: str, *options: object) -> Path:
        arguments = ["--data", self.data, "--output-dir", self.output_dir, "--timestamp", timestamp]
        return train([method, *arguments, "--vis", "tensorboard", "--pipeline.lpips", *options, *SCENE])

    def train_router(self, timestamp: str, *options: object) -> Path:
        saving = ["--steps-per-save", "5", "--save-only-latest-checkpoint", "False", "--steps-per-eval-image", "7"]
        return self.train("moegs-router", timestamp, "--max-num-iterations", STEPS, *saving, *options)


@pytest.fixture(scope="module")
def stages(sample_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return Stages(sample_scene, tmp_path_factory.mktemp("runs"))


def test_record_and_checkpoint_hold_the_experts(stages: Stages) -> None:
    record = read_run_record(stages.router)
    assert (record["method"], record["expert"]["name"]) == ("moegs-router", "router")
    assert record["expert"]["config"]["experts"] == [str(run) for run in stages.experts]
    model = record["model"]
    assert model["experts"] == ["stg", "4dgaussians", "stg_2"]
    assert model["expert_origins"]["stg_2"] == {"family": "stg", "run": str(stages.experts[2]), "step": 8}
    state = load(stages.router)["pipeline"]
    for index, before in enumerate(stages.before):
        for name, value in before["pipeline"].items():
            if name.startswith("_model."):
                frozen = state[f"_model.experts.{index}.{name.removeprefix('_model.')}"]
                assert_equal_state(frozen, value, name)
    moments = load(stages.router)["optimizers"]
    assert {name: len(one["state"]) for name, one in moments.items()} == {
        "weights": 3,
        "time_weights": 3,
        "network": 3,
    }
    config = yaml.load((stages.router / "config.yml").read_text(), Loader=yaml.Loader)
    assert config.pipeline.model.experts == tuple(stages.experts)


def test_resumed_without_its_experts_it_ends_as_if_never_interrupted(stages: Stages) -> None:
    assert list(list_checkpoints(stages.router / "nerfstudio_models")) == [5, 10, 11]
    resumed = stages.train_router("resumed", "--load-dir", stages.router, "--load-step", "5")
    assert_equal_state(load(stages.router), load(resumed))
    first, second = (read_run_record(run) for run in (stages.router, resumed))
    assert first["model"] == second["model"]
    assert first["expert"] == second["expert"]


def test_evaluation_without_the_experts_runs(stages: Stages) -> None:
    results = evaluate(stages.router)["results"]
    assert len(results["per_image"]) == FRAMES
    names = ["expert_stg", "expert_4dgaussians", "expert_stg_2", "mean_of_experts", "smoothed_oracle", "pixel_oracle"]
    for name in names:
        assert np.isfinite(results[f"{name}/psnr"]) and np.isfinite(results[f"{name}/ssim"])
    # The mixture itself has no such bound: a blend of pictures can be nearer to the truth than any of them.
    assert results["pixel_oracle/psnr"] >= max(results[f"{name}/psnr"] for name in names[:3])
    assert results["protocol"]["model"]["experts"] == ["stg", "4dgaussians", "stg_2"]


def test_pictures_of_gates_and_experts(stages: Stages, tmp_path: Path) -> None:
    outputs = ["rgb", "expert_stg_2", "gate_stg", "gate_4dgaussians", "gate_stg_2", "depth"]
    written = render_dataset(stages.router, tmp_path, outputs=outputs)
    pictures = {name: [path for path in written if path.parent.name == name] for name in outputs}
    assert {name: len(paths) for name, paths in pictures.items()} == dict.fromkeys(outputs, FRAMES)
    for name in outputs:
        image = np.asarray(Image.open(pictures[name][0]))
        assert image.shape[:2] == (30, 40) and image.std() > 0, name


def test_training_on_what_is_no_expert_is_refused_before_anything_is_written(stages: Stages) -> None:
    def refused(timestamp: str, message: str, *options: object, error: type[Exception] = ValueError) -> None:
        with pytest.raises(error, match=message):
            stages.train_router(timestamp, *options)
        assert not (stages.router.parent / timestamp).exists()

    refused("none", "found none; pass --experts RUN RUN")
    refused("gone", "expected the run record", "--experts", stages.experts[0], error=FileNotFoundError)
    refused("router", "run of an expert at .* found a run of 'moegs-router'", "--experts", stages.router)
    refused("number", "the 3 experts of .* found 1", "--experts", stages.experts[0], "--load-dir", stages.router)
    hidden = stages.output_dir / "hidden" / "0"
    refused("other", "run of a router to resume, found a run of 'moegs-stg'", "--load-dir", hidden)


def test_experts_of_other_frames_are_refused(stages: Stages, sample_scene: Path) -> None:
    arguments = ["moegs-router", "--data", sample_scene, "--output-dir", stages.output_dir, "--vis", "tensorboard"]
    expert = stages.output_dir / "hidden" / "0"
    with pytest.raises(ValueError, match="num_frames 4 instead of 3"):
        train([*arguments, "--experts", expert, *SCENE[:4], "3", *SCENE[5:]])


@pytest.mark.slow
def test_the_viewer_opens_a_run_whose_experts_are_gone(stages: Stages, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    viewer = str(Path(sys.executable).with_name("ns-viewer"))
    command = [viewer, "--load-config", str(stages.router / "config.yml"), "--viewer.websocket-port", str(port)]
    log = tmp_path / "viewer.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=dict(os.environ))
    try:
        wait_until(lambda: answers(port), process, log)
        time.sleep(2)  # a failure of the first render ends the process
        assert process.poll() is None, log.read_text()[-2000:]
        assert "Traceback" not in log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], process: Any, log: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
