"""Write docs/results.md and docs/experts.md from what benchmarks/run_suite.py, equal_budget.py, fusion.py,
distillation.py and run_sweep.py kept; no number in these pages is typed by hand.

    python benchmarks/write_results.py
"""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import experts_page
import tyro
from distillation_section import distillation_section
from export_section import export_section
from fusion_section import fusion_section
from machine import machine_sentence
from page_parts import label_of, temporal_mean_of, with_temporal_mean
from preparation_section import preparation_section
from pruning_section import pruning_section
from rich.console import Console
from skipping_section import skipping_section
from suites import (
    DISTILLATION_RESULTS,
    FUSION_RESULTS,
    PRUNING_RESULTS,
    RESULTS,
    ROOT,
    SWEEP_RESULTS,
    Kept,
    StoredResult,
    read_suite_results,
    read_versioned,
)
from sweep_section import sweep_section

from moegs_ns.cli.objects import row_labels
from moegs_ns.reporting.appearance import appearance_table
from moegs_ns.reporting.object_psnr import object_table
from moegs_ns.reporting.router_tables import router_tables
from moegs_ns.reporting.routers import USUAL_ROUTER, router_label
from moegs_ns.reporting.rows import (
    Clock,
    best_expert,
    expert_rows,
    seconds_by,
    total_seconds,
    training_clock,
)
from moegs_ns.reporting.tables import Table, build_tables, mean_and_deviation, seeds_of

PAGE = ROOT / "docs" / "results.md"
_HEAD = """# Results

Written by [benchmarks/write_results.py](../benchmarks/write_results.py) from the JSON files in
[benchmarks/results](../benchmarks/results), which `python benchmarks/run_suite.py SUITE` makes; do not edit. The test
camera is rendered by `ns-eval` once per run, after training. *Temporal mean* is the average over time of the test
camera's own frames: about what a model without motion can score. Seconds and FPS
depend on what else a machine does: compare them within a suite only. Those here were taken on one thread beside other
work, which changed by the hour: a difference of a third may be its doing.
"""
_SWEEPS_HEAD = """## Choices made on val cameras

Settings are chosen before the test camera is looked at. `python benchmarks/run_sweep.py SWEEP` trains without the val
cameras and scores on them.
"""
_PRUNING_HEAD = """## Pruning curves

Gaussians of a mixture's experts removed by what they score, in growing shares (`moegs prune`). *gate* is Eq. 10 of the
paper; *opacity* takes the largest opacity over time; *random* draws.
"""


@dataclass
class Arguments:
    """Write docs/results.md and docs/experts.md."""

    results: Path = RESULTS
    """Folder with one folder of JSON files per suite, and one each of fusions, distillations and sweeps."""
    output: Path = PAGE
    """Page of the results; that of the experts, experts.md, is written beside it."""


def rival_notes(kept: Sequence[Kept], router: str = USUAL_ROUTER) -> list[str]:
    """How the equal-budget experts came about, what they really got, and how the mixture by ``router`` compares; one
    note each. Rivals are made for one router's mixtures; the others are of the same experts and seeds."""
    by_run = {one["run"]: result for one, result in kept}
    by_seed = {result.seed: result for _, result in kept if result.expert_names and router_label(result) == router}
    groups: dict[str, list[tuple[dict[str, Any], StoredResult, StoredResult]]] = {}
    for one, rival in kept:
        budget = one.get("equal_budget")
        if budget is None or budget["rival_of"] not in by_run:
            continue
        mixture = by_seed.get(by_run[budget["rival_of"]].seed)
        if mixture is not None:
            groups.setdefault(label_of((one, rival)), []).append((budget, rival, mixture))
    return [_rival_note(label, group) for label, group in groups.items()]


