"""Recipes and presets resolve to numbers, and to command lines that give the same numbers."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from moegs_ns.experts.recipes import load_recipe, says_something
from moegs_ns.experts.registry import EXPERTS, expert_family
from moegs_ns.paths import resource_dir

PRESETS = sorted(path.stem for path in (resource_dir("configs") / "presets").glob("*.toml"))


@pytest.mark.parametrize("expert", sorted(EXPERTS))
def test_recipe_names_existing_options_only(expert: str) -> None:
    family = expert_family(expert)
    fields = {field.name for field in dataclasses.fields(family.config)}
    for preset in (None, *PRESETS):
        assert set(load_recipe(expert, preset).model) <= fields


SCENES = sorted((resource_dir("configs") / "scenes").glob("*.toml"))


@pytest.mark.parametrize("path", SCENES, ids=lambda path: path.stem)
def test_files_of_scenes_are_presets_that_name_existing_options_only(path: Path) -> None:
    for expert in tomllib.loads(path.read_text("utf8")).keys() - {"extends", "data", "router"}:
        family, recipe = expert_family(expert), load_recipe(expert, str(path))
        assert set(recipe.model) <= {field.name for field in dataclasses.fields(family.config)}
        options, data = recipe.command_line(load_recipe(expert))
        assert options and data


def test_scenes_of_one_data_set_differ_in_what_their_authors_vary_only() -> None:
    """Numbers of github.com/hustvl/4DGaussians (rows, of which we have half) and github.com/JeongminB/E-D3DGS."""

    def varying(names: list[str], expert: str) -> dict[str, list[object]]:
        files = [str(resource_dir("configs") / "scenes" / f"{name}.toml") for name in names]
        recipes = [load_recipe(expert, file) for file in files]
        plain = [{"steps": recipe.steps, **recipe.model} for recipe in recipes]
        assert all(recipe.optimizers == recipes[0].optimizers for recipe in recipes)
        return {name: [one[name] for one in plain] for name in plain[0] if len({str(one[name]) for one in plain}) > 1}

    synthetic = ["lego", "hellwarrior", "hook", "mutant", "standup", "bouncingballs", "jumpingjacks", "trex"]
    rows = varying([f"dnerf_{name}" for name in synthetic], "4dgaussians")
    theirs = [25, 50, 50, 75, 75, 75, 100, 100]
    assert rows == {"time_resolution": [(count + 1) // 2 for count in theirs]}

    real = ["hypernerf_3dprinter", "hypernerf_banana", "hypernerf_broom", "hypernerf_chicken"]
    assert varying([*real, "hypernerf_interp"], "4dgaussians") == {"time_resolution": [50, 125, 50, 40, 75]}
    assert varying(real, "ed3dgs") == {
        "steps": [60000, 80000, 60000, 60000],
        "densify_stop": [60000, 80000, 60000, 60000],
        "fine_growth_steps": [20000, 40000, 20000, 10000],
    }


def test_synthetic_scenes_decay_a_hundredfold_in_the_steps_of_the_fine_stage() -> None:
    lego = load_recipe("4dgaussians", str(resource_dir("configs") / "scenes" / "dnerf_lego.toml"))
    for group in ("means", "grid", "network"):
        numbers = lego.optimizers[group]
        assert numbers.lr_final == pytest.approx(numbers.lr / 100)
        assert numbers.restart_step == lego.model["coarse_steps"] == lego.steps - (numbers.decay_steps or 0)


def test_constants_of_one_benchmark_are_in_its_files_only() -> None:
    assert any("min_z" in load_recipe("stg", str(path)).model for path in SCENES if "[stg]" in path.read_text("utf8"))
    for preset in (None, *PRESETS):
        recipe = load_recipe("stg", preset).model
        assert not {"min_z", "turning_speed", "turning_sizes"} & {*recipe}
        assert not any(recipe[name] for name in ("min_z_start", "turning_start", "turning_stop", "guided_start"))
        assert not any({"near", "far"} & {*load_recipe(expert, preset).model} for expert in EXPERTS)


def test_options_in_the_wrong_table_of_a_preset_are_refused(tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text("[stg]\nstepz = 5\nmax_gaussians = 100\n")
    with pytest.raises(ValueError, match=r"in \[stg\] of preset .*found max_gaussians, stepz; options of the model"):
        load_recipe("stg", str(preset))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stg = 5", r"a table \[stg\] in .*mine.toml, found 5"),
        ("[stg]\nmodel = 5", r"a table \[stg.model\] in .*mine.toml, found 5"),
        ("[stg.optimizers]\nmeans = 1e-3", r"a table \[stg.optimizers.means\] in .*mine.toml, found 0.001"),
        ("data = 2\n[stg]", r"a table \[data\] in .*mine.toml, found 2"),
        ('[stg]\nsteps = "100"', r"an integer for steps in \[stg\] of .*mine.toml, found '100', a string"),
        ("[stg]\nsteps = 1e3", r"an integer for steps in \[stg\] of .*found 1000.0, a float"),
        ("[stg]\nsteps = true", r"an integer for steps in \[stg\] of .*found True, a boolean"),
        ("[stg]\nsame_instant = 1", r"true or false for same_instant .*found 1, an integer"),
        (
            "[stg.optimizers.mean]\nlr = 1.0",
            r"groups \(means, .*\) in \[stg.optimizers\] of .*mine.toml, found mean \(did you mean means\?\)",
        ),
        (
            "[stg.optimizers.means]\nlr_fnal = 1.0",
            r"lr, lr_final, .* in \[stg.optimizers.means\] of .*found lr_fnal \(did you mean lr_final",
        ),
        ('[stg.optimizers.means]\nlr = "high"', r"a number for lr in \[stg.optimizers.means\] .*found 'high', a str"),
        (
            "[stg.optimizers.quats]\nlr_final = 1e-4\ndecay_steps = 5",
            r"only lr in \[stg.optimizers.quats\] of .*found decay_steps, lr_final; remove them",
        ),
    ],
)
def test_nonsense_in_a_preset_is_refused_where_it_stands(tmp_path: Path, text: str, message: str) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text(text + "\n")
    with pytest.raises(ValueError, match=message):
        load_recipe("stg", str(preset))


def test_preset_overrides_and_keeps_the_rest() -> None:
    paper, quick = load_recipe("stg"), load_recipe("stg", "quick")
    assert quick.steps < paper.steps
    assert quick.model["max_gaussians"] == 15000
    assert quick.model["densify_gradient"] == paper.model["densify_gradient"]
    assert set(quick.optimizers) == set(paper.optimizers)


def test_layers_of_presets_vary_one_after_the_other(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text("[stg]\nsteps = 100\n[stg.model]\nsh_degree = 1\nseed_copies = 3\n")
    second.write_text("budget = 0.5\n[stg.model]\nsh_degree = 2\n[data]\ndownscale = 2\n")
    both = load_recipe("stg", f"{first}+{second}")
    assert (both.steps, both.model["sh_degree"], both.model["seed_copies"]) == (50, 2, 3)
    assert both.data == {"downscale": 2}
    assert load_recipe("stg", f"{second}+{first}").model["sh_degree"] == 1


def test_presets_about_the_router_leave_experts_as_they_are(tmp_path: Path) -> None:
    assert load_recipe("stg", "pixel-router") == load_recipe("stg")
    assert load_recipe("stg", "quick+pixel-router") == load_recipe("stg", "quick")
    assert load_recipe("router", "pixel-router").model["router"] == "pixel"
    other = tmp_path / "other.toml"
    other.write_text("[ed3dgs]\nsteps = 3\n")
    with pytest.raises(ValueError, match="expected numbers for expert 'stg' .* found none"):
        load_recipe("stg", f"{other}+pixel-router")


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


# -- longer and shorter ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_intervals", [False, True])
def test_a_scaled_recipe_keeps_every_moment_at_its_share_of_the_run(keep_intervals: bool) -> None:
    own = load_recipe("4dgaussians", "quick")
    twice = own.scaled(2.0, keep_intervals)
    assert twice.steps == 2 * own.steps
    for name in ("coarse_steps", "densify_start", "densify_stop", "sh_degree_interval"):
        assert twice.model[name] == 2 * own.model[name] > 0
    assert twice.model["densify_interval"] == (1 if keep_intervals else 2) * own.model["densify_interval"]
    for name in ("densify_gradient", "max_gaussians", "width", "prune_above"):
        assert twice.model[name] == own.model[name]
    for group in ("means", "grid", "network"):
        assert twice.optimizers[group].restart_step == twice.model["coarse_steps"]
        assert twice.optimizers[group].decay_steps == 2 * own.optimizers[group].decay_steps
        assert twice.optimizers[group].lr_final == own.optimizers[group].lr_final
    assert (twice.cameras_per_step, twice.data) == (own.cameras_per_step, own.data)


def test_rounds_follow_where_intervals_do_not() -> None:
    own = load_recipe("stg")
    stretched, kept = own.scaled(3.0).model, own.scaled(3.0, keep_intervals=True).model
    names = ("densify_interval", "opacity_reset_interval", "densify_rounds")
    assert [stretched[name] for name in names] == [300, 9000, 12]
    assert [kept[name] for name in names] == [100, 3000, 36]


def test_scaling_reaches_the_data_manager() -> None:
    half = load_recipe("ed3dgs").scaled(0.5)
    assert (half.datamanager["error_sampling_start"], half.datamanager["hold_interval"]) == (5000, 50)
    assert half.model["periodic_ssim_start"] == 5000  # the loss and the images it is for begin together
    options, _ = half.command_line(load_recipe("ed3dgs"))
    assert options[options.index("--pipeline.datamanager.error-sampling-start") + 1] == "5000"
    assert "--pipeline.datamanager.hold-interval" not in options


def test_scaling_rounds_and_leaves_never_never() -> None:
    own = load_recipe("stg", "quick")
    tenth = own.scaled(0.001, keep_intervals=True)
    assert (tenth.steps, tenth.model["densify_rounds"]) == (7, 1)  # 0.035 of a round is one
    assert tenth.model["bounds_prune_step"] == tenth.model["opacity_reset_interval"] == 0
    assert own.scaled(0.001).model["densify_interval"] == 1
    assert tenth.optimizers["means"].decay_steps is None  # all steps, however many
    assert tenth.schedule("means")["max_steps"] == 7
    assert tenth.optimizers["means"].restart_step == 0
    assert own.scaled(1.0) == own
    for factor in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive factor"):
            own.scaled(factor)


def test_a_preset_varies_those_it_extends(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = ["n3v_densify1", "n3v_ex4dgs"]\n[stg.model]\nhead = "sh"\n')
    base, own = load_recipe("stg", "n3v_densify1"), load_recipe("stg", str(mine))
    assert (base.model["head"], own.model["head"]) == ("full", "sh")
    assert (own.steps, own.model["min_z"], own.data) == (base.steps, base.model["min_z"], base.data)
    assert load_recipe("ex4dgs", str(mine)).model["near"] == 4.0
    assert says_something(str(mine), "ed3dgs"), "its data options come from what it extends"


def test_presets_that_extend_one_another_in_a_circle_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(f'extends = ["{second}"]\n')
    second.write_text(f'extends = ["{first}"]\n')
    with pytest.raises(ValueError, match=r"a circle: .*first.toml -> .*second.toml -> .*first.toml"):
        load_recipe("stg", str(first))
    first.write_text('extends = "quick"\n')
    with pytest.raises(ValueError, match="expected extends as a list of presets"):
        load_recipe("stg", str(first))
