"""Options of distillation, screened on val cameras, as a part of docs/results.md."""

import json
from pathlib import Path
from typing import Any

from machine import machine_sentence

from moegs_ns.reporting.tables import Table

_HEADER = ["", "PSNR", "over alone", "SSIM", "N", "teacher"]
_NONE = "-"
_FOOT = (
    "*Teacher*: what the mixture that teaches scores itself. *Weighted* and *unweighted* as above. Pseudo-views "
    "are places between the training cameras that the teacher shows too; further steps go on from a finished run, "
    "at the learning rates it ended with. A student of a family its teacher lacks, or a fused model, has no gate, "
    "so it is taught without masks."
)


def options_tables(content: dict[str, Any]) -> list[Table]:
    """A table per group of rows; each is compared with the group's first row, the same training without a teacher."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in content["rows"]:
        groups.setdefault(row["group"], []).append(row)
    teacher = content["teacher"]["scores"]["psnr"]
    tables = []
    for group, rows in groups.items():
        alone = rows[0]["scores"]["psnr"]
        shown = [[*_cells(row, alone), _NONE if row["label"] == "alone" else _teacher(row, teacher)] for row in rows]
        highest = max(range(len(rows)), key=lambda number: rows[number]["scores"]["psnr"])
        tables.append(Table(group, _HEADER, shown, emphasised=(highest,)))
    return tables


def options_section(file: Path) -> str:
    """What was tried, the tables, how to make them again; empty without the file."""
    if not file.is_file():
        return ""
    content = json.loads(file.read_text("utf8"))
    cameras = " and ".join(content["rows"][0]["scores"]["protocol"]["cameras"])
    head = (
        f"### Its options, on val cameras\n\nOne seed ({content['seed']}) on `{content['data']}`, preset "
        f"`{content['preset']}`, trained without {cameras}, scored on them; the test camera had no part. What gains "
        "here would be worth three seeds on the test camera.\n"
    )
    sources = [{**content["measurement"], "source": row["source"]} for row in content["rows"]]
    machines = dict.fromkeys(machine_sentence(source) for source in sources)
    again = f"Again: `{content['measurement']['command']}`."
    tables = [table.markdown() for table in options_tables(content)]
    return "\n".join([head, *tables, _FOOT, "", again, "", *(f"- {machine}" for machine in machines), ""])


def _teacher(row: dict[str, Any], usual: float) -> str:
    """What the mixture that taught it scores itself."""
    return f"{row.get('teacher_psnr', usual):.2f}"


def _cells(row: dict[str, Any], alone: float) -> list[str]:
    scores, number = row["scores"], row["num_gaussians"]
    lead = _NONE if row["label"] == "alone" else f"{scores['psnr'] - alone:+.2f}"
    return [row["label"], f"{scores['psnr']:.2f}", lead, f"{scores['ssim']:.4f}", f"{number:,}" if number else "n/a"]
