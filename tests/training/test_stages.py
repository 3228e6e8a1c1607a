"""Planning: which stages there are, what their command lines say, how far their run folders are."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from moegs_ns.experts.recipes import known_experts, load_recipe
from moegs_ns.experts.registry import EXPERTS
from moegs_ns.training.stages import (
    PAPER_ORDER,
    Scene,
    Stage,
    command_differences,
    default_experts,
    expert_stage,
    plan,
    recipe_stage,
)
from tests.training.fake_processes import leave_run, value_of

TINY = str(Path(__file__).with_name("tiny.toml"))


def stages_of(tmp_path: Path, experts: list[str], preset: str | None = TINY, **options: object) -> list[Stage]:
    scene = Scene(Path("examples/mixed"), output_dir=tmp_path, **options)
    return plan(scene, experts, preset, seed=7)


def behind_parser(command: list[str]) -> list[str]:
    return command[command.index("n3v-data") + 1 :]


# -- which stages ----------------------------------------------------------------------------------------------------


def test_a_mixture_is_its_experts_and_then_the_router(tmp_path: Path) -> None:
    stages = stages_of(tmp_path, ["stg", "4dgaussians"])
    assert [stage.method for stage in stages] == ["moegs-stg", "moegs-4dgaussians", "moegs-router"]
    assert [stage.run.relative_to(tmp_path).as_posix() for stage in stages] == [
        "mixed/moegs-stg/tiny-seed7",
        "mixed/moegs-4dgaussians/tiny-seed7",
        "mixed/moegs-router/tiny-seed7-stg+4dgaussians",
    ]
    assert [stage.needs for stage in stages] == [(), (), (stages[0].run, stages[1].run)]
    assert [stage.steps for stage in stages] == [60, 60, 40]


def test_one_expert_needs_no_router(tmp_path: Path) -> None:
    assert [stage.method for stage in stages_of(tmp_path, ["stg"])] == ["moegs-stg"]


def test_experts_of_one_family_differ_in_run_and_seed(tmp_path: Path) -> None:
    first, second, router = stages_of(tmp_path, ["stg", "stg"])
    assert first.run.name == "tiny-seed7" and second.run.name == "tiny-seed7-2"
    assert [value_of(stage.command(), "--machine.seed") for stage in (first, second)] == ["7", "8"]
    assert [value_of(stage.command(), "--pipeline.datamanager.sampling-seed") for stage in (first, second)] == [
        "7",
        "8",
    ]
    assert router.needs == (first.run, second.run)


def test_students_follow_their_teacher(tmp_path: Path) -> None:
    scene = Scene(Path("examples/mixed"), output_dir=tmp_path)
    stages = plan(scene, ["stg", "4dgaussians", "stg"], TINY, seed=7, distill=["stg_2", "4dgaussians"])
    router, second, deformed = stages[3:]
    assert [stage.method for stage in (router, second, deformed)] == ["moegs-router", "moegs-distill", "moegs-distill"]
    assert second.needs == deformed.needs == (router.run,)
    for stage, student, seed in ((second, "stg_2", "8"), (deformed, "4dgaussians", "7")):
        command = stage.command()
        assert stage.run == tmp_path / "mixed" / "moegs-distill" / f"{router.run.name}-{student}"
        assert (value_of(command, "--teacher"), value_of(command, "--student")) == (str(router.run), student)
        assert value_of(command, "--machine.seed") == seed and value_of(command, "--downscale") == "8"
        assert value_of(command, "--max-num-iterations") == "60" == str(stage.steps)
    with pytest.raises(ValueError, match=r"students among .* \(stg, 4dgaussians\), found ed3dgs; name others"):
        plan(scene, ["stg", "4dgaussians"], TINY, distill=["ed3dgs", "stg"])
    with pytest.raises(ValueError, match="found stg; name others with --distill, or more --experts"):
        plan(scene, ["stg"], TINY, distill=["stg"])


def test_sets_of_experts_share_expert_runs_but_not_the_routers(tmp_path: Path) -> None:
    two, three = stages_of(tmp_path, ["stg", "4dgaussians"]), stages_of(tmp_path, ["stg", "4dgaussians", "stg"])
    assert two[0].run == three[0].run
    assert two[-1].run != three[-1].run


def test_layers_of_presets_that_are_about_the_router_share_expert_runs(tmp_path: Path) -> None:
    usual = stages_of(tmp_path, ["stg", "4dgaussians"], "quick")
    layered = stages_of(tmp_path, ["stg", "4dgaussians"], "quick+pixel-router")
    assert layered[:2] == usual[:2]
    assert layered[2].run.name == "quick+pixel-router-seed7-stg+4dgaussians"
    assert value_of(layered[2].command(), "--pipeline.model.router") == "pixel"
    assert "--pipeline.model.router" not in usual[2].command()
    assert layered[2].steps == usual[2].steps


def test_no_experts_and_unknown_presets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one expert"):
        stages_of(tmp_path, [])
    with pytest.raises(ValueError, match="unknown preset 'nothing'; known: .*quick"):
        stages_of(tmp_path, ["stg"], preset="nothing")
    with pytest.raises(FileNotFoundError, match=r"preset file at .*nothing\.toml"):
        stages_of(tmp_path, ["stg"], preset=str(tmp_path / "nothing.toml"))


def test_default_experts_are_the_papers_as_far_as_they_exist() -> None:
    assert default_experts(["4dgaussians", "stg", "other"]) == ["stg", "4dgaussians"]
    assert default_experts(list(PAPER_ORDER), 2) == ["ex4dgs", "stg"]
    assert default_experts(list(PAPER_ORDER), 3) == ["ex4dgs", "stg", "ed3dgs"]
    assert default_experts(list(PAPER_ORDER), 4) == list(PAPER_ORDER)
    with pytest.raises(ValueError, match=r"ex4dgs cannot be trained here.*--experts stg 4dgaussians"):
        default_experts(["stg", "4dgaussians"], 2)
    for number in (1, 5):
        with pytest.raises(ValueError, match="2, 3 or 4"):
            default_experts(list(PAPER_ORDER), number)


def test_known_experts_are_those_of_the_registry() -> None:
    assert known_experts() == sorted(EXPERTS)


def test_planning_imports_no_torch() -> None:
    code = "import sys; import moegs_ns.training.stages, moegs_ns.training.run_stages; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- command lines ---------------------------------------------------------------------------------------------------


def test_the_command_line_files_the_run_where_the_plan_looks(tmp_path: Path) -> None:
    stage = stages_of(tmp_path, ["stg"])[0]
    command = stage.command()
    assert command[:2] == ["ns-train", "moegs-stg"]
    assert value_of(command, "--output-dir") == str(tmp_path)
    assert value_of(command, "--timestamp") == stage.run.name
    assert value_of(command, "--max-num-iterations") == "60"
    assert value_of(command, "--pipeline.model.max-gaussians") == "500"
    assert command[command.index("--data") :] == ["--data", "examples/mixed", "n3v-data", "--downscale", "8"]
    assert "--load-dir" not in command
    assert value_of(stage.command(resume=True), "--load-dir") == str(stage.run)


@pytest.mark.parametrize(("folder", "name"), [("clips/mixed", "mixed"), ("clips/mixed.v2/", "mixed"), (".", None)])
def test_scene_name_is_nerfstudios(folder: str, name: str | None) -> None:
    assert Scene(Path(folder)).name == (name or Path.cwd().stem)


def test_the_router_command_names_its_experts(tmp_path: Path) -> None:
    stages = stages_of(tmp_path, ["stg", "4dgaussians"])
    command = stages[-1].command()
    start = command.index("--experts")
    assert command[start + 1 : start + 3] == [str(stage.run) for stage in stages[:2]]


@pytest.mark.parametrize("option", [["--downscale", "2"], ["--downscale=2"]])
def test_the_users_data_options_replace_the_presets(tmp_path: Path, option: list[str]) -> None:
    options = (*option, "--val_cams", "cam05")
    assert behind_parser(stages_of(tmp_path, ["stg"], options=options)[0].command()) == list(options)
    assert behind_parser(stages_of(tmp_path, ["stg"], options=("--num-frames", "8"))[0].command()) == [
        *("--downscale", "8", "--num-frames", "8")
    ]


def test_lists_in_presets_become_several_arguments(tmp_path: Path) -> None:
    preset = tmp_path / "cams.toml"
    preset.write_text('[data]\nval_cams = ["cam05", "cam06"]\n[stg]\nsteps = 10\n')
    assert behind_parser(stages_of(tmp_path, ["stg"], preset=str(preset))[0].command()) == [
        *("--val-cams", "cam05", "cam06")
    ]


def test_short_runs_save_at_least_ten_times() -> None:
    def every(steps: int) -> int:
        stage = Stage("moegs-stg", Path("run"), steps, (), Scene(Path("data")))
        return int(value_of(stage.command(), "--steps-per-save"))

    assert [every(steps) for steps in (5, 60, 2500, 30000)] == [1, 6, 250, 1000]


@pytest.mark.parametrize("preset", [None, "quick", "demo", "paper", "budget-10", TINY])
def test_nerfstudio_understands_every_command_line(tmp_path: Path, preset: str | None) -> None:
    """The parsed config has the numbers of the recipe: nothing is lost or misread on the way."""
    import tyro

    from moegs_ns import method_configs
    from moegs_ns.method_configs import moegs_router

    methods = [moegs_router, *(getattr(method_configs, f"moegs_{name}") for name in EXPERTS)]
    registered = {one.config.method_name: one.config for one in methods}
    for stage in stages_of(tmp_path, list(EXPERTS), preset=preset, options=("--downscale", "4")):
        config = tyro.cli(
            type(registered[stage.method]),
            default=registered[stage.method],
            args=stage.command()[2:],
            config=(tyro.conf.FlagConversionOff,),
        )
        recipe = load_recipe(stage.method.removeprefix("moegs-"), preset)
        config.pipeline.datamanager.data = config.data  # as ns-train does
        assert config.max_num_iterations == recipe.steps
        assert config.get_base_dir() == stage.run
        assert config.machine.seed == config.pipeline.datamanager.sampling_seed == 7
        assert config.pipeline.datamanager.dataparser.downscale == 4
        datamanager = vars(config.pipeline.datamanager)
        assert {name: datamanager[name] for name in recipe.datamanager} == recipe.datamanager
        model = dataclasses.asdict(config.pipeline.model)
        assert {name: model[name] for name in recipe.model} == recipe.model
        for group, numbers in recipe.optimizers.items():
            assert config.optimizers[group]["optimizer"].lr == numbers.lr
            if numbers.lr_final is not None:
                scheduler = config.optimizers[group]["scheduler"]
                assert {name: getattr(scheduler, name) for name in recipe.schedule(group)} == recipe.schedule(group)


def test_further_options_replace_those_of_the_same_flags(tmp_path: Path) -> None:
    router = stages_of(tmp_path, ["stg", "4dgaussians"])[-1]
    more = ["--pipeline.model.train_temperature=0.1", "--machine.seed", "9", "--max-num-iterations", "5"]
    changed = router.with_options(more).named("other")
    command = changed.command()
    assert changed.run == router.run.with_name("other")
    assert (changed.steps, value_of(command, "--max-num-iterations")) == (5, "5")
    assert command.count("--max-num-iterations") == command.count("--machine.seed") == 1
    assert command.index("--machine.seed") < command.index("--data")
    assert changed.needs == router.needs
    assert command_differences(router.command(), command) == [
        "--machine.seed 7 instead of 9",
        "--max-num-iterations 40 instead of 5",
        "--pipeline.model.train-temperature unset instead of 0.1",
    ]
    assert router.with_options(["--pipeline.model.top-k", "1"]).steps == router.steps


def test_a_stage_of_a_recipe_is_that_of_the_preset_it_came_from(tmp_path: Path) -> None:
    scene = Scene(Path("examples/mixed"), output_dir=tmp_path)
    recipe = load_recipe("stg", TINY)
    assert recipe_stage(scene, "stg", recipe, "run", 3) == expert_stage(scene, "stg", TINY, "run", 3)
    longer = recipe_stage(scene, "stg", recipe.scaled(3.0), "run", 3)
    assert (longer.steps, value_of(longer.command(), "--max-num-iterations")) == (180, "180")


# -- how far ---------------------------------------------------------------------------------------------------------


def test_state_follows_the_checkpoints(tmp_path: Path) -> None:
    stage = stages_of(tmp_path, ["stg"])[0]
    assert (stage.state(), stage.steps_done()) == ("missing", 0)
    stage.run.mkdir(parents=True)
    (stage.run / "config.yml").touch()
    assert stage.state() == "missing", "a run killed before its first checkpoint starts anew"
    leave_run(stage.run, stage.command(), 25)
    assert (stage.state(), stage.steps_done()) == ("interrupted", 25)
    leave_run(stage.run, stage.command(), 60)
    assert (stage.state(), stage.steps_done()) == ("finished", 60)


def test_a_resumed_run_still_belongs_to_the_plan(tmp_path: Path) -> None:
    stage = stages_of(tmp_path, ["stg", "4dgaussians"])[-1]
    elsewhere = dataclasses.replace(
        stage, scene=dataclasses.replace(stage.scene, data=Path("examples/../examples/mixed"))
    )
    stage.check_made_alike()
    leave_run(
        stage.run, [*elsewhere.command(resume=True)[:2], "--logging.steps-per-log", "5", *stage.command()[2:]], 20
    )
    stage.check_made_alike()


@pytest.mark.parametrize(
    ("made_with", "difference"),
    [
        ({"preset": "quick"}, r"--max-num-iterations \d+ instead of 60"),
        ({"options": ("--downscale", "4")}, "--downscale 4 instead of 8"),
        ({"options": ("--num-frames", "8")}, "--num-frames 8 instead of unset"),
    ],
)
def test_runs_trained_with_other_options_are_refused(tmp_path: Path, made_with: dict, difference: str) -> None:
    stage = stages_of(tmp_path, ["stg"])[0]
    leave_run(stage.run, stages_of(tmp_path, ["stg"], **made_with)[0].command(), 25)
    with pytest.raises(ValueError, match=difference):
        stage.check_made_alike()


def test_a_router_of_other_experts_is_refused(tmp_path: Path) -> None:
    stage = stages_of(tmp_path, ["stg", "4dgaussians"])[-1]
    leave_run(stage.run, stages_of(tmp_path, ["stg", "stg"])[-1].command(), 25)
    with pytest.raises(ValueError, match="--experts moegs-stg/tiny-seed7 moegs-stg/tiny-seed7-2 instead of"):
        stage.check_made_alike()
