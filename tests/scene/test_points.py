"""PLY reading and writing, bad files, and times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moegs_ns.scene.points import PointCloud, ply_has_time, read_ply, times_within_range, write_ply


def random_cloud(count: int = 20, timed: bool = True) -> PointCloud:
    rng = np.random.default_rng(0)
    return PointCloud(
        rng.normal(size=(count, 3)).astype(np.float32) * 1e3,
        rng.integers(0, 256, (count, 3), dtype=np.uint8),
        rng.random((count, 1)).astype(np.float32) if timed else None,
    )


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("ascii", [False, True])
def test_round_trip(ascii: bool, timed: bool, tmp_path: Path) -> None:
    cloud = random_cloud(timed=timed)
    write_ply(tmp_path / "p.ply", cloud, ascii=ascii)
    read = read_ply(tmp_path / "p.ply")
    np.testing.assert_array_equal(read.xyz, cloud.xyz)  # nine digits tell float32 apart
    np.testing.assert_array_equal(read.rgb, cloud.rgb)
    assert ply_has_time(tmp_path / "p.ply") == timed
    if timed:
        np.testing.assert_array_equal(read.time, cloud.time)
    else:
        assert read.time is None
    assert (read.xyz.dtype, read.rgb.dtype) == (np.float32, np.uint8)


ASCII = """ply
format ascii 1.0
comment written by hand
element vertex 2
property double x
property double y
property double z
property float nx
property uchar red
property uchar green
property uchar blue
property float t
element face 1
property list uchar int vertex_indices
end_header
1 2 3 0 10 20 30 0.25
4 5 6 1 255 0 1 1
3 0 1 0
"""


def test_other_properties_and_elements_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "p.ply").write_text(ASCII)
    cloud = read_ply(tmp_path / "p.ply")
    assert cloud.xyz.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert cloud.rgb.tolist() == [[10, 20, 30], [255, 0, 1]]
    assert cloud.time is not None
    assert cloud.time.tolist() == [[0.25], [1.0]]


def test_big_endian_and_float_colours(tmp_path: Path) -> None:
    header = "ply\nformat binary_big_endian 1.0\nelement vertex 1\n"
    header += "".join(f"property float {name}\n" for name in ("x", "y", "z", "red", "green", "blue"))
    values = np.array([1, -2, 3, 0.0, 0.5, 1.0], dtype=">f4")
    (tmp_path / "p.ply").write_bytes(header.encode() + b"end_header\n" + values.tobytes())
    cloud = read_ply(tmp_path / "p.ply")
    assert cloud.xyz.tolist() == [[1, -2, 3]]
    assert cloud.rgb.tolist() == [[0, 128, 255]]


def test_points_that_are_no_numbers_are_dropped_and_counted(tmp_path: Path) -> None:
    cloud = random_cloud(10)
    cloud.xyz[2, 1] = np.nan
    cloud.xyz[5, 0] = np.inf
    cloud.time[7] = np.nan
    write_ply(tmp_path / "p.ply", cloud)
    with pytest.warns(UserWarning, match=r"dropped 3 of 10 points"):
        read = read_ply(tmp_path / "p.ply")
    np.testing.assert_array_equal(read.xyz, cloud.xyz[[0, 1, 3, 4, 6, 8, 9]])


def test_missing_colours_are_grey_and_said(tmp_path: Path) -> None:
    lines = (
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    (tmp_path / "p.ply").write_text(lines + "1 2 3\n")
    with pytest.warns(UserWarning, match="expected colours"):
        assert read_ply(tmp_path / "p.ply").rgb.tolist() == [[128, 128, 128]]


def _bad(edit: tuple[str, str]) -> str:
    assert edit[0] in ASCII
    return ASCII.replace(*edit)


BAD = {
    "not ply": ("stl\n", "expected a PLY file"),
    "no end of header": (_bad(("end_header\n", "")), "end_header"),
    "no coordinates": (_bad(("double x", "double u")), "expected vertex properties x, y, z"),
    "list property": (_bad(("property float nx", "property list uchar int nx")), "plain numbers"),
    "unknown encoding": (_bad(("ascii", "binary_middle_endian")), "expected a format"),
    "faces first": (_bad(("element vertex 2", "element face 2")), "'vertex' as the first element"),
    "truncated": (_bad(("element vertex 2", "element vertex 9")), "expected"),
    "wrong number of columns": (_bad(("4 5 6 1 255", "4 5 6 1")), "numbers per line"),
    "times in frames": (_bad(("30 0.25", "30 25")), r"times in \[0,1\].*divide"),
    "colours above 255": (_bad(("uchar red", "int red")).replace("10 20 30", "999 20 30"), "colours in 0..255"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case: str, tmp_path: Path) -> None:
    content, message = BAD[case]
    (tmp_path / "p.ply").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_ply(tmp_path / "p.ply")


def test_truncated_binary_and_absent_file(tmp_path: Path) -> None:
    write_ply(tmp_path / "p.ply", random_cloud())
    data = (tmp_path / "p.ply").read_bytes()
    (tmp_path / "p.ply").write_bytes(data[:-3])
    with pytest.raises(ValueError, match="truncated"):
        read_ply(tmp_path / "p.ply")
    with pytest.raises(FileNotFoundError, match="point-cloud"):
        read_ply(tmp_path / "absent.ply")


def test_empty_clouds_are_read(tmp_path: Path) -> None:
    for ascii in (False, True):
        write_ply(tmp_path / "p.ply", random_cloud(0), ascii=ascii)
        assert len(read_ply(tmp_path / "p.ply")) == 0


def test_times_over_a_part_of_the_clip() -> None:
    frames = np.arange(11)  # one point per frame of a clip of 11
    cloud = PointCloud(np.repeat(frames[:, None], 3, 1).astype(np.float32), np.zeros((11, 3), np.uint8))
    timed = PointCloud(cloud.xyz, cloud.rgb, (frames[:, None] / 10).astype(np.float32))
    part = times_within_range(timed, 3, 5, 11)
    assert part.xyz[:, 0].tolist() == [3, 4, 5, 6, 7]
    np.testing.assert_allclose(part.time[:, 0], [0, 0.25, 0.5, 0.75, 1], atol=1e-6)
    one = times_within_range(timed, 4, 1, 11)
    assert (one.xyz[:, 0].tolist(), one.time.tolist()) == ([4], [[0]])
    assert times_within_range(timed, 0, 11, 11) is timed
    assert times_within_range(cloud, 3, 5, 11) is cloud  # untimed
    early = timed.select(timed.time[:, 0] < 0.2)
    with pytest.raises(ValueError, match="frames 5 to 9, found none"):
        times_within_range(early, 5, 5, 11)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="xyz"):
        PointCloud(np.zeros((3, 3), np.float32), np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match="time"):
        PointCloud(np.zeros((3, 3), np.float32), np.zeros((3, 3), np.uint8), np.zeros(3, np.float32))
