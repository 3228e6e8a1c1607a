"""The mixture: frozen experts, a router, and the picture they make together (MoE-GS Eq. 8)."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn
from torch.nn import Parameter

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.views import camera_time, ground_truth_image, image_psnr
from moegs_ns.losses import photometric_loss
from moegs_ns.router.experts import ExpertSpec, freeze, read_expert, unique_names
from moegs_ns.router.gate import gate
from moegs_ns.router.rays import ray_image
from moegs_ns.router.volume_aware import VolumeAwareRouter
from moegs_ns.runs.record import read_run_record
from moegs_ns.splats.camera import viewmat_from_camera_to_world
from moegs_ns.splats.rasterize import Rasterized, rasterize, resolve_backend
from moegs_ns.splats.splats import concatenate


@dataclass
class MixtureModelConfig(ModelConfig):
    """Options of the router stage."""

    _target: type = field(default_factory=lambda: MixtureModel)
    enable_collider: bool = False
    experts: Annotated[tuple[Path, ...], tyro.conf.arg(prefix_name=False)] = ()
    """Run folders of the trained experts. Not needed to resume, evaluate or view a router run: it holds its experts."""
    train_temperature: float = 1.0
    """Temperature of the softmax over experts while training. The authors' code trains at 0.01; 1 measured better."""
    eval_temperature: float = 1.0
    """Temperature of the softmax over experts otherwise."""
    top_k: int = 0
    """Blend only this many experts per pixel, those with the largest logits; 0 = all."""
    initial_weight: float = 0.0
    """Initial w and w_dir of every Gaussian. The paper starts near zero, its code at 0.9."""
    ray_input: Literal["origin+direction", "direction", "none"] = "origin+direction"
    """What the router's network sees of the viewing ray; the authors' code feeds camera centre and direction."""
    kernel_size: int = 1
    """Kernel size of the router's network; 1 as in the authors' code, larger sees neighbouring pixels."""
    weight_background: float = 0.0
    """Value of the weight channels where no Gaussian is; the authors' code has 1."""
    ssim_weight: float = 0.2
    """Share of (1 - SSIM) in the photometric loss; the rest is L1."""
    background: Literal["black", "white"] = "black"
    """Colour behind all experts' Gaussians."""
    default_time: float = 0.0
    """Time in [0,1] rendered for cameras that carry none."""

    def make_paths_absolute(self) -> None:
        """So that the run's ``config.yml`` works from any folder; the trainer calls this."""
        self.experts = tuple(Path(run).expanduser().absolute() for run in self.experts)

    def prepare_resume(self, run: Path) -> None:
        """Called by the trainer before it builds the model to resume ``run``: take over how many experts there are."""
        if not self.experts:
            self.experts = tuple(Path(path) for path in read_run_record(run)["expert"]["config"]["experts"])


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
        """Load the experts from their runs; where those are gone, keep a place for each until a checkpoint comes."""
        super().populate_modules()
        self.specs: list[ExpertSpec] = []
        self.experts = nn.ModuleList()
        runs = [Path(run) for run in self.config.experts]
        missing = [run for run in runs if not run.exists()]
        if missing:
            CONSOLE.print(
                f"[yellow]expert runs not found: {', '.join(map(str, missing))}; the experts must come from a router "
                "checkpoint (--load-dir)",
                soft_wrap=True,
            )
            self._make_router([1] * len(runs))
            return
        read = [read_expert(run) for run in runs]
        names = unique_names([spec.family for spec, _ in read])
        self._build([dataclasses.replace(spec, name=name) for name, (spec, _) in zip(names, read, strict=True)])
        for expert, (_, state) in zip(self.experts, read, strict=True):
            expert.load_state_dict(state)
        self._make_router([len(expert.gaussians) for expert in self._experts()])

    def _build(self, specs: Iterable[ExpertSpec]) -> None:
        self.specs = list(specs)
        self.experts = nn.ModuleList(freeze(spec.build()) for spec in self.specs)

    def _make_router(self, counts: list[int]) -> None:
        config = self.config
        self.router = VolumeAwareRouter(counts, config.initial_weight, config.ray_input, config.kernel_size)

    def _experts(self) -> list[ExpertModel]:
        return [*self.experts]  # type: ignore[list-item]

    @property
    def expert_names(self) -> list[str]:
        """Names of the experts, in gate order."""
        return [spec.name for spec in self.specs]

    # -- state -----------------------------------------------------------------------------------------------------

    def get_extra_state(self) -> str:
        """The experts' specs as JSON: a string survives ``weights_only`` loading and runs no code."""
        return json.dumps([dataclasses.asdict(spec) for spec in self.specs])

    def set_extra_state(self, state: str) -> None:
        """Consumed before loading, see :func:`_build_from_checkpoint`."""

    def train(self, mode: bool = True) -> "MixtureModel":
        """Training mode for the router; experts stay frozen in evaluation mode."""
        super().train(mode)
        self.experts.eval()
        return self

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Router parameters only."""
        weights = self.router.gaussian_weights
        return {
            "weights": [w.base for w in weights],
            "time_weights": [w.time for w in weights],
            "network": [*self.router.network.parameters()],
        }

    def describe(self) -> dict[str, Any]:
        """Plain facts for run records and evaluation files."""
        counts = {name: len(e.gaussians) for name, e in zip(self.expert_names, self._experts(), strict=True)}
        return {
            "expert": "router",
            "experts": self.expert_names,
            "num_gaussians": sum(counts.values()),
            "num_gaussians_per_expert": counts,
            "raster_backend": resolve_backend(self.device),
        }

    # -- rendering -------------------------------------------------------------------------------------------------

    def background_color(self) -> Tensor:
        """``[3]`` colour behind all Gaussians."""
        return torch.full((3,), 1.0 if self.config.background == "white" else 0.0, device=self.device)

    def composite(self, camera: Cameras, depth: bool) -> tuple[Rasterized, Tensor]:
        """Colour and router weights of all experts in one pass.

        Returns:
            The result, whose ``images [K,H,W,6]`` hold RGB and the three weight channels, and the rays ``[6,H,W]``.
        """
        if not self.specs:
            raise ValueError(
                "this router has no experts: pass --experts RUN RUN ... (existing run folders of trained experts), or "
                "load a router run"
            )
        viewmat = viewmat_from_camera_to_world(camera.camera_to_worlds[0].to(self.device))
        intrinsics = camera.get_intrinsics_matrices()[0].to(self.device)
        width, height = int(camera.width.item()), int(camera.height.item())
        time = camera_time(camera, self.config.default_time)
        with torch.no_grad():
            parts = [expert.splats_at(time) for expert in self._experts()]
            colors = torch.cat([e.colors(splats, viewmat) for e, splats in zip(self._experts(), parts, strict=True)])
            splats, expert_ids = concatenate(parts)
        empty = torch.full((3,), self.config.weight_background, device=self.device)
        result = rasterize(
            splats,
            torch.cat([colors, self.router.channels(time)], dim=1),
            viewmat,
            intrinsics,
            width,
            height,
            expert_ids=expert_ids,
            num_experts=len(self.specs),
            settings=[expert.projection_settings for expert in self._experts()],
            background=torch.cat([self.background_color(), empty]),
            depth=depth,
        )
        return result, ray_image(viewmat, intrinsics, width, height)

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        """Render one camera.

        Args:
            camera: ``Cameras`` of size 1.

        Returns:
            ``rgb [H,W,3]``, ``accumulation [H,W,1]``; outside training also ``depth [H,W,1]`` (gated expected
            z-depth), ``expert_<name> [H,W,3]`` and ``gate_<name> [H,W,1]``.
        """
        if camera.shape[0] != 1:
            raise ValueError(f"expected one camera at a time, found {camera.shape[0]}")
        result, rays = self.composite(camera, depth=not self.training)
        config = self.config
        temperature = config.train_temperature if self.training else config.eval_temperature
        gates = gate(self.router.logits(result.images[..., 3:], rays), temperature, config.top_k)
        images = result.images[..., :3]
        if not self.training:
            images = images.clamp(0.0, 1.0)
        outputs = {"rgb": blend(gates, images), "accumulation": blend(gates, result.alphas[..., None])}
        if result.depths is not None:
            outputs["depth"] = blend(gates, result.depths[..., None])
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
    if specs == module.specs:
        return
    device = module.device
    module._build(specs)
    if len(module.router.weights) == 0:
        module._make_router([1] * len(specs))
    elif len(module.router.weights) != len(specs):
        raise ValueError(
            f"the checkpoint holds {len(specs)} experts, this router was built for {len(module.router.weights)}: "
            "resume with the --experts it was trained with, or with none"
        )
    module.to(device)
