"""``run.json`` beside ``config.yml``: what a run is, in plain data.

Other stages and every ``moegs`` command read this file and never a run's YAML, which names python classes and runs
code when loaded. Imports the standard library only, so that reading a record is cheap.
"""

import dataclasses
import enum
import functools
import importlib.metadata
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moegs_ns.files import write_json

SCHEMA_VERSION = 1
RUN_RECORD_NAME = "run.json"
_PACKAGES = ("moegs_ns", "nerfstudio", "torch", "gsplat", "numpy")
_CHECKOUT = Path(__file__).resolve().parents[2]
# Kept results and the page made of them, as git takes them: written while suites run, they make no other program.
_NOT_SOURCE = tuple(
    f":(exclude){path}" for path in ("benchmarks/results", "docs/results.md", "docs/experts.md", "docs/performance.md")
)
_REQUIRED = ("method", "expert", "scene", "versions", "progress")
_NUMBER = (int, float)
#: Types of what readers rely on; parts that a record lacks are not looked at.
_TYPES: dict[str, type | tuple[type, ...]] = {
    "method": str,
    "expert": dict,
    "expert.name": str,
    "expert.config": dict,
    "expert.config.experts": list,
    "scene": dict,
    "scene.scene": str,
    "scene.data": str,
    "scene.num_frames": int,
    "scene.first_frame": int,
    "scene.fps": _NUMBER,
    "scene.near": _NUMBER,
    "scene.far": _NUMBER,
    "scene.cameras": dict,
    "scene.resolution": list,
    "versions": dict,
    "progress": dict,
    "progress.steps_done": int,
    "progress.steps_total": int,
    "progress.training_seconds": _NUMBER,
    "model": dict,
    "model.experts": list,
    "model.scene_facts": dict,
    "model.scene_facts.num_frames": int,
    "model.scene_facts.camera_extent": _NUMBER,
    "model.scene_facts.near": _NUMBER,
    "model.scene_facts.far": _NUMBER,
    "model.expert_origins": dict,
    "model.num_gaussians": int,
    "model.num_gaussians_per_expert": dict,
    "datamanager": dict,
    "datamanager.dataparser": dict,
    "learning_rates": dict,
    "num_parameters": int,
    "seed": int,
    "device": dict,
    "command": str,
}
#: Types of everything in a table, by the table's place.
_TYPES_WITHIN: dict[str, type] = {"scene.cameras": list, "model.expert_origins": dict}
#: What may be there without a value.
_OPTIONAL = ("scene.data", "seed", "num_parameters", "command", "model.num_gaussians", "progress.training_seconds")
_NOTHING: Any = ()  # where a record has no such key
_NAMES = {dict: "a table", list: "a list", str: "a text", int: "a whole number", _NUMBER: "a number"}


