"""Names with spaces and letters of other alphabets work everywhere; folders that may not be written to are told."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from moegs_ns.cli.main import run
from tests.bad_inputs.conftest import FEW, SMALL
from tests.training.inprocess import evaluate, train_of_method

pytestmark = pytest.mark.slow
NOBODY = 65534


def moegs(*words: object) -> int:
    return run([str(word) for word in words])


def test_spaces_and_unicode_in_paths(good: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "Süd straße ☃ [1]"
    scene = Path(shutil.copytree(good["scene"], home / "鞠 ball 'n' cloth"))
    assert moegs("data", "check", scene, "--json", home / "check ü.json") in (0, 1, 2)
    assert json.loads((home / "check ü.json").read_text("utf8"))["data"] == str(scene)
    out = home / "runs of mine"
    assert moegs("train", scene, "--experts", "stg", "--name", "wie ich", "--output-dir", out, "--plan") == 0
    place = ("--output-dir", out, "--timestamp", "wie ich", "--data", scene, "n3v-data")
    trained = train_of_method(["moegs-stg", *SMALL, *FEW, *place])
    evaluate(trained, trained / "eval_test.json")
    assert moegs("report", trained, "--output", home / "table é.md") == 0
    assert "stg" in (home / "table é.md").read_text("utf8")
    assert moegs("export", trained, "--frames", ":2", "--check-images", "1") == 0
    assert len(list((trained / "export" / "ply").glob("*.ply"))) == 2
    assert moegs("render", trained) == 0
    assert moegs("render", "fixed", trained, "--output", home / "film 1.mp4", "--frames", home / "frames 1") == 0
    assert (home / "film 1.mp4").is_file() and moegs("check-run", trained) == 0


def test_videos_with_spaces_and_unicode_are_prepared(good: dict[str, Path], tmp_path: Path) -> None:
    videos = tmp_path / "Aufnahmen vom 3. März"
    videos.mkdir()
    for number, file in enumerate(sorted(good["scene"].glob("*.mp4"))):
        shutil.copy(file, videos / f"Kamera {number} ü.mp4")
    poses, made = good["scene"] / "poses_bounds.npy", tmp_path / "Szene ☃"
    assert moegs("data", "prepare", videos, "--output-dir", made, "--poses", poses, "--seeds", "random") == 0
    assert sorted(file.name for file in made.glob("*.mp4")) == ["cam00.mp4", "cam01.mp4", "cam02.mp4"]


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are one user's."""
    place = Path(tempfile.mkdtemp(prefix="moegs-read-only-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


_CHILD = """
import contextlib, io, json, os, sys
from pathlib import Path
from moegs_ns.cli.main import run

place, user = Path(sys.argv[1]), int(sys.argv[2])

def said(*words):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = run([str(word) for word in words])
    return status, errors.getvalue()

def commands(folder, made):
    return {
        "report": ("report", folder / "run"),
        "report elsewhere": ("report", folder / "run", "--output", made / "table.md"),
        "render elsewhere": ("render", "fixed", folder / "run", "--output", made / "film.mp4"),
        "export elsewhere": ("export", folder / "run", "--frames", "0", "--output", made / "export"),
        "report into it": ("report", folder / "run", "--output", folder / "run" / "table.md"),
        "render into it": ("render", "fixed", folder / "run"),
        "pictures into it": ("render", folder / "run"),
        "export into it": ("export", folder / "run", "--frames", "0"),
        "geometry into it": ("report", "geometry", folder / "run"),
    }

for words in commands(place / "warm", place / "warm").values():  # a user without rights can import nothing
    assert said(*words)[0] == 0, words
os.environ["MOEGS_CACHE_DIR"] = str(place / "made" / "cache")
os.setgid(user)
os.setuid(user)
print("RESULT" + json.dumps({name: said(*words) for name, words in commands(place / "shut", place / "made").items()}))
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become a user without rights")
def test_a_run_that_may_only_be_read_is_used_from_elsewhere(good: dict[str, Path], open_place: Path) -> None:
    scene = shutil.copytree(good["scene"], open_place / "scene")
    for name in ("warm", "shut"):
        copy = shutil.copytree(good["scored"], open_place / name / "run")
        record = json.loads((copy / "run.json").read_text("utf8"))
        record["scene"]["data"] = str(scene)
        (copy / "run.json").write_text(json.dumps(record), "utf8")
    (open_place / "made").mkdir()
    (open_place / "made").chmod(0o777)
    before = sorted(path for path in (open_place / "shut").rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(open_place), str(NOBODY)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.split("RESULT")[1])
    assert {name: status for name, (status, _) in results.items()} == {
        name: int(name.endswith("into it")) for name in results
    }, results
    for name, (status, errors) in results.items():
        if status:
            assert len(errors.strip().splitlines()) == 1, (name, errors)
            assert "Permission denied" in errors and str(open_place / "shut") in errors, (name, errors)
            assert "change its permissions or name another place" in errors
    assert sorted(path for path in (open_place / "shut").rglob("*")) == before
