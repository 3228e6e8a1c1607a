"""Properties are tried on a bounded number of examples, the same in every run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).resolve().parents[1]
MOST_EXAMPLES = 300


def test_the_suites_own_settings_are_bounded_and_repeatable(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--hypothesis-profile", default=None):
        pytest.skip("another profile was asked for")
    current = settings()
    assert current.max_examples <= MOST_EXAMPLES
    assert current.derandomize and current.deadline is None and current.database is None


def settings_in(source: str) -> Iterator[dict[str, str]]:
    """Keywords of every call of hypothesis's ``settings``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("settings", "hypothesis.settings"):
            yield {str(keyword.arg): ast.unparse(keyword.value) for keyword in node.keywords}


def numbers_of(expression: str) -> list[float]:
    """What a number, or a choice between numbers, may be; infinity for anything else."""
    node = ast.parse(expression, mode="eval").body
    branches = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    return [one.value if isinstance(one, ast.Constant) else float("inf") for one in branches]  # type: ignore[misc]


def faults_of(keywords: dict[str, str]) -> list[str]:
    examples = keywords.get("max_examples", "1")
    faults = [] if all(one <= MOST_EXAMPLES for one in numbers_of(examples)) else [f"max_examples={examples}"]
    if keywords.get("derandomize", "True") != "True":
        faults.append("examples that change from run to run")
    if keywords.get("deadline", "None") != "None":
        faults.append("a limit by the clock")
    return faults


def test_no_test_asks_for_more() -> None:
    found = {
        f"{path.relative_to(TESTS)}: {fault}"
        for path in TESTS.rglob("*.py")
        for keywords in settings_in(path.read_text("utf8"))
        for fault in faults_of(keywords)
    }
    assert found == set()


@pytest.mark.parametrize(
    "call",
    [
        "max_examples=10_000",
        "max_examples=10 if fast else 10_000",
        "max_examples=many",
        "derandomize=False",
        "deadline=200",
    ],
)
def test_what_is_too_much_is_seen(call: str) -> None:
    (keywords,) = settings_in(f"@settings({call})\ndef test_x(): ...")
    assert faults_of(keywords)
