"""Budgets shorten a training with everything in it: no number that counts steps is forgotten, and none counts twice."""

import ast
import dataclasses
import inspect
import re
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.data.scene_box import SceneBox

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.recipes import INTERVALS, MOMENTS, ROUNDS, SHARES, OptimizerRecipe, Recipe, load_recipe
from moegs_ns.experts.registry import EXPERTS, expert_family
from moegs_ns.paths import resource_dir
from moegs_ns.scene.datamanager import DynamicDataManagerConfig
from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.training.optimizers import AdamConfig
from moegs_ns.training.schedulers import LogLinearDecayConfig

FAMILIES = sorted(EXPERTS)
BUDGETS = {"paper": 1.0, "budget-50": 0.5, "budget-20": 0.2, "budget-10": 0.1}
#: Presets about the router alone.
ROUTERS = {"plus", "pixel-router", "volume-router"}
ABOUT_STEPS = re.compile(r"\bsteps?\b|\brounds?\b|\biterations?\b|from this .* on\b|no .* before this", re.IGNORECASE)
#: Integers whose explanation mentions steps, though they count something else.
NO_STEPS = dict.fromkeys(("clip_frames", "keyframe_interval"), "frames")
NO_STEPS |= {"cameras_per_step": "images", "densify_limit": "Gaussians"}


# -- which numbers count steps ---------------------------------------------------------------------------------------


def explained_integers(config: type) -> dict[str, str]:
    """Name and docstring of every integer option that this project gives a config."""
    options: dict[str, str] = {}
    for owner in reversed(config.__mro__):
        if not owner.__module__.startswith("moegs_ns"):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body  # type: ignore[attr-defined]
        for item, following in zip(body, [*body[1:], None], strict=True):
            if isinstance(item, ast.AnnAssign) and re.search(r"\bint\b", ast.unparse(item.annotation)):
                explained = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                options[item.target.id] = following.value.value if explained else ""  # type: ignore[union-attr]
    return options


def counts_steps(name: str, explanation: str) -> bool:
    speaks = re.search(r"_(steps?|start|stop|rounds|interval|until|iterations?)$", name)
    return name not in NO_STEPS and bool(speaks or ABOUT_STEPS.search(explanation))


CONFIGS = [*(family.config for family in EXPERTS.values()), DynamicDataManagerConfig]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_option_that_counts_steps_says_what_a_budget_does_to_it(config: type) -> None:
    found = {name for name, text in explained_integers(config).items() if counts_steps(name, text)}
    forgotten = found - {*MOMENTS, *INTERVALS, *ROUNDS, *SHARES}
    assert not forgotten, f"add these to one of the lists of recipes.py, or to NO_STEPS here: {sorted(forgotten)}"


def test_every_option_is_in_one_list_only_and_exists() -> None:
    listed = [*MOMENTS, *INTERVALS, *ROUNDS, *SHARES]
    assert len(listed) == len({*listed})
    assert {*listed} <= {name for config in CONFIGS for name in explained_integers(config)}


def test_options_are_recognised() -> None:
    """The detection itself: by name, and by explanation where the name says nothing."""
    assert counts_steps("fade_stop", "") and counts_steps("calm", "Nothing moves before this many steps.")
    assert not counts_steps("width", "Hidden width of the network.") and not counts_steps("cameras_per_step", "")


@pytest.mark.parametrize("expert", FAMILIES)
def test_recipes_name_every_option_that_counts_steps(expert: str) -> None:
    """Scaling cannot reach the defaults of a config."""
    recipe = load_recipe(expert)
    fields = {field.name for field in dataclasses.fields(expert_family(expert).config)}
    assert fields & {*MOMENTS, *INTERVALS, *ROUNDS} <= {*recipe.model}
    if recipe.datamanager.get("error_sampling"):
        assert "error_sampling_start" in recipe.datamanager


def test_every_number_of_an_optimizers_schedule_is_scaled() -> None:
    steps = {"decay_steps": "max_steps", "restart_step": "restart_step"}  # in the recipe, in the scheduler
    assert {f.name for f in dataclasses.fields(OptimizerRecipe)} == {"lr", "lr_final", *steps}
    own = {f.name for f in dataclasses.fields(LogLinearDecayConfig)} - {"_target", "lr_final"}
    assert own == {*steps.values()}
    recipe = Recipe(1000, 1, True, optimizers={"a": OptimizerRecipe(1.0, 0.1, decay_steps=700, restart_step=300)})
    assert recipe.scaled(0.1).schedule("a") == {"lr_final": 0.1, "max_steps": 70, "restart_step": 30}


# -- the shipped presets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", BUDGETS)
@pytest.mark.parametrize("expert", FAMILIES)
def test_a_budget_scales_what_counts_steps_and_nothing_else(expert: str, preset: str) -> None:
    paper, short, share = load_recipe(expert), load_recipe(expert, preset), BUDGETS[preset]
    assert short.steps == share * paper.steps
    for before, after in ((paper.model, short.model), (paper.datamanager, short.datamanager)):
        assert before.keys() == after.keys()
        for name, value in before.items():
            scaled = name in MOMENTS or name in INTERVALS
            assert after[name] == (pytest.approx(share * value, abs=0.5) if scaled else value), name
            assert type(after[name]) is type(value)
    for group, numbers in paper.optimizers.items():
        ours = short.optimizers[group]
        assert (ours.lr, ours.lr_final) == (numbers.lr, numbers.lr_final)
        assert ours.restart_step == share * numbers.restart_step
        assert ours.decay_steps == (None if numbers.decay_steps is None else share * numbers.decay_steps)
    unscaled = ("cameras_per_step", "same_instant", "motion_seeds", "data")
    assert [getattr(short, name) for name in unscaled] == [getattr(paper, name) for name in unscaled]


