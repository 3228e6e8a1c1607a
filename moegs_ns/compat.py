"""What nerfstudio 1.1.5 needs from its host: on today's torch, without ffmpeg, and to render what moves.

``apply()`` runs when the method configs are imported, which every ns-* command does before it works, and
``mend_ns_render()`` and ``name_damaged_checkpoints()`` when a pipeline is built to be rendered. Each shim names the
upstream thread that makes it unnecessary, where there is one. They never raise: an error here would break every ns-*
command, also those of other methods.
"""

import copy
import functools
import os
import pickle
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

from moegs_ns.paths import user_cache_dir


def apply() -> None:
    """Apply every shim. Cheap, and safe to call again."""
    allow_numpy_scalars_in_checkpoints()
    make_ffmpeg_findable()


def allow_numpy_scalars_in_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read the numpy numbers in nerfstudio's checkpoints.

    nerfstudio's learning rate schedules compute with numpy, so the optimizer state of a checkpoint holds
    ``np.float64`` values. Since torch 2.6 loading is restricted to tensors and plain data by default and refuses them
    (nerfstudio issue #3683, pull request #3702). numpy numbers are plain data: nothing they unpickle to runs code.
    """
    import numpy as np
    import torch

    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    if (major, minor) < (2, 6):
        return  # loads everything by default
    try:
        from numpy._core.multiarray import scalar  # type: ignore[attr-defined]  # numpy 2
    except ImportError:
        from numpy.core.multiarray import scalar  # type: ignore[attr-defined]
    codes = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
    torch.serialization.add_safe_globals(
        [
            # numpy 2 renamed the module: a checkpoint carries the name of the numpy that wrote it.
            (scalar, "numpy.core.multiarray.scalar"),
            (scalar, "numpy._core.multiarray.scalar"),
            np.dtype,
            *(type(np.dtype(code)) for code in codes),
        ]
    )


def make_ffmpeg_findable() -> Path | None:
    """Put imageio-ffmpeg's packaged binary on ``PATH`` as ``ffmpeg`` where the system has none.

    ns-render leaves unless ``ffmpeg`` is on ``PATH`` (nerfstudio ``install_checks.check_ffmpeg_installed``), and so
    does mediapy, which writes its videos. The system's own ffmpeg is always preferred. Nothing is downloaded or run.

    Returns:
        The link that was put on ``PATH``. None when there was nothing to do, when it could not be linked (a warning
        says why), or when there is no packaged one (ns-render then says itself that it wants ffmpeg).
    """
    if shutil.which("ffmpeg") is not None:
        return None
    binary = _packaged_ffmpeg()
    if binary is None:
        return None
    try:
        link = _linked(binary, user_cache_dir() / "bin" / "ffmpeg")
    except OSError as error:
        warnings.warn(
            f"no ffmpeg on PATH, and the packaged one could not be linked into the cache folder ({error}); "
            "install ffmpeg or set MOEGS_CACHE_DIR to a writable folder to use ns-render",
            stacklevel=2,
        )
        return None
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(link.parent)])
    return link


def mend_ns_render(datamanager: type) -> None:
    """Let ``ns-render interpolate`` show time, and ``ns-render spiral`` take ``datamanager`` and stand upright.

    Acts on nerfstudio's ``scripts/render.py`` where that is loaded, that is in ns-render, and nowhere else. It is
    called when a pipeline of ours is built: ns-render has all its names by then, and uses these later.

    Args:
        datamanager: a class with ``eval_dataloader.get_camera(image_idx)``.
    """
    for name in ("nerfstudio.scripts.render", "__main__"):  # the latter with python -m
        script = sys.modules.get(name)
        if script is not None and hasattr(script, "SpiralRender"):
            _keep_times(script)
            _admit(script, datamanager)
            _turn_upright(script)


def name_damaged_checkpoints() -> None:
    """Let ns-eval, ns-render and ns-viewer say which checkpoint is damaged, and what to do.

    1.1.5 calls ``torch.load`` without a word on the file, and torch advises to load it with less care. Acts on
    nerfstudio's ``utils/eval_utils.py`` where that is loaded. It is called when a pipeline of ours is built, which
    those commands do before they read its checkpoint.
    """
    script: Any = sys.modules.get("nerfstudio.utils.eval_utils")
    load = getattr(script, "eval_load_checkpoint", None)
    if load is None or hasattr(load, "__wrapped__"):
        return

    @functools.wraps(load)
    def with_name(config: Any, pipeline: Any) -> Any:
        try:
            return load(config, pipeline)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            newest = max(Path(config.load_dir).glob("step-*.ckpt"), default=config.load_dir)
            file = newest if config.load_step is None else Path(config.load_dir) / f"step-{config.load_step:09d}.ckpt"
            raise ValueError(
                f"expected a whole checkpoint of this run's model at {file}, found something else "
                f"({type(error).__name__}); use another step-*.ckpt of the run, or train it again"
            ) from error

    script.eval_load_checkpoint = with_name


def _keep_times(script: Any) -> None:
    """1.1.5 builds the cameras of ``interpolate`` without times, so that every frame shows the first instant
    (nerfstudio issue #3418, solved after 1.1.5 by pull request #3481)."""
    interpolate = getattr(script, "get_interpolated_camera_path", None)
    if interpolate is None or hasattr(interpolate, "__wrapped__"):
        return
    from nerfstudio.cameras.camera_utils import get_interpolated_poses_many

    @functools.wraps(interpolate)
    def with_times(cameras: Any, steps: int, order_poses: bool) -> Any:
        path = interpolate(cameras=cameras, steps=steps, order_poses=order_poses)
        if path.times is None and cameras.times is not None:
            # Times go as nerfstudio sends intrinsics: linearly, and in the order it puts the poses in.
            matrices = cameras.times[..., None].expand(-1, 3, 3)
            poses = cameras.camera_to_worlds
            _, between = get_interpolated_poses_many(
                poses, matrices, steps_per_transition=steps, order_poses=order_poses
            )
            path.times = between[:, 0, :1].to(path.camera_to_worlds)
        return path

    script.get_interpolated_camera_path = with_times


def _admit(script: Any, datamanager: type) -> None:
    """1.1.5 has ``spiral`` begin with an assertion that the data manager is one of three classes; all it asks of it is
    its first evaluation camera (nerfstudio issue #3023 is of the same lines)."""
    known = getattr(script, "RandomCamerasDataManager", None)  # used in that assertion only
    if known is not None and not isinstance(known, tuple):
        script.RandomCamerasDataManager = (known, datamanager)


def _turn_upright(script: Any) -> None:
    """``get_spiral_path`` takes the camera's backward axis in the world for the upward direction in the camera ("scene
    is z up"), which turns the pictures of most worlds, some upside down (seen in nerfstudio pull request #1391)."""
    spiral = getattr(script, "get_spiral_path", None)
    if spiral is None or hasattr(spiral, "__wrapped__"):
        return
    import torch
    from nerfstudio.utils.poses import inverse, multiply

    @functools.wraps(spiral)
    def upright(camera: Any, **options: Any) -> Any:
        # Of a camera at the origin whose backward axis is y that axis is what is up in the camera. Then all moves home.
        home = camera.camera_to_worlds
        lying = torch.tensor([[[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]]).to(home)
        there = copy.copy(camera)
        there.camera_to_worlds = lying
        path = spiral(there, **options)
        path.camera_to_worlds = multiply(multiply(home, inverse(lying)), path.camera_to_worlds)
        return path

    script.get_spiral_path = upright


def _packaged_ffmpeg() -> Path | None:
    """The binary inside the imageio-ffmpeg wheel; ``$IMAGEIO_FFMPEG_EXE`` overrides, as it does there."""
    override = os.environ.get("IMAGEIO_FFMPEG_EXE")
    if override:
        return Path(override)
    try:
        # Not get_ffmpeg_exe(): it starts the binary to try it, at every start of every ns-* command.
        import imageio_ffmpeg.binaries as binaries
    except ImportError:
        return None
    folders = [Path(folder) for folder in binaries.__path__]
    return next((path for folder in folders for path in sorted(folder.glob("ffmpeg-*")) if path.is_file()), None)


def _linked(binary: Path, link: Path) -> Path:
    """Make ``link`` point to ``binary``; several processes may do so at once."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if not (link.is_symlink() and link.exists() and link.readlink() == binary):
        fresh = link.with_name(f"{link.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(binary)
        fresh.replace(link)
    return link
