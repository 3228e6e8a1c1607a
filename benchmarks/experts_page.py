"""docs/experts.md: the experts compared, one section per question. Written by write_results.py.

Words about the methods hold whatever the numbers say (`expert_families`); every sentence about numbers is made from
kept results (`experts_answers`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from expert_families import families_text, known_families
from experts_answers import (
    SuiteRuns,
    appearing_part,
    cost_part,
    mixtures_part,
    motion_part,
    objects_part,
    seeds_told,
    suite_runs,
    tracks_part,
)  # fmt: skip
from suites import ROOT, read_suite_results

from moegs_ns.experts.registry import EXPERTS

PAGE = ROOT / "docs" / "experts.md"
_HEAD = """# The experts compared

Written by [benchmarks/write_results.py](../benchmarks/write_results.py) from the runs kept in
[benchmarks/results](../benchmarks/results); do not edit. Commands, seeds, machines and mixtures stand in
[results.md](results.md). Runs are scored on test cameras that nothing was trained or chosen on; a ± is the standard
deviation over seeds.
"""
_EXPRESS = """## What can each family express, and what can it not?

All experts yield the same thing, Gaussians at an instant; they differ in what a Gaussian may do over time. What stands
still asks nothing of that, so the objects below say more than scores over whole pictures.
"""
_COST = """## How good are the pictures, and what do they cost?

*Temporal mean* is the average over time of the test camera's own frames: no model without motion can beat it.
"""
_OBJECTS = """## Which objects does each one show?

PSNR on each object's own pixels, and for comparison what the temporal mean makes of them.
"""
_APPEARS = """## Is what comes and goes there when it should be, and gone when not?

Experts with a temporal opacity can switch a Gaussian off; the others have to fade it or move it out of sight. The
temporal mean shows an object all the time, in proportion to its stay. *Separation* is the share shown while the object
is there less the share shown otherwise: 1 is right, and a picture that cannot change has 0.
"""
_FOLLOWS = """## Do Gaussians follow what they show?

A picture can be right without that: Gaussians may fade out behind an object and in ahead of it, and nothing moves. On
scenes with known tracks of surface points, Gaussians near a point at some time are followed over the next frames.
"""
_MOVES = """## How do the Gaussians move?

MoE-GS describes each family's trajectories in words and pictures (Appendix E), as tendencies:
"""
_MOVES_AFTER = """Small drifts of things that stand still count as motion here; coherence and turning give long steps
more weight. *Surface points* are known tracks, where a scene has them. `moegs report motion RUN` prints these numbers
for any run and draws trajectories over a frame.
"""
_MIXES = """## What does mixing make of the differences?

The router blends the experts' pictures, so there is something to gain where they fail in different places. All rows,
oracles and costs are in [results.md](results.md).
"""


def page(results: Path) -> str:
    """The whole page, from the folder of kept results."""
    families = known_families(list(EXPERTS))
    names = [family.name for family in families]
    suites = [suite_runs(name, kept, names) for name, kept in read_suite_results(results).items()]
    tendencies = "".join(f"- {family.title}: {family.tendency}.\n" for family in families)
    return "\n".join(
        [
            _HEAD,
            *(f"- {line}" for line in _coverage(suites, names)),
            "",
            _EXPRESS,
            families_text(families),
            *_section(_COST, suites, cost_part),
            *_section(_OBJECTS, suites, objects_part),
            *_section(_APPEARS, suites, appearing_part),
            *_section(_FOLLOWS, suites, tracks_part),
            *_section(f"{_MOVES}\n{tendencies}", suites, motion_part),
            _MOVES_AFTER,
            *_section(_MIXES, suites, mixtures_part),
        ]
    )


def _section(head: str, suites: Sequence[SuiteRuns], part: Callable[[SuiteRuns], list[str]]) -> list[str]:
    parts = [text for suite in suites for text in part(suite)]
    return [head, *(parts or ["No runs that tell it have been kept yet.\n"])]


def _coverage(suites: Sequence[SuiteRuns], names: Sequence[str]) -> list[str]:
    lines = []
    for suite in suites:
        kept = [f"{name} ({seeds_told(runs)})" for name, runs in suite.experts.items()]
        missing = [name for name in names if name not in suite.experts]
        lines.append(
            f"`{suite.name}`: {'; '.join(kept) or 'no expert'}"
            + (f"; not kept: {', '.join(missing)}" if missing else "")
        )
    return lines or ["No suite has been run yet."]
