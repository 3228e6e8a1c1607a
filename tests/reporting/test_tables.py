"""Tables from stored files: which rows and numbers, what stands in for numbers that cannot be had."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.reporting.rows import mixture_facts, seconds_by, total_seconds, training_clock
from moegs_ns.reporting.table_notes import RETRAININGS_NOTE, VIDEO_METRICS
from moegs_ns.reporting.tables import Table, build_tables, mean_and_deviation
from tests.reporting.runs import NO_LPIPS, forget_video_metrics, leave_expert, leave_mixture, protocol

EXPERTS = {"stg": 30.0, "4dgaussians": 29.0}


def table_of(*runs: Path) -> Table:
    (table,) = build_tables([read_result(run) for run in runs])
    return table


def cells(table: Table) -> dict[str, dict[str, str]]:
    """Row label -> column -> cell."""
    return {row[0]: dict(zip(table.header[1:], row[1:], strict=True)) for row in table.rows}


def test_rows_and_numbers_of_a_mixture(tmp_path: Path) -> None:
    table = table_of(leave_mixture(tmp_path, EXPERTS, 30.5))
    assert table.title == "mixed: stg + 4dgaussians, seed 1"
    assert table.header == [
        *("", "PSNR", "dyn. PSNR", "SSIM", "LPIPS (Alex)", "flicker"),
        *("FPS", "N", "MB", "train s"),
    ]
    assert table.rows == [
        ["stg", "30.00", "27.00", "0.8500", "0.1500", "0.50", "50.0", "1,000", "0.3", "100"],
        ["4dgaussians", "29.00", "26.00", "0.8500", "0.1500", "0.50", "50.0", "1,000", "0.3", "100"],
        ["best expert (stg)", "30.00", "27.00", "0.8500", "0.1500", "0.50", "50.0", "1,000", "0.3", "100"],
        ["mean of experts", "29.50", "26.50", "0.8500", "0.1500", "0.50", "-", "-", "-", "-"],
        ["9x9-smoothed oracle", "31.00", "28.00", "0.8500", "0.1500", "0.50", "-", "-", "-", "-"],
        ["pixel oracle", "32.00", "29.00", "0.8500", "0.1500", "0.50", "-", "-", "-", "-"],
        ["mixture", "30.50", "27.50", "0.9000", "0.1000", "0.50", "20.0", "2,000", "0.7", "8 (208)"],
    ]
    assert table.emphasised == (6,)


def test_notes_of_a_mixture(tmp_path: Path) -> None:
    notes = table_of(leave_mixture(tmp_path, EXPERTS, 30.5)).notes
    assert notes[0] == (
        "The mixture is +0.50 dB from the best expert: 50 % of the gap to the smoothed oracle and 25 % of the gap to "
        "the pixel oracle."
    )
    assert notes[1] == "Router training time: 4.0 % of the experts' together."
    assert notes[2] == ("Protocol: test split, camera cam00, 24 images (frames 0 to 23), 320x240; mean over images.")
    assert {"PSNR: data range 1.", "SSIM: Gaussian window.", "LPIPS (Alex): alex here."} <= set(notes)
    assert {"Dyn. PSNR: as PSNR, where it changes.", "Flicker: mean change."} <= set(notes)
    assert "Dynamic region: 25 % of cam00's image, whose own flicker is 0.50." in notes
    assert "Newest checkpoint of each run. Evaluated by commit 0123456789." in notes
    assert any("10^6 bytes" in note and "on cpu, 2 threads" in note and "on a processor" in note for note in notes)


def set_values(file: Path, *keys: str, **values: Any) -> None:
    """Set values in what the keys lead to in a JSON file."""
    content = json.loads(file.read_text())
    inner = content
    for key in keys:
        inner = inner[key]
    inner |= values
    file.write_text(json.dumps(content))


def experts_elsewhere(outputs: Path, seed: int = 1) -> None:
    """Make the experts' runs trained and evaluated on another device, and evaluated by another commit."""
    for name in EXPERTS:
        run = outputs / f"moegs-{name}" / f"quick-seed{seed}"
        source = {"commit": "b" * 40, "modified": False}
        set_values(run / "eval_test.json", "results", "protocol", device="cpu, 1 threads", source=source)
        set_values(run / "run.json", "device", name="another", threads=1)


