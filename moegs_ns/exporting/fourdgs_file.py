"""A whole clip as one ``.4dgs`` file, through the ``fourdgs`` package (extra ``export``).

The container's model ``gaussian-birth`` knows Gaussians that live for a window of time and move along a line in it. A
clip becomes its `straight_stretches`, each a Gaussian of the container; between two frames it moves on along its line.

Its other model, ``keyframe-delta``, would fit Gaussians with identities better, but fourdgs 0.6 writes it without
spherical harmonics above degree 0 and asks for the whole clip in memory.
"""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from moegs_ns.exporting.motion_lines import Stretches
from moegs_ns.splats.sh import sh_from_color
from moegs_ns.splats.splats import Splats

if TYPE_CHECKING:
    import fourdgs

#: Name of a clip's file.
FOURDGS_NAME = "scene.4dgs"
_FIRST_BASIS = 1.0 / math.sqrt(4.0 * math.pi)
_PROFILE = "fine"  # the container's own name for its smallest error bounds
# Birth times are stored in steps of this many seconds under that profile. On the grid, nothing is rounded.
_TIME_STEP = 0.001
_WXYZ_TO_XYZW = (1, 2, 3, 0)


def require_fourdgs() -> None:
    """Raises ValueError where the package is missing."""
    try:
        import fourdgs  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "--format 4dgs: expected the package fourdgs, found none; install it with `pip install 'moegs_ns[export]'`"
        ) from error


def fourdgs_bytes(stretches: Stretches, frames: int, fps: float) -> bytes:
    """The file's content.

    Args:
        stretches: of the sequence.
        frames: how many the sequence has.
        fps: frames per second of the sequence; frame ``n`` is at ``n / fps`` seconds, and shown until the next.
    """
    import fourdgs

    file = io.BytesIO()
    options = fourdgs.WriteOptions(profile=_PROFILE, library="moegs_ns")
    fourdgs.write(file, _gaussian_set(stretches, fps), frames / fps, options=options)
    return file.getvalue()


def _gaussian_set(stretches: Stretches, fps: float) -> "fourdgs.GaussianSet":
    import fourdgs
    from fourdgs.quantization import SH_QUANT_HI, SH_QUANT_LO

    start, end = stretches.first / fps, stretches.end / fps
    velocities = stretches.steps.astype(np.float64) * fps
    born = np.round(start / _TIME_STEP) * _TIME_STEP
    means = stretches.means + velocities * (born - start)[:, None]
    rgb = (0.5 + _FIRST_BASIS * stretches.sh[:, 0]).clip(0.0, 1.0)
    # Channel by channel, as f_rest of a PLY file.
    rest = stretches.sh[:, 1:].transpose(0, 2, 1).reshape(len(stretches), -1)
    codes = np.rint((rest - SH_QUANT_LO) / (SH_QUANT_HI - SH_QUANT_LO) * 255.0).clip(0, 255).astype(np.uint8)
    return fourdgs.GaussianSet(
        positions=means.astype(np.float32),
        scales=stretches.scales,
        rotations=np.ascontiguousarray(stretches.quats[:, _WXYZ_TO_XYZW]),
        colors=np.concatenate([rgb, stretches.opacities[:, None]], axis=1).astype(np.float32),
        motions=velocities.astype(np.float32),
        mu_t=born.astype(np.float32),
        sigma_t=np.full(len(stretches), np.inf, np.float32),
        win_lo=start,
        win_hi=end,
        sh=codes if rest.shape[1] else None,
        sh_degree=math.isqrt(stretches.sh.shape[1]) - 1,
    )


class FourDGSReader:
    """A ``.4dgs`` file, read by the package's own reader.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        import fourdgs

        self._scene: Any = fourdgs.read(str(path))

    def at(self, seconds: float) -> Splats:
        """The Gaussians at that time, with spherical harmonics."""
        from fourdgs.quantization import sh_coefficient

        scene, state = self._scene, self._scene.state_at(seconds)
        chosen, all_of_them = state["indices"], scene.gaussians
        sh = sh_from_color(torch.from_numpy(all_of_them.colors[chosen, :3].astype(np.float32)))[:, None]
        if all_of_them.sh is not None:
            rest = sh_coefficient(all_of_them.sh[chosen]).astype(np.float32).reshape(len(chosen), 3, -1)
            sh = torch.cat([sh, torch.from_numpy(rest).transpose(1, 2)], dim=1)
        quats = torch.from_numpy(state["orientations"][:, (3, 0, 1, 2)].astype(np.float32))
        return Splats(
            means=torch.from_numpy(state["centers"].astype(np.float32)),
            quats=quats / quats.norm(dim=1, keepdim=True),
            scales=torch.from_numpy(all_of_them.scales[chosen].astype(np.float32)),
            opacities=torch.from_numpy(state["opacity"].astype(np.float32)),
            sh=sh,
        )
