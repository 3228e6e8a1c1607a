"""The paper's figures stand beside the same method on the same scene, and nowhere else."""

import json
from pathlib import Path

from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.reporting.published_rows import PUBLISHED
from moegs_ns.reporting.published_table import published_table
from moegs_ns.reporting.tables import Table, build_tables
from tests.reporting.runs import leave_expert, leave_mixture

EXPERTS = {"ex4dgs": 33.0, "stg": 32.0}


def table_of(*runs: Path, scene: str = "sear_steak", layout: str = "n3v", **changes: object) -> Table:
    for one in runs:
        file = one / "run.json"
        record = json.loads(file.read_text())
        record["scene"] |= {"scene": scene, "layout": layout}
        file.write_text(json.dumps({**record, **changes}))
    (table,) = build_tables([read_result(one) for one in runs])
    return table


def printed(table: Table) -> dict[str, str]:
    column = table.header.index(PUBLISHED)
    return {row[0]: row[column] for row in table.rows if row[column] != "-"}


def test_experts_and_mixture_of_the_paper(tmp_path: Path) -> None:
    table = table_of(leave_mixture(tmp_path, EXPERTS, 33.5))
    assert printed(table) == {"ex4dgs": "33.69 [Table 1]", "stg": "33.77 [Table 1]", "mixture": "33.90 [Table 1]"}
    assert table.header.index(PUBLISHED) == table.header.index("PSNR") + 1
    assert any("as printed in MoE-GS (ICLR 2026) for sear_steak of Neural 3D Video" in note for note in table.notes)
    assert [line.published.psnr for line in table.lines if line.published] == [33.69, 33.77, 33.90]


def test_a_set_the_paper_does_not_have_has_no_figure(tmp_path: Path) -> None:
    table = table_of(leave_mixture(tmp_path, {"stg": 32.0, "4dgaussians": 31.0}, 33.5))
    assert printed(table).keys() == {"stg", "4dgaussians"}


def test_students_are_compared_with_students(tmp_path: Path) -> None:
    run = leave_expert(tmp_path, "stg", 33.0)
    assert printed(table_of(run, scene="Birthday", layout="technicolor")) == {"stg (quick)": "32.16 [Table 2]"}
    table = table_of(run, scene="Birthday", layout="technicolor", distilled={"teacher": "x"})
    assert printed(table) == {"stg, distilled (quick)": "33.46 [Table 11]"}


def test_other_scenes_and_layouts_have_no_column(tmp_path: Path) -> None:
    run = leave_mixture(tmp_path, EXPERTS, 33.5)
    assert PUBLISHED not in table_of(run, scene="mixed").header
    assert PUBLISHED not in table_of(run, layout="dynamic-transforms").header


def test_everything_the_paper_prints_of_the_scene(tmp_path: Path) -> None:
    run = leave_mixture(tmp_path, EXPERTS, 33.5)
    table_of(run)
    table = published_table(read_result(run))
    assert table is not None and table.title == "sear_steak: figures of the MoE-GS paper (Neural 3D Video, sear_steak)"
    assert table.header == ["", "printed in", "PSNR", "SSIM", "LPIPS"]
    assert ["MoE-GS (N=4)", "Table 1", "34.42", "-", "-"] in table.rows
    assert ["MoE-GS (N=4)", "Table 8", "34.42", "0.972", "0.026"] in table.rows
    assert "a backbone that is not stated" in table.notes[0]
    table_of(run, scene="mixed")
    assert published_table(read_result(run)) is None


def test_another_router_is_not_the_papers_mixture(tmp_path: Path) -> None:
    run = leave_mixture(tmp_path, EXPERTS, 33.5)
    record = json.loads((run / "run.json").read_text())
    record["expert"]["config"]["kernel_size"] = 3
    (run / "run.json").write_text(json.dumps(record))
    assert "mixture" not in printed(table_of(run))
