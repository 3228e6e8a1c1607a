"""Whether a run from somewhere else can be given to nerfstudio's commands, found out without running any of it.

``moegs`` reads of a run only ``run.json`` and tensors. nerfstudio's own commands build what ``config.yml`` names, which
can be any function of any module.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER, list_checkpoints
from moegs_ns.runs.checkpoints import read_checkpoint
from moegs_ns.runs.config_vetting import config_faults
from moegs_ns.runs.record import RUN_RECORD_NAME, read_run_record

CONFIG_NAME = "config.yml"
# In earlier ones a checkpoint runs code although it is read as tensors only (CVE-2025-32434), and nerfstudio's commands
# read it as code in the first place.
_FIRST_SAFE_TORCH = (2, 6)


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
        raise FileNotFoundError(f"expected a run folder at {run}, found none; check the path")
    findings = [_record(run / RUN_RECORD_NAME), *_config(run / CONFIG_NAME, run), *_torch(run / CHECKPOINT_FOLDER)]
    findings += _checkpoints(run / CHECKPOINT_FOLDER)
    root = os.path.realpath(run)
    for path in sorted(run.rglob("*")):
        target = os.path.realpath(path)
        if path.is_symlink() and os.path.commonpath([root, target]) != root:
            findings.append(Finding(path, False, f"expected links within the run, found one to {target}"))
        elif not path.is_symlink() and not path.is_file() and not path.is_dir():
            findings.append(Finding(path, False, "expected files and folders, found a pipe, socket or device"))
    return findings


def _config(file: Path, run: Path) -> list[Finding]:
    if not file.is_file():
        return [Finding(file, False, "expected the run's config, found none; no ns-* command can load this run")]
    faults = config_faults(file, run)
    if faults:
        return [Finding(file, False, fault) for fault in faults]
    return [Finding(file, True, "names nothing but this project's and nerfstudio's own configs, and this folder")]


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


def _checkpoints(folder: Path) -> list[Finding]:
    """nerfstudio takes every name in the folder for a checkpoint's, so there must be nothing else."""
    known = list_checkpoints(folder)
    others = sorted(set(folder.iterdir()) - set(known.values())) if folder.is_dir() else []
    findings = [_checkpoint(path) for path in known.values()]
    findings += [Finding(path, False, "expected step-*.ckpt files only, found another name") for path in others]
    return findings or [Finding(folder, False, "expected checkpoints of the run, found none")]


def _torch(file: Path) -> list[Finding]:
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    if (major, minor) >= _FIRST_SAFE_TORCH:
        return []
    needed = ".".join(map(str, _FIRST_SAFE_TORCH))
    found = torch.__version__
    return [Finding(file, False, f"expected torch {needed} or newer, which runs no code of checkpoints, found {found}")]
