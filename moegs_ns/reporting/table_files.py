"""Tables for papers and spreadsheets: LaTeX with booktabs, CSV with every number by itself."""

import csv
from collections.abc import Sequence
from io import StringIO

from moegs_ns.reporting.numbers import deviation, mean
from moegs_ns.reporting.tables import Line, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "σ": r"$\sigma$",
}


def latex(table: Table) -> str:
    """A ``table`` environment, to be included where ``booktabs`` is loaded; the notes stand below in small print."""
    body = [
        " & ".join(rf"\textbf{{{_escaped(cell)}}}" if number in table.emphasised else _escaped(cell) for cell in cells)
        for number, cells in enumerate(table.rows)
    ]
    header = " & ".join(_escaped(name) for name in table.header)
    notes = [rf"\par\noindent {_escaped(note)}" for note in table.notes]
    small_print = [r"\par\medskip", r"\begin{minipage}{\linewidth}", r"\footnotesize", *notes, r"\end{minipage}"]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escaped(table.title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            rf"{header} \\",
            r"\midrule",
            *(rf"{line} \\" for line in body),
            r"\bottomrule",
            r"\end{tabular}",
            *(small_print if notes else []),
            r"\end{table}",
            "",
        ]
    )


def comma_separated(tables: Sequence[Table]) -> str:
    """All tables one below the other, a line per row: table, row, seeds, the paper's PSNR and where it is printed, and
    of every column the mean and the sample standard deviation over the seeds, unrounded; empty where unknown. Tables
    that know no numbers come last, each with a header of its own, and give their cells."""
    names = list(dict.fromkeys(name for table in tables for line in table.lines for name in line.values))
    plain = [table for table in tables if not table.lines]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if len(plain) < len(tables):
        columns = [head for name in names for head in (name, f"{name}_sd")]
        writer.writerow(["table", "row", "seeds", "psnr_published", "published_in", *columns])
    for table in tables:
        for line in table.lines:
            printed = (None, None) if line.published is None else (line.published.psnr, line.published.source)
            writer.writerow([table.title, line.label, line.seeds, *printed, *_numbers(line, names)])
    for table in plain:
        writer.writerow(["table", "row", *table.header[1:]])
        writer.writerows([table.title, *cells] for cells in table.rows)
    return text.getvalue()


def _numbers(line: Line, names: Sequence[str]) -> list[float | None]:
    found: list[float | None] = []
    for name in names:
        values = line.values.get(name, ())
        whole = len(values) == line.seeds  # a mean over some of the seeds would pass for one over all
        found += [mean(values), deviation(values)] if whole else [None, None]
    return found


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
