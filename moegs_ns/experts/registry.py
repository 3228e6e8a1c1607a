"""The experts by name: what a stage needs to build, train or reload one."""

from dataclasses import dataclass
from typing import Any, Literal

from moegs_ns.experts.ed3dgs import ED3DGSModelConfig
from moegs_ns.experts.ex4dgs import Ex4DGSModelConfig
from moegs_ns.experts.expert_config import ExpertModelConfig
from moegs_ns.experts.four_d_gaussians import FourDGaussiansModelConfig
from moegs_ns.experts.plain_config import config_from_plain
from moegs_ns.experts.recipes import Recipe, load_recipe
from moegs_ns.experts.stg import STGModelConfig


@dataclass(frozen=True)
class ExpertFamily:
    """One expert family.

    Attributes:
        name: short name; the method is ``moegs-<name>``, the recipe ``configs/recipes/<name>.toml``.
        config: its model config class.
        description: one line for ``ns-train --help``.
        optimizer: what its paper trains with.
    """

    name: str
    config: type[ExpertModelConfig]
    description: str
    optimizer: Literal["adam", "radam"] = "adam"

    @property
    def recipe(self) -> Recipe:
        """The paper's recipe."""
        return load_recipe(self.name)

    def model_config(self) -> ExpertModelConfig:
        """A fresh model config with the recipe's numbers."""
        return self.config(**self.recipe.model)

    def config_from_plain(self, values: dict[str, Any]) -> ExpertModelConfig:
        """The model config a run record describes.

        Raises:
            ValueError: the record names options this version does not know, or values they cannot have.
        """
        return config_from_plain(self.config, values, f"'{self.name}'")


EXPERTS: dict[str, ExpertFamily] = {
    family.name: family
    for family in (
        ExpertFamily(
            name="stg",
            config=STGModelConfig,
            description="STG, Spacetime Gaussians (Li et al., CVPR 2024)",
        ),
        ExpertFamily(
            name="4dgaussians",
            config=FourDGaussiansModelConfig,
            description="4DGaussians, canonical Gaussians deformed by a HexPlane field (Wu et al., CVPR 2024)",
        ),
        ExpertFamily(
            name="ed3dgs",
            config=ED3DGSModelConfig,
            description="E-D3DGS, canonical Gaussians deformed by per-Gaussian embeddings (Bae, Kim et al., ECCV 2024)",
        ),
        ExpertFamily(
            name="ex4dgs",
            config=Ex4DGSModelConfig,
            description="Ex4DGS, static Gaussians and dynamic ones with keyframes (Lee et al., NeurIPS 2024)",
            optimizer="radam",
        ),
    )
}


def expert_family(name: str) -> ExpertFamily:
    """The family of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in EXPERTS:
        raise ValueError(f"unknown expert '{name}'; known: {', '.join(EXPERTS)}")
    return EXPERTS[name]


def family_of(config: object) -> ExpertFamily:
    """The family of a model config.

    Raises:
        ValueError: it is of none.
    """
    for family in EXPERTS.values():
        if type(config) is family.config:
            return family
    raise ValueError(f"expected the model config of an expert, found {type(config).__name__}")
