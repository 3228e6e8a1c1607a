"""Whether the run of a stage was trained on the data a plan names, as far as its record and the data parser tell.

Imports nothing heavy until a data parser is needed.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moegs_ns.command_line import parse_data_options

# With equal options of the data parser, equal data agree in all of these.
_FACTS = ("num_frames", "first_frame", "near", "far", "resolution", "train_cameras", "files_digest")
# Without any of these a record does not tell one scene from another.
_TELLING = ("num_frames", "near", "train_cameras")
_MOST_CAMERAS_LISTED = 4


def check_same_data(
    run: Path, recorded: Mapping[str, Any], data: Path, parser: str, options: Sequence[str]
) -> list[str]:
    """Compare what a run says of its training data with the data themselves; no video is decoded.

    Args:
        run: the run folder, for messages.
        recorded: ``scene`` of its ``run.json``. What it lacks is not compared.
        data: the data folder of the plan.
        parser: name of its data parser.
        options: command-line options of the data parser, the same ones the run was trained with.

    Returns:
        Warnings: data at another place that say the same of themselves, with a record that does not know their files.

    Raises:
        ValueError: other data, or data elsewhere of which the record does not tell enough.
        FileNotFoundError: no data.
    """
    theirs = {key: recorded[key] for key in _FACTS if key in recorded}
    if train_cameras := recorded.get("cameras", {}).get("train"):
        theirs["train_cameras"] = train_cameras
    origin = recorded.get("data")
    moved = origin is not None and Path(origin).resolve() != data.expanduser().resolve()
    advice = "give the new runs another --output-dir or --name, or delete that folder"
    if not any(key in theirs for key in _TELLING):
        if moved:
            raise ValueError(
                f"expected the run {run} to be trained on {data}, found one trained on {origin}, and its record does "
                f"not tell whether these are the same data; {advice}"
            )
        return []
    ours = read_facts(data, parser, options)
    differences = [
        f"{key} {_shown(theirs[key])} instead of {_shown(ours[key])}"
        for key in _FACTS
        if key in theirs and key in ours and theirs[key] != ours[key]
    ]
    if differences:
        where = origin if moved else "what that folder held before"
        raise ValueError(
            f"expected the run {run} to be trained on the data in {data}, found one trained on {where} "
            f"({'; '.join(differences)}); {advice}"
        )
    if not moved or "files_digest" in theirs:
        return []
    return [
        f"{run} was trained on {origin}; {data} has the same cameras, frames and bounds and is taken for a copy of it. "
        "If its videos are others, give the new runs another --output-dir or --name"
    ]


def read_facts(data: Path, parser: str, options: Sequence[str]) -> dict[str, Any]:
    """What the data say of themselves; no video is decoded. Training would read the same, some seconds later.

    Args:
        data: the data folder.
        parser: name of its data parser.
        options: command-line options of the data parser.

    Raises:
        ValueError, FileNotFoundError: no such parser, or data it refuses.
    """
    from nerfstudio.configs.dataparser_configs import all_dataparsers

    from moegs_ns.router.same_scene import scene_facts

    if parser not in all_dataparsers:
        raise ValueError(f"expected one of the data parsers {', '.join(sorted(all_dataparsers))}, found {parser}")
    default = all_dataparsers[parser]
    config = parse_data_options(default, options, parser)
    config.data = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said in training
        outputs = config.setup().get_dataparser_outputs(split="train")
    return scene_facts(outputs.metadata, outputs.cameras)


def _shown(value: Any) -> str:
    if not isinstance(value, list):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    shown = ", ".join(str(item) for item in value[:_MOST_CAMERAS_LISTED])
    return f"[{shown}{f', ... {len(value)} in all' if len(value) > _MOST_CAMERAS_LISTED else ''}]"
