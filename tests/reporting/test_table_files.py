"""LaTeX and CSV: what a compiler and a spreadsheet find in them."""

import csv
import re
from io import StringIO
from pathlib import Path

from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.reporting.table_files import comma_separated, latex
from moegs_ns.reporting.tables import Table, build_tables
from tests.reporting.runs import leave_mixture

EXPERTS = {"stg": 30.0, "4dgaussians": 29.0}


def table_of_two_seeds(folder: Path) -> Table:
    mixtures = [leave_mixture(folder, EXPERTS, psnr, seed) for seed, psnr in ((1, 30.5), (2, 30.9))]
    (table,) = build_tables([read_result(one) for one in mixtures])
    return table


def plain(cell: str) -> str:
    """What a compiler prints of a cell."""
    cell = re.sub(r"\\textbf\{(.*)\}", r"\1", cell.strip())
    return cell.replace(r"$\pm$", "±").replace(r"\_", "_").replace(r"\%", "%")


def test_latex_has_every_cell_between_the_rules(tmp_path: Path) -> None:
    table = table_of_two_seeds(tmp_path)
    text = latex(table)
    assert text.count(r"\begin{") == text.count(r"\end{")
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line.removesuffix(r" \\").split(" & ") for line in body.splitlines() if line.endswith(r"\\")]
    assert [[plain(cell) for cell in row] for row in rows] == [
        [cell.strip() for cell in row] for row in (table.header, *table.rows)
    ]
    columns = re.search(r"\\begin\{tabular\}\{(l+r+)\}", text)
    assert columns is not None and len(columns[1]) == len(table.header)
    assert rf"\caption{{{table.title.replace('±', '$' + chr(92) + 'pm$')}}}" in text
    bold = [line.startswith(r"\textbf") for line in body.splitlines() if "&" in line]
    assert bold == [False] * (len(bold) - 1) + [True]  # the mixture's
    assert r"10\textasciicircum{}6 bytes" in text


def test_nothing_latex_would_trip_over_remains() -> None:
    table = Table("a_b & 50 %", ["", "x_1"], [["#1 {~} ^ \\ $ <>", "1 ± 2"]], ["100 % of α × 3"])
    text = latex(table)
    left = re.sub(r"\\[A-Za-z]+\{\}|\\[%$&#_{}]|\$\\(pm|times)\$", "", text.split(r"\midrule")[1].split("\\\\")[0])
    assert not re.search(r"[#$%&_{}~^<>±]", left.replace(" & ", ""))


def test_csv_has_the_numbers_unrounded(tmp_path: Path) -> None:
    table = table_of_two_seeds(tmp_path)
    rows = list(csv.DictReader(StringIO(comma_separated([table]))))
    assert [row["row"] for row in rows] == [row[0] for row in table.rows]
    mixture = rows[-1]
    assert float(mixture["psnr"]) == (30.5 + 30.9) / 2 and float(mixture["psnr_sd"]) > 0.28
    assert (mixture["seeds"], mixture["stored_megabytes"], mixture["psnr_published"]) == ("2", "0.65", "")
    oracle = next(row for row in rows if row["row"] == "pixel oracle")
    assert oracle["fps"] == "" and float(oracle["psnr"]) == 32.0


def test_tables_without_numbers_give_their_cells() -> None:
    text = comma_separated([Table("objects", ["PSNR", "ball"], [["stg", "30.1"]])])
    assert text == "table,row,ball\nobjects,stg,30.1\n"
