"""Write golden files: what gsplat's own CUDA kernels make of small scenes, for tests on machines without a GPU.

    python benchmarks/golden_files.py

Needs an NVIDIA GPU and gsplat 1.4 or 1.5. Writes tests/splats/golden/gsplat-<version>-<scene>.npz, which
tests/splats/test_golden.py compares with the CPU backends. The same command under another gsplat adds its files.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
import tyro
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the scenes are the tests'

from tests.splats.golden import FOLDER, write_all  # noqa: E402  (the line above)
from tests.splats.golden_outputs import Outputs, outputs_of_gsplat  # noqa: E402
from tests.splats.random_scenes import Scene  # noqa: E402


@dataclass
class Arguments:
    """Write golden files of the installed gsplat."""

    output: Path = FOLDER
    """Folder to write to."""


def render_on_gpu(scene: Scene) -> Outputs:
    """gsplat's outputs of a scene, back on the CPU."""
    from gsplat.cuda import _wrapper

    return {name: tensor.cpu() for name, tensor in outputs_of_gsplat(scene.to("cuda"), _wrapper).items()}


def main(arguments: Arguments) -> None:
    if not torch.cuda.is_available():
        # Asked before gsplat is imported: without a GPU its first call compiles for many minutes and then fails.
        raise SystemExit(
            f"expected an NVIDIA GPU that torch can use, found none (torch {torch.__version__}); golden files are "
            "gsplat's own outputs, run this on a CUDA machine"
        )
    import gsplat

    facts = {
        "gsplat": gsplat.__version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    paths = write_all(arguments.output, render_on_gpu, facts)
    size = sum(path.stat().st_size for path in paths)
    Console().print(
        f"wrote {len(paths)} files, {size / 1e6:.1f} MB, to {arguments.output}", soft_wrap=True, highlight=False
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
