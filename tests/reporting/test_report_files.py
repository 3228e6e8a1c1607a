"""A stored report: fits its schema, and gives the same tables when the runs are gone."""

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from moegs_ns.cli.main import run
from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.reporting.report_files import SCHEMA_FILE, Reported, read_report, report_content
from moegs_ns.reporting.tables import build_tables
from tests.reporting.runs import forget_video_metrics, leave_expert, leave_mixture

EXPERTS = {"stg": 30.0, "4dgaussians": 29.0}
FORMATS = ("report.txt", "report.md", "report.tex", "report.csv")


def moegs(*arguments: object) -> None:
    assert run(["report", *map(str, arguments)]) == 0


def check(file: Path) -> dict[str, Any]:
    """The content of a report that fits the schema."""
    content = json.loads(file.read_text())
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(content)
    return content


def some_runs(folder: Path) -> list[Path]:
    """Two seeds of a mixture, an expert of which is gone; a rival below it; an expert of another protocol; a run scored
    by an earlier version; and a set whose scene the paper has."""
    runs = [
        leave_mixture(folder / "a", EXPERTS, 30.5, seed=1),
        leave_mixture(folder / "a", {"stg": 30.4, "4dgaussians": 29.2}, 30.9, seed=2),
        leave_expert(folder / "a", "stg", 30.7, label="equal-budget"),
        leave_expert(folder / "a", "ex4dgs", 31.0, label="half", resolution=[160, 120]),
        leave_expert(folder / "a", "ed3dgs", 31.2, label="old"),
        leave_mixture(folder / "b", {"ex4dgs": 33.0, "stg": 32.0}, 33.4),
    ]
    shutil.rmtree(folder / "a" / "moegs-4dgaussians" / "quick-seed2")
    forget_video_metrics(runs[4])
    for record in (folder / "b").rglob("run.json"):
        content = json.loads(record.read_text())
        content["scene"] |= {"scene": "sear_steak", "layout": "n3v"}
        record.write_text(json.dumps(content))
    return runs


def test_tables_are_the_same_bytes_when_the_runs_are_gone(tmp_path: Path) -> None:
    outputs, stored = tmp_path / "outputs", tmp_path / "report.json"
    runs = some_runs(outputs)
    for name in FORMATS:
        moegs(*runs, "--output", tmp_path / "live" / name, "--json", stored)
    content = check(stored)
    shutil.rmtree(outputs)
    for name in FORMATS:
        moegs(stored, "--output", tmp_path / "kept" / name, "--json", tmp_path / "again.json")
        assert (tmp_path / "live" / name).read_bytes() == (tmp_path / "kept" / name).read_bytes()
    assert (tmp_path / "again.json").read_bytes() == stored.read_bytes()
    assert len(content["tables"]) == 4  # three protocols and scenes, and the paper's figures
    text = (tmp_path / "kept" / "report.md").read_text()
    assert "its run" in text and "is gone" in text  # the expert whose run was gone already
    assert "33.77 [Table 1]" in text  # STG on sear_steak


def test_charts_are_the_same_bytes_when_the_runs_are_gone(tmp_path: Path) -> None:
    outputs, stored = tmp_path / "outputs", tmp_path / "report.json"
    run_folder = leave_mixture(outputs, EXPERTS, 30.5)
    moegs(run_folder, "--json", stored, "--plots", tmp_path / "live")
    shutil.rmtree(outputs)
    moegs(stored, "--plots", tmp_path / "kept")
    names = sorted(file.name for file in (tmp_path / "live").iterdir())
    stem = "mixed-stg-4dgaussians-seed-1"
    assert names == sorted(f"{stem}_{kind}.{form}" for kind in ("frames", "costs") for form in ("png", "pdf"))
    for name in names:
        assert (tmp_path / "live" / name).read_bytes() == (tmp_path / "kept" / name).read_bytes()


def test_scores_per_object_are_stored(tmp_path: Path) -> None:
    outputs, stored = tmp_path / "outputs", tmp_path / "report.json"
    run_folder = leave_expert(outputs, "stg", 30.0)
    (outputs / "data" / "mask").mkdir(parents=True)
    psnr = {"temporal_mean": {"ball": 20.0}, "rgb": {"ball": 27.5}}
    summary = {"step": 99, "objects": {"ball": 0.125}, "psnr": psnr, "appearing": {}}
    (run_folder / "object_psnr_test.json").write_text(json.dumps(summary))
    moegs(run_folder, "--objects", "--json", stored, "--output", tmp_path / "live.md")
    check(stored)
    shutil.rmtree(outputs)
    moegs(stored, "--output", tmp_path / "kept.md")
    assert "| **stg** | **27.50** |" in (tmp_path / "kept.md").read_text()
    assert (tmp_path / "live.md").read_bytes() == (tmp_path / "kept.md").read_bytes()


