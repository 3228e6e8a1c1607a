"""Every ``ns-train`` method, built from the experts' registry: the front door nerfstudio's entry points name."""

from typing import Any

from nerfstudio.models.base_model import ModelConfig
from nerfstudio.plugins.types import MethodSpecification

from moegs_ns import compat
from moegs_ns.experts.recipes import Recipe, load_recipe
from moegs_ns.experts.registry import EXPERTS
from moegs_ns.router.expert_learning import LEARNING_TENSORS
from moegs_ns.router.fused import FusedModelConfig
from moegs_ns.router.mixture import MixtureModelConfig
from moegs_ns.scene.datamanager import DynamicDataManagerConfig
from moegs_ns.training.distillation import DistillPipelineConfig, DistillTrainerConfig
from moegs_ns.training.optimizers import OPTIMIZERS, AdamConfig, RAdamConfig
from moegs_ns.training.pipeline import MoegsPipelineConfig
from moegs_ns.training.schedulers import LogLinearDecayConfig
from moegs_ns.training.trainer_config import default_trainer_config

compat.apply()

OptimizerType = type[AdamConfig] | type[RAdamConfig] | dict[str, type[AdamConfig] | type[RAdamConfig]]


def _optimizer_groups(recipe: Recipe, optimizer: OptimizerType) -> dict[str, dict[str, Any]]:
    """nerfstudio's optimizer groups with a recipe's numbers; ``optimizer`` may differ by group."""
    return {
        group: {
            "optimizer": (optimizer[group] if isinstance(optimizer, dict) else optimizer)(lr=numbers.lr),
            "scheduler": None if numbers.lr_final is None else LogLinearDecayConfig(**recipe.schedule(group)),
        }
        for group, numbers in recipe.optimizers.items()
    }


def _method(
    name: str,
    recipe: Recipe,
    model: ModelConfig,
    optimizer: OptimizerType,
    description: str,
) -> MethodSpecification:
    return MethodSpecification(
        config=default_trainer_config(
            method_name=f"moegs-{name}",
            pipeline=MoegsPipelineConfig(
                datamanager=DynamicDataManagerConfig(
                    cameras_per_step=recipe.cameras_per_step,
                    same_instant=recipe.same_instant,
                    motion_seeds=recipe.motion_seeds,
                    **recipe.datamanager,
                ),
                model=model,
            ),
            optimizers=_optimizer_groups(recipe, optimizer),
            max_num_iterations=recipe.steps,
        ),
        description=description,
    )


def expert_method(name: str, recipe: Recipe | None = None) -> MethodSpecification:
    """The method ``moegs-<name>`` that trains one expert with its paper's recipe, or with another one."""
    family = EXPERTS[name]
    recipe = recipe or family.recipe
    return _method(name, recipe, family.config(**recipe.model), OPTIMIZERS[family.optimizer], family.description)


def router_method() -> MethodSpecification:
    """The method ``moegs-router`` that trains a router on frozen experts."""
    recipe = load_recipe("router")
    model = MixtureModelConfig(**recipe.model)
    optimizers = {group: AdamConfig if group in LEARNING_TENSORS else RAdamConfig for group in recipe.optimizers}
    return _method("router", recipe, model, optimizers, "MoE-GS: a volume-aware pixel router over frozen experts")


def fused_method() -> MethodSpecification:
    """The method ``moegs-fused`` that trains on what ``moegs fuse`` wrote."""
    recipe = load_recipe("fused")
    model = FusedModelConfig(**recipe.model)
    return _method("fused", recipe, model, AdamConfig, "MoE-GS App. D: a mixture's Gaussians as one set (moegs fuse)")


def distill_method() -> MethodSpecification:
    """The method ``moegs-distill`` that trains an expert anew beside a mixture."""
    config = default_trainer_config(
        method_name="moegs-distill",
        pipeline=DistillPipelineConfig(datamanager=DynamicDataManagerConfig()),
        optimizers={},
        max_num_iterations=0,
        kind=DistillTrainerConfig,
    )
    return MethodSpecification(config=config, description="MoE-GS §3.4: an expert taught by a mixture (--teacher)")


moegs_stg = expert_method("stg")
moegs_4dgaussians = expert_method("4dgaussians")
moegs_ed3dgs = expert_method("ed3dgs")
moegs_ex4dgs = expert_method("ex4dgs")
moegs_router = router_method()
moegs_fused = fused_method()
moegs_distill = distill_method()
