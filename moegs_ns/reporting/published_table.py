"""All figures of the MoE-GS paper for the scene of a run, as a table of their own."""

from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.published import DEVICE, LPIPS_BACKBONE, data_sets
from moegs_ns.reporting.published_rows import scores_of_scene
from moegs_ns.reporting.tables import Table

_NAMES = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "fps": "FPS", "megabytes": "MB", "hours": "hours"}
_FORMATS = {"psnr": ".2f", "ssim": ".3f", "lpips": ".3f", "fps": ".0f", "megabytes": ".1f", "hours": ".1f"}


def published_table(result: RunResult) -> Table | None:
    """Everything the paper prints of a run's scene, row by row; None for scenes it does not have."""
    known = scores_of_scene(result)
    if not known:
        return None
    columns = [name for name in _FORMATS if any(getattr(score, name) is not None for score in known)]
    rows = [
        [score.label, score.source, *(_figure(getattr(score, name), _FORMATS[name]) for name in columns)]
        for score in known
    ]
    speeds = f"; FPS and hours of training on an {DEVICE}" if {"fps", "hours"} & {*columns} else ""
    notes = [
        f"As printed; LPIPS with a backbone that is {LPIPS_BACKBONE}{speeds}.",
        *dict.fromkeys(f"{score.source}: {note}" for score in known for note in score.notes),
    ]
    data_set = data_sets()[known[0].data_set].title
    title = f"{result.scene}: figures of the MoE-GS paper ({data_set}, {known[0].scene})"
    return Table(title, ["", "printed in", *(_NAMES[name] for name in columns)], rows, notes)


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
