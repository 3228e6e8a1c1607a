"""Every ``ns-train`` method, built from the experts' registry: the front door nerfstudio's entry points name."""

import torch
from nerfstudio.configs.base_config import MachineConfig
from nerfstudio.plugins.types import MethodSpecification

from moegs_ns import compat
from moegs_ns.experts.recipes import Recipe
from moegs_ns.experts.registry import EXPERTS
from moegs_ns.scene.datamanager import DynamicDataManagerConfig
from moegs_ns.training.optimizers import AdamConfig
from moegs_ns.training.pipeline import MoegsPipelineConfig
from moegs_ns.training.schedulers import LogLinearDecayConfig
from moegs_ns.training.trainer import default_trainer_config

compat.apply()


def optimizer_groups(recipe: Recipe) -> dict[str, dict]:
    """nerfstudio's optimizer groups with a recipe's numbers."""
    return {
        group: {
            "optimizer": AdamConfig(lr=numbers.lr, eps=1e-15),
            "scheduler": None if numbers.lr_final is None else LogLinearDecayConfig(**recipe.schedule(group)),
        }
        for group, numbers in recipe.optimizers.items()
    }


def expert_method(name: str) -> MethodSpecification:
    """The method ``moegs-<name>`` that trains one expert with its paper's recipe."""
    family = EXPERTS[name]
    recipe = family.recipe
    config = default_trainer_config(
        method_name=f"moegs-{name}",
        pipeline=MoegsPipelineConfig(
            datamanager=DynamicDataManagerConfig(
                cameras_per_step=recipe.cameras_per_step, same_instant=recipe.same_instant
            ),
            model=family.model_config(),
        ),
        optimizers=optimizer_groups(recipe),
        max_num_iterations=recipe.steps,
    )
    config.machine = MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu")
    return MethodSpecification(config=config, description=family.description)


moegs_stg = expert_method("stg")
