"""Who may import whom: the arrows of docs/architecture.md, read from the source with ``ast``."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "moegs_ns"

# Room -> the rooms it may import. A room is a module or a package directly inside moegs_ns.
MAY_IMPORT: dict[str, set[str]] = {
    "paths": set(),
    "files": set(),
    "folder_lock": set(),
    "command_line": set(),
    "compat": {"paths"},
    "splats": {"paths", "files"},
    "losses": {"paths", "splats"},
    "runs": {"paths", "files"},
    "scene": {"paths", "files", "splats", "losses"},
    "experts": {"paths", "files", "splats", "losses"},
    "router": {"paths", "files", "splats", "losses", "runs", "experts"},
    "distill": {"paths", "files", "splats", "losses", "runs", "experts", "router"},
    # These read models through their public outputs and methods only.
    "viewer": {"paths", "files", "splats", "losses", "runs", "scene", "exporting"},
    "reporting": {"paths", "files", "splats", "losses", "runs", "scene"},
    "exporting": {"paths", "files", "folder_lock", "splats", "losses", "runs", "scene"},
    "preparation": {"paths", "files", "folder_lock", "scene"},
    "checking": {"paths", "files", "command_line", "preparation", "scene"},
}
_WIRED = set(MAY_IMPORT)
MAY_IMPORT["training"] = set(_WIRED)
MAY_IMPORT["benching"] = {
    *("paths", "files", "runs", "experts", "router", "reporting", "preparation", "training"),
}
MAY_IMPORT["cli"] = _WIRED | {"training", "benching"}
MAY_IMPORT["method_configs"] = _WIRED | {"training"}
MAY_IMPORT["dataparser_configs"] = {"scene"}
NOBODY_IMPORTS = {"method_configs", "dataparser_configs", "cli"}

# Rooms that work without nerfstudio, and the libraries they may use.
LIBRARIES_OF = {
    "paths": set(),
    "files": set(),
    "folder_lock": set(),
    "command_line": {"tyro"},
    "splats": {"torch", "numpy", "scipy", "gsplat", "filelock", "rich"},
    "losses": {"torch", "numpy", "scipy", "gsplat"},
}

# Anything more, imported while nerfstudio collects data parsers, is an import cycle that breaks every ns-* command.
PARSERS_MAY_IMPORT = (
    "nerfstudio.cameras",
    "nerfstudio.data.dataparsers.base_dataparser",
    "nerfstudio.data.scene_box",
    "nerfstudio.plugins.registry_dataparser",
)

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}


def imported_modules(source: str, at_import_time_only: bool = False) -> Iterator[str]:
    """Dotted names of everything the source imports; ``from a import b`` yields ``a.b`` (b may be a module)."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the module's full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        if at_import_time_only and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_typing_only(node)):
            return
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(source))


def _is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def violations(module: str, source: str) -> list[str]:
    """What ``module`` imports against the rules, in words."""
    room = module.split(".")[1]
    found = []
    for name in imported_modules(source):
        library, *rest = name.split(".")
        if library == "moegs_ns":
            target = rest[0] if rest else ""
            if target != room and (target not in MAY_IMPORT[room] or target in NOBODY_IMPORTS):
                found.append(f"{module} imports {name}: '{room}' may import only {sorted(MAY_IMPORT[room])}")
            if room == "dataparser_configs" and rest[:2] != ["scene", "dataparsers"]:
                found.append(f"{module} imports {name}: only moegs_ns.scene.dataparsers is allowed here")
        elif room in LIBRARIES_OF and library not in LIBRARIES_OF[room] | set(sys.stdlib_module_names):
            found.append(f"{module} imports {name}: '{room}' may use only {sorted(LIBRARIES_OF[room])}")
    return found


def loaded_with(module: str) -> dict[str, set[str]]:
    """Every module of the package that importing ``module`` loads -> what it imports at import time."""
    loaded: dict[str, set[str]] = {}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current in loaded or current not in MODULES:
            continue
        loaded[current] = set(imported_modules(MODULES[current].read_text(encoding="utf-8"), at_import_time_only=True))
        # "a.b.Name" may be the module a.b or the module a.b.Name.
        waiting += [name for found in loaded[current] for name in (found, found.rpartition(".")[0])]
    return loaded


