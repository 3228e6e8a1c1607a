"""Runs that earlier versions wrote load for ever and show what they showed, or are refused by their version's name.

When a test here fails, the format of records or checkpoints has changed, on purpose or not. If on purpose:

1. raise ``SCHEMA_VERSION`` in ``moegs_ns/runs/record.py``;
2. either read the former format too (where it is read, with a comment that names the version), or let
   ``read_run_record`` refuse it with a message that names the version and what can still read it;
3. write a folder for the new version by ``python -m tests.upgrades.write_runs`` and commit it beside the others, which
   stay as they are.
"""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moegs_ns.experts.registry import EXPERTS
from moegs_ns.runs.record import RUN_RECORD_NAME, SCHEMA_VERSION, read_run_record
from moegs_ns.training.load_run import load_run
from tests.scene.make_video import numbered_scene
from tests.training.inprocess import train
from tests.upgrades.write_runs import FOLDER, PICTURE_NAME, picture_of

STORED = sorted(run.parent for run in Path(__file__).parent.glob("runs_*/*/run.json"))
#: Of a colour in 0..255: other processors, thread counts and torch versions add in another order.
TOLERANCE = 2


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip they were trained on; its data parser is asked for cameras."""
    return numbered_scene(tmp_path_factory.mktemp("data") / "scene")


def moved(run: Path, place: Path, scene: Path) -> Path:
    """A copy of a stored run that knows where the data are now."""
    copy = Path(shutil.copytree(run, place / run.name))
    record = json.loads((copy / RUN_RECORD_NAME).read_text("utf8"))
    record["scene"]["data"] = str(scene)
    (copy / RUN_RECORD_NAME).write_text(json.dumps(record), "utf8")
    return copy


def refusal_of(run: Path) -> str | None:
    """Why a record is not read."""
    try:
        read_run_record(run)
    except ValueError as error:
        return str(error)
    return None


def version_of(run: Path) -> int:
    return int(json.loads((run / RUN_RECORD_NAME).read_text("utf8"))["schema_version"])


@pytest.mark.parametrize("run", STORED, ids=lambda run: f"{run.parent.name}/{run.name}")
def test_a_stored_run_shows_what_it_showed(run: Path, scene: Path, tmp_path: Path) -> None:
    copy = moved(run, tmp_path, scene)
    if version_of(run) != SCHEMA_VERSION and (refusal := refusal_of(copy)):
        assert f"found {version_of(run)}" in refusal, "a refusal names the version that it found"
        return
    loaded = load_run(copy, device="cpu")
    with Image.open(run / PICTURE_NAME) as stored:
        difference = np.abs(picture_of(loaded).astype(int) - np.asarray(stored.convert("RGB"), dtype=int))
    assert difference.max() <= TOLERANCE, __doc__


def test_there_is_a_run_of_every_kind_by_this_version() -> None:
    kinds = {run.name for run in STORED if run.parent == FOLDER}
    assert kinds == {*EXPERTS, "mixture", "student", "fused"}, __doc__
    assert {version_of(run) for run in STORED if run.parent == FOLDER} == {SCHEMA_VERSION}


def test_pictures_tell_runs_apart() -> None:
    """Otherwise a picture would say little."""
    pictures = [np.asarray(Image.open(run / PICTURE_NAME).convert("RGB"), dtype=int) for run in STORED]
    for place, picture in enumerate(pictures):
        assert picture.std() > TOLERANCE
        assert all(np.abs(picture - other).max() > TOLERANCE for other in pictures[:place])


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, "1", None])
def test_other_versions_are_refused_by_name(version: Any, tmp_path: Path) -> None:
    record = json.loads((STORED[0] / RUN_RECORD_NAME).read_text("utf8"))
    record |= {"schema_version": version, "versions": {"moegs_ns": "9.8.7"}}
    (tmp_path / RUN_RECORD_NAME).write_text(json.dumps(record), "utf8")
    with pytest.raises(ValueError, match=rf"schema version {SCHEMA_VERSION} .* found {version}; .*\(9\.8\.7\)"):
        read_run_record(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("run", [run for run in STORED if run.name in EXPERTS], ids=lambda run: run.name)
def test_a_stored_run_is_trained_on(run: Path, scene: Path, tmp_path: Path) -> None:
    """By the command that its record has; optimizers, sampler and random state are those of the checkpoint."""
    _, *words = shlex.split(json.loads((run / RUN_RECORD_NAME).read_text("utf8"))["command"])
    changed = {"--output-dir": tmp_path, "--data": scene, "--max-num-iterations": 5}
    for option, value in changed.items():
        words[words.index(option) + 1] = str(value)
    words[words.index("--data") : words.index("--data")] = ["--load-dir", str(run)]
    assert read_run_record(train(words))["progress"]["steps_done"] == 5
