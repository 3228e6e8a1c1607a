"""Every bad input of the corpus ends in one line that helps, and leaves nothing half-written."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from moegs_ns.cli.main import run
from tests.bad_inputs.bench import Bench
from tests.bad_inputs.cases import CASES, Case
from tests.bad_inputs.config_cases import CONFIG_CASES
from tests.bad_inputs.export_cases import EXPORT_CASES
from tests.bad_inputs.option_cases import OPTION_CASES
from tests.bad_inputs.other_forms import OTHER_FORMS
from tests.bad_inputs.run_cases import RUN_CASES

pytestmark = pytest.mark.slow
ALL_CASES = [*CASES, *CONFIG_CASES, *EXPORT_CASES, *OPTION_CASES, *RUN_CASES]


#: Ways to say what was expected, what was found, and what to do; every message has one of each.
PARTS = {
    "what was expected": re.compile(r"\b[Ee]xpected \S|\bunknown \w+ .*; known: "),
    "what was found": re.compile(r"\bfound \S|\bunknown \w+ \S"),
    "what to do": re.compile(
        r"; [a-z`]"  # advice
        r"|--[a-z]"  # the option to change
        r"|; known: |\bamong |\bone of (?!')|\bout of "  # the choices
        r"|\babove -?\d|\d or more\b|\bat least (one|two|\d)|\bfrom -?[\d.]+ to |\bpositive |\bbetween 0 and 1\b"
        r"|\bin [(\[]0,1\]"  # the range of values
        r"|\bsuch as |\bname=value\b|\ba list of |\bthe keys |\beither "  # the form of the value
    ),
}


def state_of(folder: Path) -> dict[str, str]:
    """Everything below a folder: of files a digest, of links where they lead."""
    state = {}
    for path in sorted(folder.rglob("*")):
        if "__pycache__" in path.parts:
            continue
        if path.is_symlink():
            content = f"link to {path.readlink()}"
        elif path.is_dir():
            content = "folder"
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        state[str(path.relative_to(folder))] = content
    return state


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_a_bad_input_is_explained_in_one_line(
    case: Case,
    good: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(tmp_path, good["scene"], {name: path for name, path in good.items() if name != "scene"})
    arguments = [str(word) for word in case.command(bench)]
    before = state_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    try:
        status: object = run(arguments)
    except SystemExit as stopped:  # what the command line does not know
        status = stopped.code
    out, errors = capfd.readouterr()
    message = " ".join((errors or out).split())
    assert status not in (0, None), out
    assert "Traceback" not in out + errors
    squeezed = re.sub(r"[\s│]", "", errors or out)  # cells of a table are broken anywhere
    form = OTHER_FORMS.get(case.name)
    if form is None:
        assert len(errors.strip().splitlines()) == 1, errors
        assert message.startswith("error: "), message
        for part, ways in PARTS.items():
            assert ways.search(message), f"expected {part} in: {message}"
    else:
        assert "error: " not in errors, f"a line by now, no longer {form.what}: {errors}"
        for mark in form.marks:
            assert mark in squeezed, f"expected {mark!r} of {form.what} in: {message}"
    for pattern in case.says:
        found = re.search(pattern, message) or re.search(pattern.replace(" ", ""), squeezed)
        assert found, f"expected {pattern!r} in: {message}"
    after = state_of(tmp_path)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    assert not changed, f"left behind, changed or removed: {changed}"


def test_no_pattern_of_a_case_matches_everything() -> None:
    short = [(case.name, says) for case in ALL_CASES for says in case.says if len(says) < 3]
    assert not short
    anything = "error: expected a scene, found another thing in cam01; known: gan; copy it again"
    assert not [case.name for case in ALL_CASES if all(re.search(says, anything) for says in case.says)]


def test_every_other_form_is_of_a_case() -> None:
    assert set(OTHER_FORMS) <= {case.name for case in ALL_CASES}


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len({case.name for case in ALL_CASES}) == len(ALL_CASES) >= 60


def test_debug_shows_where_an_error_comes_from(good: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(good["stg"], tmp_path / "run")
    (copy / "run.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON in the run record"):
        run(["--debug", "report", str(copy)])
