"""Frozen experts of a mixture: what they are (plain data) and how they are built and filled again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.registry import expert_family
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.checkpoints import read_checkpoint
from moegs_ns.runs.record import read_run_record


@dataclass(frozen=True)
class ExpertSpec:
    """Everything needed to build one expert without its run.

    Attributes:
        name: unique within the mixture (``stg``, ``stg_2``).
        family: registry name.
        config: the model config as plain data.
        scene: the metadata the expert reads (``num_frames``, ``camera_extent``).
    """

    name: str
    family: str
    config: dict[str, Any]
    scene: dict[str, Any]

    def build(self) -> ExpertModel:
        """The expert with one placeholder Gaussian; loading its state gives it its own number."""
        placeholder = (torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.uint8))
        config = expert_family(self.family).config_from_plain(self.config)
        return config.setup(
            scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
            num_train_data=1,
            seed_points=placeholder,
            metadata=dict(self.scene),
        )


def freeze(expert: ExpertModel) -> ExpertModel:
    """Freeze weights *and* schedule: no gradients, evaluation mode, no callbacks; it renders at its saved step."""
    expert.requires_grad_(False)
    return expert.eval()


def read_expert(run: Path) -> tuple[ExpertSpec, dict[str, Tensor]]:
    """Spec and state of a trained expert from its run folder (``run.json`` and the newest checkpoint only).

    Raises:
        FileNotFoundError, ValueError: no run, or not a run of an expert.
    """
    record = read_run_record(run)
    family = record["expert"]["name"]
    facts = record.get("model", {}).get("scene_facts")
    if facts is None:
        raise ValueError(
            f"expected the run of an expert at {run}, found a run of '{record['method']}'; give expert runs"
        )
    spec = ExpertSpec(family, family, record["expert"]["config"], facts)
    state = read_checkpoint(find_checkpoint(Path(run)))["pipeline"]
    return spec, {key.removeprefix("_model."): value for key, value in state.items() if key.startswith("_model.")}


def unique_names(families: Sequence[str]) -> list[str]:
    """``stg, stg`` becomes ``stg, stg_2``."""
    names: list[str] = []
    for family in families:
        count = sum(name == family or name.startswith(f"{family}_") for name in names)
        names.append(family if count == 0 else f"{family}_{count + 1}")
    return names
