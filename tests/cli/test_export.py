"""``moegs export`` on runs whose data are gone: what is written, kept and refused."""

import json
from pathlib import Path

import plyfile
import pytest

from moegs_ns.cli.main import run
from moegs_ns.exporting.splat_file import read_splat
from moegs_ns.runs.record import read_run_record, write_run_record
from tests.router.building import NUM_FRAMES, make_expert, save_run


@pytest.fixture
def expert_run(tmp_path: Path) -> Path:
    """An STG expert of random Gaussians."""
    return save_run(tmp_path / "run", make_expert("stg"), "stg", fps=10.0, cameras={"test": ["cam0"]})


def export(*arguments: object) -> int:
    return run(["export", *map(str, arguments)])


def said(capfd: pytest.CaptureFixture[str]) -> str:
    return " ".join("".join(capfd.readouterr()).split())


def test_a_sequence_of_frames(expert_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert export(expert_run, "--without-data", "--frames", "::2") == 0
    folder = expert_run / "export" / "ply"
    assert "Nothing was compared." in said(capfd)
    record = json.loads((folder / "export.json").read_text("utf8"))
    assert record["complete"] and record["fps"] == 5.0 and record["job"]["frames"] == [0, 2, 4]
    assert record["files"] == ["frame_0000.ply", "frame_0002.ply", "frame_0004.ply"]
    assert record["bytes"] == sum((folder / name).stat().st_size for name in record["files"])
    assert record["coordinates"]["axes"] == "own" and record["coordinates"]["rotation_from_data_set"] is None
    for name in record["files"]:
        assert 40 <= plyfile.PlyData.read(str(folder / name))["vertex"].count <= 80


def test_an_interrupted_sequence_goes_on(expert_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = (expert_run, "--without-data", "--format", "splat")
    assert export(*options) == 0
    folder = expert_run / "export" / "splat"
    contents = {file.name: file.read_bytes() for file in folder.glob("*.splat")}
    assert len(contents) == NUM_FRAMES
    (folder / "frame_0003.splat").unlink()
    (folder / "frame_0001.splat").write_bytes(contents["frame_0001.splat"][:64])  # cut off since, behind a Gaussian
    kept = {name: (folder / name).stat().st_mtime_ns for name in ("frame_0000.splat", "frame_0002.splat")}
    said(capfd)
    assert export(*options) == 0
    assert "2 frames to write" in said(capfd)
    assert {file.name: file.read_bytes() for file in folder.glob("*.splat")} == contents
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept


def test_another_export_is_not_overwritten_by_accident(expert_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert export(expert_run, "--without-data", "--frames", "0") == 0
    assert export(expert_run, "--without-data", "--frames", "1") == 1
    assert "frames: [0] there, [1] now" in said(capfd)
    assert export(expert_run, "--without-data", "--frames", "1", "--overwrite") == 0
    assert sorted(file.name for file in (expert_run / "export" / "ply").iterdir()) == ["export.json", "frame_0001.ply"]


def test_fewer_gaussians_and_less_colour(expert_run: Path, tmp_path: Path) -> None:
    sizes = {}
    for name, options in {
        "all": (),
        "flat": ("--sh-degree", 0),
        "opaque": ("--min-opacity", 0.9),
    }.items():
        output = tmp_path / name
        assert export(expert_run, "--without-data", "--frames", 0, "--output", output, *options) == 0
        sizes[name] = (output / "frame_0000.ply").stat().st_size
    assert max(sizes["flat"], sizes["opaque"]) < sizes["all"]


def test_one_file_for_the_clip(expert_run: Path) -> None:
    pytest.importorskip("fourdgs")
    from moegs_ns.exporting.fourdgs_file import FourDGSReader

    assert export(expert_run, "--without-data", "--format", "4dgs", "--frames", "1:4") == 0
    assert export(expert_run, "--without-data", "--format", "splat") == 0
    reader = FourDGSReader(expert_run / "export" / "4dgs" / "scene.4dgs")
    for position in range(3):
        frame = read_splat(expert_run / "export" / "splat" / f"frame_{position + 1:04d}.splat")
        assert len(reader.at(position / 10.0)) == len(frame)


def test_a_mixture_is_explained_in_one_sentence(expert_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    record = read_run_record(expert_run)
    record["expert"], record["model"]["experts"] = {"name": "router", "config": {}}, ["stg", "ex4dgs"]
    record["scene"] |= {"data": "scenes/toy", "layout": "n3v"}
    record["datamanager"] = {"dataparser": {"downscale": 2}}
    write_run_record(expert_run / "run.json", record)
    assert export(expert_run, "--output", expert_run / "out") == 1
    text = said(capfd)
    assert "a mixture's picture lives in image space" in text
    assert "ns-train moegs-distill --teacher" in text and "n3v-data --downscale 2" in text
    assert f"moegs fuse {expert_run}" in text.replace("\n", "")
    assert not (expert_run / "out").exists()


def test_feature_heads_are_refused_before_there_is_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = save_run(tmp_path / "run", make_expert("stg", head="full"), "stg", fps=10.0, cameras={"test": ["cam0"]})
    assert export(folder, "--without-data") == 1
    assert "STG's lite and full heads); bake them with --bake-sh" in said(capfd)
    assert not (folder / "export").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--without-data", "--axes", "y-down"), "--axes y-down needs the scene's cameras; leave out --without-data"),
        (("--without-data", "--format", "video"), "--format video needs the scene's cameras"),
        (("--without-data", "--html"), "--format html needs the scene's cameras; leave out --without-data"),
        (
            ("--html", "--format", "splat"),
            "expected --html, short for --format html, alone, found --format splat beside it",
        ),
        (("--without-data", "--frames", "9"), "--frames: expected a frame of the clip's 5"),
        (("--min-opacity", "2", "--without-data"), "expected a smallest opacity from 0 to below 1, found 2"),
    ],
)
def test_options_that_do_not_fit_are_told(
    expert_run: Path, options: tuple[str, ...], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert export(expert_run, *options) == 1
    assert message in said(capfd)
