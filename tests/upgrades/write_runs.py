"""Writes a run of every kind by the code at hand: ``python -m tests.upgrades.write_runs``, into a folder named after
the version of the records.

What is committed stays for ever: every later version must read it, or refuse it by its version. So this script never
replaces a folder that is there.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from moegs_ns.exporting.panels import as_uint8
from moegs_ns.exporting.picture_files import save_picture
from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER
from moegs_ns.runs.record import RUN_RECORD_NAME, SCHEMA_VERSION, describe_source
from moegs_ns.training.fusion import make_fused, plan_fusion
from moegs_ns.training.load_run import LoadedRun, load_run
from tests.scene.make_video import numbered_scene
from tests.training.inprocess import train
from tests.training.test_fusion import InProcess

FOLDER = Path(__file__).resolve().parent / f"runs_{SCHEMA_VERSION}"
PICTURE_NAME = "picture.png"
#: Options of the smallest models that have every part.
SMALL = {
    "stg": ("seed-copies=1",),
    "4dgaussians": ("coarse-steps=1", "grid-resolution=4", "time-resolution=3", "width=4"),
    "ed3dgs": ("embedding-size=2", "time-embedding-size=4", "coarse-frames=2", "fine-frames=1", "width=4"),
    "ex4dgs": ("keyframe-interval=2", "window-frames=2"),
}
_STEPS = 3
_GAUSSIANS = 12


def write_runs(folder: Path, place: Path) -> None:
    """The four experts, a mixture of two, a student of it and its fused set, each with a picture it makes.

    Args:
        folder: to keep them in.
        place: for what is needed meanwhile.
    """
    scene, outputs = numbered_scene(place / "scene"), place / "outputs"
    runs: dict[str, Path] = {}

    def make(name: str, method: str, *options: object) -> None:
        files = (
            "--data",
            scene,
            "--output-dir",
            outputs,
            "--timestamp",
            name,
            "--vis",
            "tensorboard",
            "--pipeline.lpips",
        )
        few = (
            "--vis",
            "tensorboard",
            "--max-num-iterations",
            _STEPS,
            "--steps-per-eval-image",
            0,
            "--machine.device-type",
            "cpu",
        )
        words = [method, *files, *few, *options, "n3v-data", "--test-cams", "cam00"]
        sys.argv = ["ns-train", *map(str, words)]  # what the record says
        runs[name] = train(words)

    for family, small in SMALL.items():
        own = [f"--pipeline.model.{option}" for option in ("sh-degree=1", f"max-gaussians={_GAUSSIANS}", *small)]
        make(family, f"moegs-{family}", *own)
    make("mixture", "moegs-router", "--experts", runs["stg"], runs["4dgaussians"])
    make("student", "moegs-distill", "--teacher", runs["mixture"], "--student", "stg", "--teacher-views", "live")
    plan = plan_fusion(runs["mixture"], name="fused", background="black")
    make_fused(plan, InProcess().run, "cpu")
    runs["fused"] = plan.fused.run
    for name, run in runs.items():
        target = folder / name
        target.mkdir(parents=True)
        shutil.copy(run / RUN_RECORD_NAME, target)
        shutil.copytree(run / CHECKPOINT_FOLDER, target / CHECKPOINT_FOLDER)
        save_picture(target / PICTURE_NAME, picture_of(load_run(run, device="cpu")))


def picture_of(run: LoadedRun) -> np.ndarray:
    """uint8 ``[H,W,3]``: what the model makes of the last test image's camera."""
    with torch.no_grad():
        outputs = run.model.get_outputs_for_camera(run.dataset.cameras[len(run.dataset) - 1 : len(run.dataset)])
    return as_uint8(outputs["rgb"].cpu().numpy())


if __name__ == "__main__":
    if FOLDER.exists():
        sys.exit(
            f"expected no {FOLDER}: what is committed stays; raise SCHEMA_VERSION of moegs_ns/runs/record.py first"
        )
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        write_runs(FOLDER, Path(place))
    sys.stdout.write(f"written by {describe_source()}\n")
