"""Routers side by side on the same experts, in the form of the paper's Table 4."""

from collections.abc import Sequence

from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.numbers import mean_and_deviation
from moegs_ns.reporting.routers import router_label
from moegs_ns.reporting.rows import QUALITY, mixture_facts
from moegs_ns.reporting.table_notes import HEADERS, protocol_notes, seeds_of, speed_note
from moegs_ns.reporting.tables import Table, comparable

_DIGITS = {"psnr": ".2f", "psnr_dynamic": ".2f", "flicker": ".2f"}


def router_tables(results: Sequence[RunResult]) -> list[Table]:
    """One table per scene, protocol and set of experts; a row per router, mean and deviation over its seeds.

    Raises:
        ValueError: a run that is no mixture.
    """
    groups: dict[tuple[str, ...], dict[str, list[RunResult]]] = {}
    for result in results:
        if not result.expert_names:
            raise ValueError(
                f"expected runs of mixtures to compare their routers, found one of '{result.expert}' at "
                f"{result.folder}; leave it out"
            )
        routers = groups.setdefault((comparable(result), *result.expert_names), {})
        routers.setdefault(router_label(result), []).append(result)
    return [_table(routers) for routers in groups.values()]


def _table(routers: dict[str, list[RunResult]]) -> Table:
    runs = [result for group in routers.values() for result in group]
    columns = [name for name in QUALITY if all(name in result.scores for result in runs)]
    header = ["router", *(HEADERS[name] for name in columns), "over best expert, dB", "FPS", "train s"]
    rows = []
    for label, group in routers.items():
        cells = [_mean([result.scores[name] for result in group], _DIGITS.get(name, ".4f")) for name in columns]
        cells.append(_mean([mixture_facts(result)["over_best"] for result in group], "+.2f"))
        cells.append(_mean([result.scores.get("fps") for result in group], ".1f"))
        cells.append(_mean([result.training_seconds for result in group], ",.0f"))
        rows.append([label, *cells])
    counts = {label: len({result.seed for result in group}) for label, group in routers.items()}
    measured = [(label, result) for label, group in routers.items() for result in group]
    notes = [*protocol_notes(runs, measured), speed_note(measured)]
    if len(set(counts.values())) > 1:
        notes.append(f"Seeds: {'; '.join(f'{label} {count}' for label, count in counts.items())}.")
    first = runs[0]
    title = f"{first.scene}: routers over {' + '.join(first.expert_names)}{seeds_of(runs)}"
    return Table(title, header, rows, notes)


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return mean_and_deviation(known, form) if len(known) == len(values) else "n/a"
