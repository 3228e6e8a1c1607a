"""PLY files of Gaussians, read with a library that knows nothing of this project."""

from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch

from moegs_ns.exporting.gaussian_ply import (
    ply_bytes_per_gaussian,
    ply_properties,
    read_gaussian_ply,
    write_gaussian_ply,
)
from moegs_ns.splats.splats import Splats
from tests.exporting.gaussian_sets import agreement, make_splats

EXACT = 70.0  # decibels; a wrong convention is below 30 (`test_wrong_conventions_would_be_noticed`)


def read_as_others_do(path: Path, mistake: str = "") -> Splats:
    """By the names and meanings of 3D Gaussian Splatting's reference implementation, or with a mistake."""
    vertex = plyfile.PlyData.read(str(path))["vertex"]
    rest = sorted((p.name for p in vertex.properties if p.name.startswith("f_rest_")), key=lambda n: int(n[7:]))
    bases = len(rest) // 3

    def columns(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.asarray(vertex[name], np.float32) for name in names], axis=1))

    sh = columns("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    if bases:
        others = columns(*rest)
        shaped = others.reshape(-1, bases, 3) if mistake == "order of f_rest" else others.reshape(-1, 3, bases).mT
        sh = torch.cat([sh, -shaped if mistake == "sign of f_rest" else shaped], dim=1)
    order = (1, 2, 3, 0) if mistake == "xyzw" else (0, 1, 2, 3)
    quats = columns(*(f"rot_{part}" for part in order))
    scales, opacity = columns("scale_0", "scale_1", "scale_2"), columns("opacity")[:, 0]
    return Splats(
        means=columns("x", "y", "z"),
        quats=quats / quats.norm(dim=1, keepdim=True),
        scales=scales.abs() if mistake == "scales" else scales.exp(),
        opacities=opacity.clamp(0, 1) if mistake == "opacity" else opacity.sigmoid(),
        sh=sh,
    )


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_other_programs_see_the_same_picture(tmp_path: Path, degree: int) -> None:
    splats = make_splats(degree=degree)
    write_gaussian_ply(tmp_path / "frame.ply", splats)
    assert agreement(splats, read_as_others_do(tmp_path / "frame.ply")) > EXACT
    assert agreement(splats, read_gaussian_ply(tmp_path / "frame.ply")) > EXACT


@pytest.mark.parametrize("mistake", ["xyzw", "order of f_rest", "sign of f_rest", "scales", "opacity"])
def test_wrong_conventions_would_be_noticed(tmp_path: Path, mistake: str) -> None:
    splats = make_splats()
    write_gaussian_ply(tmp_path / "frame.ply", splats)
    assert agreement(splats, read_as_others_do(tmp_path / "frame.ply", mistake)) < 30.0


def test_the_layout_is_that_of_the_reference_implementation(tmp_path: Path) -> None:
    splats = make_splats(7, degree=3)
    write_gaussian_ply(tmp_path / "frame.ply", splats)
    data = plyfile.PlyData.read(str(tmp_path / "frame.ply"))
    names = [one.name for one in data["vertex"].properties]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:54] == [f"f_rest_{number}" for number in range(45)]
    assert names[54:] == ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    assert names == ply_properties(16)
    assert {one.val_dtype for one in data["vertex"].properties} == {"f4"}
    assert data.byte_order == "<" and not data.text and data["vertex"].count == 7
    header = (tmp_path / "frame.ply").read_bytes().index(b"end_header\n") + len(b"end_header\n")
    assert (tmp_path / "frame.ply").stat().st_size == header + 7 * ply_bytes_per_gaussian(16)


def test_extreme_values_stay_finite(tmp_path: Path) -> None:
    given = make_splats(4, degree=0)
    splats = Splats(
        given.means,
        given.quats,
        torch.tensor([0.0, 1e-30, 1.0, 1e3])[:, None].repeat(1, 3),
        torch.tensor([0.0, 1.0, 1e-9, 0.5]),
        sh=given.sh,
    )
    write_gaussian_ply(tmp_path / "frame.ply", splats)
    vertex = plyfile.PlyData.read(str(tmp_path / "frame.ply"))["vertex"]
    assert all(np.isfinite(vertex[name]).all() for name in ply_properties(1))
    back = read_gaussian_ply(tmp_path / "frame.ply")
    torch.testing.assert_close(back.opacities, splats.opacities, atol=2e-6, rtol=0)


def test_no_gaussians_are_a_file_too(tmp_path: Path) -> None:
    write_gaussian_ply(tmp_path / "frame.ply", make_splats(0))
    assert len(read_gaussian_ply(tmp_path / "frame.ply")) == 0


def test_other_point_clouds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "points.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
        "0 0 0\n"
    )
    with pytest.raises(ValueError, match="expected the properties of 3D Gaussians in .*, found x, y, z"):
        read_gaussian_ply(tmp_path / "points.ply")
