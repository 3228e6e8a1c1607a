"""The fused model: the Gaussians of all experts as one set, opacities scaled by responsibilities (MoE-GS App. D.2).

Every Gaussian keeps its expert's motion and projection, so the set is as dynamic as the experts are. The paper fuses
without training; fine-tuning is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor
from torch.nn import Parameter

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.views import ground_truth_image, image_psnr
from moegs_ns.router.ensemble import EnsembleModel, EnsembleModelConfig
from moegs_ns.router.expert_learning import learning_tensors, let_learn
from moegs_ns.router.experts import ExpertSpec, training_gains
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.router.shares import GaussianShares
from moegs_ns.router.union import render_union, require_colours
from moegs_ns.runs.record import read_run_record
from moegs_ns.splats.exportable import ExportablePart


@dataclass
class FusedModelConfig(EnsembleModelConfig):
    """Options of a fused model. What it is made of comes with the run that ``moegs fuse`` writes."""

    _target: type = field(default_factory=lambda: FusedModel)
    finetune: Literal["opacity", "all"] = "opacity"
    """What training changes: only the Gaussians' shares of opacity; or also positions, shapes, opacities and colours
    of the experts' Gaussians. Motion, deformation fields and networks stay frozen."""
    share_maps: bool = False
    """Also render each expert's part of what is seen, as share_<name>; nearly doubles the time of a render."""

    def prepare_start(self, data: Mapping[str, Any]) -> None:
        """The trainer calls this before a new run without a checkpoint, which cannot be.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "expected a fused run to start from, found none; write one with `moegs fuse ROUTER_RUN` and name it with "
            "--load-dir"
        )

    def prepare_resume(self, run: Path) -> None:
        """The trainer calls this before it builds the model to resume ``run``.

        Raises:
            FileNotFoundError: no run.
            ValueError: not a fused one.
        """
        record = read_run_record(run)
        if record["expert"]["name"] != "fused":
            raise ValueError(
                f"expected a fused run to train on, found a run of '{record['method']}' at {run}; write one with "
                f"`moegs fuse ROUTER_RUN`"
            )
        self.source = run


class FusedModel(EnsembleModel):
    """All experts' Gaussians as ONE set with one transmittance; an ordinary single model to everyone else."""

    config: FusedModelConfig
    shares: GaussianShares

    def make_learnt(self, counts: Sequence[int]) -> None:
        """Shares of 1: the union of the experts."""
        self.shares = GaussianShares(counts)

    def check_experts(self, experts: Sequence[ExpertModel]) -> None:
        """Refuse what has no colours of its own, or no common background.

        Raises:
            ValueError: such experts.
        """
        require_colours([*experts], self.expert_names, "a fused model")
        if experts:  # none yet: a checkpoint brings them
            self.common_background(experts)

    @property
    def experts_learn(self) -> bool:  # type: ignore[override]
        """Whether training changes the experts' Gaussians."""
        return self.config.finetune == "all"

    def _take(self, specs: list[ExpertSpec], experts: list[ExpertModel]) -> None:
        super()._take(specs, experts)
        if self.experts_learn:
            let_learn(self.experts)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Group ``shares``, and those of the Gaussians' tensors if they learn."""
        self.require_experts()
        groups = {"shares": [*self.shares.values]}
        return {**groups, **learning_tensors(self.experts)} if self.experts_learn else groups

    def learning_rate_scales(self) -> dict[str, float]:
        """Positions learn in proportion to the size of the camera rig."""
        return {"means": self.expert_models[0].camera_extent} if self.specs else {}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Keep shares in [0,1] after every step."""
        after = TrainingCallbackLocation.AFTER_TRAIN_ITERATION
        return [
            *super().get_training_callbacks(training_callback_attributes),
            TrainingCallback([after], lambda step: self.shares.stay_in_range()),
        ]

    def describe(self) -> dict[str, Any]:
        """Plain facts for run records and evaluation files; ``fused`` says what the shares came from."""
        facts = super().describe()
        # Under another name: "experts" tells reports of a mixture with pictures of its experts.
        return {"expert": "fused", "fused_experts": facts.pop("experts"), **facts, "fused": self.shares.facts}

    # -- rendering -------------------------------------------------------------------------------------------------

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        """Render one camera.

        Args:
            camera: ``Cameras`` of size 1.

        Returns:
            ``rgb [H,W,3]``; outside training, where values are also clamped to [0,1], ``accumulation [H,W,1]``,
            ``depth [H,W,1]`` (expected z-depth in world units) and, if so configured, per expert
            ``share_<name> [H,W,1]``, its part of what is seen.
        """
        instant = self.instant(camera)
        shares, background = self.shares.factors(instant.rows), self.common_background(instant.experts)
        if self.training:
            gains = training_gains(instant.experts, camera, self._camera_names)
            return {"rgb": render_union(instant, shares, background, gains, details=False).rgb}
        union = render_union(instant, shares, background, shares=self.config.share_maps)
        assert union.depth is not None
        outputs = {
            "rgb": union.rgb.clamp(0.0, 1.0),
            "accumulation": union.alpha[..., None],
            "depth": union.depth[..., None],
        }
        if union.shares is not None:
            pairs = zip(self.expert_names, union.shares, strict=True)
            outputs |= {f"share_{name}": share[..., None] for name, share in pairs}
        return outputs

    @torch.no_grad()
    def exportable_parts(self, time: float) -> list[ExportablePart]:
        """The set at ``time`` in [0,1] as other programs can draw it, expert by expert: opacities times shares, colours
        in spherical harmonics. Gaussians count from the first expert's first to the last one's last.

        Raises:
            ValueError: an expert's Gaussians carry features instead of such colours.
        """
        self.require_experts()
        parts, first = [], 0
        for expert, shares in zip(self.expert_models, self.shares.values, strict=True):
            for splats, rows, settings in expert.exportable_parts(time):
                opacities = splats.opacities * shares[rows].clamp(0.0, 1.0)
                parts.append(ExportablePart(replace(splats, opacities=opacities), rows + first, settings))
            first += expert.num_gaussians
        return parts

    # -- losses and metrics ----------------------------------------------------------------------------------------

    def get_image_metrics_and_images(self, outputs: dict, batch: dict) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR, and truth and rendering side by side."""
        truth, image = ground_truth_image(batch, self.device), outputs["rgb"]
        return {"psnr": float(image_psnr(image, truth))}, {"img": torch.cat([truth, image], dim=1)}


def fuse(
    mixture: MixtureModel,
    responsibilities: Sequence[Tensor],
    facts: Mapping[str, Any],
    background: Literal["own", "black", "white"] | None = None,
) -> FusedModel:
    """The fused model of a mixture's experts, which it shares with the mixture.

    Args:
        mixture: with its experts.
        responsibilities: ``[N_k]`` in [0,1] per expert.
        facts: plain data to keep about their origin.
        background: behind the set; None as behind the mixture's experts.

    Raises:
        ValueError: experts that cannot be one set.
    """
    config = FusedModelConfig(
        background=background or mixture.config.background,
        default_time=mixture.config.default_time,
        ssim_weight=mixture.config.ssim_weight,
    )
    model: FusedModel = config.setup(
        scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])), num_train_data=1, metadata={}
    )
    model._take(mixture.specs, mixture.expert_models)
    model._make_learnt([expert.num_gaussians for expert in mixture.expert_models])
    model.shares.set(responsibilities, facts)
    return model.to(mixture.device)