def test_experts_measured_on_another_device_than_the_mixture_are_named(tmp_path: Path) -> None:
    run = leave_mixture(tmp_path, EXPERTS, 30.5)
    experts_elsewhere(tmp_path)
    rival = leave_expert(tmp_path, "stg", 30.9, label="equal-budget")
    notes = table_of(run, rival).notes
    (costs,) = (note for note in notes if note.startswith("FPS: "))
    assert costs.startswith(
        "FPS: one over the median time of a render, measured on different devices, do not compare: stg, 4dgaussians on "
        "cpu, 1 thread; mixture, stg (equal-budget) on cpu, 2 threads. N: "
    )
    assert (
        "Train s: seconds of training steps, measured on different devices, do not compare: stg, 4dgaussians on "
        "another, 1 thread; mixture, stg (equal-budget) on a processor. The mixture's are "
    ) in costs
    assert (
        "Newest checkpoint of each run. Evaluated by commit bbbbbbbbbb (stg, 4dgaussians), commit 0123456789 (mixture, "
        "stg (equal-budget))."
    ) in notes


def test_a_row_whose_seeds_were_measured_on_different_devices_is_named_with_its_seeds(tmp_path: Path) -> None:
    runs = [leave_mixture(tmp_path, EXPERTS, 30.5, seed) for seed in (1, 2, 3)]
    set_values(runs[1] / "eval_test.json", "results", "protocol", device="a GPU")
    notes = table_of(*runs).notes
    assert any(
        "do not compare: stg, 4dgaussians, mixture seed 1 and 3 on cpu, 2 threads; mixture seed 2 on a GPU. N: " in note
        for note in notes
    )
    assert "Newest checkpoint of each run. Evaluated by commit 0123456789." in notes


def test_runs_whose_numbers_are_not_in_the_table_are_not_in_its_notes(tmp_path: Path) -> None:
    run = leave_mixture(tmp_path, EXPERTS, 30.5)
    experts_elsewhere(tmp_path)
    for name in EXPERTS:
        set_values(tmp_path / f"moegs-{name}" / "quick-seed1" / "eval_test.json", "results", psnr=35.0)
    notes = table_of(run).notes
    assert any("median time of a render, on cpu, 2 threads. N: " in note for note in notes)
    assert "Newest checkpoint of each run. Evaluated by commit 0123456789." in notes


def test_one_thread_is_not_threads(tmp_path: Path) -> None:
    run = leave_expert(tmp_path, "stg", 30.0, device="cpu, 1 threads")
    assert any("of a render, on cpu, 1 thread. N: " in note for note in table_of(run).notes)


def test_facts_have_no_share_of_a_gap_that_is_none(tmp_path: Path) -> None:
    facts = mixture_facts(read_result(leave_mixture(tmp_path, EXPERTS, 29.75, smoothed=29.9)))
    assert facts["over_best"] == pytest.approx(-0.25)
    assert "smoothed_share" not in facts
    assert facts["pixel_share"] == pytest.approx(-0.125)
    assert facts["router_cost"] == pytest.approx(8 / 200)


def test_several_seeds_become_mean_and_deviation(tmp_path: Path) -> None:
    runs = [
        leave_mixture(tmp_path, {"stg": stg, "4dgaussians": 29.0}, mixture, seed)
        for seed, stg, mixture in ((1, 30.0, 30.5), (2, 30.2, 30.9), (3, 30.4, 30.7))
    ]
    table = table_of(*runs)
    found = cells(table)
    assert table.title == "mixed: stg + 4dgaussians, mean ± sd of seeds 1, 2, 3"
    assert found["stg"]["PSNR"] == "30.20 ± 0.20"  # sample deviation of 30.0, 30.2, 30.4
    assert found["mixture"]["PSNR"] == "30.70 ± 0.20"
    assert found["mixture"]["train s"] == "8 ± 0 (208 ± 0)"
    assert table.notes[0].startswith("The mixture is +0.50 ± 0.20 dB from the best expert: ")


def test_the_best_expert_is_chosen_in_every_seed(tmp_path: Path) -> None:
    first = leave_mixture(tmp_path, {"stg": 30.0, "4dgaussians": 29.0}, 30.5, seed=1)
    second = leave_mixture(tmp_path, {"stg": 30.0, "4dgaussians": 30.2}, 30.5, seed=2)
    found = cells(table_of(first, second))
    assert found["best expert"]["PSNR"] == "30.10 ± 0.14"


def test_best_of_retrainings_is_the_strongest_single_run(tmp_path: Path) -> None:
    experts = ({"stg": 29.0, "4dgaussians": 28.0}, {"stg": 28.5, "4dgaussians": 30.5})
    runs = [leave_mixture(tmp_path / str(seed), own, 31.0, seed) for seed, own in enumerate(experts, 1)]
    (table,) = build_tables([read_result(run) for run in runs])
    labels = [row[0] for row in table.rows]
    row = table.rows[labels.index("best of 2 retrainings (4dgaussians, seed 2)")]
    assert row[1] == "30.50" and labels.index(row[0]) == labels.index("best expert") + 1
    (alone,) = build_tables([read_result(runs[0])])
    assert not any("retrainings" in row[0] for row in alone.rows)
    assert RETRAININGS_NOTE in table.notes
    assert not any("retrainings" in note for note in alone.notes)


