"""Whether a run from somewhere else can be given to nerfstudio's commands, found out without running any of it.

``moegs`` reads of a run only ``run.json`` and tensors. nerfstudio's own commands build what ``config.yml`` names, which
can be any function of any module.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER, list_checkpoints
from moegs_ns.runs.checkpoints import read_checkpoint
from moegs_ns.runs.config_tags import CONFIG_TAGS
from moegs_ns.runs.record import RUN_RECORD_NAME, read_run_record

CONFIG_NAME = "config.yml"
_PREFIX = "tag:yaml.org,2002:"
_PLAIN = frozenset(["null", "bool", "int", "float", "str", "seq", "map", "timestamp", "binary", "merge", "value"])
#: What a whole config is.
_WHOLE = tuple(
    f"python/object:moegs_ns.training.{name}"
    for name in ("trainer_config.MoegsTrainerConfig", "distillation.DistillTrainerConfig")
)
_LARGEST_CONFIG = 10_000_000  # bytes; ours have about ten thousand
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """What was found of one file.

    Attributes:
        file: which.
        good: whether it may be used.
        sentence: what it is, or what is wrong with it.
    """

    file: Path
    good: bool
    sentence: str


def vet_run(run: Path) -> list[Finding]:
    """Look at everything of a run that a command would load.

    Args:
        run: run folder.

    Raises:
        FileNotFoundError: no such folder.
    """
    if not run.is_dir():
        raise FileNotFoundError(f"expected a run folder at {run}, found none")
    findings = [_record(run / RUN_RECORD_NAME), _config(run / CONFIG_NAME)]
    findings += [_checkpoint(path) for path in list_checkpoints(run / CHECKPOINT_FOLDER).values()]
    root = run.resolve()
    for path in sorted(run.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            findings.append(Finding(path, False, f"expected links within the run, found one to {path.resolve()}"))
    return findings


def tags_of(text: str) -> Iterator[tuple[str, int]]:
    """Tags that a YAML text asks to be built, without YAML's prefix, and their lines, counted from 1. Nothing is built.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        tag = getattr(event, "tag", None)
        if tag and tag != "!":
            yield tag.removeprefix(_PREFIX), event.start_mark.line + 1  # type: ignore[union-attr]  # parsing marks every event


def _config(file: Path) -> Finding:
    if not file.is_file():
        return Finding(file, False, "expected the run's config, found none: nerfstudio's commands cannot load this run")
    if file.stat().st_size > _LARGEST_CONFIG:
        return Finding(file, False, f"expected a config of kilobytes, found {file.stat().st_size:,} bytes")
    try:
        tags = list(tags_of(file.read_text("utf8")))
        strange = [(tag, line) for tag, line in tags if tag not in CONFIG_TAGS | _PLAIN]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return Finding(file, False, f"expected YAML, found something else ({' '.join(str(error).split())})")
    if not strange and (not tags or tags[0][0] not in _WHOLE):
        found = tags[0][0] if tags else "none"
        return Finding(file, False, f"expected the config of a training, found {found}; no ns-* command can load it")
    if not strange:
        return Finding(file, True, "names nothing but this project's and nerfstudio's own configs")
    shown = ", ".join(f"{tag} (line {line})" for tag, line in strange[:_MOST_SHOWN])
    more = f" and {len(strange) - _MOST_SHOWN} more" if len(strange) > _MOST_SHOWN else ""
    return Finding(
        file,
        False,
        f"expected only classes that moegs_ns writes, found {shown}{more}; give it to no ns-* command",
    )


def _record(file: Path) -> Finding:
    try:
        record = read_run_record(file)
    except (FileNotFoundError, ValueError) as error:
        return Finding(file, False, str(error))
    return Finding(file, True, f"plain data of a run of {record['method']}")


def _checkpoint(file: Path) -> Finding:
    try:
        read_checkpoint(file)
    except (FileNotFoundError, ValueError) as error:
        return Finding(file, False, str(error))
    return Finding(file, True, "tensors and plain data")
