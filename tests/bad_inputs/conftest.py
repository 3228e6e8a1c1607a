"""The scene and the tiny runs that all of these tests share."""

import shutil
from pathlib import Path

import pytest

from tests.bad_inputs.bench import FRAMES
from tests.scene.make_video import numbered_scene
from tests.training.inprocess import evaluate, train

SMALL = ("--vis", "tensorboard", "--pipeline.lpips", "--max-num-iterations", 2)
FEW = ("--pipeline.model.max-gaussians", 100)


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``scene``; ``stg``, ``4dgaussians`` and ``mixture``, trained on it; ``scored``, the first with its scores."""
    folder = tmp_path_factory.mktemp("good")
    scene = numbered_scene(folder / "scene", 3, FRAMES)
    place = ("--output-dir", folder / "outputs", "--timestamp", "run", "--data", scene, "n3v-data")
    stg = train(["moegs-stg", *SMALL, *FEW, *place])
    deformed = train(["moegs-4dgaussians", *SMALL, *FEW, "--pipeline.model.width", 8, *place])
    mixture = train(["moegs-router", *SMALL, "--experts", stg, deformed, *place])
    scored = shutil.copytree(stg, folder / "scored" / Path(*stg.parts[-3:]))
    evaluate(stg, scored / "eval_test.json")
    return {"scene": scene, "stg": stg, "4dgaussians": deformed, "mixture": mixture, "scored": scored}
