"""SECURITY.md: every promise names the tests that hold it, these exist, and all that is here is named."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf8")
PROMISED = TEXT.split("## What is promised")[1].split("\n## ")[0]


def promises() -> list[str]:
    return re.split(r"\n(?=\*\*\d+\. )", PROMISED.strip())


def files_behind(promise: str) -> list[Path]:
    return [ROOT / target for target in re.findall(r"\]\((tests/[^)]+)\)", promise.split("Tests:")[1])]


def test_promises_are_counted() -> None:
    assert [int(promise[2 : promise.index(".")]) for promise in promises()] == list(range(1, len(promises()) + 1))
    assert len(promises()) >= 8


def test_every_promise_is_tested() -> None:
    for promise in promises():
        assert promise.count("Tests:") == 1, promise
        files = files_behind(promise)
        assert files, promise
        for file in files:
            assert re.search(r"^def test_", file.read_text("utf8"), re.MULTILINE), file


def test_every_security_test_stands_behind_a_promise() -> None:
    named = {file for promise in promises() for file in files_behind(promise)}
    assert {file for file in Path(__file__).parent.glob("test_*.py") if file != Path(__file__)} <= named


def test_what_is_not_promised_is_said() -> None:
    assert "ns-train --load-config" in TEXT and "moegs check-run RUN" in TEXT and "## Reporting" in TEXT
    for document in ("README.md", "docs/usage.md"):
        text = (ROOT / document).read_text("utf8")
        assert "SECURITY.md" in text and "moegs check-run" in text, document
