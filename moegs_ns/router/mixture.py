"""The mixture: experts, frozen as a rule, a router, and the picture they make together (MoE-GS Eq. 8)."""

import dataclasses
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.nn import Parameter

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.views import ground_truth_image, image_psnr, is_training_camera
from moegs_ns.router.comparisons import disagreement
from moegs_ns.router.ensemble import EnsembleModel, EnsembleModelConfig
from moegs_ns.router.expert_learning import check_learning, learning_tensors, let_learn
from moegs_ns.router.experts import ExpertSpec, training_gains
from moegs_ns.router.fused_inference import fused_frame
from moegs_ns.router.gate import gate
from moegs_ns.router.instant import Instant
from moegs_ns.router.interface import RouterView
from moegs_ns.router.left_out import instant_without, off_experts
from moegs_ns.router.pruning import (
    PruningTarget,
    check_schedule,
    choose,
    due,
    every,
    prune_by_schedule,
    set_sizes,
    wanted,
)
from moegs_ns.router.pruning_options import Criterion, PruningOptions
from moegs_ns.router.pruning_scores import criteria_for, score_gaussians
from moegs_ns.router.routers import RouterOptions, make_router
from moegs_ns.router.union import render_union, require_colours
from moegs_ns.router.volume import VolumeRouter
from moegs_ns.splats.mixture_frame import MixtureFrame
from moegs_ns.splats.rasterize import Rasterized

# Pixels less covered than this have no depth (0).
_MIN_COVER = 1e-10


@dataclass
class MixtureModelConfig(RouterOptions, PruningOptions, EnsembleModelConfig):
    """Options of the router stage."""

    _target: type = field(default_factory=lambda: MixtureModel)
    train_temperature: float = 1.0
    """Temperature of the softmax over experts while training. The authors' code trains at 0.01, which measured
    worse; 0.1 at a fifth of the learning rates ties with 1 (docs/results.md)."""
    eval_temperature: float = 1.0
    """Temperature of the softmax over experts otherwise."""
    top_k: int = 0
    """Outside training, blend only this many experts per pixel, those with the largest logits; 0 = all. Training
    always blends all: experts left out would not learn."""
    weight_background: float = 0.0
    """Value of the weight channels where no Gaussian is; the authors' code has 1."""
    experts_learn_from: int = 0
    """From this step on the experts' Gaussians learn too, together with the router: positions, shapes, opacities and
    colours; motion, deformation fields and networks stay frozen. 0 = never, as in the paper."""
    fused_inference: bool = False
    """Outside training, on CUDA, draw whole frames (projection, compositing, router, blend) with the project's own
    kernels, compiled at first use by nvcc, instead of gsplat and torch. For the volume-aware router over experts that
    composite colours; where it cannot be, a message says why and frames are drawn the ordinary way. Off by default: its
    values have not been tested on a GPU yet."""

    def check_options(self, num_experts: int) -> None:
        """As for every ensemble; also the gate's and the router's."""
        super().check_options(num_experts)
        for temperature in (self.train_temperature, self.eval_temperature):
            gate(torch.zeros(num_experts or max(1, self.top_k)), temperature, self.top_k)
        if not 0 <= self.distrust < math.inf:
            raise ValueError(f"expected --pipeline.model.distrust of 0 or more, found {self.distrust}")
        make_router(self, [1] * num_experts)


