"""Suites as files: those of configs/suites by name, and TOML or YAML files of one's own."""

import tomllib
from pathlib import Path
from typing import Any

from moegs_ns.benching.fields import Fields, literals
from moegs_ns.benching.suite import Fusion, PaperTable, Pruning, Suite, SuiteScene, Way
from moegs_ns.experts.recipes import known_experts
from moegs_ns.paths import resource_dir
from moegs_ns.reporting.published import published_tables
from moegs_ns.router.pruning_options import Criterion

_ENDINGS = (".toml", ".yaml", ".yml")
_DEFAULT_PARSER = "n3v-data"
_DEFAULT_SEEDS = (42,)


def read_suite(name: str) -> Suite:
    """A suite by name, or from a TOML or YAML file.

    Raises:
        ValueError: no such suite, or a file that says something else than a suite does; nothing in it is carried out.
    """
    path = Path(name) if name.endswith(_ENDINGS) else resource_dir("configs") / "suites" / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(known_suites()) or "none"
        raise ValueError(f"unknown suite '{name}'; known: {known}; or give a TOML or YAML file")
    fields = Fields(_read(path), path)
    suite = _suite(fields, path)
    fields.finish()
    return suite


def known_suites() -> list[str]:
    """Names of the suites that come with the package."""
    names = [file.stem for file in (resource_dir("configs") / "suites").glob("*.toml")]
    return sorted(names, key=lambda name: [f"{part:0>4}" if part.isdigit() else part for part in name.split("_")])


def _suite(fields: Fields, path: Path) -> Suite:
    preset, seeds = fields.text("preset"), fields.numbers("seeds", whole=True) or _DEFAULT_SEEDS
    if min(seeds) < 0:
        raise fields.wrong("seeds", "numbers of 0 or more", list(seeds))
    experts, scenes = _experts(fields), _scenes(fields, path)
    students, ways = _distillation(fields)
    if strangers := sorted(set(students) - set(experts[-1])):
        raise fields.wrong("distill.students", f"experts of the last set ({', '.join(experts[-1])})", strangers)
    suite = Suite(
        name=path.stem,
        description=" ".join((fields.text("description") or "").split()),
        scenes=scenes,
        experts=experts,
        seeds=seeds,
        preset=preset,
        routers=fields.texts("routers"),
        variants=fields.texts("variants"),
        students=students,
        ways=ways,
        pruning=_pruning(fields),
        fusion=_fusion(fields),
        geometry=fields.flag("geometry"),
        paper=_paper(fields),
        notes=fields.texts("notes"),
    )
    for_mixtures = {"routers": suite.routers, "distill": students, "prune": suite.pruning, "fuse": suite.fusion}
    asked = [key for key, value in for_mixtures.items() if value]
    if asked and len(experts[-1]) == 1:
        raise fields.wrong("experts", f"several experts in the last set, for {' and '.join(asked)}", experts[-1][0])
    return suite


def _read(path: Path) -> Any:
    try:
        text = path.read_text("utf8")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected a text in UTF-8 in {path}, found something else ({error}); save it so") from error
    if path.suffix == ".toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"expected TOML in {path}, found something else ({error}); correct it") from error
    import yaml

    try:
        return yaml.safe_load(text)  # never more: a suite is data, and may come from anybody
    except yaml.YAMLError as error:
        raise ValueError(
            f"expected YAML of plain values in {path}, found something else ({error}); correct it"
        ) from error


def _experts(fields: Fields) -> tuple[tuple[str, ...], ...]:
    value = fields.take("experts")
    expected = "a list of sets of experts, each a list of names, such as [[stg, 4dgaussians]],"
    if not isinstance(value, list) or not value:
        raise fields.wrong("experts", expected, value)
    for names in value:
        if not isinstance(names, list) or not names or not all(isinstance(one, str) for one in names):
            raise fields.wrong("experts", expected, value)
        if unknown := sorted(set(names) - set(known_experts())):
            raise fields.wrong("experts", f"experts among {', '.join(known_experts())}", unknown)
    return tuple(tuple(names) for names in value)


