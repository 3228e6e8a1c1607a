"""Recipes and presets resolve to numbers, and to command lines that give the same numbers."""

import dataclasses

import pytest

from moegs_ns.experts.recipes import load_recipe
from moegs_ns.experts.registry import EXPERTS, expert_family
from moegs_ns.paths import resource_dir

PRESETS = sorted(path.stem for path in (resource_dir("configs") / "presets").glob("*.toml"))


@pytest.mark.parametrize("expert", sorted(EXPERTS))
def test_recipe_names_existing_options_only(expert: str) -> None:
    family = expert_family(expert)
    fields = {field.name for field in dataclasses.fields(family.config)}
    for preset in (None, *PRESETS):
        assert set(load_recipe(expert, preset).model) <= fields


def test_preset_overrides_and_keeps_the_rest() -> None:
    paper, quick = load_recipe("stg"), load_recipe("stg", "quick")
    assert quick.steps < paper.steps
    assert quick.model["max_gaussians"] == 15000
    assert quick.model["densify_gradient"] == paper.model["densify_gradient"]
    assert set(quick.optimizers) == set(paper.optimizers)


def test_command_line_names_what_differs_only() -> None:
    paper = load_recipe("stg")
    assert paper.command_line(paper) == ([], [])
    shorter = dataclasses.replace(paper, steps=100, motion_seeds=50, data={"downscale": 2})
    options, data = shorter.command_line(paper)
    assert options[:2] == ["--max-num-iterations", "100"]
    assert options[options.index("--pipeline.datamanager.motion-seeds") + 1] == "50"
    assert options[options.index("--optimizers.means.scheduler.max-steps") + 1] == "100"
    assert not [o for o in options if "opacities" in o]
    assert data == ["--downscale", "2"]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown recipe 'nothing'; known: .*stg"):
        load_recipe("nothing")
    with pytest.raises(ValueError, match="unknown preset 'nothing'; known: .*quick"):
        load_recipe("stg", "nothing")
    with pytest.raises(ValueError, match="unknown expert 'nothing'; known: .*stg"):
        expert_family("nothing")
