"""Small trained runs, of an expert and of a router, that the tests of this folder evaluate, render and view."""

from pathlib import Path

import pytest

from tests.training.inprocess import train

FRAMES = 24
#: Many copies of the seeds that live for a tenth of the clip each: frames differ visibly after a few steps already.
SHORT_LIVED = ("--pipeline.model.seed-copies", "8", "--pipeline.model.initial-log-time-scale", "-2.3")
SMALL = ("--pipeline.model.max-gaussians", "2400", "--pipeline.model.sh-degree", "1", "--vis", "tensorboard")
SCENE = ("n3v-data", "--downscale", "4", "--val-cams", "cam05")


def stg_arguments(project_root: Path, output_dir: Path, name: str, *options: object) -> list[object]:
    """``ns-train`` arguments of a small STG run on the sample scene."""
    files = ("--data", project_root / "examples" / "mixed", "--output-dir", output_dir, "--timestamp", name)
    return ["moegs-stg", *files, *SMALL, *options, *SCENE]


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this folder's runs lie."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="session")
def trained_run(project_root: Path, outputs: Path, cache_dir: Path) -> Path:
    """Run folder of an STG expert after 150 steps on the sample scene at 80x60."""
    return train(stg_arguments(project_root, outputs, "trained", "--max-num-iterations", 150, *SHORT_LIVED))


@pytest.fixture(scope="session")
def router_run(project_root: Path, outputs: Path, trained_run: Path) -> Path:
    """Run folder of a router, some steps old, on that expert and a 4DGaussians expert of the same frames."""
    files = ("--data", project_root / "examples" / "mixed", "--output-dir", outputs, "--timestamp", "mixture")
    border = [f"--optimizers.{group}.scheduler.restart-step=5" for group in ("means", "grid", "network")]
    field = [f"--pipeline.model.{option}" for option in ("coarse-steps=5", "grid-resolution=8", "width=16")]
    steps = ("--max-num-iterations", 40)
    expert = train(["moegs-4dgaussians", *files, *SMALL, *border, *field, *steps, *SCENE])
    experts = ("--experts", trained_run, expert)
    return train(["moegs-router", *files, *experts, *steps, "--vis", "tensorboard", *SCENE])
