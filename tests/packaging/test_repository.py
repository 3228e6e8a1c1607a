"""The repository as a whole: nothing of the machine it was written on, small files, a README whose commands exist."""

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FILE = 400  # lines: what one head holds
SOURCE_SUFFIXES = {".py", ".cpp", ".h", ".hpp", ".cu", ".cuh"}

# Folders that exist on one machine only. /usr, /etc, /proc, /dev and /tmp mean the same everywhere.
MACHINE_PATH = re.compile(r"(?<![\w.~$}<:/-])/(?:home|root|Users|work|opt|mnt|srv|workspace)/[\w.]")
# Words that mark unfinished work, and addresses only one network can reach. Split, so that this file passes.
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
PRIVATE_ADDRESS = re.compile(r"file:" + r"///|\b(?:10|192\.168)\.\d+\.\d+\.\d+\b")


@cache
def repository_files() -> tuple[Path, ...]:
    """Files git tracks or would track; in an unpacked archive, every file outside hidden and build folders."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        names = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        skipped = {"build", "dist", "outputs", "renders", "__pycache__"}
        names = [
            path
            for path in ROOT.rglob("*")
            if not any(part.startswith(".") or part in skipped for part in path.relative_to(ROOT).parts)
        ]
    return tuple(sorted(path for path in names if path.is_file()))


@cache
def texts() -> dict[str, str]:
    """Relative path -> content of every text file."""
    found = {}
    for path in repository_files():
        content = path.read_bytes()
        if b"\0" not in content[:8192]:
            found[str(path.relative_to(ROOT))] = content.decode("utf-8")
    return found


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_the_listing_sees_the_repository() -> None:
    assert {"pyproject.toml", "moegs_ns/paths.py", "tests/packaging/test_repository.py"} <= set(texts())


def test_no_path_of_one_machine() -> None:
    assert lines_matching(MACHINE_PATH) == []


def test_nothing_marked_unfinished() -> None:
    assert lines_matching(UNFINISHED) == []


def test_no_address_of_one_network() -> None:
    assert lines_matching(PRIVATE_ADDRESS) == []


@pytest.mark.parametrize(
    ("line", "is_machine_path"),
    [
        ("cache = '/ho" + "me/someone/cache'", True),
        ("open(/ro" + "ot/x)", True),
        ("../shared/data/basketball", False),
        ("https://docs.nerf.studio/home/index.html", False),
        ("/usr/bin/env python", False),
        ("outputs/work/run", False),
    ],
)
def test_the_pattern_knows_machine_paths(line: str, is_machine_path: bool) -> None:
    assert bool(MACHINE_PATH.search(line)) is is_machine_path


def test_source_files_are_short() -> None:
    sizes = {name: len(text.splitlines()) for name, text in texts().items() if Path(name).suffix in SOURCE_SUFFIXES}
    assert {name: lines for name, lines in sizes.items() if lines >= LONGEST_FILE} == {}


def test_no_large_file() -> None:
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in repository_files()}
    assert {name: size for name, size in sizes.items() if size > 1_000_000} == {}


def test_licence_is_declared_and_present() -> None:
    project = tomllib.loads(texts()["pyproject.toml"])["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in texts()["LICENSE"]
    assert "Version 2.0, January 2004" in texts()["LICENSE"]


def test_changelog_has_the_version_being_built() -> None:
    version = tomllib.loads(texts()["pyproject.toml"])["project"]["version"]
    assert re.search(rf"^## \[(?:{re.escape(version)}|Unreleased)\]", texts()["CHANGELOG.md"], re.MULTILINE)


def test_readme_commands_exist() -> None:
    readme = texts()["README.md"]
    targets = set(re.findall(r"^([a-z][a-z-]*):", texts()["Makefile"], re.MULTILINE))
    used = set(re.findall(r"^\$? *make ([a-z][a-z-]*)", readme, re.MULTILINE)) | set(
        re.findall(r"`make ([a-z-]+)", readme)
    )
    assert "test" in used, "the README tells how to test"
    assert used <= targets


def test_readme_methods_and_parsers_are_entry_points() -> None:
    groups = tomllib.loads(texts()["pyproject.toml"])["project"]["entry-points"]
    readme = texts()["README.md"]
    methods = set(re.findall(r"ns-train (moegs-[\w-]+)", readme))
    parsers = set(re.findall(r"ns-train [^\n`]* ([\w-]+-data)\b", readme))
    assert methods, "the README shows how to train"
    assert methods <= set(groups["nerfstudio.method_configs"])
    assert parsers <= set(groups["nerfstudio.dataparser_configs"])


def test_ci_runs_the_readmes_test_command() -> None:
    assert re.search(r"^[^#\n]*\bmake test\b", texts()[".ci/run"], re.MULTILINE)


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for name, text in texts().items():
        if name.endswith(".md"):
            for target in re.findall(r"\]\(([^)#\s]+)", text):
                if (
                    "://" not in target
                    and not target.startswith("mailto:")
                    and not (ROOT / name).parent.joinpath(target).exists()
                ):
                    broken.append(f"{name}: {target}")
    assert broken == []