def test_missing_lpips_is_said_with_its_reason(tmp_path: Path) -> None:
    run = leave_mixture(tmp_path, EXPERTS, 30.5)
    assert f"LPIPS (VGG) is n/a: {NO_LPIPS.removeprefix('unavailable: ')}." in table_of(run).notes
    evaluation = json.loads((run / "eval_test.json").read_text())
    scores = {key: value for key, value in evaluation["results"].items() if "lpips" not in key}
    scores["protocol"]["metrics"] = {"psnr": "as always", "lpips_alex": "unavailable: no weights"}
    (run / "eval_test.json").write_text(json.dumps({"results": scores}))
    table = table_of(run)
    assert table.header[1:5] == ["PSNR", "dyn. PSNR", "SSIM", "LPIPS"]
    assert {row["LPIPS"] for row in cells(table).values()} == {"n/a"}
    assert table.notes[-2:] == ["LPIPS (Alex) is n/a: no weights.", "LPIPS (VGG) is n/a: not evaluated."]


def test_scores_of_earlier_versions_are_read_and_what_they_lack_is_said(tmp_path: Path) -> None:
    run = leave_mixture(tmp_path, EXPERTS, 30.5)
    for one in (run, tmp_path / "moegs-stg" / "quick-seed1", tmp_path / "moegs-4dgaussians" / "quick-seed1"):
        forget_video_metrics(one)
    table = table_of(run)
    found = cells(table)
    assert {(row["dyn. PSNR"], row["flicker"]) for row in found.values()} == {("n/a", "n/a")}
    assert found["mixture"]["MB"] == "0.5" and any("MB: parameters as 32-bit floats" in note for note in table.notes)
    assert (
        "dyn. PSNR and flicker are n/a: evaluated before this was measured; evaluate again with ns-eval." in table.notes
    )
    (short,) = build_tables([read_result(run)], only_where_known=VIDEO_METRICS)
    assert "flicker" not in short.header and not any("flicker" in note for note in short.notes)


def test_one_run_of_an_earlier_version_is_named(tmp_path: Path) -> None:
    runs = [leave_expert(tmp_path, "stg", 30.0), leave_expert(tmp_path, "4dgaussians", 31.0, label="late")]
    forget_video_metrics(runs[0])
    table = table_of(*runs)
    found = cells(table)
    assert [found[row]["dyn. PSNR"] for row in found] == ["n/a", "28.00"]
    assert [row["MB"] for row in found.values()] == ["0.2", "0.2"]  # of one kind, which both know
    assert table.notes[-2].startswith("dyn. PSNR is n/a of quick-seed1: evaluated before")


def test_what_the_experts_runs_knew_is_not_guessed_when_they_are_gone(tmp_path: Path) -> None:
    run = leave_mixture(tmp_path, EXPERTS, 30.5)
    shutil.rmtree(tmp_path / "moegs-4dgaussians")
    table = table_of(run)
    found = cells(table)
    assert (
        found["4dgaussians"] | {"PSNR": "29.00", "N": "1,000", "FPS": "n/a", "MB": "n/a", "train s": "n/a"}
        == found["4dgaussians"]
    )
    assert found["stg"]["FPS"] == "50.0"
    assert found["mixture"]["train s"] == "8 (n/a)"
    assert any(note.startswith("n/a where 4dgaussians: its run") and note.endswith("is gone.") for note in table.notes)
    assert not any("Router training time" in note for note in table.notes)


def test_an_expert_that_scores_otherwise_alone_is_no_longer_the_mixtures(tmp_path: Path) -> None:
    run = leave_mixture(tmp_path, EXPERTS, 30.5)
    shutil.rmtree(tmp_path / "moegs-stg")
    leave_expert(tmp_path, "stg", 30.3)
    table = table_of(run)
    assert cells(table)["stg"]["PSNR"] == "30.00" and cells(table)["stg"]["FPS"] == "n/a"
    assert any("stg scores 30.30 dB alone and 30.00 dB inside the mixture" in note for note in table.notes)


def test_single_experts_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    runs = [leave_expert(tmp_path, "stg", 30.0), leave_expert(tmp_path, "stg", 30.4, seed=2)]
    table = table_of(*runs, leave_expert(tmp_path, "stg", 31.0, label="paper"))
    assert [row[:2] for row in table.rows] == [["stg (quick)", "30.20 ± 0.28"], ["stg (paper)", "31.00"]]
    assert table.title == "mixed: single experts, mean ± sd of seeds 1, 2"
    assert not any("oracle" in note.lower() for note in table.notes)


