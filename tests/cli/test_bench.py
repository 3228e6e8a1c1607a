"""``moegs bench``: what it would do, what it refuses, and what it says of runs that are there."""

from pathlib import Path

import pytest

from moegs_ns.benching.suite_files import known_suites, read_suite
from moegs_ns.cli.main import run

MINE = """
description: A try.
data: examples/mixed
experts: [[stg, 4dgaussians]]
preset: demo
"""


@pytest.fixture
def suite_file(tmp_path: Path) -> str:
    file = tmp_path / "mine.yaml"
    file.write_text(MINE)
    return str(file)


@pytest.fixture
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any of the paper's data."""
    monkeypatch.setenv("MOEGS_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)


def said(capfd: pytest.CaptureFixture[str]) -> str:
    captured = capfd.readouterr()
    return captured.out + captured.err


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize("name", [name for name in known_suites() if name.startswith("paper_")])
def test_tables_of_the_paper_are_planned_without_data(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", name, "--plan"]) == 0
    text, suite = said(capfd), read_suite(name)
    assert f"{name}: {suite.description}" in text
    assert f"experts: {'; '.join(' + '.join(names) for names in suite.experts)}\n" in text
    missing = next(line for line in text.splitlines() if line.startswith("missing data: "))
    assert all(scene.data in missing for scene in suite.scenes)
    how = {
        "n3v-data": "moegs data download coffee_martini cook_spinach cut_roasted_beef flame_salmon_1 ",
        "technicolor-data": "on request",
        "hypernerf-data": "https://github.com/google/hypernerf",
    }
    assert how[suite.scenes[0].parser] in missing
    for experts in suite.experts:
        for expert in experts:
            assert f"  ns-train moegs-{expert} " in text
        assert len(experts) == 1 or f"-seed42-{'+'.join(experts)} " in text
    assert not Path("outputs").exists()


@pytest.mark.usefixtures("no_data")
def test_nothing_is_begun_without_data(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "paper_table_10"]) == 1
    text = said(capfd)
    assert "expected the data of paper_table_10, found none of hypernerf/vrig-3dprinter" in text
    assert "--scenes" in text and not Path("outputs").exists()


@pytest.mark.usefixtures("no_data")
def test_part_of_a_suite_needs_the_data_of_that_part_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "got" / "n3v" / "sear_steak").mkdir(parents=True)
    options = ["--scenes", "sear_steak", "--data-dir", str(tmp_path / "got"), "--seeds", "7", "--preset", "quick"]
    assert run(["bench", "paper_table_3", "--plan", *options]) == 1  # the folder is there, and empty
    text = said(capfd)
    assert f"in {tmp_path}/got/n3v/sear_steak, found no camera" in text
    assert "missing" not in text and "scenes: sear_steak\nseeds: 7\n" in text
    assert "--timestamp n3v_moegs+quick-seed7 " in text and f"--data {tmp_path}/got/n3v/sear_steak n3v-data" in text
    assert run(["bench", "paper_table_3", "--plan", "--scenes", "sear"]) == 1
    assert "expected scenes among coffee_martini, " in said(capfd)


def test_suites_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench"]) == 0
    names = [line.partition(":")[0] for line in said(capfd).splitlines()]
    assert names == known_suites()
    assert names.index("paper_table_9") < names.index("paper_table_10")


def test_a_report_of_nothing_says_so(suite_file: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", suite_file, "--report", "--output-dir", str(tmp_path / "runs")]) == 0
    assert "No run of mine is finished" in said(capfd)
    assert not (tmp_path / "runs").exists()


def test_wrong_files_are_explained_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(MINE.replace("demo", "7"))
    assert run(["bench", str(file)]) == 1
    assert said(capfd) == f"error: expected a text as preset in {file}, found 7; correct it\n"


def test_slurm_options_that_do_not_fit_are_refused(suite_file: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", suite_file, "--cluster", "slurm", "--slurm-options", "lab"]) == 1
    assert "expected options of sbatch as name=value, found lab" in said(capfd)
