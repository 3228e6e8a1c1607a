"""A model that holds experts, frozen as a rule: what mixtures and fused models have in common.

Its state holds the experts too: such a run works after the expert runs are deleted.
"""

import dataclasses
import json
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.supervision import Supervised
from moegs_ns.experts.views import camera_time, ground_truth_image, image_psnr
from moegs_ns.losses import photometric_loss
from moegs_ns.router.experts import (
    ExpertSpec,
    experts_of_router_run,
    freeze,
    read_expert,
    require_expert_runs,
    run_folder,
    unique_names,
)
from moegs_ns.router.instant import Instant, as_wide
from moegs_ns.router.same_scene import check_same_scene, facts_of_training_data
from moegs_ns.router.splat_cache import SplatCache
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.checkpoints import read_checkpoint
from moegs_ns.splats.camera import viewmat_from_camera_to_world
from moegs_ns.splats.rasterize import resolve_backend
from moegs_ns.splats.splats import Splats

_UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError)


@dataclass
class EnsembleModelConfig(ModelConfig):
    """Options of models that hold frozen experts."""

    _target: type = field(default_factory=lambda: EnsembleModel)
    enable_collider: bool = False
    experts: Annotated[tuple[Path, ...], tyro.conf.arg(prefix_name=False)] = ()
    """Run folders of the trained experts. Not needed to resume, evaluate or view a run of this kind: it holds its
    experts."""
    source: Path | None = None
    """Run whose checkpoint says which experts there are; --load-dir sets it. Not needed to evaluate or view a run."""
    background: Literal["own", "black", "white"] = "own"
    """Colour behind each expert's Gaussians: the one it was trained with, or the same for all."""
    ssim_weight: float = 0.2
    """Share of (1 - SSIM) in the photometric loss; the rest is L1."""
    default_time: float = 0.0
    """Time in [0,1] rendered for cameras that carry none."""
    splat_cache_mb: int = 512
    """Memory (MiB) for experts' Gaussians at instants already seen in training, so that deformation fields are not
    evaluated again; 0 = none. Results do not depend on it."""

    def make_paths_absolute(self) -> None:
        """So that the run's ``config.yml`` works from any folder; the trainer calls this."""
        folders = (Path(os.path.normpath(Path(run).expanduser().absolute())) for run in self.experts)
        self.experts = tuple(run_folder(folder) for folder in folders)

    def prepare_start(self, data: Mapping[str, Any]) -> None:
        """The trainer calls this before it writes anything of a new run: refuse to start without fitting experts.

        Args:
            data: `scene_facts` of the data to train on, empty when unknown.

        Raises:
            FileNotFoundError, ValueError: no runs of experts, experts of other frames or another scene, or options out
                of range.
        """
        specs = require_expert_runs(self.experts)
        check_same_scene(specs, data)  # its warnings are shown once, when training begins
        self.check_options(len(specs))

    def check_options(self, num_experts: int) -> None:
        """Refuse options out of range for so many experts, before anything is built.

        Raises:
            ValueError: one is.
        """
        if not 0 <= self.ssim_weight <= 1:
            raise ValueError(f"expected --pipeline.model.ssim-weight from 0 to 1, found {self.ssim_weight}")

    def prepare_resume(self, run: Path) -> None:
        """The trainer calls this before it builds the model to resume ``run``: the experts are those of ``run``."""
        self.experts = experts_of_router_run(run, given=self.experts)
        self.source = run


