"""Whether a data parser takes the scene at all, and what it warns of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from moegs_ns.checking.result import CheckResult, Verdict, fine
from moegs_ns.command_line import parse_data_options
from moegs_ns.scene.dataparsers.base import DynamicDataParser, DynamicDataParserConfig
from moegs_ns.scene.dataparsers.layouts import LAYOUTS
from moegs_ns.scene.parsed_scene import ParsedScene

NAME = "reading"


def parser_config(data: Path, parser: str, options: Sequence[str]) -> DynamicDataParserConfig:
    """The data parser's config as ``ns-train METHOD PARSER OPTIONS`` would have it.

    Args:
        data: the scene's folder.
        parser: name on the command line.
        options: of the parser, as typed.

    Raises:
        ValueError: there is no parser of that name, it does not have these options, or nothing would be left of its
            images.
    """
    configs = {layout.parser: layout.config for layout in LAYOUTS.values()}
    if parser not in configs:
        raise ValueError(f"expected a data parser out of {', '.join(configs)}, found {parser!r}; change --parser")
    config: DynamicDataParserConfig = parse_data_options(configs[parser](data=data), options, parser)
    if config.downscale < 1:
        raise ValueError(f"expected --downscale of 1 or more, found {config.downscale}")
    return config


def read_scene(config: DynamicDataParserConfig) -> tuple[ParsedScene | None, list[CheckResult]]:
    """The scene with the seed points of its files alone, None where the parser refuses it; and what there is to say."""
    parser: DynamicDataParser = config.setup()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            scene = parser.read_scene()
        except (ValueError, OSError) as error:
            return None, [CheckResult(NAME, Verdict.UNUSABLE, str(error))]
        seeds = scene.cloud
        if config.random_points:
            # What would start training at random places says nothing of the scene.
            seeds = replace(config, random_points=0).setup().read_scene().cloud
    scene = replace(scene, cloud=seeds)
    said = list(dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, UserWarning)))
    results = [CheckResult(NAME, Verdict.DOUBTFUL, message) for message in said]
    cameras, images = len(set(scene.camera.tolist())), len(scene.camera)
    numbers = {"cameras": cameras, "images": images, "frames": scene.num_frames, "fps": scene.fps}
    results.append(fine(NAME, f"{cameras} cameras, {scene.num_frames} frames, {images} images.", **numbers))
    return scene, results