def test_the_router_keeps_its_recipe() -> None:
    assert all(load_recipe("router", preset) == load_recipe("router") for preset in BUDGETS)


def test_the_table_of_the_paper_is_shipped() -> None:
    shipped = {path.stem for path in (resource_dir("configs") / "presets").glob("*.toml")}
    assert shipped == {*BUDGETS, "quick", "demo", "one-camera", *ROUTERS}


def test_a_presets_own_numbers_are_scaled_too(tmp_path: Path) -> None:
    """A scene's preset in a shorter run: its moments and decays follow."""
    scene = (resource_dir("configs") / "scenes" / "n3v_densify1.toml").read_text("utf8")
    file = tmp_path / "short.toml"
    file.write_text("budget = 0.2\n" + scene)
    short = load_recipe("stg", str(file))
    names = ("min_z_start", "min_z_interval", "bounds_prune_step", "turning_start", "densify_rounds", "min_z")
    assert [short.model[name] for name in names] == [1900, 200, 2000, 1600, 6, 4.5]
    assert (short.steps, short.optimizers["means"].decay_steps) == (5000, 6000)
    assert short.data == {"downscale": 2, "num_frames": 50}
    assert load_recipe("ed3dgs", str(file)).steps == 16000  # the budget is everyone's


@pytest.mark.parametrize("budget", ['"half"', "0", "-0.5", "nan"])
def test_a_budget_is_a_positive_number(tmp_path: Path, budget: str) -> None:
    (tmp_path / "odd.toml").write_text(f"budget = {budget}\n")
    with pytest.raises(ValueError, match="positive number as the budget"):
        load_recipe("stg", str(tmp_path / "odd.toml"))


def test_a_preset_of_things_unknown_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text("[stg]\nsteps = 5\n[gst]\nsteps = 5\n")
    with pytest.raises(ValueError, match=r"experts \(.*stg.*\) in preset .*found gst"):
        load_recipe("stg", str(tmp_path / "odd.toml"))


# -- what becomes of a training --------------------------------------------------------------------------------------


def build(expert: str, recipe: Recipe) -> ExpertModel:
    generator = torch.Generator().manual_seed(0)
    seeds = (
        torch.randn(30, 3, generator=generator),
        torch.randint(0, 256, (30, 3), generator=generator, dtype=torch.uint8),
    )
    model = (
        expert_family(expert)
        .config(**recipe.model)
        .setup(
            scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
            num_train_data=10,
            seed_points=seeds,
            metadata={"num_frames": 40, "camera_extent": 2.0, "camera_names": ["a", "b"]},
        )
    )
    model.total_steps = recipe.steps
    return model


def events(expert: str, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What density control does in a whole training, and when."""
    model, done, now = build(expert, recipe), [], 0

    def note(kind: str, result: Any = 0) -> Any:
        return lambda *arguments, **options: done.append((kind, now)) or result

    with monkeypatch.context() as patch:
        for kind in ("clone", "split", "remove", "cap_opacity", "reset_statistics"):
            patch.setattr(GaussianSet, kind, note(kind))
        fresh = SimpleNamespace(state=SimpleNamespace(clear=note("fresh optimizers")))
        optimizers: Any = SimpleNamespace(optimizers={"any": fresh})
        with torch.no_grad():
            for now in range(1, recipe.steps + 1):
                model.control_density(now, optimizers)
    return done


@pytest.mark.parametrize(
    ("expert", "expected"),
    [
        ("stg", {"clone": 12, "cap_opacity": 2, "remove": 52 + 1}),
        ("4dgaussians", {"clone": 25 + 94, "fresh optimizers": 1}),
        ("ed3dgs", {"clone": 749, "remove": 749}),
    ],
)
def test_half_the_budget_does_everything_at_half_the_step(
    expert: str, expected: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = events(expert, load_recipe(expert), monkeypatch)
    half = events(expert, load_recipe(expert, "budget-50"), monkeypatch)
    assert [(kind, 2 * step) for kind, step in half] == whole
    kinds = [kind for kind, _ in whole]
    assert {kind: kinds.count(kind) for kind in expected} == expected


@pytest.mark.parametrize("expert", FAMILIES)
def test_half_the_budget_is_as_far_at_half_the_step(expert: str) -> None:
    recipes = load_recipe(expert), load_recipe(expert, "budget-50")
    whole, half = (build(expert, recipe) for recipe in recipes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    half.load_state_dict(whole.state_dict())
    for step in (0, 600, 2400, 3000, 6600, 12000, recipes[0].steps):
        whole.training_step.fill_(step)
        half.training_step.fill_(step // 2)
        assert whole.active_sh_degree == half.active_sh_degree
        ours, theirs = half.splats_at(0.3), whole.splats_at(0.3)
        for name in ("means", "quats", "scales", "opacities", "sh"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), (name, step)


@pytest.mark.parametrize("expert", FAMILIES)
def test_learning_rates_are_as_far_at_half_the_step(expert: str) -> None:
    paper, half = load_recipe(expert), load_recipe(expert, "budget-50")
    decaying = [group for group, numbers in paper.optimizers.items() if numbers.lr_final is not None]
    assert decaying
    for group in decaying:
        rate = paper.optimizers[group].lr
        whole_factor, half_factor = (
            LogLinearDecayConfig(**recipe.schedule(group))
            .setup()
            .get_scheduler(AdamConfig(lr=rate).setup([torch.nn.Parameter(torch.zeros(1))]), rate)
            .lr_lambdas[0]
            for recipe in (paper, half)
        )
        for step in range(0, paper.steps + 1, 200):
            assert half_factor(step // 2) == pytest.approx(whole_factor(step), rel=1e-12)