class EnsembleModel(Supervised, Model):
    """K frozen experts. What is learnt beside them is made by `make_learnt`.

    Attributes:
        experts_learn: whether gradients reach experts' parameters; not so as a rule.
    """

    config: EnsembleModelConfig
    experts_learn: bool = False

    def __init__(self, *args: Any, seed_points: object = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_load_state_dict_pre_hook(_build_from_checkpoint)

    def populate_modules(self) -> None:
        """Load the experts from their runs; where one is gone, keep a place for each until a checkpoint comes."""
        super().populate_modules()
        config = self.config
        self.specs: list[ExpertSpec] = []
        self.experts = nn.ModuleList()
        self._cache = SplatCache(config.splat_cache_mb * 2**20)
        self._why_empty: Exception | None = None
        self._camera_names: list[str] = (self.kwargs.get("metadata") or {}).get("camera_names", [])
        self._from_source = self._take_from_source()
        if self._from_source:
            return
        try:
            read = [read_expert(run) for run in config.experts]
            names = unique_names([spec.family for spec, _ in read])
            specs = [dataclasses.replace(spec, name=name) for name, (spec, _) in zip(names, read, strict=True)]
            experts = [spec.build() for spec in specs]
            for expert, (_, state) in zip(experts, read, strict=True):
                expert.load_state_dict(state)
        except _UNREADABLE as error:
            # Whatever happened to the experts' runs, a checkpoint of this model holds them. Training looks for them.
            self._why_empty = error
            CONSOLE.print(
                f"[yellow]{error}\nNot all expert runs could be read; the checkpoint of this run holds the experts.",
                soft_wrap=True,
            )
            self._make_learnt([1] * len(config.experts))
            return
        self._take(specs, experts)
        self._make_learnt([expert.num_gaussians for expert in experts])

    def _take_from_source(self) -> bool:
        """Build the experts, with placeholders for Gaussians, where the run to resume says which they are: what
        optimizers hold before a checkpoint is loaded must be what is trained afterwards."""
        if self.config.source is None:
            return False
        try:
            state = read_checkpoint(find_checkpoint(self.config.source))["pipeline"]
            specs = specs_in_state(state, "_model.")
        except _UNREADABLE:
            return False  # for training it was found a moment ago; for all else the checkpoint to come is enough
        self._take(specs, [spec.build() for spec in specs])
        self._make_learnt([1] * len(specs))
        return True

    def make_learnt(self, counts: Sequence[int]) -> None:
        """Make what is learnt beside experts of ``counts`` Gaussians; a checkpoint may bring other numbers later."""
        raise NotImplementedError

    def _make_learnt(self, counts: Sequence[int]) -> None:
        self._places = len(counts)
        self.make_learnt(counts)

    def _take(self, specs: list[ExpertSpec], experts: list[ExpertModel]) -> None:
        self.specs = specs
        self.experts = nn.ModuleList(freeze(expert) for expert in experts).eval()
        self.check_experts(self.expert_models)

    def check_experts(self, experts: Sequence[ExpertModel]) -> None:
        """Refuse experts that cannot take part.

        Raises:
            ValueError: one of them cannot.
        """

    @property
    def expert_models(self) -> list[ExpertModel]:
        """The experts, in order."""
        return [*self.experts]  # type: ignore[list-item]

    @property
    def expert_names(self) -> list[str]:
        """Names of the experts, in the same order."""
        return [spec.name for spec in self.specs]

    def require_experts(self) -> None:
        """Raises ValueError when there are none."""
        if not self.specs:
            reason = f" ({self._why_empty})" if self._why_empty else ""
            raise ValueError(
                "this model has no experts: pass --experts RUN RUN ... (the run folders of trained experts), or load a "
                f"run that holds some{reason}"
            ) from self._why_empty

    # -- state -----------------------------------------------------------------------------------------------------

    def get_extra_state(self) -> str:
        """The experts' specs as JSON: a string survives ``weights_only`` loading and runs no code."""
        return json.dumps([dataclasses.asdict(spec) for spec in self.specs])

    def set_extra_state(self, state: str) -> None:
        """Consumed before loading, see `_build_from_checkpoint`."""

    def train(self, mode: bool = True) -> "EnsembleModel":
        """Training mode for what is learnt; experts stay frozen in evaluation mode."""
        super().train(mode)
        self.experts.eval()
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> "EnsembleModel":
        self.forget_splats()  # the device may change
        return super()._apply(*args, **kwargs)

    def forget_splats(self) -> None:
        """Call this after changing the experts."""
        self._cache.clear()

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """None: the experts' schedules stand still. Training begins here, so the experts are looked at.

        Raises:
            ValueError: there are no experts, or they belong to other frames or another scene.
        """
        self.require_experts()
        for warning in check_same_scene(self.specs, facts_of_training_data(training_callback_attributes.pipeline)):
            CONSOLE.print(f"[bold yellow]{warning}", soft_wrap=True)
        return []

    def describe(self) -> dict[str, Any]:
        """Plain facts for run records and evaluation files."""
        experts = list(zip(self.specs, self.expert_models, strict=True))
        counts = {spec.name: expert.num_gaussians for spec, expert in experts}
        return {
            "experts": self.expert_names,
            "num_gaussians": sum(counts.values()),
            "num_gaussians_per_expert": counts,
            "expert_origins": {
                spec.name: {"family": spec.family, "run": spec.origin.get("run"), "step": int(expert.training_step)}
                for spec, expert in experts
            },
            "raster_backend": resolve_backend(self.device),
        }

    # -- rendering -------------------------------------------------------------------------------------------------

    def background_color(self, expert: ExpertModel) -> Tensor:
        """``[3]`` colour behind an expert's Gaussians, if it composites colour."""
        if self.config.background == "own":
            return expert.background_color()
        return torch.full((3,), float(self.config.background == "white"), device=expert.device)

    def common_background(self, experts: Sequence[ExpertModel]) -> Tensor:
        """``[3]`` the one colour behind the Gaussians of all experts, of which there is at least one.

        Raises:
            ValueError: there are several colours.
        """
        colours = [self.background_color(expert) for expert in experts]
        if any(not torch.equal(colour, colours[0]) for colour in colours):
            raise ValueError(
                "experts with different backgrounds cannot be rendered as one set; choose one with "
                "--pipeline.model.background black (or white); of moegs fuse the option is --background"
            )
        return colours[0]

    def expert_splats(self, time: float) -> list[Splats]:
        """The Gaussians of every expert at ``time`` in [0,1], in order; without gradients unless experts learn."""
        if self.training and not self.experts_learn:
            return self._cache.get(time, self._splats_at)
        return self._splats_at(time)

    def _splats_at(self, time: float) -> list[Splats]:
        with self._gradients_of_experts():
            return [expert.splats_at(time) for expert in self.expert_models]

    def _gradients_of_experts(self) -> torch.set_grad_enabled:
        return torch.set_grad_enabled(self.experts_learn and torch.is_grad_enabled())

    def rendering_at(self, time: float) -> tuple[list[ExpertModel], list[slice]]:
        """Who renders for each expert at ``time`` (itself, or a clip of it), and the rows of its Gaussians."""
        parts = [expert.part_at(time) for expert in self.expert_models]
        return [part for part, _ in parts], [rows for _, rows in parts]

    def instant(self, camera: Cameras) -> Instant:
        """All experts' Gaussians and their channels as ``camera`` (of size 1) is to see them.

        Raises:
            ValueError: several cameras, or no experts.
        """
        self.require_experts()
        if camera.shape[0] != 1:
            raise ValueError(f"expected one camera at a time, found {camera.shape[0]}")
        with self._gradients_of_experts():
            viewmat = viewmat_from_camera_to_world(camera.camera_to_worlds[0].to(self.device))
            time = camera_time(camera, self.config.default_time)
            (experts, rows), parts = self.rendering_at(time), self.expert_splats(time)
            return Instant(
                time=time,
                experts=experts,
                rows=rows,
                parts=parts,
                channels_of_parts=as_wide([e.channels(own, viewmat) for e, own in zip(experts, parts, strict=True)]),
                viewmat=viewmat,
                intrinsics=camera.get_intrinsics_matrices()[0].to(self.device),
                width=int(camera.width.item()),
                height=int(camera.height.item()),
            )

    @torch.no_grad()
    def trajectories(self, times: Sequence[float], index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Positions ``[T,n,3]`` and opacities ``[T,n]`` as for an expert, of all experts' Gaussians end to end."""
        chosen = slice(None) if index is None else index
        each = [expert.trajectories(times) for expert in self.expert_models]
        positions, opacities = (torch.cat(kind, dim=1)[:, chosen] for kind in zip(*each, strict=True))
        return positions, opacities

    @torch.no_grad()
    def channel_backgrounds(self, instant: Instant) -> Tensor:
        """``[K,C]`` channels behind each expert's Gaussians."""
        return torch.cat(
            as_wide([expert.channel_background(self.background_color(expert))[None] for expert in instant.experts])
        )

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Tensor]:
        """Render for evaluation, the viewer and ``ns-render``."""
        return self.get_outputs(camera.to(self.device))

    # -- losses and metrics ----------------------------------------------------------------------------------------

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        """Photometric loss of the picture, as the experts'."""
        weight = self.config.ssim_weight
        loss = self.compare(outputs["rgb"], batch, lambda picture, truth: photometric_loss(picture, truth, weight))
        return {"photometric": loss}

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict, batch: dict) -> dict[str, Any]:
        """Training PSNR of one view."""
        return {"psnr": image_psnr(outputs["rgb"], ground_truth_image(batch, self.device))}


