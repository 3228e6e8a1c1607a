"""The shims for nerfstudio 1.1.5: each first shows the fault it mends, so that a shim no longer needed is noticed."""

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from moegs_ns import compat


@pytest.fixture
def only_torchs_own_globals() -> Iterator[None]:
    """What is allowed in checkpoints before any shim ran, whatever other tests imported."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


@pytest.fixture
def without_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH without ffmpeg and an empty cache folder; returns the cache folder."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("MOEGS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    assert shutil.which("ffmpeg") is None
    return tmp_path / "cache"


@pytest.mark.usefixtures("only_torchs_own_globals")
def test_numpy_learning_rates_in_a_checkpoint_load_only_with_the_shim(tmp_path: Path) -> None:
    saved = {"lr": np.float64(1.25e-3), "single": np.float32(0.5), "steps": np.int64(7), "resumed": np.bool_(True)}
    torch.save(saved, tmp_path / "step.ckpt")
    with pytest.raises(UnpicklingError):
        torch.load(tmp_path / "step.ckpt", weights_only=True)
    compat.allow_numpy_scalars_in_checkpoints()
    compat.allow_numpy_scalars_in_checkpoints()
    loaded = torch.load(tmp_path / "step.ckpt", weights_only=True)
    assert loaded == saved
    assert {name: type(value) for name, value in loaded.items()} == {name: type(value) for name, value in saved.items()}


@pytest.mark.usefixtures("only_torchs_own_globals")
def test_the_shim_lets_no_code_through(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self):
            return os.system, ("true",)

    torch.save({"lr": Malicious()}, tmp_path / "bad.ckpt")
    compat.allow_numpy_scalars_in_checkpoints()
    with pytest.raises(UnpicklingError):
        torch.load(tmp_path / "bad.ckpt", weights_only=True)


@pytest.mark.usefixtures("only_torchs_own_globals")
def test_a_checkpoint_written_under_numpy_2_loads(tmp_path: Path) -> None:
    """numpy 2 stores its numbers under ``numpy._core``; made here by renaming inside the file."""
    import zipfile

    torch.save({"lr": np.float64(0.75)}, tmp_path / "own.ckpt")
    with zipfile.ZipFile(tmp_path / "own.ckpt") as own, zipfile.ZipFile(tmp_path / "other.ckpt", "w") as other:
        for name in own.namelist():
            content = own.read(name)
            if name.endswith("data.pkl"):
                assert content.count(b"cnumpy.core.multiarray\nscalar\n") == 1
                content = content.replace(b"cnumpy.core.", b"cnumpy._core.")
            other.writestr(name, content)
    compat.allow_numpy_scalars_in_checkpoints()
    assert torch.load(tmp_path / "other.ckpt", weights_only=True) == {"lr": 0.75}


def test_packaged_ffmpeg_is_found_and_runs(without_ffmpeg: Path) -> None:
    link = compat.make_ffmpeg_findable()
    assert link is not None
    assert link.is_relative_to(without_ffmpeg)
    assert shutil.which("ffmpeg") == str(link)
    version = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith("ffmpeg version")


def test_nerfstudios_own_check_passes(without_ffmpeg: Path) -> None:
    from nerfstudio.utils.install_checks import check_ffmpeg_installed

    with pytest.raises(SystemExit):
        check_ffmpeg_installed()
    compat.make_ffmpeg_findable()
    check_ffmpeg_installed()


def test_second_call_leaves_path_alone(without_ffmpeg: Path) -> None:
    compat.make_ffmpeg_findable()
    path = os.environ["PATH"]
    assert compat.make_ffmpeg_findable() is None
    assert os.environ["PATH"] == path


def test_a_link_to_a_removed_environment_is_replaced(without_ffmpeg: Path) -> None:
    stale = without_ffmpeg / "bin" / "ffmpeg"
    stale.parent.mkdir(parents=True)
    stale.symlink_to(without_ffmpeg / "no" / "such" / "ffmpeg")
    compat.make_ffmpeg_findable()
    assert stale.exists()
    assert [path.name for path in stale.parent.iterdir()] == ["ffmpeg"]


def test_the_systems_ffmpeg_is_preferred(without_ffmpeg: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    system = tmp_path / "system" / "ffmpeg"
    system.parent.mkdir()
    system.write_text("#!/bin/sh\n")
    system.chmod(0o755)
    monkeypatch.setenv("PATH", str(system.parent))
    assert compat.make_ffmpeg_findable() is None
    assert os.environ["PATH"] == str(system.parent)
    assert not without_ffmpeg.exists()


def test_an_unwritable_cache_warns_and_does_not_raise(without_ffmpeg: Path) -> None:
    without_ffmpeg.write_text("a file where the cache folder should be")
    with pytest.warns(UserWarning, match="MOEGS_CACHE_DIR"):
        assert compat.make_ffmpeg_findable() is None


def test_no_packaged_ffmpeg_is_left_to_nerfstudios_message(
    without_ffmpeg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg.binaries", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compat.make_ffmpeg_findable() is None


def test_importing_the_module_needs_neither_torch_nor_numpy() -> None:
    """``moegs`` commands that only need ffmpeg must not pay for torch."""
    code = "import sys, moegs_ns.compat; sys.exit(bool({'torch', 'numpy', 'nerfstudio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class FullImages:
    """A data manager as ns-render spiral does not know it."""


@pytest.fixture
def ns_render(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """nerfstudio's script as installed; what a test mends in it is undone afterwards."""
    script = pytest.importorskip("nerfstudio.scripts.render")
    for name in ("get_interpolated_camera_path", "get_spiral_path", "RandomCamerasDataManager"):
        value = getattr(script, name)
        original = getattr(value, "__wrapped__", value[0] if isinstance(value, tuple) else value)
        monkeypatch.setattr(script, name, original)
    return script


