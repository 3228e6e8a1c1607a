"""``.splat`` files, read record by record as antimatter15's viewer does."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from moegs_ns.exporting.splat_file import flat_colors, read_splat, write_splat
from moegs_ns.splats.sh import view_colors
from moegs_ns.splats.splats import Splats
from tests.exporting.gaussian_sets import agreement, make_camera, make_splats

FLOOR = 36.0  # decibels for 8 bits of colour and rotation; a wrong convention is below 30


def read_as_others_do(path: Path, mistake: str = "") -> Splats:
    """The records as the format's description has them, or with a mistake."""
    rows = []
    for record in struct.iter_unpack("<3f3f4B4B", path.read_bytes()):
        means, scales, rgba, turn = record[:3], record[3:6], record[6:10], record[10:]
        quat = [(byte - 128) / 128 for byte in turn]
        if mistake == "xyzw":
            quat = [*quat[1:], quat[0]]
        if mistake == "scales":
            scales = tuple(2.718281828**one for one in scales)
        if mistake == "colours":
            rgba = (*rgba[2::-1], rgba[3])
        rows.append([*means, *scales, *(byte / 255 for byte in rgba), *quat])
    table = torch.tensor(rows)
    sh = (table[:, 6:9] - 0.5) / 0.28209479177387814
    quats = table[:, 10:] / table[:, 10:].norm(dim=1, keepdim=True)
    return Splats(table[:, :3], quats, table[:, 3:6], table[:, 9], sh=sh[:, None])


def test_other_programs_see_the_same_picture(tmp_path: Path) -> None:
    splats = make_splats(degree=0)
    splats = replace(splats, sh=splats.sh.clamp(-1.5, 1.5))
    write_splat(tmp_path / "frame.splat", splats)
    assert (tmp_path / "frame.splat").stat().st_size == 32 * len(splats)
    assert agreement(splats, read_as_others_do(tmp_path / "frame.splat")) > FLOOR
    assert agreement(splats, read_splat(tmp_path / "frame.splat")) > FLOOR
    for mistake in ("xyzw", "scales", "colours"):
        assert agreement(splats, read_as_others_do(tmp_path / "frame.splat", mistake)) < 30.0, mistake


def test_rotations_keep_seven_bits(tmp_path: Path) -> None:
    splats = make_splats(400, degree=0)
    turned = replace(splats, quats=torch.cat([torch.eye(4), -torch.eye(4), splats.quats[8:]]))
    write_splat(tmp_path / "frame.splat", turned)
    back = read_splat(tmp_path / "frame.splat")
    closest = torch.cdist(back.means, turned.means).argmin(dim=1)  # the order is another
    cosines = (back.quats * turned.quats[closest]).sum(dim=1).abs()
    assert 2 * torch.acos(cosines.clamp(max=1.0)).max() < 0.025  # radians


def test_what_covers_most_comes_first(tmp_path: Path) -> None:
    write_splat(tmp_path / "frame.splat", make_splats(degree=0))
    back = read_splat(tmp_path / "frame.splat")
    cover = back.scales.prod(dim=1) * back.opacities
    assert (cover[:-1] >= cover[1:] * 0.98).all()  # opacities were rounded


def test_colours_are_what_the_cameras_see_on_average(tmp_path: Path) -> None:
    splats = make_splats(degree=2)
    eyes = torch.stack([make_camera(angle).camera_to_worlds[0, :, 3] for angle in (0.3, 0.5)])
    expected = sum(view_colors(2, splats.means, eye, splats.sh).clamp(0, 1) for eye in eyes) / 2
    torch.testing.assert_close(flat_colors(splats, eyes), expected)
    anywhere, here = tmp_path / "anywhere.splat", tmp_path / "here.splat"
    write_splat(anywhere, splats)
    write_splat(here, splats, eyes)
    assert agreement(splats, read_splat(here)) > agreement(splats, read_splat(anywhere)) + 3.0


def test_half_a_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "frame.splat").write_bytes(bytes(40))
    with pytest.raises(ValueError, match="expected records of 32 bytes in .*, found 40 bytes: it is truncated"):
        read_splat(tmp_path / "frame.splat")
