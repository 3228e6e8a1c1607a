"""What stands below a table: by which protocol its numbers came about, on what machine, and why some are missing."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.numbers import mean_and_deviation

UNKNOWN = "n/a"
HEADERS = {
    "psnr": "PSNR",
    "psnr_dynamic": "dyn. PSNR",
    "ssim": "SSIM",
    "lpips_alex": "LPIPS (Alex)",
    "lpips_vgg": "LPIPS (VGG)",
    "flicker": "flicker",
    "fps": "FPS",
    "gaussians": "N",
    "megabytes": "MB",
    "stored_megabytes": "MB",
    "seconds": "train s",
}
#: Metrics that evaluations of earlier versions do not have.
VIDEO_METRICS = ("psnr_dynamic", "flicker")
RETRAININGS_NOTE = "Best of N retrainings: the strongest run of any expert over all seeds."
_MOST_CAMERAS = 4  # named one by one
_ONE_THREADS = re.compile(r"\b1 threads\b")  # as evaluations of earlier versions say it

#: Runs whose numbers stand in a table, each with the label of its row.
Measured = Sequence[tuple[str, RunResult]]


def lead_notes(facts: Sequence[dict[str, float]]) -> list[str]:
    """How far a mixture is ahead of its experts, and what its router costs."""

    def said(name: str, factor: float, form: str) -> str | None:
        values = [factor * one[name] for one in facts if name in one]
        return mean_and_deviation(values, form) if len(values) == len(facts) else None

    shares = [
        f"{said(name, 100, '.0f')} % of the gap to the {oracle}"
        for name, oracle in (("smoothed_share", "smoothed oracle"), ("pixel_share", "pixel oracle"))
        if said(name, 100, ".0f") is not None
    ]
    closed = f": {' and '.join(shares)}" if shares else ""
    lines = [f"The mixture is {said('over_best', 1, '+.2f')} dB from the best expert{closed}."]
    cost = said("router_cost", 100, ".1f")
    return [*lines, f"Router training time: {cost} % of the experts' together."] if cost else lines


def protocol_notes(results: Sequence[RunResult], measured: Measured = ()) -> list[str]:
    """What was compared with what, and what the metrics are; the runs share a protocol.

    Args:
        results: the runs a table is of.
        measured: all whose numbers stand in it, a mixture's experts too; without, rows are not named.
    """
    protocol = results[0].protocol
    frames = protocol.get("frames")
    span = f" (frames {frames['first']} to {frames['last']})" if frames else ""
    stamp = (
        f"Protocol: {protocol.get('split')} split, camera {', '.join(map(str, protocol.get('cameras', [])))}, "
        f"{protocol.get('images')} images{span}, {_size(protocol.get('resolution'))}; mean over images."
    )
    return [stamp, *_definitions(results), *_commit_note(measured or [("", result) for result in results])]


def _definitions(results: Sequence[RunResult]) -> list[str]:
    notes = []
    for name, header in HEADERS.items():
        described = [str(result.protocol.get("metrics", {}).get(name, "unavailable")) for result in results]
        said = dict.fromkeys(one for one in described if not one.startswith("unavailable"))
        notes += [f"{header[0].upper()}{header[1:]}: {' / '.join(said)}."] if said else []
    found = [result.protocol["dynamic_regions"] for result in results if "dynamic_regions" in result.protocol]
    return [*notes, *_region_notes(found[0])] if found else notes


def _region_notes(regions: Mapping[str, Any]) -> list[str]:
    said = [
        f"{100 * region['share']:.0f} % of {camera}'s image, whose own flicker is {_noise(region['truth_flicker'])}"
        for camera, region in regions.items()
        if "share" in region
    ]
    if len(said) > _MOST_CAMERAS:
        shares = [100 * region["share"] for region in regions.values() if "share" in region]
        said = [f"{min(shares):.0f} to {max(shares):.0f} % of the images of {len(shares)} cameras"]
    return [f"Dynamic region: {'; '.join(said)}."] if said else []


def _noise(flicker: float | None) -> str:
    return UNKNOWN if flicker is None else f"{flicker:.2f}"


def _commit_note(measured: Measured) -> list[str]:
    """By which state of the program the runs were evaluated; evaluations of earlier versions do not say."""
    if not any("checkpoint_rule" in run.protocol for _, run in measured):
        return []
    states = _rows_by(measured, lambda run: _state(run.protocol))
    told = [f"{state} ({rows})" if len(states) > 1 and rows else state for state, rows in states.items()]
    return [f"Newest checkpoint of each run. Evaluated by {', '.join(told)}."]


def _rows_by(measured: Measured, told: Callable[[RunResult], str]) -> dict[str, str]:
    """What is told of runs, each with the rows it holds for; a row whose seeds differ is named with its seeds."""
    everything: dict[str, set[str]] = {}
    for label, run in measured:
        everything.setdefault(label, set()).add(told(run))
    seeds: dict[str, dict[str, list[str]]] = {}
    for label, run in measured:
        seeds.setdefault(told(run), {}).setdefault(label, []).append(str(run.seed))
    return {
        one: ", ".join(
            label if not label or len(everything[label]) == 1 else f"{label} seed {' and '.join(dict.fromkeys(own))}"
            for label, own in rows.items()
        )
        for one, rows in seeds.items()
    }


def _state(protocol: Mapping[str, Any]) -> str:
    source = protocol.get("source")
    if source is None:
        version = (protocol.get("versions") or {}).get("moegs_ns")
        return f"moegs_ns {version}" if version else "an unknown version"
    changed = " with changes" if source.get("modified") else ""
    return f"commit {source['commit'][:10]}{changed}"


def cost_notes(measured: Measured, has_oracles: bool, stored: bool) -> list[str]:
    """What speed and size mean; ``stored``: sizes are those of checkpoints."""
    rendered, trained = _measured_on(measured)
    size = "what a checkpoint holds of the model" if stored else "parameters as 32-bit floats"
    notes = [
        f"FPS: one over the median time of a render{rendered}. N: Gaussians. MB: {size}, 10^6 bytes. "
        f"Train s: seconds of training steps{trained}."
    ]
    if has_oracles:
        notes[0] += " The mixture's are the router's alone, with its experts' in brackets."
        notes.append(
            "The best expert has the highest mean PSNR over the test frames. Oracles choose the expert with the "
            "smallest error per pixel (smoothed: averaged over 9x9 pixels), for which they need the truth."
        )
    return notes


def speed_note(measured: Measured) -> str:
    """What speed and training time mean, and on what devices they were measured."""
    rendered, trained = _measured_on(measured)
    return f"FPS: one over the median time of a render{rendered}. Train s: seconds of training steps{trained}."


def _measured_on(measured: Measured) -> tuple[str, str]:
    """Where the rows' renders, and where their trainings, were timed."""
    rendered = _where([(row, run) for row, run in measured if "fps" in run.scores], _rendered_on)
    return rendered, _where([(row, run) for row, run in measured if run.training_seconds is not None], _trained_on)