def test_an_expert_beside_a_mixture_of_its_scene_stands_below_it(tmp_path: Path) -> None:
    rival = leave_expert(tmp_path, "stg", 30.9, label="equal-budget")
    table = table_of(leave_mixture(tmp_path, EXPERTS, 30.5), rival)
    assert table.rows[-1][:2] == ["stg (equal-budget)", "30.90"]
    assert table.rows[table.emphasised[0]][0] == "mixture"


@pytest.mark.parametrize("change", [{"resolution": [640, 480]}, {"cameras": ["cam01"]}, {"images": 12}])
def test_numbers_of_different_protocols_never_share_a_table(tmp_path: Path, change: dict) -> None:
    first = leave_mixture(tmp_path, EXPERTS, 30.5)
    second = leave_mixture(tmp_path, EXPERTS, 30.7, seed=2, **change)
    assert len(build_tables([read_result(first), read_result(second)])) == 2


def test_markdown_has_every_cell_and_note(tmp_path: Path) -> None:
    table = table_of(leave_mixture(tmp_path, EXPERTS, 30.5))
    lines = table.markdown().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0] == table.header
    assert set(rows[1]) == {"---", "---:"}
    assert rows[2:-1] == table.rows[:-1]
    assert rows[-1] == [f"**{cell}**" for cell in table.rows[-1]]
    assert [line[2:] for line in lines if line.startswith("- ")] == table.notes


def test_the_terminal_shows_every_cell(tmp_path: Path) -> None:
    from rich.console import Console

    table = table_of(leave_mixture(tmp_path, EXPERTS, 30.5))
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(table.terminal())
    shown = capture.get()
    for row in table.rows:
        assert any(all(cell in line for cell in row) for line in shown.splitlines()), row


def test_a_run_that_was_not_evaluated_is_told_how(tmp_path: Path) -> None:
    run = leave_expert(tmp_path, "stg", 30.0)
    (run / "eval_test.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=f"ns-eval --load-config {run}/config.yml --output-path {run}/eval_test"
    ):
        read_result(run)


def test_scores_of_an_earlier_checkpoint_are_refused(tmp_path: Path) -> None:
    run = leave_expert(tmp_path, "stg", 30.0)
    (run / "nerfstudio_models" / "step-000000199.ckpt").touch()
    with pytest.raises(ValueError, match=r"scores of step 199 .* found those of step 99.*ns-eval"):
        read_result(run)


@pytest.mark.parametrize("scores", [{}, {"psnr": 30.0}, {"protocol": protocol(99)}])
def test_other_files_than_ns_evals_are_refused(tmp_path: Path, scores: dict) -> None:
    run = leave_expert(tmp_path, "stg", 30.0)
    (run / "eval_test.json").write_text(json.dumps({"results": scores}))
    with pytest.raises(ValueError, match="expected what ns-eval writes"):
        read_result(run)


def test_mean_and_deviation() -> None:
    assert mean_and_deviation([2.0], ".1f") == "2.0"
    assert mean_and_deviation([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], ".2f") == "5.00 ± 2.14"  # sqrt(32 / 7)


def test_reporting_needs_no_torch(tmp_path: Path) -> None:
    run = leave_mixture(tmp_path, EXPERTS, 30.5)
    code = (
        "import sys; from moegs_ns.cli.main import run; "
        f"status = run(['report', {str(run)!r}]); sys.exit(status or 10 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "best expert (stg)" in done.stdout


def count_processor_time(run: Path, seconds: float, **changes: Any) -> None:
    file = run / "run.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "progress": {**record["progress"], "processor_seconds": seconds}, **changes}))


def test_trainings_on_a_cpu_compare_by_processor_time_where_all_of_them_counted_it(tmp_path: Path) -> None:
    run = leave_mixture(tmp_path, {"stg": 30.0, "ex4dgs": 29.0}, 31.0)
    count_processor_time(run, 4.0)
    count_processor_time(tmp_path / "moegs-stg" / "quick-seed1", 50.0)
    assert training_clock(read_result(run)) == "wall"  # one did not count
    other = tmp_path / "moegs-ex4dgs" / "quick-seed1"
    count_processor_time(other, 30.0)
    result = read_result(run)
    clock = training_clock(result)
    assert clock == "processor"
    assert (seconds_by(result, clock), total_seconds(result, clock), total_seconds(result)) == (4.0, 84.0, 208.0)
    assert mixture_facts(result)["router_cost"] == pytest.approx(4 / 80)
    count_processor_time(other, 30.0, device={"type": "cuda", "name": "a GPU"})  # a GPU's host mostly waits
    assert training_clock(read_result(run)) == "wall"