def specs_in_state(state: Mapping[str, Any], prefix: str = "") -> list[ExpertSpec]:
    """The experts a model's state describes; keys begin with ``prefix``.

    Raises:
        ValueError: it describes none, or describes something else.
    """
    described = state.get(f"{prefix}_extra_state")
    if described is None:
        raise ValueError(
            "the checkpoint does not describe its experts: it was not written by moegs-router or moegs-fused"
        )
    try:
        return [ExpertSpec(**spec) for spec in json.loads(described)]
    except (TypeError, RecursionError) as error:
        raise ValueError(f"expected a checkpoint that describes its experts, found another ({error})") from error


def _build_from_checkpoint(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    """Build the experts a checkpoint describes before its tensors are loaded into them."""
    assert isinstance(module, EnsembleModel)
    specs = specs_in_state(state_dict, prefix)
    other_number = module._places not in (0, len(specs))
    if other_number and not module._from_source:
        raise ValueError(
            f"expected a checkpoint of {module._places} experts, found one of {len(specs)}: use the --experts it was "
            "trained with, or none"
        )
    module.forget_splats()
    if specs == module.specs:
        module.specs = specs  # equal specs may differ in their origin
        return
    device = module.device
    module._take(specs, [spec.build() for spec in specs])
    if module._places == 0 or other_number:
        module._make_learnt([1] * len(specs))
    module.to(device)