def _rival_note(label: str, group: Sequence[tuple[dict[str, Any], StoredResult, StoredResult]]) -> str:
    rivals, mixtures = [rival for _, rival, _ in group], [mixture for _, _, mixture in group]
    clocks = {training_clock(one) for one in (*rivals, *mixtures)}
    clock: Clock = clocks.pop() if len(clocks) == 1 else "wall"

    def said(numbers: Sequence[float | None]) -> str:
        known = [number for number in numbers if number is not None]
        return mean_and_deviation(known, ",.0f") if len(known) == len(numbers) else "n/a"

    leads = [mixture.scores["psnr"] - rival.scores["psnr"] for rival, mixture in zip(rivals, mixtures, strict=True)]
    lengths = [budget["steps"] / budget["own_steps"] for budget, _, _ in group]
    seeds = f"seed{'s' if len(rivals) > 1 else ''} {', '.join(str(rival.seed) for rival in rivals)}"
    own = said([one.num_gaussians for one in rivals]), said([seconds_by(one, clock) for one in rivals])
    whole = said([one.num_gaussians for one in mixtures]), said([total_seconds(one, clock) for one in mixtures])
    position = best_expert(mixtures)
    known = mixtures[0].experts()[position]
    best = mixtures[0].expert_names[position] if isinstance(known, str) else known.expert
    if rivals[0].expert == best:
        who = "the expert with the highest mean score on these very test images (a choice that favours it)"
    else:
        who = f"not the expert with the highest mean score on these test images, which is {best}"
    return (
        f"{label}: {who}, "
        f"trained alone with the mixture's Gaussians as the limit and {mean_and_deviation(lengths, '.2f')} times its "
        f"steps. It has {own[0]} Gaussians after {own[1]} s of training ({clock} time); the mixture with its experts "
        f"has {whole[0]} after {whole[1]} s. The mixture is {mean_and_deviation(leads, '+.2f')} dB from it ({seeds})."
    )


def object_tables(kept: Sequence[Kept]) -> list[Table]:
    """PSNR per object, and how what comes and goes is shown, of every set of experts that was mixed and of every
    expert alone, where the scene has masks."""
    groups: dict[tuple[str, ...], list[Kept]] = {}
    for one, result in kept:
        if one.get("objects") and (not result.expert_names or router_label(result) == USUAL_ROUTER):
            groups.setdefault((label_of((one, result)), *result.expert_names), []).append((one, result))
    tables = []
    for (label, *experts), group in groups.items():
        results, summaries = [result for _, result in group], [one["objects"] for one, _ in group]
        scene, who = results[0].scene, f"{' + '.join(experts) or label}{seeds_of(results)}"
        labels = row_labels(results[0]) if experts else {"rgb": label}
        tables.append(object_table(f"{scene}: PSNR per object, {who}", summaries, labels))
        found = [summary.get("appearing", {}) for summary in summaries]
        for name in found[0] if all(found) else ():
            rows = {
                text: [(one[name], row) for one in found]
                for row, text in labels.items()
                if all(row in one[name]["rows"] for one in found)
            }
            tables.append(appearance_table(f"{scene}: {name} comes and goes, {who}", rows))
    return tables


def table_groups(kept: Sequence[Kept]) -> list[list[Kept]]:
    """What stands in one table: the mixtures of one set of experts and their rivals; then the experts of no mixture."""
    # A run that a kept mixture mixes has its row in the mixture's table.
    mixed = {sibling.folder for _, result in kept for sibling in result.experts() if not isinstance(sibling, str)}
    sets: dict[tuple[str, ...], list[Kept]] = {}
    for one, result in kept:
        if result.expert_names:
            sets.setdefault(tuple(result.expert_names), []).append((one, result))
    set_of = {one["run"]: names for names, group in sets.items() for one, _ in group}
    alone = []
    for one, result in kept:
        if result.expert_names or result.folder in mixed:
            continue
        rival_of = one.get("equal_budget", {}).get("rival_of")
        (sets[set_of[rival_of]] if rival_of in set_of else alone).append((one, result))
    return [*sets.values(), *([alone] if alone else [])]


