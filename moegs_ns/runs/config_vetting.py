"""What is wrong with a ``config.yml`` of unknown origin, found out without building anything it names."""

import os
from collections.abc import Iterator
from pathlib import Path

import yaml

from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER
from moegs_ns.runs.config_tags import CONFIG_TAGS

PREFIX = "tag:yaml.org,2002:"
_PLAIN = frozenset(["null", "bool", "int", "float", "str", "seq", "map"])
_PATHS = frozenset(f"{PREFIX}python/object/apply:pathlib.{kind}" for kind in ("PosixPath", "WindowsPath"))
#: What a whole config is.
_WHOLE = tuple(
    f"{PREFIX}python/object:moegs_ns.training.{name}"
    for name in ("trainer_config.MoegsTrainerConfig", "distillation.DistillTrainerConfig")
)
_LARGEST = 1_000_000  # bytes; ours have about ten thousand
_MOST_PARTS = 100_000  # what aliases repeat is counted each time; ours have about a thousand
_MOST_SHOWN = 5
_PLACE = ("output_dir", "experiment_name", "method_name", "timestamp")
_TELLS_OTHERS = ("wandb", "comet")


def config_faults(file: Path, run: Path) -> list[str]:
    """Sentences on everything for which no ``ns-*`` command should be given the config; none where it is one of ours.

    Args:
        file: the config, which exists.
        run: the run folder that it should be of.
    """
    size = file.stat().st_size
    if size > _LARGEST:
        return [f"expected a config of kilobytes, found {size:,} bytes"]
    try:
        # Commands read it in the encoding of their surroundings, in which other bytes may begin a line.
        root = yaml.compose(file.read_bytes().decode("ascii"), Loader=yaml.SafeLoader)
        faults = [*_names_nothing_else(root), *_is_no_bomb(root)] if root is not None else []
        return faults or [*_belongs_to(root, run)]
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        return [
            f"expected YAML in plain ASCII, found something else ({' '.join(str(error).split())}); no ns-* "
            "command can load it"
        ]


def tags_of(text: str) -> Iterator[tuple[str, int]]:
    """Tags that a YAML text asks to be built, without YAML's prefix, and their lines, counted from 1. Nothing is built.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for node in [] if root is None else _nodes(root):
        yield node.tag.removeprefix(PREFIX), node.start_mark.line + 1


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Every part of a document once."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += reversed(_children(node))


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _names_nothing_else(root: yaml.Node) -> Iterator[str]:
    allowed = CONFIG_TAGS | _PLAIN
    found = [(node.tag.removeprefix(PREFIX), node.start_mark.line + 1) for node in _nodes(root)]
    strange = [f"{tag} (line {line})" for tag, line in found if tag not in allowed]
    if strange:
        more = f" and {len(strange) - _MOST_SHOWN} more" if len(strange) > _MOST_SHOWN else ""
        shown = ", ".join(strange[:_MOST_SHOWN])
        yield f"expected only classes that moegs_ns writes, found {shown}{more}; give it to no ns-* command"


def _is_no_bomb(root: yaml.Node) -> Iterator[str]:
    """Aliases that hold aliases become more than a machine can print."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, above: frozenset[int]) -> int:
        if id(node) in above:
            return _MOST_PARTS + 1
        if id(node) not in sizes:
            sizes[id(node)] = 1 + sum(size(child, above | {id(node)}) for child in _children(node))
        return sizes[id(node)]

    if size(root, frozenset()) > _MOST_PARTS:
        yield f"expected a config of at most {_MOST_PARTS:,} parts, found aliases that make it larger, or endless"


def _belongs_to(root: yaml.Node | None, run: Path) -> Iterator[str]:
    """Commands read checkpoints, and write, where the config says."""
    if not isinstance(root, yaml.MappingNode) or root.tag not in _WHOLE:
        found = "none" if root is None else root.tag.removeprefix(PREFIX)
        yield f"expected the config of a training, found {found}; no ns-* command can load it"
        return
    names = [key.value for key, _ in root.value]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        yield f"expected every option once, found {', '.join(twice)} twice"
        return
    options = {key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)}
    place, models = (_path(options.get(name)) for name in ("output_dir", "relative_model_dir"))
    parts = [_text(options.get(name)) for name in _PLACE[1:]]
    if place is None or models is None or None in parts:
        yield f"expected texts for {', '.join(_PLACE)} and relative_model_dir, which say where a run lies, found others"
        return
    folder = os.path.realpath(Path(place).expanduser().joinpath(*map(str, parts)))
    checkpoints = os.path.realpath(Path(folder) / models)
    if (folder, checkpoints) != (os.path.realpath(run), os.path.realpath(run / CHECKPOINT_FOLDER)):
        yield (
            f"expected the config of this folder, found one by which ns-* commands write into {folder} and read "
            f"checkpoints in {checkpoints}; if the run was moved, change {', '.join(_PLACE)}, relative_model_dir in it"
        )
    yield from _leads_out(root)
    told = [name for name in _TELLS_OTHERS if name in (_text(options.get("vis")) or "")]
    if told:
        yield f"expected a run that tells nobody, found one that reports to {told[0]} (vis); change it in the config"


def _leads_out(root: yaml.Node) -> Iterator[str]:
    """Logs are written where options called relative_... say, below the run folder unless these lead out of it."""
    for node in _nodes(root):
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if not str(name).startswith("relative_"):
                continue
            place = _path(value) if isinstance(value, yaml.SequenceNode) else _text(value)
            if place is None or Path(place).is_absolute() or ".." in Path(place).parts:
                yield f"expected a place within the run folder for {name}, found {place or 'something else'}"


def _text(node: yaml.Node | None) -> str | None:
    return node.value if isinstance(node, yaml.ScalarNode) and node.tag == f"{PREFIX}str" else None


def _path(node: yaml.Node | None) -> str | None:
    """A path as configs hold it: a call of its class with its parts."""
    if not isinstance(node, yaml.SequenceNode) or node.tag not in _PATHS:
        return None
    parts = [_text(part) for part in node.value]
    return None if None in parts else str(Path(*map(str, parts)))