def _scenes(fields: Fields, path: Path) -> tuple[SuiteScene, ...]:
    data, listed = fields.text("data"), fields.take("scenes")
    parser, options = fields.text("parser"), fields.texts("options")
    if (data is None) == (listed is None):
        found = "neither" if data is None else "both"
        raise fields.wrong("", "either data (one scene) or scenes (several)", found)
    if isinstance(listed, str):
        return _with_options(read_scene_set(listed), parser, options)
    if listed is not None and (not isinstance(listed, list) or not listed):
        raise fields.wrong("scenes", "a list of scenes, or the name of a file in configs/scene_sets,", listed)
    scenes = tuple(_scene(one, path, number) for number, one in enumerate([data] if listed is None else listed))
    return _with_options(_distinct(scenes, path), parser, options)


def read_scene_set(name: str) -> tuple[SuiteScene, ...]:
    """The scenes of a data set as one trains on them: a file of configs/scene_sets.

    Raises:
        ValueError: no such file, or one that says something else.
    """
    folder = resource_dir("configs") / "scene_sets"
    path = folder / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.toml")))
        raise ValueError(f"unknown set of scenes '{name}'; known: {known}; or list scenes")
    fields = Fields(_read(path), path)
    parser, listed = fields.text("parser"), fields.take("scenes")
    fields.finish()
    if not isinstance(listed, list) or not listed:
        raise fields.wrong("scenes", "a list of scenes", listed)
    scenes = tuple(_scene(one, path, number) for number, one in enumerate(listed))
    return _with_options(_distinct(scenes, path), parser, ())


def _scene(value: Any, path: Path, number: int) -> SuiteScene:
    """One entry of ``scenes``; a parser it does not name stays empty."""
    if isinstance(value, str):
        return SuiteScene(value, parser="")
    fields = Fields(value, path, f"scenes[{number}]")
    data = fields.text("data")
    if data is None:
        raise fields.missing("data", "the folder of the scene")
    scene = SuiteScene(data, fields.text("preset"), fields.text("parser") or "", fields.texts("options"))
    fields.finish()
    return scene


def _with_options(scenes: tuple[SuiteScene, ...], parser: str | None, options: tuple[str, ...]) -> Any:
    """The scenes with what is common to all: a parser where they name none, and options before their own."""
    return tuple(
        SuiteScene(one.data, one.preset, one.parser or parser or _DEFAULT_PARSER, (*options, *one.options))
        for one in scenes
    )


def _distinct(scenes: tuple[SuiteScene, ...], path: Path) -> tuple[SuiteScene, ...]:
    names = [scene.name for scene in scenes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"expected scenes whose folders have different names in {path}, as runs are filed by them, found "
            f"{', '.join(twice)} more than once"
        )
    return scenes


def _distillation(fields: Fields) -> tuple[tuple[str, ...], tuple[Way, ...]]:
    inner = fields.inner("distill")
    if inner is None:
        return (), ("weighted",)
    students = inner.texts("students")
    ways: Any = inner.texts("ways", literals(Way)) or ("weighted",)
    inner.finish()
    if not students:
        raise inner.missing("students", "a list of experts to teach")
    return students, ways


def _pruning(fields: Fields) -> Pruning | None:
    inner = fields.inner("prune")
    if inner is None:
        return None
    ratios = inner.numbers("ratios")
    criterion = inner.choice("criterion", literals(Criterion)) or "gate"
    pruning = Pruning(ratios, criterion, inner.count("finetune_steps", 0))
    inner.finish()
    if not ratios or not all(0 < ratio < 1 for ratio in ratios):
        raise inner.wrong("ratios", "a list of shares between 0 and 1", list(ratios))
    return pruning


def _fusion(fields: Fields) -> Fusion | None:
    inner = fields.inner("fuse")
    if inner is None:
        return None
    background = inner.choice("background", ("own", "black", "white"))
    finetune, steps = inner.texts("finetune", ("opacity", "all")), inner.count("finetune_steps", 0)
    inner.finish()
    if bool(finetune) != bool(steps):
        raise inner.wrong("finetune", "both finetune and finetune_steps, or neither,", list(finetune))
    return Fusion(background, finetune, steps)


def _paper(fields: Fields) -> PaperTable | None:
    inner = fields.inner("paper")
    if inner is None:
        return None
    name = inner.choice("table", tuple(published_tables()))
    variants = inner.mapping("variants")
    inner.finish()
    if name is None:
        raise inner.missing("table", "the name of a file in configs/published")
    return PaperTable(name, variants)
