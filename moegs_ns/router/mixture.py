"""The mixture: frozen experts, a router, and the picture they make together (MoE-GS Eq. 8)."""

import dataclasses
import json
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
import tyro
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn
from torch.nn import Parameter

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.views import camera_time, ground_truth_image, image_psnr
from moegs_ns.losses import photometric_loss
from moegs_ns.router.experts import (
    ExpertSpec,
    experts_of_router_run,
    freeze,
    read_expert,
    require_expert_runs,
    run_folder,
    training_gains,
    unique_names,
)
from moegs_ns.router.gate import gate
from moegs_ns.router.same_scene import check_same_scene, facts_of_training_data
from moegs_ns.router.splat_cache import SplatCache
from moegs_ns.router.volume_aware import WEIGHT_CHANNELS, RayInput, VolumeAwareRouter
from moegs_ns.splats.camera import viewmat_from_camera_to_world
from moegs_ns.splats.rasterize import Rasterized, rasterize, resolve_backend
from moegs_ns.splats.rays import ray_image
from moegs_ns.splats.splats import Splats, concatenate

# Pixels less covered than this have no depth (0).
_MIN_COVER = 1e-10


@dataclass
class MixtureModelConfig(ModelConfig):
    """Options of the router stage."""

    _target: type = field(default_factory=lambda: MixtureModel)
    enable_collider: bool = False
    experts: Annotated[tuple[Path, ...], tyro.conf.arg(prefix_name=False)] = ()
    """Run folders of the trained experts. Not needed to resume, evaluate or view a router run: it holds its experts."""
    train_temperature: float = 1.0
    """Temperature of the softmax over experts while training. The authors' code trains at 0.01, which measured
    worse; 0.1 at a fifth of the learning rates ties with 1 (docs/results.md)."""
    eval_temperature: float = 1.0
    """Temperature of the softmax over experts otherwise."""
    top_k: int = 0
    """Outside training, blend only this many experts per pixel, those with the largest logits; 0 = all. Training
    always blends all: experts left out would not learn."""
    initial_weight: float = 0.0
    """Initial w and w_dir of every Gaussian. The paper starts near zero, its code at 0.9."""
    ray_input: RayInput = "origin+direction"
    """What the router's network sees of the viewing ray; the authors' code feeds camera centre and direction."""
    kernel_size: int = 1
    """Kernel size of the router's network; 1 as in the authors' code, larger (odd) sees neighbouring pixels."""
    weight_background: float = 0.0
    """Value of the weight channels where no Gaussian is; the authors' code has 1."""
    ssim_weight: float = 0.2
    """Share of (1 - SSIM) in the photometric loss; the rest is L1."""
    background: Literal["own", "black", "white"] = "own"
    """Colour behind each expert's Gaussians: the one it was trained with, or the same for all."""
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
            FileNotFoundError, ValueError: no runs of experts, or experts of other frames or another scene.
        """
        specs = require_expert_runs(self.experts)
        check_same_scene(specs, data)  # its warnings are shown once, when training begins

    def prepare_resume(self, run: Path) -> None:
        """The trainer calls this before it builds the model to resume ``run``: the experts are those of ``run``."""
        self.experts = experts_of_router_run(run, given=self.experts)


class MixtureModel(Model):
    """K frozen experts and the router that blends their images per pixel.

    All experts' colours and router weights are composited in ONE pass; each expert keeps its own transmittance. Only
    the router learns. The state holds the experts too: a router run works after the expert runs are deleted.
    """

    config: MixtureModelConfig

    def __init__(self, *args: Any, seed_points: object = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_load_state_dict_pre_hook(_build_from_checkpoint)

    def populate_modules(self) -> None:
        """Load the experts from their runs; where one is gone, keep a place for each until a checkpoint comes."""
        super().populate_modules()
        config = self.config
        for temperature in (config.train_temperature, config.eval_temperature):
            # An impossible gate is refused now, not at the first evaluation.
            gate(torch.zeros(len(config.experts) or max(1, config.top_k)), temperature, config.top_k)
        self.specs: list[ExpertSpec] = []
        self.experts = nn.ModuleList()
        self._cache = SplatCache(config.splat_cache_mb * 2**20)
        self._why_empty: Exception | None = None
        self._camera_names: list[str] = (self.kwargs.get("metadata") or {}).get("camera_names", [])
        try:
            read = [read_expert(run) for run in config.experts]
            names = unique_names([spec.family for spec, _ in read])
            specs = [dataclasses.replace(spec, name=name) for name, (spec, _) in zip(names, read, strict=True)]
            experts = [spec.build() for spec in specs]
            for expert, (_, state) in zip(experts, read, strict=True):
                expert.load_state_dict(state)
        except (OSError, ValueError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
            # Whatever happened to the experts' runs, a router's checkpoint holds the experts. Training looks for them.
            self._why_empty = error
            CONSOLE.print(
                f"[yellow]{error}\nNot all expert runs could be read; the router's checkpoint holds the experts.",
                soft_wrap=True,
            )
            self._make_router([1] * len(config.experts))
            return
        self._take(specs, experts)
        self._make_router([expert.num_gaussians for expert in experts])

    def _take(self, specs: list[ExpertSpec], experts: list[ExpertModel]) -> None:
        self.specs = specs
        self.experts = nn.ModuleList(freeze(expert) for expert in experts).eval()

    def _make_router(self, counts: list[int]) -> None:
        config = self.config
        self.router = VolumeAwareRouter(counts, config.initial_weight, config.ray_input, config.kernel_size)

    def _experts(self) -> list[ExpertModel]:
        return [*self.experts]  # type: ignore[list-item]

    def _require_experts(self) -> None:
        if not self.specs:
            reason = f" ({self._why_empty})" if self._why_empty else ""
            raise ValueError(
                "this mixture has no experts: pass --experts RUN RUN ... (the run folders of trained experts), or load "
                f"a router run{reason}"
            ) from self._why_empty

    @property
    def expert_names(self) -> list[str]:
        """Names of the experts, in gate order."""
        return [spec.name for spec in self.specs]

    # -- state -----------------------------------------------------------------------------------------------------

    def get_extra_state(self) -> str:
        """The experts' specs as JSON: a string survives ``weights_only`` loading and runs no code."""
        return json.dumps([dataclasses.asdict(spec) for spec in self.specs])

    def set_extra_state(self, state: str) -> None:
        """Consumed before loading, see `_build_from_checkpoint`."""

    def train(self, mode: bool = True) -> "MixtureModel":
        """Training mode for the router; experts stay frozen in evaluation mode."""
        super().train(mode)
        self.experts.eval()
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> "MixtureModel":
        self._cache.clear()  # the device may change
        return super()._apply(*args, **kwargs)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Router parameters only."""
        if len(self.router.weights) == 0:
            self._require_experts()
        weights = self.router.gaussian_weights
        return {
            "weights": [w.base for w in weights],
            "time_weights": [w.time for w in weights],
            "network": [*self.router.network.parameters()],
        }

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """None: the experts' schedules stand still. Training begins here, so the experts are looked at.

        Raises:
            ValueError: there are no experts, or they belong to other frames or another scene.
        """
        self._require_experts()
        for warning in check_same_scene(self.specs, facts_of_training_data(training_callback_attributes.pipeline)):
            CONSOLE.print(f"[bold yellow]{warning}", soft_wrap=True)
        return []

    def describe(self) -> dict[str, Any]:
        """Plain facts for run records and evaluation files."""
        experts = list(zip(self.specs, self._experts(), strict=True))
        counts = {spec.name: expert.num_gaussians for spec, expert in experts}
        return {
            "expert": "router",
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
        return torch.full((3,), float(self.config.background == "white"), device=self.device)

    def expert_splats(self, time: float) -> list[Splats]:
        """The Gaussians of every expert at ``time`` in [0,1], in gate order, without gradients."""
        if self.training:
            return self._cache.get(time, self._splats_at)
        return self._splats_at(time)

    @torch.no_grad()
    def _splats_at(self, time: float) -> list[Splats]:
        return [expert.splats_at(time) for expert in self._experts()]

    def composite(self, camera: Cameras, depth: bool) -> tuple[Rasterized, Tensor]:
        """Channels and router weights of all experts in one pass; gradients reach the weights only.

        Args:
            camera: ``Cameras`` of size 1.
            depth: also composite the experts' depth.

        Returns:
            The result, whose ``images [K,H,W,C+3]`` hold each expert's channels, filled up with zeros to the widest
            expert's C (3 where all composite colour), and the three weight channels; and the rays ``[6,H,W]``.

        Raises:
            ValueError: there are no experts.
        """
        self._require_experts()
        viewmat = viewmat_from_camera_to_world(camera.camera_to_worlds[0].to(self.device))
        intrinsics = camera.get_intrinsics_matrices()[0].to(self.device)
        width, height = int(camera.width.item()), int(camera.height.item())
        time = camera_time(camera, self.config.default_time)
        (experts, rows), parts = self._rendering_at(time), self.expert_splats(time)
        with torch.no_grad():
            channels = [expert.channels(splats, viewmat) for expert, splats in zip(experts, parts, strict=True)]
            behind = [expert.channel_background(self.background_color(expert))[None] for expert in experts]
            splats, expert_ids = concatenate(parts)
        empty = torch.full((len(experts), WEIGHT_CHANNELS), self.config.weight_background, device=self.device)
        result = rasterize(
            splats,
            torch.cat([_side_by_side(channels), self.router.channels(time, rows)], dim=1),
            viewmat,
            intrinsics,
            width,
            height,
            expert_ids=expert_ids,
            num_experts=len(experts),
            settings=[expert.projection_settings for expert in experts],
            background=torch.cat([_side_by_side(behind), empty], dim=1),
            depth=depth,
        )
        return result, ray_image(viewmat, intrinsics, width, height)

    def _rendering_at(self, time: float) -> tuple[list[ExpertModel], list[slice]]:
        """Who renders for each expert at ``time`` (itself, or a clip of it), and the rows of its Gaussians."""
        parts = [expert.part_at(time) for expert in self._experts()]
        return [part for part, _ in parts], [rows for _, rows in parts]

    @torch.no_grad()
    def pictures(self, composited: Tensor, rays: Tensor, time: float) -> Tensor:
        """The experts' pictures ``[K,H,W,3]`` from their channels ``[K,H,W,C]`` and the image's rays ``[6,H,W]``.

        They are constants: cut off, they cost nothing on the way back.
        """
        experts, _ = self._rendering_at(time)
        return torch.stack([e.decode(image, lambda: rays) for e, image in zip(experts, composited, strict=True)])

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        """Render one camera.

        Args:
            camera: ``Cameras`` of size 1.

        Returns:
            ``rgb [H,W,3]``; outside training, where values are also clamped to [0,1], ``accumulation [H,W,1]``,
            ``depth [H,W,1]`` (expected z-depth in world units of what was blended), and per expert
            ``expert_<name> [H,W,3]`` and ``gate_<name> [H,W,1]``.
        """
        if camera.shape[0] != 1:
            raise ValueError(f"expected one camera at a time, found {camera.shape[0]}")
        result, rays = self.composite(camera, depth=not self.training)
        logits = self.router.logits(result.images[..., -WEIGHT_CHANNELS:], rays)
        time = camera_time(camera, self.config.default_time)
        images = self.pictures(result.images[..., :-WEIGHT_CHANNELS], rays, time)
        config = self.config
        if self.training:
            gains = training_gains(self._rendering_at(time)[0], camera, self._camera_names)
            images = images if gains is None else images * gains[:, None, None, :]
            return {"rgb": blend(gate(logits, config.train_temperature), images)}
        gates = gate(logits, config.eval_temperature, config.top_k)
        images = images.clamp(0.0, 1.0)
        covered = gates * result.alphas
        accumulation = covered.sum(dim=0)[..., None]
        outputs = {"rgb": blend(gates, images), "accumulation": accumulation}
        if result.depths is not None:
            # An expert that shows nothing in a pixel says nothing of its depth.
            outputs["depth"] = blend(covered, result.depths[..., None]) / accumulation.clamp_min(_MIN_COVER)
        for index, name in enumerate(self.expert_names):
            outputs[f"expert_{name}"] = images[index]
            outputs[f"gate_{name}"] = gates[index][..., None]
        return outputs

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Tensor]:
        """Render for evaluation, the viewer and ``ns-render``."""
        return self.get_outputs(camera.to(self.device))

    # -- losses and metrics ----------------------------------------------------------------------------------------

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        """Photometric loss of the blended image."""
        truth = ground_truth_image(batch, self.device)
        return {"photometric": photometric_loss(outputs["rgb"], truth, self.config.ssim_weight)}

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict, batch: dict) -> dict[str, Any]:
        """Training PSNR of one view."""
        return {"psnr": image_psnr(outputs["rgb"], ground_truth_image(batch, self.device))}

    def get_image_metrics_and_images(self, outputs: dict, batch: dict) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Side-by-side pictures: truth and blend; the gates beside each other."""
        truth = ground_truth_image(batch, self.device)
        gates = torch.cat([outputs[f"gate_{name}"].expand(-1, -1, 3) for name in self.expert_names], dim=1)
        pictures = {"img": torch.cat([truth, outputs["rgb"]], dim=1), "gates": gates}
        return {"psnr": float(image_psnr(outputs["rgb"], truth))}, pictures