class MixtureModel(EnsembleModel):
    """K experts and the router that blends their images per pixel.

    All experts' colours and router weights are composited in ONE pass; each expert keeps its own transmittance. Only
    the router learns, unless ``experts_learn_from`` says otherwise.

    With the volume router all Gaussians make one picture, whose opacities it gates.
    """

    config: MixtureModelConfig
    _step: int = 0

    @property
    def experts_learn(self) -> bool:  # type: ignore[override]
        """Whether the present training step changes the experts' Gaussians."""
        return 0 < self.config.experts_learn_from <= self._step

    def populate_modules(self) -> None:
        """Refuse an impossible gate now, not at the first evaluation; then load the experts."""
        config = self.config
        config.check_options(len(config.experts))
        super().populate_modules()
        config.source = None  # it has served: a resumed run's record is that of one never interrupted

    def make_learnt(self, counts: Sequence[int]) -> None:
        """Make the router."""
        self.router = make_router(self.config, counts)

    def check_experts(self, experts: Sequence[ExpertModel]) -> None:
        """The volume router needs colours, and one colour behind all.

        Raises:
            ValueError: an expert with features, or experts with different backgrounds.
        """
        if self.config.router == "volume":
            require_colours([*experts], self.expert_names, "the volume router")
            if experts:  # none yet: a checkpoint brings them
                self.common_background(experts)

    def _take(self, specs: list[ExpertSpec], experts: list[ExpertModel]) -> None:
        super()._take(specs, experts)
        if self.config.experts_learn_from:
            let_learn(self.experts)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Router parameters, and those of the experts' Gaussians that learn from some step on."""
        if self._places == 0 or self.config.experts_learn_from:
            self.require_experts()
        learning = learning_tensors(self.experts) if self.config.experts_learn_from else {}
        return {**self.router.param_groups(), **learning}

    def learning_rate_scales(self) -> dict[str, float]:
        """Where experts learn, positions do so in proportion to the size of the camera rig."""
        learning = self.config.experts_learn_from and self.specs
        return {"means": self.expert_models[0].camera_extent} if learning else {}

    def _note_step(self, step: int) -> None:
        if step == self.config.experts_learn_from:
            self.forget_splats()  # nothing is asked for twice from now on
        self._step = step

    # -- pruning ---------------------------------------------------------------------------------------------------

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Pruning, where it is asked for; the experts' own schedules stand still.

        Raises:
            ValueError: as for every ensemble, or options of pruning that cannot work.
        """
        callbacks = super().get_training_callbacks(training_callback_attributes)
        if not self.config.experts_learn_from and not wanted(self.config):
            return callbacks
        trainer = training_callback_attributes.trainer
        total_steps = None if trainer is None else trainer.config.max_num_iterations
        check_learning(self.config.experts_learn_from, total_steps)
        if self.config.experts_learn_from:
            before = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION
            callbacks = [*callbacks, TrainingCallback([before], self._note_step)]
        if not wanted(self.config):
            return callbacks
        check_schedule(self.config.router, self.config, total_steps)
        after = TrainingCallbackLocation.AFTER_TRAIN_ITERATION
        return [*callbacks, TrainingCallback([after], self._prune_if_due, args=[training_callback_attributes])]

    def _prune_if_due(self, attributes: TrainingCallbackAttributes, step: int) -> None:
        if not due(self.config, step + 1):
            return
        assert attributes.pipeline is not None and attributes.optimizers is not None
        cameras = every(attributes.pipeline.datamanager.train_dataset.cameras, self.config.prune_view_stride)
        facts = prune_by_schedule(self, self.config, cameras, attributes.optimizers)
        before, after = (sum(facts[when].values()) for when in ("before", "after"))
        CONSOLE.print(f"Pruned after {step + 1} steps by {facts['criterion']}: {before} to {after} Gaussians")
        if hasattr(attributes.trainer, "note_pruning"):
            attributes.trainer.note_pruning({"step": step + 1, **facts})

    def pruning_criteria(self) -> list[Criterion]:
        """What this mixture's Gaussians may be scored by for pruning; nothing with the volume router."""
        return criteria_for(self.config.router)

    def pruning_scores(self, cameras: Iterable[Cameras], criterion: Criterion) -> Tensor:
        """``[N]`` how much each of all experts' stored Gaussians, end to end, matters in some views; nothing changes.

        Raises:
            ValueError: as `score_gaussians`.
        """
        return score_gaussians(self, cameras, criterion).values

    def pruned_at(self, scores: Tensor, ratio: float) -> Tensor:
        """``[N]`` bool, which Gaussians pruning by such scores would remove for a ratio in [0,1)."""
        return choose(scores, set_sizes(self), PruningTarget(ratio))

    def describe(self) -> dict[str, Any]:
        """Plain facts for run records and evaluation files."""
        return {"expert": "router", "router": self.config.router, **super().describe()}

    # -- rendering -------------------------------------------------------------------------------------------------

    def composite(self, camera: Cameras, depth: bool, instant: Instant | None = None) -> tuple[Rasterized, Instant]:
        """Channels and router weights of all experts in one pass; gradients reach the weights, and experts that learn.

        Args:
            camera: ``Cameras`` of size 1.
            depth: also composite the experts' depth.
            instant: what the camera is to see, where that is not `instant` of it.

        Returns:
            The result, whose ``images [K,H,W,C+W]`` hold each expert's channels, filled up with zeros to the widest
            expert's C (3 where all composite colour), and the router's W weight channels; and what was composited.

        Raises:
            ValueError: there are no experts.
        """
        instant = self.instant(camera) if instant is None else instant
        background, weights = self.channel_backgrounds(instant), self.router.channel_blocks(instant.time, instant.rows)
        if weights is not None:
            width = sum(block.shape[1] for block in weights[0])
            empty = background.new_full((len(background), width), self.config.weight_background)
            background = torch.cat([background, empty], dim=1)
        return instant.rasterize_parts(weights, background=background, depth=depth), instant

    def pictures(self, composited: Tensor, instant: Instant, rays: Tensor) -> Tensor:
        """The experts' pictures ``[K,H,W,3]`` from their channels ``[K,H,W,C]`` and the image's rays ``[6,H,W]``.

        Unless the experts learn they are constants: cut off, they cost nothing on the way back.
        """
        with self._gradients_of_experts():
            pairs = zip(instant.experts, composited, strict=True)
            return torch.stack([expert.decode(image, lambda: rays) for expert, image in pairs])

    def look(self, camera: Cameras, depth: bool = False, instant: Instant | None = None) -> tuple[RouterView, Instant]:
        """Everything a router may look at for one camera; ``depth`` where it is wanted beyond the router's need,
        ``instant`` as for `composite`."""
        result, instant = self.composite(camera, depth or self.router.needs_depth, instant)
        rays = instant.rays()
        channels = instant.num_channels
        view = RouterView(
            time=instant.time,
            rays=rays,
            weights=result.images[..., channels:],
            pictures=self.pictures(result.images[..., :channels], instant, rays),
            alphas=result.alphas.detach(),
            depths=None if result.depths is None else result.depths.detach(),
        )
        return view, instant

    def logits(self, view: RouterView) -> Tensor:
        """``[K,H,W]`` what the gates are the softmax of: the router's logits, less what distrust takes from them."""
        view = dataclasses.replace(view, pictures=view.pictures.detach())  # a gate is not to be had by repainting
        logits, distrust = self.router.logits(view), self.config.distrust
        return logits - distrust * disagreement(view.pictures) if distrust else logits

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        """Render one camera.

        Args:
            camera: ``Cameras`` of size 1.

        Returns:
            ``rgb [H,W,3]``; outside training, where values are also clamped to [0,1], ``accumulation [H,W,1]``,
            ``depth [H,W,1]`` (expected z-depth in world units of what was blended), and per expert
            ``expert_<name> [H,W,3]`` and ``gate_<name> [H,W,1]``. With the volume router a gate is the expert's share
            of what is seen.
        """
        if self.config.fused_inference and not (self.training or torch.is_grad_enabled()):
            frame = fused_frame(self, camera)
            if frame is not None:
                return self._outputs_of_frame(frame)
        if not self.training:
            return self._evaluated(camera)
        if isinstance(self.router, VolumeRouter):
            instant = self.instant(camera)
            factors, background = self._union_factors(self.router, instant)
            gains = training_gains(instant.experts, camera, self._camera_names)
            return {"rgb": render_union(instant, factors, background, gains, details=False).rgb}
        view, instant = self.look(camera)
        images, gains = view.pictures, training_gains(instant.experts, camera, self._camera_names)
        images = images if gains is None else images * gains[:, None, None, :]
        return {"rgb": blend(gate(self.logits(view), self.config.train_temperature), images)}

    @torch.no_grad()
    def outputs_without(
        self, camera: Cameras, experts: Collection[str] = (), gaussians: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As in evaluation, without some experts, whose gates are 0, and without some Gaussians; nothing changes.

        Args:
            camera: ``Cameras`` of size 1.
            experts: names of those left out; at least one other stays.
            gaussians: ``[N]`` bool, true for those of all experts' stored Gaussians, end to end, that are left out.

        Raises:
            ValueError: no such experts, or all of them; another number of Gaussians.
        """
        off, camera = off_experts(self.expert_names, experts), camera.to(self.device)
        # Pictures are gated, the volume router's Gaussians are not: there those of experts left out have to vanish.
        vanishing = off if isinstance(self.router, VolumeRouter) else []
        counts = [expert.num_gaussians for expert in self.expert_models]
        return self._evaluated(camera, instant_without(self.instant(camera), counts, vanishing, gaussians), off)

    def _evaluated(self, camera: Cameras, instant: Instant | None = None, off: Sequence[int] = ()) -> dict[str, Tensor]:
        """The outputs of evaluation; ``instant`` as for `composite`, with experts that are ``off`` never chosen."""
        if isinstance(self.router, VolumeRouter):
            return self._outputs_of_union(self.router, self.instant(camera) if instant is None else instant)
        view, _ = self.look(camera, depth=True, instant=instant)
        config, logits = self.config, self.logits(view)
        for place in off:
            logits = logits.index_fill(0, torch.tensor(place, device=logits.device), -torch.inf)
        gates = gate(logits, config.eval_temperature, config.top_k)
        images = view.pictures.clamp(0.0, 1.0)
        covered = gates * view.alphas
        accumulation = covered.sum(dim=0)[..., None]
        outputs = {"rgb": blend(gates, images), "accumulation": accumulation}
        if view.depths is not None:
            # An expert that shows nothing in a pixel says nothing of its depth.
            outputs["depth"] = blend(covered, view.depths[..., None]) / accumulation.clamp_min(_MIN_COVER)
        return {**outputs, **self._by_expert("expert", images), **self._by_expert("gate", gates[..., None])}

    @torch.no_grad()
    def training_view(self, camera: Cameras, camera_names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What a training camera would have recorded of the mixture: as in evaluation, with what the experts learnt of
        that camera's exposure.

        Args:
            camera: of size 1, its ``camera_index`` counts in ``camera_names``; without one no exposure is applied.
            camera_names: the training cameras.

        Returns:
            The picture ``[H,W,3]`` in [0,1], and the gates ``[K,H,W]`` (shares, with the volume router).
        """
        known = is_training_camera(camera)
        if isinstance(self.router, VolumeRouter):
            instant = self.instant(camera)
            gains = training_gains(instant.experts, camera, camera_names) if known else None
            factors = self.router.opacity_gates(instant.time, instant.rows)
            union = render_union(instant, factors, self.common_background(instant.experts), gains)
            assert union.shares is not None
            return union.rgb.clamp(0.0, 1.0), union.shares
        view, instant = self.look(camera)
        gains = training_gains(instant.experts, camera, camera_names) if known else None
        images = view.pictures if gains is None else view.pictures * gains[:, None, None, :]
        gates = gate(self.logits(view), self.config.eval_temperature, self.config.top_k)
        return blend(gates, images.clamp(0.0, 1.0)), gates

    def _union_factors(self, router: VolumeRouter, instant: Instant) -> tuple[Tensor, Tensor]:
        """``[N]`` factors on opacities, ``[3]`` the background."""
        return router.opacity_gates(instant.time, instant.rows), self.common_background(instant.experts)

    def _outputs_of_union(self, router: VolumeRouter, instant: Instant) -> dict[str, Tensor]:
        union = render_union(instant, *self._union_factors(router, instant))
        assert union.depth is not None and union.shares is not None
        alone = instant.rasterize_parts(background=self.channel_backgrounds(instant)).images
        return {
            "rgb": union.rgb.clamp(0.0, 1.0),
            "accumulation": union.alpha[..., None],
            "depth": union.depth[..., None],
            **self._by_expert("expert", alone.clamp(0.0, 1.0)),
            **self._by_expert("gate", union.shares[..., None]),
        }

    def _outputs_of_frame(self, frame: MixtureFrame) -> dict[str, Tensor]:
        return {
            "rgb": frame.rgb,
            "accumulation": frame.accumulation[..., None],
            "depth": frame.depth[..., None],
            **self._by_expert("expert", frame.pictures),
            **self._by_expert("gate", frame.gates[..., None]),
        }

    def _by_expert(self, kind: str, images: Tensor) -> dict[str, Tensor]:
        return {f"{kind}_{name}": image for name, image in zip(self.expert_names, images, strict=True)}

    # -- losses and metrics ----------------------------------------------------------------------------------------

    def get_image_metrics_and_images(self, outputs: dict, batch: dict) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Side-by-side pictures: truth and blend; the gates beside each other."""
        truth = ground_truth_image(batch, self.device)
        gates = torch.cat([outputs[f"gate_{name}"].expand(-1, -1, 3) for name in self.expert_names], dim=1)
        pictures = {"img": torch.cat([truth, outputs["rgb"]], dim=1), "gates": gates}
        return {"psnr": float(image_psnr(outputs["rgb"], truth))}, pictures


def blend(gates: Tensor, images: Tensor) -> Tensor:
    """Gated sum over experts: ``gates [K,H,W]``, ``images [K,H,W,C]`` -> ``[H,W,C]`` (Eq. 8)."""
    return (gates[..., None] * images).sum(dim=0)