def test_what_is_stored(tmp_path: Path) -> None:
    runs = [leave_mixture(tmp_path / "outputs", EXPERTS, 30.5, seed=seed) for seed in (1, 2)]
    results = [Reported(read_result(one)) for one in runs]
    content = report_content(results, build_tables([one.result for one in results]))
    assert [one["folder"] for one in content["runs"]] == [
        *("outputs/moegs-router/quick-seed1", "outputs/moegs-router/quick-seed2"),
        *("outputs/moegs-stg/quick-seed1", "outputs/moegs-4dgaussians/quick-seed1"),
        *("outputs/moegs-stg/quick-seed2", "outputs/moegs-4dgaussians/quick-seed2"),
    ]
    assert [one["listed"] for one in content["runs"]] == [True, True, False, False, False, False]
    assert [one["experts"] for one in content["runs"]][:2] == [[{"run": 2}, {"run": 3}], [{"run": 4}, {"run": 5}]]
    assert str(tmp_path) not in json.dumps(content)
    (table,) = content["tables"]
    mixture = table["numbers"][-1]
    assert mixture["label"] == "mixture" and mixture["seeds"] == 2
    assert mixture["values"]["psnr"] == {"mean": 30.5, "sd": 0.0, "per_seed": [30.5, 30.5]}
    assert table["protocol"]["cameras"] == ["cam00"] and table["protocol"]["resolution"] == [320, 240]
    assert table["protocol"]["checkpoint_rule"] == "the newest"
    assert table["protocol"]["evaluated_by"] == [{"commit": "0123456789" * 4, "modified": False}]
    assert content["made_by"]["versions"]["moegs_ns"]


def test_runs_of_equal_names_are_kept_apart(tmp_path: Path) -> None:
    runs = [leave_expert(tmp_path / part / "scene", "stg", psnr) for part, psnr in (("a", 30.0), ("b", 31.0))]
    results = [Reported(read_result(one)) for one in runs]
    content = report_content(results, [])
    assert [one["folder"] for one in content["runs"]] == [f"{part}/scene/moegs-stg/quick-seed1" for part in "ab"]
    (tmp_path / "report.json").write_text(json.dumps(content))
    assert [one.result.scores["psnr"] for one in read_report(tmp_path / "report.json")] == [30.0, 31.0]


def test_stored_reports_and_runs_stand_in_one_table(tmp_path: Path) -> None:
    stored = tmp_path / "report.json"
    moegs(leave_expert(tmp_path / "outputs", "stg", 30.0), "--json", stored, "--output", tmp_path / "first.md")
    shutil.rmtree(tmp_path / "outputs")
    other = leave_expert(tmp_path / "outputs", "ex4dgs", 31.0)
    moegs(stored, other, "--output", tmp_path / "both.csv")
    rows = (tmp_path / "both.csv").read_text().splitlines()
    assert [line.split(",")[2:4] for line in rows[1:]] == [["stg (quick)", "1"], ["ex4dgs (quick)", "1"]]


def test_the_schema_is_strict(tmp_path: Path) -> None:
    stored = tmp_path / "report.json"
    moegs(leave_mixture(tmp_path / "outputs", EXPERTS, 30.5), "--json", stored, "--output", tmp_path / "report.md")
    good = check(stored)
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))
    broken = [json.loads(json.dumps(good)) for _ in range(6)]
    del broken[0]["runs"][0]["scores"]["protocol"]["metrics"]
    broken[1]["runs"][0]["scores"]["psnr"] = "30.5"
    broken[2]["tables"][0]["numbers"][0]["values"]["psnr"]["sd"] = -1
    broken[3]["runs"][0]["experts"][0] = {"run": "first"}
    broken[4]["surprise"] = 1
    broken[5]["tables"][0]["numbers"][0]["values"]["psnrr"] = good["tables"][0]["numbers"][0]["values"]["psnr"]
    assert [validator.is_valid(one) for one in broken] == [False] * len(broken)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a report at .*, found none; make it: moegs report"),
        ("no JSON", "expected JSON in the report"),
        ("[]", "found other data"),
        ('{"results": {"psnr": 1}}', "expected a report that `moegs report --json` wrote"),
        ('{"kind": "moegs report", "schema_version": 99}', "schema version 1 in .*, found 99"),
        ('{"kind": "moegs report", "schema_version": 1, "runs": [{}]}', "found a part missing"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "report.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        read_report(file)
