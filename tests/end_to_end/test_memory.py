"""Memory stays flat over a training run."""

from pathlib import Path

import pytest

from moegs_ns.scene.datamanager import DynamicDataManager
from tests.end_to_end.conftest import stg_arguments
from tests.training.inprocess import train

STEPS, WARM_UP = 700, 300
#: MiB. Measured is under 2. A leak of one 80x60 float image per step would be 22 over the measured steps, one of 14 KiB
#: per render 11.
ALLOWED_GROWTH = 5


def anonymous_memory_mb() -> float:
    """Resident memory of this process without mapped files: the frame cache's pages are the system's to take back."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 2**10
    pytest.skip("this system does not tell resident memory without mapped files")


def test_training_needs_no_more_memory_as_it_goes_on(
    project_root: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With evaluation, logging and checkpoints on; the number of Gaussians is constant after the warm-up."""
    measured = []
    original = DynamicDataManager.next_train_group

    def next_train_group(self: DynamicDataManager, step: int) -> list:
        if step % 20 == 0 and step >= WARM_UP:
            measured.append(anonymous_memory_mb())
        return original(self, step)

    monkeypatch.setattr(DynamicDataManager, "next_train_group", next_train_group)
    model = ("--pipeline.model.densify-start", 50, "--pipeline.model.densify-stop", 250)
    cadence = ("--max-num-iterations", STEPS, "--steps-per-save", 100, "--steps-per-eval-image", 50)
    train(stg_arguments(project_root, outputs, "memory", *model, *cadence))
    assert len(measured) == (STEPS - WARM_UP) // 20
    half = len(measured) // 2
    assert max(measured[half:]) - max(measured[:half]) < ALLOWED_GROWTH
    assert measured[-1] - measured[0] < ALLOWED_GROWTH