def _where(measured: Measured, device_of: Callable[[RunResult], str]) -> str:
    """On what device, or on which of several each row was measured."""
    devices = _rows_by(measured, device_of)
    if len(devices) < 2:
        return "".join(f", on {device}" for device in devices)
    told = "; ".join(f"{rows} on {device}" for device, rows in devices.items())
    return f", measured on different devices, do not compare: {told}"


def _rendered_on(run: RunResult) -> str:
    return _ONE_THREADS.sub("1 thread", str(run.protocol.get("device", "unknown device")))


def _trained_on(run: RunResult) -> str:
    device = run.record.get("device", {})
    count = device.get("threads")
    threads = "" if count is None else f", {count} thread{'' if count == 1 else 's'}"
    return f"{device.get('name', 'unknown device')}{threads}"


def missing_notes(results: Sequence[RunResult], missing: Sequence[str]) -> list[str]:
    """Why whole columns are empty."""
    reasons: dict[str, list[str]] = {}
    for name in missing:
        told = "; ".join(sorted({_reason(result, name) for result in results}))
        reasons.setdefault(told, []).append(HEADERS[name])
    return [f"{' and '.join(names)} {_be(names)} {UNKNOWN}: {told}." for told, names in reasons.items()]


def gap_notes(results: Sequence[RunResult], names: Sequence[str]) -> list[str]:
    """Why columns are empty in some rows."""
    gaps: dict[tuple[str, str], list[str]] = {}
    for name in names:
        for result in results:
            if name not in result.scores:
                gaps.setdefault((_reason(result, name), name), []).append(result.folder.name)
    return [
        f"{HEADERS[name]} is {UNKNOWN} of {', '.join(dict.fromkeys(runs))}: {reason}."
        for (reason, name), runs in gaps.items()
    ]


def _reason(result: RunResult, name: str) -> str:
    """Why a run's scores lack a metric."""
    described = str(result.protocol.get("metrics", {}).get(name, _not_evaluated(name)))
    return described.removeprefix("unavailable: ")


def _not_evaluated(name: str) -> str:
    if name in VIDEO_METRICS:
        return "evaluated before this was measured; evaluate again with ns-eval"
    return "not evaluated"


def _be(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def seeds_of(results: Sequence[RunResult]) -> str:
    """How a title names the seeds of its runs."""
    seeds = list(dict.fromkeys(str(result.seed) for result in results))
    return f", seed {seeds[0]}" if len(seeds) == 1 else f", mean ± sd of seeds {', '.join(seeds)}"


def _size(resolution: Any) -> str:
    if not resolution:
        return "unknown resolution"
    sizes = [resolution] if isinstance(resolution[0], int) else resolution
    return ", ".join("x".join(map(str, size)) for size in sizes)
