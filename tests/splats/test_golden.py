"""The CPU backends against golden files, and the making of these files, without a GPU: with stand-ins for gsplat."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from moegs_ns.splats.conventions import GSPLAT_1_4, GSPLAT_1_5
from moegs_ns.splats.torch_backend import tile_bounds
from tests.splats.golden import (
    Golden,
    compare_with_golden,
    golden_files,
    golden_scenes,
    read_golden,
    write_all,
    write_golden,
)
from tests.splats.golden_outputs import outputs_of, outputs_of_gsplat
from tests.splats.gsplat_fakes import fake_wrapper
from tests.splats.random_scenes import CLASSIC, random_scene

ROOT = Path(__file__).resolve().parents[2]
FILES = list(golden_files())
CONVENTIONS = {"1.4.0": GSPLAT_1_4, "1.5.3": GSPLAT_1_5}
SMALL = random_scene(66, 40, k=2, c=3, width=35, height=20, settings=(CLASSIC, replace(CLASSIC, antialiased=True)))


@pytest.mark.skipif(
    not FILES, reason="no golden files in tests/splats/golden: benchmarks/golden_files.py writes them on a CUDA machine"
)
@pytest.mark.parametrize("path", FILES or [None], ids=lambda path: path.stem if path else "none")
def test_gsplats_own_outputs(path, backend):
    compare_with_golden(read_golden(path), backend)


def test_golden_files_are_small():
    assert all(path.stat().st_size < 500_000 for path in golden_files())


def test_the_scenes_have_names_of_their_own_and_no_poison():
    scenes = golden_scenes()
    assert len({scene.name for scene in scenes}) == len(scenes) >= 25
    assert {1, 3, 4, 5, 8} <= {scene.channels.shape[1] for scene in scenes}
    assert 3 in {scene.num_experts for scene in scenes}
    assert all(torch.isfinite(scene.splats.means).all() for scene in scenes)


@pytest.fixture(scope="module", params=sorted(CONVENTIONS))
def written(request, tmp_path_factory) -> tuple[str, list[Path]]:
    """Files of all scenes as a release would write them, made by the readable twin."""
    conventions = CONVENTIONS[request.param]
    folder = tmp_path_factory.mktemp(f"golden-{request.param}")

    def render(scene):
        outputs = outputs_of(scene, "torch")
        first, last = tile_bounds(outputs["means2d"], outputs["radii"], scene.width, scene.height)
        return outputs | {"tiles": ((last - first).prod(dim=1) * (outputs["radii"] > 0)).int()}

    return request.param, write_all(folder, render, {"gsplat": request.param, "device": "the twin"}, conventions)


def test_every_scene_survives_the_file_and_the_comparison(written, backend):
    version, paths = written
    assert [path.name for path in paths] == [
        f"gsplat-{version}-{scene.name.replace('/', '-')}.npz" for scene in golden_scenes()
    ]
    for path, scene in zip(paths, golden_scenes(), strict=True):
        golden = read_golden(path)
        assert golden.scene.settings == scene.under(CONVENTIONS[version]).settings
        assert torch.equal(golden.scene.splats.means, scene.splats.means)
        compare_with_golden(golden, backend)


@pytest.mark.parametrize("version", sorted(CONVENTIONS))
@pytest.mark.parametrize(
    "scene", [SMALL, *(scene for scene in golden_scenes() if len(scene.splats) <= 60)], ids=lambda scene: scene.name
)
def test_the_calls_of_gsplat(scene, version, backend, tmp_path):
    """gsplat's functions are called as they want to be, and what they give is what the backends give."""
    path = tmp_path / "golden.npz"
    write_golden(path, scene, outputs_of_gsplat(scene, fake_wrapper(version)), {"gsplat": version})
    golden = read_golden(path)
    assert golden.outputs["radii"].ndim == (2 if version == "1.5.3" else 1)
    assert golden.outputs["tiles"].shape == (len(scene.splats),)
    compare_with_golden(golden, backend)


@pytest.fixture
def golden(tmp_path) -> Golden:
    path = tmp_path / "golden.npz"
    write_golden(path, SMALL, outputs_of_gsplat(SMALL, fake_wrapper("1.4.0")), {"gsplat": "1.4.0"})
    return read_golden(path)


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("images", 5e-3),
        ("alphas", 5e-3),
        ("means2d", 1e-2),
        ("depths", 1e-3),
        ("conics", 1e-2),
        ("compensations", 1e-2),
        ("v_means", 1.0),
        ("v_quats", 1.0),
        ("v_scales", 1.0),
        ("v_opacities", 1.0),
        ("v_channels", 1.0),
        ("v_means2d", 1.0),
        ("absgrad", 1.0),
        ("radii", 3),
        ("tiles", 3),
    ],
)
def test_a_difference_is_noticed(golden, name, amount):
    """In any of the outputs, also the last one looked at."""
    compare_with_golden(golden, "torch")
    changed = golden.outputs | {name: golden.outputs[name] + amount}
    with pytest.raises(AssertionError):
        compare_with_golden(replace(golden, outputs=changed), "torch")


def test_another_release_is_noticed(golden):
    """Files of 1.4 compared by the rules of 1.5: the profile matters."""
    with pytest.raises(AssertionError):
        compare_with_golden(replace(golden, scene=golden.scene.under(GSPLAT_1_5)), "torch")


def test_files_of_another_format_are_refused(golden, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.splats.golden.FORMAT", 2)
    with pytest.raises(ValueError, match="format 2, found 1"):
        read_golden(tmp_path / "golden.npz")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_script_says_what_it_needs(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "golden_files.py"), "--output", str(tmp_path / "files")]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode != 0
    assert "expected an NVIDIA GPU" in finished.stderr
    assert not (tmp_path / "files").exists()
