"""Bad configs: suites, presets and run configs of wrong types or with what nobody knows. A new case is a new line."""

from pathlib import Path
from typing import Any

from tests.bad_inputs.bench import Bench, removed, written
from tests.bad_inputs.cases import Case, Command, on_run


def suite(text: str | bytes, *more: object, name: str = "s.toml", plan: bool = True) -> Command:
    """``moegs bench --plan`` of a suite; ``@`` is a whole scene."""

    def command(bench: Bench) -> list[Any]:
        scene = bench.scene()
        written(name, text if isinstance(text, bytes) else text.replace("@", str(scene)))(bench.folder)
        only = ["--plan"] if plan else []
        return ["bench", bench.folder / name, *only, "--output-dir", bench.folder / "outputs", *more]

    return command


def planned(bench: Bench, data: Path) -> list[Any]:
    """``moegs bench --plan`` of a suite on these data."""
    written("s.toml", f'experts = [["stg"]]\ndata = "{data}"\n')(bench.folder)
    return ["bench", bench.folder / "s.toml", "--plan", "--output-dir", bench.folder / "outputs"]


def empty_folder(bench: Bench) -> Path:
    (bench.folder / "empty").mkdir()
    return bench.folder / "empty"


def preset(text: str | bytes, name: str = "p.toml") -> Command:
    """``moegs train --plan`` with a preset."""

    def command(bench: Bench) -> list[Any]:
        written(name, text)(bench.folder)
        words = ["train", bench.scene(), "--experts", "stg", "--output-dir", bench.folder / "outputs"]
        return [*words, "--preset", bench.folder / name, "--plan"]

    return command


def config(text: str | bytes) -> Command:
    """``moegs check-run`` of a run with another ``config.yml``."""
    return on_run(("check-run",), "stg", written("config.yml", text))


FINE = 'experts = [["stg"]]\ndata = "@"\n'
PAIR = 'experts = [["stg", "4dgaussians"]]\ndata = "@"\n'
CALL = '!!python/object/apply:os.system ["touch executed"]'

