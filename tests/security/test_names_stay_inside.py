"""Names from data become names of files: none of them leads out of the folder that a command writes into."""

import json
from pathlib import Path

import pytest

from moegs_ns.exporting.export_folder import RECORD_NAME, SCHEMA_VERSION, ExportFolder
from moegs_ns.paths import check_plain_names
from moegs_ns.router.ensemble import specs_in_state
from moegs_ns.scene.dataparsers.transforms import TransformsDataParserConfig
from moegs_ns.scene.frame_cache import CameraFrames, cache_entry
from moegs_ns.training.fusion import _options
from tests.scene.layouts.clip import mixed_clip
from tests.scene.layouts.writers import write_transforms

LEADING_OUT = ("../outside", "/outside", "a/b", "..", ".", ".hidden", "", "a\\b", "a\nb", "a\0b", "\u202eg", "a" * 300)


@pytest.mark.parametrize("name", LEADING_OUT)
def test_names_that_cannot_be_files_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected names of cameras that can be names of files"):
        check_plain_names(["cam00", name], "names of cameras")


def test_other_names_are_taken() -> None:
    check_plain_names(["cam00", "left camera", "Kamera Süd", "0001.png", "a..b", "日本"], "names of cameras")


def test_cameras(tmp_path: Path, sample_scene: Path) -> None:
    write_transforms(tmp_path, mixed_clip(sample_scene, [0, 1], frames=2, shrink=8))
    file = tmp_path / "transforms.json"
    values = json.loads(file.read_text("utf8"))
    for frame in values["frames"]:
        frame["camera"] = "../../" + Path(frame["file_path"]).parts[0]
    file.write_text(json.dumps(values), "utf8")
    with pytest.raises(ValueError, match="expected names of cameras .* found '../../cam00'"):
        TransformsDataParserConfig(data=tmp_path).setup().get_dataparser_outputs("train")


def test_experts() -> None:
    spec = {"name": "../../outside", "family": "stg", "config": {}, "scene": {}}
    with pytest.raises(ValueError, match="expected names of experts"):
        specs_in_state({"_extra_state": json.dumps([spec])})
    with pytest.raises(ValueError, match="expected a checkpoint that describes its experts"):
        specs_in_state({"_extra_state": json.dumps([{**spec, "name": "stg", "more": 1}])})


def test_files_that_an_export_replaces(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    folder = tmp_path / "export"
    folder.mkdir()
    record = {"schema_version": SCHEMA_VERSION, "job": {}, "complete": True, "files": ["../mine.txt"], "sizes": {}}
    (folder / RECORD_NAME).write_text(json.dumps(record))
    with pytest.raises(ValueError, match="expected files in .* that can be names of files"):
        ExportFolder(folder, {"run": "another"}).open(overwrite=True)
    assert mine.read_text() == "mine"


def test_cached_frames_lie_in_the_cache(tmp_path: Path) -> None:
    """Whatever the folder of a camera's images is called."""
    images = tmp_path / "scene" / ".." / "images"
    (tmp_path / "scene").mkdir()
    images.mkdir()
    (images / "0.png").write_bytes(b"x")
    for source in (images, (images / "0.png",)):
        entry = cache_entry(CameraFrames(source, 0, 1, 4, 4), tmp_path / "cache")
        assert entry.folder.parent == tmp_path / "cache"


def test_values_of_a_record_are_no_options() -> None:
    record = {"seed": 1, "datamanager": {}, "expert": {"config": {"background": "--load-config=evil.yml"}}}
    with pytest.raises(ValueError, match="the file was altered"):
        _options(record, share_maps=False)
    record["expert"]["config"]["background"] = "black"
    assert _options(record, share_maps=False)[-2:] == ["--pipeline.model.background", "black"]
