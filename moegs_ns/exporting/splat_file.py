"""One frame as a ``.splat`` file (antimatter15's viewer): 32 bytes a Gaussian, colours the same from everywhere.

Position and scale as three float32 each, colour and opacity as four bytes RGBA, rotation as four bytes wxyz, each
``128 + 128 * component``. Gaussians that cover most come first, so that a file that is still loading shows the essence.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moegs_ns.files import write_bytes
from moegs_ns.splats.sh import sh_from_color, view_colors
from moegs_ns.splats.splats import Splats, sh_of

_RECORD = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])
SPLAT_BYTES_PER_GAUSSIAN = _RECORD.itemsize


def flat_colors(splats: Splats, viewpoints: Tensor | None) -> Tensor:
    """``[N,3]`` one colour in [0,1] per Gaussian: the mean of what it shows to ``viewpoints``.

    Args:
        splats: with ``sh [N,B,3]``.
        viewpoints: ``[V,3]`` positions in the Gaussians' world, such as the training cameras'; None for the mean over
            all directions, which is the first coefficient.
    """
    sh = sh_of(splats)
    degree = int(sh.shape[1] ** 0.5) - 1
    if viewpoints is None or degree == 0:
        return view_colors(0, splats.means, splats.means.new_zeros(3), sh).clamp(0.0, 1.0)
    seen = [view_colors(degree, splats.means, point, sh).clamp(0.0, 1.0) for point in viewpoints.to(sh)]
    return torch.stack(seen).mean(dim=0)


def write_splat(path: Path, splats: Splats, viewpoints: Tensor | None = None) -> None:
    """Write Gaussians; colours as `flat_colors` has them.

    Args:
        path: file to write.
        splats: on the CPU, with ``sh [N,B,3]``.
        viewpoints: ``[V,3]``, or None.
    """
    order = (splats.scales.double().prod(dim=1) * splats.opacities).argsort(descending=True, stable=True)
    rgba = torch.cat([flat_colors(splats, viewpoints), splats.opacities[:, None]], dim=1)
    records = np.empty(len(splats), _RECORD)
    records["mean"] = splats.means[order].numpy()
    records["scale"] = splats.scales[order].numpy()
    records["rgba"] = (rgba[order] * 255.0).round().clamp(0.0, 255.0).to(torch.uint8).numpy()
    # A component of 1 does not fit into a byte this way; with the opposite sign, the same rotation, it does.
    quats = splats.quats[order]
    largest = quats.gather(1, quats.abs().argmax(dim=1, keepdim=True))
    records["quat"] = (128.0 - 128.0 * quats * largest.sign()).round().clamp(0.0, 255.0).to(torch.uint8).numpy()
    write_bytes(path, records.tobytes())


def read_splat(path: Path) -> Splats:
    """Gaussians of a ``.splat`` file, with ``sh [N,1,3]``.

    Raises:
        ValueError: the file's size is no whole number of records.
    """
    size = path.stat().st_size
    if size % _RECORD.itemsize:
        raise ValueError(f"expected records of {_RECORD.itemsize} bytes in {path}, found {size} bytes: it is truncated")
    records = np.fromfile(path, _RECORD)
    rgba = torch.from_numpy(records["rgba"].astype(np.float32) / 255.0)
    quats = torch.from_numpy((records["quat"].astype(np.float32) - 128.0) / 128.0)
    return Splats(
        means=torch.from_numpy(np.ascontiguousarray(records["mean"])),
        quats=quats / quats.norm(dim=1, keepdim=True).clamp_min(1e-6),
        scales=torch.from_numpy(np.ascontiguousarray(records["scale"])),
        opacities=rgba[:, 3],
        sh=sh_from_color(rgba[:, :3])[:, None],
    )
