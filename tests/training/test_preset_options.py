"""Plans refuse presets whose options no model and no data manager has, before anything is begun."""

import re
import tomllib
from pathlib import Path

import pytest

from moegs_ns.cli.main import run
from moegs_ns.experts.recipes import load_recipe, preset_file
from moegs_ns.experts.registry import EXPERTS
from moegs_ns.paths import resource_dir
from moegs_ns.scene.dataparsers.layouts import LAYOUTS
from moegs_ns.training.preset_options import check_preset_options
from moegs_ns.training.stages import Scene, expert_stage, plan

CONFIGS = resource_dir("configs")
PRESETS = sorted(path.stem for path in (CONFIGS / "presets").glob("*.toml"))
#: By what presets of scenes begin with.
PRESET_LAYOUTS = {"n3v": "n3v", "technicolor": "technicolor", "hypernerf": "hypernerf", "dnerf": "blender"}
SCENES = sorted(str(path) for path in (CONFIGS / "scenes").glob("*.toml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[stg.model]\ndensify_gradeint = 1e-4",
            "options of the model (ns-train moegs-stg --help lists them) in [stg.model] of FILE, "
            "found densify_gradeint (did you mean densify_gradient",
        ),
        ("[stg.model]\nzzz = 1\nyyy = 1", "in [stg.model] of FILE, found yyy, zzz; correct or remove"),
        ("[stg.model]\nsteps = 5", "[stg.model] of FILE, found steps (belongs in [stg])"),
        ("[stg.model]\nsampling_seed = 5", "found sampling_seed (belongs in [stg.datamanager])"),
        ("[stg.datamanager]\nsh_degree = 1", "[stg.datamanager] of FILE, found sh_degree (belongs in [stg.model])"),
        ("[stg.datamanager]\nmotion_seeds = 1", "[stg.datamanager] of FILE, found motion_seeds (belongs in [stg])"),
        (
            "[stg.datamanager]\nimages_on_gpu = true",
            "options of the data manager",
        ),
        ("[stg.model]\n_target = 1", "found _target"),
        ('[stg.model]\nsh_degree = "3"', "an integer for sh_degree in [stg.model] of FILE, found '3', a string"),
        ('[stg.model]\nhead = "ful"', 'expected "sh" or "lite" or "full" for head in [stg.model] of FILE, found'),
        ("[stg.model]\nloss_coefficients = {}", "what a preset cannot hold for loss_coefficients"),
        ("[stg.datamanager]\nhold_steps = 1.5", "an integer for hold_steps in [stg.datamanager] of FILE, found 1.5"),
        ("[stg]\n[router.model]\ntop_kk = 1", "(ns-train moegs-router --help lists them) in [router.model] of FILE"),
    ],
)
def test_a_plan_refuses_what_training_would(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text + "\n")
    experts = ["stg", "stg"] if "router" in text else ["stg"]
    with pytest.raises(ValueError, match=re.escape(message.replace("FILE", str(file)))):
        plan(Scene(tmp_path), experts, str(file))


@pytest.mark.parametrize("only_plan", [["--plan"], []])
def test_the_command_says_so_and_begins_nothing(
    tmp_path: Path, only_plan: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    file, outputs = tmp_path / "mine.toml", tmp_path / "outputs"
    file.write_text("[stg.model]\nmax_gausians = 10\n")
    options = ["--experts", "stg", "--preset", str(file), "--output-dir", str(outputs)]
    assert run(["train", str(tmp_path), *options, *only_plan]) != 0
    out, err = capfd.readouterr()
    assert "did you mean max_gaussians" in " ".join((out + err).split())
    assert "ns-train moegs-stg --output-dir" not in out
    assert not outputs.exists()


@pytest.mark.parametrize("preset", [*PRESETS, *SCENES], ids=lambda preset: Path(preset).stem)
def test_shipped_presets_pass_for_every_expert_they_are_for(preset: str) -> None:
    tables = tomllib.loads(preset_file(preset).read_text("utf8"))
    experts = [name for name in [*EXPERTS, "router"] if name in tables or "budget" in tables]
    assert experts
    for expert in experts:
        load_recipe(expert, preset)
        check_preset_options(expert, preset)


@pytest.mark.parametrize("preset", SCENES, ids=lambda preset: Path(preset).stem)
def test_nerfstudio_understands_the_command_lines_of_scenes(preset: str, tmp_path: Path) -> None:
    import tyro

    from moegs_ns import method_configs

    layout = LAYOUTS[PRESET_LAYOUTS[Path(preset).stem.partition("_")[0]]]
    for expert in tomllib.loads(Path(preset).read_text("utf8")).keys() & EXPERTS.keys():
        default = getattr(method_configs, f"moegs_{expert}").config
        stage = expert_stage(Scene(tmp_path, layout.parser), expert, preset, "run", 7)
        arguments = stage.command()[2:]
        border = arguments.index(layout.parser)
        config = tyro.cli(
            type(default), default=default, args=arguments[:border], config=(tyro.conf.FlagConversionOff,)
        )
        options = tyro.cli(layout.config, args=arguments[border + 1 :], config=(tyro.conf.FlagConversionOff,))
        data = load_recipe(expert, preset).data
        assert data and {name: getattr(options, name) for name in data} == data
        recipe = load_recipe(expert, preset)
        assert config.max_num_iterations == recipe.steps
        assert config.pipeline.datamanager.cameras_per_step == recipe.cameras_per_step
        model = config.pipeline.model
        assert {name: getattr(model, name) for name in recipe.model} == {
            name: tuple(value) if isinstance(value, list) else value for name, value in recipe.model.items()
        }


def test_a_mixture_of_a_scene_can_be_planned(tmp_path: Path) -> None:
    """MoE-GS, Table 10: 4DGaussians and E-D3DGS on HyperNeRF."""
    stages = plan(Scene(tmp_path), ["4dgaussians", "ed3dgs"], str(CONFIGS / "scenes" / "hypernerf_broom.toml"))
    assert [stage.steps for stage in stages] == [17000, 60000, load_recipe("router").steps]