def group_tables(group: Sequence[Kept], kept: Sequence[Kept]) -> list[Table]:
    """The tables of a group out of everything ``kept`` of its suite."""
    tables = []
    for router in _own_tables(group):
        results = [one for one in group if not one[1].expert_names or router_label(one[1]) == router]
        notes = [*rival_notes(group, router), *oracle_notes(group, router), *processor_notes(group, router)]
        tables += _router_group_tables(results, notes, kept)
    return tables


def _own_tables(group: Sequence[Kept]) -> list[str]:
    """Routers with a table of their own, the usual one first, then what is meant to be better; those to compare with
    have a row among the routers."""
    better = {router_label(result): None for _, result in group if result.expert_names and _is_better(result)}
    return [USUAL_ROUTER, *better]


def _is_better(mixture: StoredResult) -> bool:
    """Whether it is meant to be better than by the paper's router: that with options, or experts that learn on."""
    config, label = mixture.record["expert"].get("config", {}), router_label(mixture)
    return label != USUAL_ROUTER and (label.startswith(USUAL_ROUTER) or bool(config.get("experts_learn_from")))


def rival_commands(kept: Sequence[Kept]) -> list[str]:
    """How the equal-budget experts of a suite are made again."""
    by_run = {one["run"]: result for one, result in kept}
    commands = {}
    for one, rival in kept:
        budget = one.get("equal_budget")
        if budget is None or budget["rival_of"] not in by_run:
            continue
        options = ["--slowdown", str(budget["slowdown"]), "--experts", *by_run[budget["rival_of"]].expert_names]
        if budget["router"] != USUAL_ROUTER:
            options += ["--router", budget["router"]]
        options += ["--name", rival.folder.name.replace(f"-seed{rival.seed}", "")]
        commands[shlex.join(["equal_budget.py", one["suite"]["name"], *options])] = None
    return [*commands]


def processor_notes(group: Sequence[Kept], router: str) -> list[str]:
    """What the mixtures by ``router`` and their experts took of the processor, which other work changes less than the
    seconds of the table; nothing where it was not counted."""
    mixtures = [result for _, result in group if result.expert_names and router_label(result) == router]
    if not mixtures or any(training_clock(one) != "processor" for one in mixtures):
        return []
    spent = {name: [] for name in mixtures[0].expert_names}
    for mixture in mixtures:
        for name, run in zip(mixture.expert_names, mixture.experts(), strict=True):
            if not isinstance(run, str) and run.processor_seconds is not None:
                spent[name].append(run.processor_seconds)
    spent["router"] = [one.processor_seconds for one in mixtures if one.processor_seconds is not None]
    said = ", ".join(f"{name} {mean_and_deviation(values, ',.0f')}" for name, values in spent.items() if values)
    return [
        f"Processor seconds of training, which other work on the machine changes less than those on the wall: {said}."
    ]


def oracle_notes(group: Sequence[Kept], router: str) -> list[str]:
    """Where a mixture changes its experts: what share of the gap to the oracles it closes, those of the same experts
    before, which the usual router's mixtures of the same seeds know."""
    of = {
        name: {result.seed: result for _, result in group if result.expert_names and router_label(result) == name}
        for name in (USUAL_ROUTER, router)
    }
    pairs = [(of[USUAL_ROUTER][seed], result) for seed, result in of[router].items() if seed in of[USUAL_ROUTER]]
    if not pairs or not pairs[0][1].experts_changed:
        return []
    shares: dict[str, list[float]] = {"smoothed_oracle": [], "pixel_oracle": []}
    for usual, changed in pairs:
        best = max(row.values["psnr"] for row in expert_rows(usual))
        for name, values in shares.items():
            values.append(100 * (changed.scores["psnr"] - best) / (usual.scores[f"{name}/psnr"] - best))
    said = {name: mean_and_deviation(values, ".0f") for name, values in shares.items()}
    return [
        f"Of the gap from the best expert to the oracles of the experts as they were trained (the table above), the "
        f"mixture closes {said['smoothed_oracle']} % (smoothed) and {said['pixel_oracle']} % (pixel)."
    ]


