"""What nerfstudio 1.1.5 needs from its host on today's torch and on a machine without ffmpeg.

``apply()`` runs when the method configs are imported, which every ns-* command does before it works. Each shim names
the upstream thread that makes it unnecessary. It never raises: an error here would break every ns-* command, also
those of other methods.
"""

import os
import shutil
import warnings
from pathlib import Path

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