def moving_cameras() -> Any:
    """Four on a line, out of order, each at a time of its own, with z up and looking along x."""
    from nerfstudio.cameras.cameras import Cameras

    pose = torch.tensor([[0.0, 0, -1, 0], [-1, 0, 0, 0], [0, 1, 0, 0]])
    poses = pose.repeat(4, 1, 1)
    poses[:, 1, 3] = torch.tensor([0.0, 3.0, 1.0, 2.0])
    return Cameras(
        camera_to_worlds=poses,
        fx=torch.tensor([20.0, 23.0, 21.0, 22.0]),
        fy=20.0,
        cx=16.0,
        cy=12.0,
        times=torch.tensor([[0.1], [0.4], [0.2], [0.3]]),
    )


def test_interpolated_cameras_have_times_only_with_the_shim(ns_render: ModuleType) -> None:
    cameras = moving_cameras()
    without = ns_render.get_interpolated_camera_path(cameras=cameras, steps=3, order_poses=False)
    assert without.times is None
    compat.mend_ns_render(FullImages)
    compat.mend_ns_render(FullImages)
    path = ns_render.get_interpolated_camera_path(cameras=cameras, steps=3, order_poses=False)
    expected = [0.1, 0.25, 0.4, 0.4, 0.3, 0.2, 0.2, 0.25, 0.3]
    assert path.times[:, 0].tolist() == pytest.approx(expected)
    assert torch.equal(path.camera_to_worlds, without.camera_to_worlds)


def test_times_follow_the_order_of_the_poses(ns_render: ModuleType) -> None:
    compat.mend_ns_render(FullImages)
    path = ns_render.get_interpolated_camera_path(cameras=moving_cameras(), steps=2, order_poses=True)
    assert path.times[:, 0].tolist() == pytest.approx([0.1, 0.2, 0.2, 0.3, 0.3, 0.4])
    assert path.camera_to_worlds[:, 1, 3].tolist() == pytest.approx([0, 1, 1, 2, 2, 3])


def test_cameras_without_times_stay_as_they_are(ns_render: ModuleType) -> None:
    cameras = moving_cameras()
    cameras.times = None
    compat.mend_ns_render(FullImages)
    assert ns_render.get_interpolated_camera_path(cameras=cameras, steps=2, order_poses=False).times is None


def test_spirals_admit_the_data_manager_named_and_no_other(ns_render: ModuleType) -> None:
    def admitted(one: object) -> bool:
        return isinstance(one, (ns_render.VanillaDataManager, ns_render.RandomCamerasDataManager))

    assert not admitted(FullImages())
    compat.mend_ns_render(FullImages)
    compat.mend_ns_render(FullImages)
    assert admitted(FullImages())
    assert not admitted(object())


def test_spirals_are_upright_only_with_the_shim(ns_render: ModuleType) -> None:
    camera = moving_cameras()[1:2]

    def ups() -> torch.Tensor:
        return ns_render.get_spiral_path(camera, steps=8, radius=0.2).camera_to_worlds[:, :, 1]

    upward = torch.tensor([0.0, 0.0, 1.0])
    assert not torch.allclose(ups(), upward.expand(8, 3), atol=0.1)
    compat.mend_ns_render(FullImages)
    compat.mend_ns_render(FullImages)
    torch.testing.assert_close(ups(), upward.expand(8, 3), atol=0.02, rtol=0)
    path = ns_render.get_spiral_path(camera, steps=8, radius=0.2)
    away = path.camera_to_worlds[:, :, 3] - camera.camera_to_worlds[0, :, 3]
    assert 0.19 < away.norm(dim=1).max() < 0.36
    assert path.times[:, 0].tolist() == pytest.approx([number / 7 for number in range(8)])
    assert torch.equal(camera.camera_to_worlds, moving_cameras().camera_to_worlds[1:2])