CONFIG_CASES = [
    # suites
    Case("unknown suite", lambda _: ["bench", "table_99", "--plan"], ("unknown suite 'table_99'", "paper_table_1")),
    Case(
        "suite that is a folder", lambda b: ["bench", b.scene(name="s.toml"), "--plan"], ("s.toml", "TOML or YAML file")
    ),
    Case("suite zero-length", suite(""), ("experts", "s.toml", "found nothing")),
    Case("suite that is no TOML", suite("experts = [["), ("s.toml", "expected TOML")),
    Case("suite that is no text", suite(b"\xff\xfe\x00"), ("s.toml", "UTF-8")),
    Case("suite with an unknown key", suite(FINE + "speed = 1"), ("s.toml", "found speed")),
    Case("suite with a number of experts", suite('experts = 3\ndata = "@"'), ("s.toml", "experts", "found 3")),
    Case("suite with flat experts", suite('experts = ["stg"]\ndata = "@"'), ("list of sets", r"\['stg'\]")),
    Case("suite with words for seeds", suite(FINE + 'seeds = "many"'), ("seeds", "whole numbers", "'many'")),
    Case("suite with negative seeds", suite(FINE + "seeds = [-3]"), ("seeds", "0 or more", r"\[-3\]")),
    Case("suite with a seed twice", suite(FINE + "seeds = [1, 1]"), ("seeds", "different", r"\[1, 1\]")),
    Case("suite without data", suite('experts = [["stg"]]'), ("data", "found neither")),
    Case("suite of unknown scenes", suite('experts = [["stg"]]\nscenes = "mars"'), ("set of scenes 'mars'", "n3v")),
    Case("suite of an unknown parser", suite(FINE + 'parser = "video-data"'), ("n3v-data", "'video-data'")),
    Case(
        "suite with unknown options", suite(FINE + 'options = ["--speed", "1"]'), ("s.toml", "--speed", "data --help")
    ),
    Case(
        "suite begun with unknown options",
        suite(FINE + 'options = ["--speed", "1"]', plan=False),
        ("s.toml", "--speed", "data --help"),
    ),
    Case("suite of an unknown preset", suite(FINE + 'preset = "slow"'), ("unknown preset 'slow'", "quick")),
    Case("suite of an unknown router", suite(PAIR + 'routers = ["best"]'), ("unknown preset 'best'",)),
    Case("suite that prunes too much", suite(PAIR + "[prune]\nratios = [2]"), ("prune.ratios", r"found \[2\]")),
    Case("suite of no table", suite(FINE + '[paper]\ntable = "99"'), ("table_01", "paper.table", "'99'")),
    Case("suite with a YAML tag", suite(f"experts: {CALL}\n", name="s.yaml"), ("s.yaml", "plain values", "os.system")),
    Case("suite that is no YAML", suite("experts: [[stg]\n", name="s.yaml"), ("s.yaml", "expected YAML")),
    Case("suite that is a YAML list", suite("- 1\n", name="s.yaml"), ("s.yaml", "table of names and values", r"\[1\]")),
    Case("plan of an empty folder", lambda b: planned(b, empty_folder(b)), ("cam00.mp4", "empty", "found no camera")),
    Case("plan of a spoilt scene", lambda b: planned(b, b.scene(removed("poses_bounds.npy"))), ("poses_bounds.npy",)),
    Case("plan of no scene of it", suite(FINE, "--scenes", "mars"), ("scenes among scene", "found mars")),
    Case("plan with negative seeds", suite(FINE, "--seeds", "-1"), ("--seeds of 0 or more, found -1",)),
    Case("plan with a seed twice", suite(FINE, "--seeds", "1", "1"), ("different --seeds", "found 1 1")),
    Case("plan for no device", suite(FINE, "--devices", "gpu"), ("`cpu` or the number", "'gpu'")),
    Case("plan for a missing device", suite(FINE, "--devices", "7"), ("CUDA devices", "'7'")),
    Case("plan of NaN hours", suite(FINE, "--hours", "nan"), ("hours", "found nan")),
    Case("plan without memory", suite(FINE, "--memory-gb", "0"), ("memory", "0 GB")),
    Case("plan of odd sbatch options", suite(FINE, "--slurm-options", "x"), ("name=value", "found x")),
    Case(
        "plan with a file for data", suite(FINE, "--data-dir", "s.toml"), ("folder with scenes", "s.toml", "--data-dir")
    ),
    Case(
        "plan with a file for runs",
        suite(FINE, "--output-dir", "s.toml"),
        ("folder for runs", "s.toml", "found a file"),
    ),
    # presets
    Case("preset that is no text", preset(b"\xff\xfe\x00"), ("p.toml", "expected TOML")),
    Case("preset zero-length", preset(""), ("p.toml", "numbers for expert 'stg' .*found none")),
    Case("preset of no steps", preset("[stg]\nsteps = 0"), ("steps of 1 or more", "p.toml", "found 0")),
    Case("preset of half steps", preset("[stg]\nsteps = 1.5"), ("an integer for steps", "p.toml", "1.5")),
    Case("preset of no cameras", preset("[stg]\ncameras_per_step = 0"), ("cameras_per_step of 1", "p.toml", "found 0")),
    Case("preset of a negative rate", preset("[stg.optimizers.means]\nlr = -1.0"), ("lr above 0", "means", "-1.0")),
    Case(
        "preset of a rate in words", preset('[stg.optimizers.means]\nlr = "x"'), ("for lr", "p.toml", "'x', a string")
    ),
    Case("preset of an unknown group", preset("[stg.optimizers.hue]\nlr = 1"), ("optimizer groups", "found hue")),
    Case("preset of no Gaussians", preset("[stg.model]\nmax_gaussians = 0"), ("max-gaussians of 1 or more, found 0",)),
    Case("preset of an unknown head", preset('[stg.model]\nhead = "all"'), ("head", "p.toml", "'all'")),
    Case("preset of an unknown expert", preset("[gan]\nsteps = 1"), ("p.toml", "found gan")),
    Case("preset with a number for an expert", preset("stg = 1"), (r"a table \[stg\]", "p.toml", "found 1")),
    Case("preset with words for a budget", preset('budget = "half"'), ("budget", "p.toml", "'half'")),
    Case("preset with a NaN budget", preset("budget = nan"), ("budget", "found nan")),
    Case("preset that extends a number", preset("extends = 3"), ("extends as a list", "p.toml", "found 3")),
    Case("preset with a wrong type", preset("[stg]\nsteps = 'many'\n"), ("p.toml", "steps")),
    Case("preset that is no TOML", preset("[stg"), ("p.toml", "expected TOML")),
    Case("unknown option in a preset", preset("[stg.model]\nspeed = 1\n"), ("p.toml", "speed")),
    Case("preset of no suffix", preset("[stg]\nsteps = 3\n", "mine"), ("ends in .toml", "/mine'; rename the file")),
    Case("preset with an unknown data option", preset("[data]\nspeed = 1"), ("p.toml", "--speed", "n3v-data --help")),
    Case("preset with words for a data option", preset('[data]\ndownscale = "x"'), ("p.toml", "--downscale", "'x'")),
    # what nerfstudio would load
    Case("config zero-length", config(""), ("config.yml", "config of a training, found none")),
    Case("config that is no YAML", config("a: [b"), ("config.yml", "expected YAML")),
    Case("config that is no text", config(b"\xff\xfe\x00\x01"), ("config.yml", "expected YAML")),
    Case("config that is plain", config("method_name: moegs-stg\n"), ("config.yml", "config of a training")),
    Case("config that calls", config(f"data: {CALL}\n"), ("config.yml", "os.system", "line 1")),
    Case("config that names a stranger", config("!!python/object:os.environ {}\n"), ("config.yml", "os.environ")),
    Case("no config", on_run(("check-run",), "stg", removed("config.yml")), ("config.yml", "found none")),
    Case("no run to check", lambda b: ["check-run", b.folder / "none"], ("run folder at .*none", "found none")),
]