def _router_group_tables(group: Sequence[Kept], notes: list[str], kept: Sequence[Kept]) -> list[Table]:
    tables = [
        dataclasses.replace(table, notes=[*notes, *table.notes])
        for table in build_tables([result for _, result in group])
    ]
    experts = {sibling.folder for _, result in group for sibling in result.experts() if not isinstance(sibling, str)}
    shown = [(one, result) for one, result in kept if result.folder in experts] + [*group]
    mean = temporal_mean_of(shown)
    if mean is None:
        return tables
    labelled = [(label_of(one), one[1]) for one in shown]
    return [with_temporal_mean(table, mean, labelled) for table in tables]


def router_tables_of(results: Sequence[StoredResult]) -> list[Table]:
    """Routers side by side, where a set of experts has several."""
    mixtures = [result for result in results if result.expert_names]
    return [table for table in router_tables(mixtures) if len(table.rows) > 1]


def suite_section(kept: Sequence[Kept]) -> str:
    """One suite: what it is, its tables, its commands and its machines."""
    files = [one for one, _ in kept]
    groups = table_groups(kept)
    tables = [table for group in groups for table in group_tables(group, kept)]
    tables += router_tables_of([result for _, result in kept])
    tables += object_tables([one for group in groups for one in group])
    commands = "\n".join(f"{one['command']}  # seed {one['record']['seed']}" for one in files)
    machines = dict.fromkeys(
        machine_sentence({**one["measurement"], "source": one["record"]["source"]}) for one in files
    )
    suite = files[0]["suite"]
    scripts = [f"run_suite.py {suite['name']}", *rival_commands(kept)]
    again = " and ".join(f"`python benchmarks/{script}`" for script in scripts)
    return "\n".join(
        [
            f"## {suite['name']}",
            "",
            suite["description"],
            "",
            *(table.markdown() for table in tables),
            f"Again: {again}, which {'run' if len(scripts) > 1 else 'runs'}",
            "",
            "```bash",
            commands,
            "```",
            "",
            *(f"- {machine}" for machine in machines),
            "",
        ]
    )


def page(results: Path) -> str:
    """The whole page."""
    sweeps = results / SWEEP_RESULTS.name
    sections = [suite_section(kept) for kept in read_suite_results(results).values()]
    fused = read_versioned(results / FUSION_RESULTS.name, "fusion.py")
    taught = read_versioned(results / DISTILLATION_RESULTS.name, "distillation.py")
    compared = [sweep_section(content) for content in read_versioned(sweeps, "run_sweep.py")]
    chosen = [_SWEEPS_HEAD, *compared] if compared else []
    pruned = [
        pruning_section(content) for content in read_versioned(results / PRUNING_RESULTS.name, "pruning_curves.py")
    ]
    curves = [_PRUNING_HEAD, *pruned] if pruned else []
    fusions = [fusion_section(fused)] if fused else []
    students = [distillation_section(taught)] if taught else []
    skipped = skipping_section(results / "expert_skipping.json")
    prepared = preparation_section(results / "preparation.json")
    exported = export_section(results / "export_losses.json")
    sections = sections or ["No suite has been run yet.\n"]
    return "\n".join([_HEAD, *sections, *curves, *fusions, *students, *chosen, *skipped, *prepared, *exported])


def main(arguments: Arguments) -> None:
    pages = {
        arguments.output: page(arguments.results),
        arguments.output.with_name(experts_page.PAGE.name): experts_page.page(arguments.results),
    }
    for file, text in pages.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf8")
        Console().print(f"wrote {file}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
