"""Frozen experts of a mixture: what they are (plain data) and how they are built and filled again."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.registry import expert_family
from moegs_ns.experts.views import camera_index
from moegs_ns.paths import check_plain_names
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.checkpoints import read_checkpoint
from moegs_ns.runs.record import read_run_record

#: How torch ends the names of what modules keep beside tensors.
_PLAIN_STATE = "_extra_state"
#: What ``ExpertSpec.origin`` keeps of an expert's ``run.json`` so that another like it can be trained.
RECIPE_KEYS = ("learning_rates", "datamanager")


@dataclass(frozen=True)
class ExpertSpec:
    """Everything needed to build one expert without its run, as plain data.

    Attributes:
        name: unique within the mixture (``stg``, ``stg_2``).
        family: registry name.
        config: the model config.
        scene: the metadata the expert reads (``num_frames``, ``camera_extent``, ``near``, ``far``).
        origin: where it comes from, for checks and reports; not needed to build it. ``run``, ``steps_done``,
            ``steps_total``, ``learning_rates`` and ``datamanager`` (how it was trained), and of its training data
            ``scene``, ``num_frames``, ``first_frame``, ``near``, ``far``, ``resolution``, ``train_cameras`` and
            ``train_images``, as far as known.
    """

    name: str
    family: str
    config: dict[str, Any]
    scene: dict[str, Any]
    origin: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        check_plain_names([self.name], "names of experts")  # reports call pictures after them

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


def training_gains(experts: Sequence[ExpertModel], camera: Cameras, camera_names: Sequence[str]) -> Tensor | None:
    """What frozen experts learnt of a training camera's exposure.

    Args:
        experts: K experts, each with its own list of training cameras.
        camera: of size 1, its ``camera_index`` counts in ``camera_names``.
        camera_names: the router's training cameras.

    Returns:
        ``[K,3]`` colour gains, 1 for a camera an expert does not know; None when no expert has gains.
    """
    if not any(expert.config.camera_gains for expert in experts):
        return None
    name = camera_names[camera_index(camera)]
    gains = []
    for expert in experts:
        known = list(expert.metadata.get("camera_names", []))
        if expert.config.camera_gains and name in known:
            theirs = copy.copy(camera)
            theirs.metadata = {"camera_index": torch.tensor([[known.index(name)]])}
            gains.append(expert.camera_gain(theirs))
        else:
            gains.append(torch.ones(3, device=expert.device))
    return torch.stack(gains)


def run_folder(path: Path) -> Path:
    """The folder of a run given as such or as a file in it (``config.yml``, ``run.json``)."""
    return path.parent if path.suffix in (".yml", ".yaml", ".json") else path


def read_spec(run: Path) -> ExpertSpec:
    """Spec of a trained expert from its ``run.json``; whether there is a checkpoint is looked up, not read.

    Raises:
        FileNotFoundError: no run, or none of its checkpoints.
        ValueError: not the run of an expert, or of an expert this version does not know.
    """
    folder = run_folder(Path(run))
    record = read_run_record(folder)
    facts = record.get("model", {}).get("scene_facts")
    if facts is None:
        raise ValueError(
            f"expected the run of an expert at {folder}, found a run of '{record['method']}'; give runs of experts"
        )
    family = expert_family(record["expert"]["name"]).name
    find_checkpoint(folder)
    scene, progress = record["scene"], record["progress"]
    origin = {
        "run": str(folder.absolute()),
        **{key: progress[key] for key in ("steps_done", "steps_total") if key in progress},
        **{
            key: scene[key]
            for key in ("scene", "num_frames", "first_frame", "near", "far", "resolution", "train_images")
            if key in scene
        },
        "train_cameras": scene.get("cameras", {}).get("train", []),
        **{key: record[key] for key in RECIPE_KEYS if key in record},
    }
    return ExpertSpec(family, family, record["expert"]["config"], facts, origin)


def read_expert(run: Path) -> tuple[ExpertSpec, dict[str, Tensor]]:
    """Spec and state of a trained expert from its run folder (``run.json`` and the newest checkpoint only).

    Raises:
        FileNotFoundError, ValueError: as `read_spec`.
    """
    spec = read_spec(run)
    state = model_state(find_checkpoint(run_folder(Path(run))))[1]
    return spec, {key.removeprefix("_model."): value for key, value in state.items() if key.startswith("_model.")}


def model_state(file: Path) -> tuple[int, dict[str, Any]]:
    """Step and model of a checkpoint; the model's values are tensors, and plain data where modules say so themselves.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or one that holds something else.
    """
    checkpoint = read_checkpoint(file)
    step, state = checkpoint["step"], checkpoint["pipeline"]
    if type(step) is not int or not isinstance(state, dict):
        raise ValueError(
            f"expected a step and a model's tensors in {file}, found {type(step).__name__} and {type(state).__name__}; "
            "name a step-*.ckpt that ns-train wrote"
        )
    others = [key for key in state if not (isinstance(state[key], Tensor) or str(key).endswith(_PLAIN_STATE))]
    if others:
        raise ValueError(
            f"expected tensors in {file}, found {type(state[others[0]]).__name__} as {others[0]}; it was altered"
        )
    return step, state


def require_expert_runs(runs: Sequence[Path]) -> list[ExpertSpec]:
    """Specs of a router's experts; refuses to train on nothing, or on what is no expert.

    Raises:
        FileNotFoundError, ValueError: no runs, or as `read_spec`.
    """
    if not runs:
        raise ValueError(
            "expected the runs of trained experts, found none; pass --experts RUN RUN ... (the folders that hold their "
            "config.yml), or resume a router run with --load-dir RUN"
        )
    return [read_spec(run) for run in runs]


def experts_of_router_run(run: Path, given: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Where the experts of a router run came from; they need not be there any more.

    Args:
        run: folder of the router run.
        given: experts a user named beside it; they must be as many, and the run's own win.

    Raises:
        FileNotFoundError: no run.
        ValueError: not the run of a router, or of another number of experts.
    """
    record = read_run_record(run)
    if record["expert"]["name"] != "router":
        raise ValueError(
            f"expected the run of a router to resume, found a run of '{record['method']}' at {run}; runs of experts go "
            "behind --experts"
        )
    recorded = tuple(Path(path) for path in record["expert"]["config"]["experts"])
    if given and len(given) != len(recorded):
        raise ValueError(
            f"expected the {len(recorded)} experts of {run}, found {len(given)} behind --experts; leave them out to "
            "resume, or start a new run without --load-dir"
        )
    if given and tuple(given) != recorded:
        CONSOLE.print(
            f"[bold yellow]The experts inside the checkpoint of {run} are kept; --experts is not read", soft_wrap=True
        )
    return recorded


def unique_names(families: Sequence[str]) -> list[str]:
    """``stg, stg`` becomes ``stg, stg_2``."""
    counts: dict[str, int] = {}
    names = []
    for family in families:
        counts[family] = counts.get(family, 0) + 1
        names.append(family if counts[family] == 1 else f"{family}_{counts[family]}")
    return names