def _side_by_side(channels: Sequence[Tensor]) -> Tensor:
    """Rows of several experts ``[N_k, C_k]`` end to end, filled up with zeros to the widest."""
    widest = max(rows.shape[1] for rows in channels)
    return torch.cat([F.pad(rows, (0, widest - rows.shape[1])) for rows in channels])


def blend(gates: Tensor, images: Tensor) -> Tensor:
    """Gated sum over experts: ``gates [K,H,W]``, ``images [K,H,W,C]`` -> ``[H,W,C]`` (Eq. 8)."""
    return (gates[..., None] * images).sum(dim=0)


def _build_from_checkpoint(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    """Build the experts a checkpoint describes before its tensors are loaded into them."""
    assert isinstance(module, MixtureModel)
    described = state_dict.get(f"{prefix}_extra_state")
    if described is None:
        raise ValueError("the checkpoint does not describe its experts: it was not written by moegs-router")
    specs = [ExpertSpec(**spec) for spec in json.loads(described)]
    present = len(module.router.weights)
    if present not in (0, len(specs)):
        raise ValueError(
            f"expected a checkpoint of {present} experts, found one of {len(specs)}: use the --experts it was trained "
            "with, or none"
        )
    module._cache.clear()
    if specs == module.specs:
        module.specs = specs  # equal specs may differ in their origin
        return
    device = module.device
    module._take(specs, [spec.build() for spec in specs])
    if present == 0:
        module._make_router([1] * len(specs))
    module.to(device)