def plain(value: Any) -> Any:
    """JSON data for ``value``: configs become dictionaries, paths and classes their names, tuples lists.

    Numbers JSON lacks become the strings ``"inf"``, ``"-inf"`` and ``"nan"``, which ``float`` reads back. A config's
    ``_target`` is left out: readers find classes by name in the registry.
    """
    if value is None or (isinstance(value, (bool, int, str)) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value):
        fields = (item.name for item in dataclasses.fields(value) if item.name != "_target")
        return {name: plain(getattr(value, name)) for name in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if hasattr(value, "tolist"):  # small tensors, numpy arrays and numpy scalars
        return plain(value.tolist())
    return str(value)


def write_run_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record; readers see the old or the new file, never half of one."""
    write_json(path, plain(record), indent=2)


def read_run_record(path: Path) -> dict[str, Any]:
    """The record of a run.

    Args:
        path: a run folder, its ``run.json``, or its ``config.yml``.

    Raises:
        FileNotFoundError: there is no record.
        ValueError: the file is not a run record, or of another schema version.
    """
    path = Path(path)
    file = path / RUN_RECORD_NAME if path.is_dir() else path
    if file.suffix in (".yml", ".yaml"):
        file = file.with_name(RUN_RECORD_NAME)
    if not file.is_file():
        raise FileNotFoundError(
            f"expected the run record {file}, found none; give the folder of a run that `ns-train moegs-...` wrote"
        )
    try:
        record = json.loads(file.read_text("utf8"))
    except (ValueError, RecursionError) as error:  # brackets nested thousands deep are the latter
        raise ValueError(
            f"expected JSON in the run record {file}, found something else ({error}); copy the run again"
        ) from error
    if not isinstance(record, dict) or "schema_version" not in record:
        raise ValueError(f"expected a run record with 'schema_version' in {file}, found other data; copy the run again")
    if record["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"expected run record schema version {SCHEMA_VERSION} in {file}, found {record['schema_version']}; "
            f"use the moegs_ns version that wrote it ({record.get('versions', {}).get('moegs_ns', 'unknown')})"
        )
    missing = [key for key in _REQUIRED if key not in record]
    if missing:
        raise ValueError(f"expected the keys {missing} in the run record {file}, found none; the file was altered")
    _check_types(record, file)
    _check_texts(record, file)
    return {**record, **{part: _Part(record[part], part, file) for part in ("expert", "scene", "progress")}}


def _check_texts(values: Any, file: Path) -> None:
    """Refuse what would steer a terminal: texts of records are printed."""
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and any(unicodedata.category(one) == "Cc" for one in value):
            raise ValueError(f"expected texts without control characters in the run record {file}, found {value!r:.99}")


class _Part(dict[str, Any]):
    """A part of a record; a key that somebody needs and that is not there is told by its name."""

    def __init__(self, values: Mapping[str, Any], name: str, file: Path) -> None:
        super().__init__(values)
        self._name, self._file = name, file

    def __missing__(self, key: str) -> Any:
        raise ValueError(
            f"expected {key} of the {self._name} in the run record {self._file}, found none; the file was altered"
        )


def _check_types(record: Mapping[str, Any], file: Path) -> None:
    """Refuse values of other types than readers rely on; parts that the record lacks are not looked at."""
    for place, kind in _TYPES.items():
        _check_type(record, place, kind, file)
    for place, kind in _TYPES_WITHIN.items():
        for name in _at(record, place):
            _check_type(record, f"{place}.{name}", kind, file)


def _check_type(record: Mapping[str, Any], place: str, kind: type | tuple[type, ...], file: Path) -> None:
    value = _at(record, place)
    if value is _NOTHING or (value is None and place in _OPTIONAL):
        return
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(
            f"expected {_NAMES[kind]} as {place} in the run record {file}, found {value!r}; the file was altered"
        )


def _at(record: Mapping[str, Any], place: str) -> Any:
    """What stands at ``scene.fps``, say."""
    found: Any = record
    for key in place.split("."):
        found = found.get(key, _NOTHING) if isinstance(found, dict) else _NOTHING
    return found


def describe_versions() -> dict[str, str | None]:
    """Installed versions of everything that decides a result; None for what is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def describe_command_line() -> str:
    """The command as one would type it again."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else ""


def describe_device(device: Any) -> dict[str, Any]:
    """The computing device with the name of its processor; speeds mean little without it."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return {"type": "cuda", "name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return {"type": device.type, "name": _processor_name(), "threads": torch.get_num_threads()}


def describe_source(checkout: Path = _CHECKOUT) -> dict[str, Any] | None:
    """Git commit of the package when it runs from a checkout, and whether files differ from it; None otherwise.

    Kept results and the page made of them do not count as differences: a suite writes them between its runs.
    """
    if not (checkout / ".git").exists():
        return None
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", ".", *_NOT_SOURCE)
    return {"commit": commit, "modified": None if changes is None else bool(changes)}


def describe_scene(datamanager: Any) -> dict[str, Any]:
    """Where the data lie and what is in them, from the data parser's metadata; cameras of all three splits."""
    train = getattr(datamanager, "train_dataset", None)
    evaluation = getattr(datamanager, "eval_dataset", None)
    metadata = _metadata(train)
    keys = ("scene", "layout", "num_frames", "first_frame", "fps", "near", "far", "files_digest", "background")
    scene: dict[str, Any] = {"data": plain(getattr(datamanager.config, "data", None))}
    scene.update({key: plain(metadata[key]) for key in keys if key in metadata})
    split = getattr(datamanager, "test_split", "val")
    scene["cameras"] = {"train": _camera_names(train), split: _camera_names(evaluation)}
    for other in {"val", "test"} - {split}:
        names = _camera_names_of_split(datamanager, other)
        if names is not None:
            scene["cameras"][other] = names
    scene["images"] = {"train": _length(train), split: _length(evaluation)}
    if "image_names" in metadata:  # names of cameras do not tell which images were held out
        scene["train_images"] = [str(name) for name in metadata["image_names"]]
    cameras = getattr(train, "cameras", None)
    if cameras is not None and _length(train):
        scene["resolution"] = [int(cameras.width.flatten()[0]), int(cameras.height.flatten()[0])]
    if "points3D_xyz" in metadata:
        scene["seed_points"] = len(metadata["points3D_xyz"])
    return scene


def _camera_names_of_split(datamanager: Any, split: str) -> list[str] | None:
    """Names of a split that is not loaded: what a run was *not* trained on matters to those who build on it."""
    dataparser = getattr(datamanager, "dataparser", None)
    if dataparser is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said already when the training split was read
        metadata = dataparser.get_dataparser_outputs(split=split).metadata
    return [str(name) for name in metadata.get("camera_names", [])]


def _metadata(dataset: Any) -> Mapping[str, Any]:
    return getattr(dataset, "metadata", None) or {}


def _camera_names(dataset: Any) -> list[str]:
    return [str(name) for name in _metadata(dataset).get("camera_names", [])] if _length(dataset) else []


def _length(dataset: Any) -> int:
    return 0 if dataset is None else len(dataset)


@functools.cache
def _processor_name() -> str:
    table = Path("/proc/cpuinfo")  # platform.processor() says no more than the architecture on Linux
    if table.is_file():
        for line in table.read_text("utf8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
