"""What docs/submissions offers to nerfstudio and to NerfBaselines fits what is installed, and what the package has."""

import json
import re
import tomllib
from pathlib import Path

from nerfstudio.configs.external_methods import ExternalMethod, ExternalMethodDummyTrainerConfig

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "submissions" / "nerfstudio_method.md").read_text("utf8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
#: What the page says of each method comes from its run with this preset.
KEPT = ROOT / "benchmarks" / "results" / "mixed_demo"


def offered() -> ExternalMethod:
    """The entry that the page's snippet adds to a list as nerfstudio has it."""
    (snippet,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    methods: list[ExternalMethod] = []
    exec(snippet, {"external_methods": methods, "ExternalMethod": ExternalMethod})
    (method,) = methods
    return method


def test_the_snippet_offers_every_method_of_the_package() -> None:
    method = offered()
    assert isinstance(method, ExternalMethod)
    slugs = [slug for slug, _ in method.configurations]
    assert slugs == list(PROJECT["entry-points"]["nerfstudio.method_configs"])
    assert all(description for _, description in method.configurations)
    assert method.pip_package == PROJECT["name"]
    assert f"pip install {method.pip_package}" in method.instructions


def test_nerfstudio_makes_placeholders_of_it() -> None:
    """As nerfstudio's get_external_methods does; the name matters, since placeholders look who makes them."""

    def get_external_methods() -> list[ExternalMethodDummyTrainerConfig]:
        method = offered()
        made = []
        for slug, _ in method.configurations:
            made.append(ExternalMethodDummyTrainerConfig(method_name=slug, method=method))
        return made

    assert [one.method_name for one in get_external_methods()] == [slug for slug, _ in offered().configurations]


def test_the_table_says_what_was_measured() -> None:
    rows = re.findall(r"^\| `(moegs-[\w-]+)` \|.*\| ([\d.]+) GB \| ([\d.]+) min", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for method, gigabytes, minutes in rows:
        mixture = "-ex4dgs+stg+ed3dgs+4dgaussians" if method == "moegs-router" else ""
        kept = json.loads((KEPT / f"mixed_{method}_demo-seed42{mixture}.json").read_text("utf8"))
        memory = kept["scores"]["peak_memory_mb"] / 1000
        seconds = kept["record"]["progress"]["training_seconds"]
        assert abs(memory - float(gigabytes)) < 0.1, f"{method}: {memory:.2f} GB"
        assert abs(seconds / 60 - float(minutes)) < 0.5, f"{method}: {seconds / 60:.2f} min"
