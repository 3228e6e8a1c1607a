"""Import hook: lets a CUDA build of torchvision import next to a CPU build of torch.

torchvision registers fake kernels for its operators ``nms`` and ``qnms`` whether or not its native extension loaded.
A CUDA build's extension cannot load beside a CPU torch, so the operators do not exist and ``import torchvision`` dies
with ``operator torchvision::nms does not exist`` (pytorch/vision#9085). The hook declares the two operators just before
torchvision is imported. Transforms, models and image utilities then work; ``torchvision.ops`` stays unavailable.

It must be installed into the environment (tools/install_torchvision_hook.py) because nerfstudio imports torchvision
before any plugin. Standard library only until torchvision is asked for, so it adds nothing to the start of Python.
"""

import importlib.machinery
import sys
from pathlib import Path
from typing import Any

_KEPT_ALIVE: list[Any] = []  # torch drops the declarations when the library object dies


def _is_cuda_build(spec: importlib.machinery.ModuleSpec) -> bool:
    for folder in spec.submodule_search_locations or ():
        version_file = Path(folder, "version.py")
        if version_file.is_file():
            return "+cu" in version_file.read_text(encoding="utf-8")
    return False


class _DeclareOperatorsFirst:
    """Meta path finder that finds nothing itself; it only acts before torchvision is found."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name != "torchvision":
            return
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and _is_cuda_build(spec):
            import torch

            if torch.version.cuda is None:
                library = torch.library.Library("torchvision", "FRAGMENT")
                for operator in ("nms", "qnms"):
                    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                _KEPT_ALIVE.append(library)


sys.meta_path.insert(0, _DeclareOperatorsFirst())
