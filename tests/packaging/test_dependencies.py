"""What the package says it works with is what the tests have run with: versions of dependencies and of Python."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
#: Where the environment's exact versions stand.
EXACT = ("constraints.txt", "torch.txt", "nodeps.txt")


def requirements(file: str) -> list[Requirement]:
    lines = (ROOT / "requirements" / file).read_text("utf8").splitlines()
    return [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]


def versions_in_use() -> dict[str, str]:
    """Name to the version that the environment has."""
    versions = {}
    for file in EXACT:
        for one in requirements(file):
            (pin,) = one.specifier
            assert pin.operator == "==", one
            versions[canonicalize_name(one.name)] = pin.version
    return versions


def declared() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in (*PROJECT["dependencies"], *(one for extra in extras for one in extra))]


@pytest.mark.parametrize("requirement", [*declared(), *requirements("runtime.txt"), *requirements("dev.txt")], ids=str)
def test_the_tested_version_is_within_the_bounds(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    if name == "ninja":  # with a GPU only
        return
    versions = versions_in_use()
    assert name in versions, f"{name} stands in none of {EXACT}: run make lock"
    assert versions[name] in requirement.specifier


def test_both_lists_of_bounds_agree() -> None:
    """A bound of pyproject.toml that the environment lacks, or has otherwise, was never tested at its limit."""
    runtime = {canonicalize_name(one.name): one for one in (*requirements("runtime.txt"), *requirements("dev.txt"))}
    for one in declared():
        other = runtime.get(canonicalize_name(one.name))
        if other is not None and any(bound.operator.startswith("<") for bound in one.specifier):
            assert {str(bound) for bound in one.specifier} == {str(bound) for bound in other.specifier}, one


def test_nerfstudio_is_the_release_that_is_mended() -> None:
    """The shims and the viewer know its insides, and those of the viser it pins."""
    (nerfstudio,) = (one for one in declared() if one.name == "nerfstudio")
    assert versions_in_use()["nerfstudio"] == "1.1.5"
    assert "1.1.5" in nerfstudio.specifier and "1.1.4" not in nerfstudio.specifier
    assert "1.2.0" not in nerfstudio.specifier
    assert versions_in_use()["gsplat"] == "1.4.0"


def test_metadata_claim_the_python_that_is_tested_and_no_other() -> None:
    prefix = "Programming Language :: Python :: "
    claimed = {one.removeprefix(prefix) for one in PROJECT["classifiers"] if re.fullmatch(rf"{prefix}\d\.\d+", one)}
    script = (ROOT / "tools" / "setup_env.py").read_text("utf8")
    (made,) = set(re.findall(r"version_info\[:2\] != \((\d+), (\d+)\)", script))
    assert claimed == {".".join(made)}
    admitted = SpecifierSet(PROJECT["requires-python"])
    assert {f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in admitted} == claimed
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in claimed


def test_the_newest_gsplat_is_tried_by_ci() -> None:
    assert re.search(r"^[^#\n]*\bmake test-newest\b", (ROOT / ".ci" / "run").read_text("utf8"), re.MULTILINE)
