"""Trainings on scenes of any layout, configured without the command line: parsers need not be installed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moegs_ns.scene.dataparsers.layouts import LAYOUTS


def training(
    method: str,
    layout: str,
    data: Path,
    output_dir: Path,
    steps: int,
    parser: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    datamanager: Mapping[str, Any] | None = None,
) -> Any:
    """The config of ``ns-train METHOD ... --data DATA PARSER ...``; options by name for each of its parts."""
    from moegs_ns import method_configs

    config = copy.deepcopy(getattr(method_configs, method.replace("-", "_")).config)
    config.output_dir, config.timestamp, config.vis = output_dir, "run", "tensorboard"
    config.max_num_iterations = steps
    config.pipeline.lpips = ()
    manager = config.pipeline.datamanager
    manager.dataparser = LAYOUTS[layout].config(**(parser or {}))
    config.data = manager.data = data
    for part, options in ((config.pipeline.model, model), (manager, datamanager)):
        for name, value in (options or {}).items():
            assert hasattr(part, name), name
            setattr(part, name, value)
    return config
