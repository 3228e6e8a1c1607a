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


def anchors(document: str) -> set[str]:
    """What ``#...`` may name in a Markdown document, by GitHub's rule: headings in lower case without punctuation,
    spaces as hyphens, repeated ones numbered."""
    prose = re.sub(r"^(```|~~~).*?^\1", "", document, flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?)[ #]*$", prose, re.MULTILINE):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = 0
        while (name := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(name)
    return found


def test_anchors_follow_githubs_rule() -> None:
    document = (
        "# The `gate`, twice: a [link](x.md)\n## Over--view\n```\n# no heading\n```\n## over--view ##\n#### a_b & c"
    )
    assert anchors(document) == {"the-gate-twice-a-link", "over--view", "over--view-1", "a_b--c"}


def broken_links(documents: dict[str, str]) -> list[str]:
    """Links between documents, by relative path, to files or headings that are not there."""
    broken = []
    for name, text in documents.items():
        for target, fragment in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?[^)]*\)", text):
            if "://" in target or target.startswith("mailto:"):
                continue
            path = (ROOT / name).parent.joinpath(target).resolve() if target else ROOT / name
            document = documents.get(str(path.relative_to(ROOT))) if path.is_relative_to(ROOT) else None
            if not path.exists() or (fragment and (document is None or fragment not in anchors(document))):
                broken.append(f"{name}: {target}{'#' * bool(fragment)}{fragment}")
    return broken


def test_links_between_documents_lead_somewhere() -> None:
    documents = {name: text for name, text in texts().items() if name.endswith(".md")}
    assert "#" in "".join(re.findall(r"\]\(([^)\s]+)\)", documents["README.md"]))
    assert broken_links(documents) == []


def test_links_that_lead_nowhere_are_found() -> None:
    text = "# Here\n[a](#here) [b](#there) [c](LICENSE) [d](gone.md) [e](CHANGELOG.md#nothing) [f](https://x.y/#z)"
    changelog = texts()["CHANGELOG.md"]
    expected = ["README.md: #there", "README.md: gone.md", "README.md: CHANGELOG.md#nothing"]
    assert broken_links({"README.md": text, "CHANGELOG.md": changelog}) == [
        *expected,
        *broken_links({"CHANGELOG.md": changelog}),
    ]
