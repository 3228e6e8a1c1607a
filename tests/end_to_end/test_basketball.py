"""The real multi-view scene, shortly: 28 cameras are read, trained on and evaluated."""

from pathlib import Path

import pytest

from moegs_ns.runs.record import read_run_record
from tests.training.inprocess import evaluate, train

pytestmark = pytest.mark.data

FRAMES = 6


def test_a_few_steps_on_the_real_scene(data_dir: Path, outputs: Path) -> None:
    """Twenty steps from the triangulated points already beat the start by far; everything in the run is the scene's."""
    scene = ("n3v-data", "--downscale", 8, "--num-frames", FRAMES, "--val-cams", "cam05", "cam17")
    model = ("--pipeline.model.max-gaussians", 3000, "--pipeline.model.seed-copies", 1, "--vis", "tensorboard")
    files = ("--data", data_dir / "basketball", "--output-dir", outputs)

    def psnr(steps: int) -> float:
        run = train(["moegs-stg", *files, "--timestamp", f"{steps}", "--max-num-iterations", steps, *model, *scene])
        record = read_run_record(run)
        assert record["scene"]["num_frames"] == FRAMES
        assert record["scene"]["resolution"] == [80, 45]
        assert record["scene"]["cameras"]["test"] == ["cam00"]
        assert record["scene"]["cameras"]["val"] == ["cam05", "cam17"]
        assert len(record["scene"]["cameras"]["train"]) == 25
        results = evaluate(run)["results"]
        assert results["protocol"]["images"] == FRAMES
        return results["psnr"]

    assert psnr(40) > psnr(1) + 2