def forbidden_nerfstudio(names: set[str]) -> list[str]:
    return sorted(
        name for name in names if name.split(".")[0] == "nerfstudio" and not name.startswith(PARSERS_MAY_IMPORT)
    )


@pytest.mark.parametrize("module", MODULES)
def test_rooms_import_only_what_lies_below(module: str) -> None:
    assert module.split(".")[1] in MAY_IMPORT, "a new room: state its arrows here and in docs/architecture.md"
    assert violations(module, MODULES[module].read_text(encoding="utf-8")) == []


def test_the_architecture_page_states_the_same_arrows() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]*)\|", page, re.MULTILINE)
    assert {room: set(re.findall(r"\w+", below)) for room, below in rows} == MAY_IMPORT


def test_data_parsers_import_little_of_nerfstudio() -> None:
    starts = [name for name in MODULES if name.startswith("moegs_ns.scene.dataparsers.")] + [
        "moegs_ns.dataparser_configs"
    ]
    too_much = {
        module: forbidden
        for start in starts
        for module, names in loaded_with(start).items()
        if (forbidden := forbidden_nerfstudio(names))
    }
    assert too_much == {}


@pytest.mark.parametrize("path", [PACKAGE / "__init__.py", *PACKAGE.rglob("*/__init__.py")], ids=str)
def test_package_init_files_are_empty(path: Path) -> None:
    assert path.read_text(encoding="utf-8").strip() == ""


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in MODULES.values()}
    assert {folder for folder in folders if not (folder / "__init__.py").is_file()} == set()


@pytest.mark.parametrize(
    ("module", "source", "is_allowed"),
    [
        ("moegs_ns.splats.sh", "import torch\nfrom moegs_ns.paths import resource_dir", True),
        ("moegs_ns.splats.sh", "from moegs_ns.experts.base import ExpertModel", False),
        ("moegs_ns.splats.sh", "from nerfstudio.cameras.cameras import Cameras", False),
        ("moegs_ns.losses", "def late():\n    import moegs_ns.scene.datamanager", False),
        ("moegs_ns.experts.stg", "from moegs_ns import scene", False),
        ("moegs_ns.training.trainer", "from moegs_ns.method_configs import moegs_stg", False),
        ("moegs_ns.training.trainer", "from moegs_ns.experts.registry import EXPERTS", True),
        ("moegs_ns.dataparser_configs", "from moegs_ns.scene.datamanager import DynamicDataManager", False),
        ("moegs_ns.dataparser_configs", "from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig", True),
    ],
)
def test_the_checker_tells_right_from_wrong(module: str, source: str, is_allowed: bool) -> None:
    assert (violations(module, source) == []) is is_allowed


def test_the_checker_sees_what_parsers_load() -> None:
    source = (
        "from nerfstudio.data.datamanagers.base_datamanager import DataManager\nfrom nerfstudio.cameras import cameras"
    )
    assert forbidden_nerfstudio(set(imported_modules(source))) == [
        "nerfstudio.data.datamanagers.base_datamanager.DataManager"
    ]


def entry_points() -> dict[str, list[str]]:
    """Module to the attributes that entry points name of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = {}
    for target in sorted({target for group in project["entry-points"].values() for target in group.values()}):
        module, attribute = target.split(":")
        found.setdefault(module, []).append(attribute)
    return found


@pytest.mark.parametrize("module", entry_points())
def test_each_entry_points_module_can_be_the_first_import(module: str) -> None:
    """nerfstudio loads entry points while half imported itself; whichever comes first must not close a cycle."""
    attributes = entry_points()[module]
    code = (
        f"import {module} as first\nassert all(getattr(first, name).config is not None for name in {attributes})\n"
        "from nerfstudio.configs.method_configs import all_methods\nassert 'splatfacto' in all_methods\n"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
