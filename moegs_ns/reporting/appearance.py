"""Objects that are there for part of a clip only: are they in the picture when they should be, and gone when not?

The object masks of all cameras together say when an object is there. It is judged in the pixels of a test camera which
it covers at any time; where something else stands in front of it, or of what lies behind it, a pixel does not count in
that frame. In these pixels stand the PSNR before, while and after the object is there, and *how much of it is shown*:
with the truth behind it ``b`` and the object ``o``, a picture ``p`` shows the share that fits ``p = b + share (o - b)``
best. A share of 1 is the object, 0 what lies behind it; a model that cannot change shows the same share all the time.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from moegs_ns.reporting.metrics import decibel
from moegs_ns.reporting.object_psnr import ObjectMasks
from moegs_ns.reporting.tables import Table, mean_and_deviation

PROTOCOL = (
    "In the pixels of the test cameras that the object covers at any time, without those where something else stands "
    "in front. Shown: how much of the object a picture shows, 100 % the object as it is, 0 % only what lies behind it; "
    "mean over frames. Frames a / b: the share shown in the two frames between which the object comes or goes."
)


@dataclass(frozen=True)
class Phase:
    """Consecutive frames, first and last included, in which an object is there or not."""

    first: int
    last: int
    there: bool

    @property
    def label(self) -> str:
        """``8-16``."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def phases_of(there: Collection[int], frames: Sequence[int]) -> list[Phase]:
    """The clip cut where an object comes or goes.

    Args:
        there: frames in which the object is there.
        frames: of the clip, ascending.
    """
    phases: list[Phase] = []
    for frame in frames:
        present = frame in there
        if phases and phases[-1].there == present:
            phases[-1] = Phase(phases[-1].first, frame, present)
        else:
            phases.append(Phase(frame, frame, present))
    return phases


def appearing_objects(masks: ObjectMasks, frames: Sequence[int]) -> dict[int, frozenset[int]]:
    """Numbers of the objects that some camera sees in some of the frames and none in the others, with those frames."""
    seen: dict[int, set[int]] = {}
    for camera in masks.cameras():
        for frame in sorted(masks.frames(camera) & set(frames)):
            for number in np.flatnonzero(np.bincount(masks.read(camera, frame).ravel())):
                seen.setdefault(int(number), set()).add(frame)
    return {number: frozenset(there) for number, there in sorted(seen.items()) if len(there) < len(frames)}


@dataclass
class _Patch:
    """One object in one camera: the P pixels it covers at any time.

    Attributes:
        there: frames in which the object is there.
        pixels: ``[P]`` numbers of the pixels.
        counts: frame to ``[P]`` bool, whether the pixel shows the object, or in other frames what lies behind it.
        truth: frame to ``[P,3]``.
        sums: picture to frame to what it adds up to, see `add`.
    """

    there: frozenset[int]
    pixels: np.ndarray
    counts: dict[int, np.ndarray]
    truth: dict[int, np.ndarray] = field(default_factory=dict)
    sums: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    _reference: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def reference(self) -> tuple[np.ndarray, np.ndarray]:
        """``[P,3]`` each, means over time: what lies behind the object, and the object."""
        if self._reference is None:
            gone = [frame for frame in self.counts if frame not in self.there]
            self._reference = self._mean(gone), self._mean(sorted(self.there & set(self.counts)))
        return self._reference

    def _mean(self, frames: Sequence[int]) -> np.ndarray:
        counts = np.stack([self.counts[frame] for frame in frames])[..., None]
        truth = np.stack([self.truth[frame] for frame in frames])
        return (counts * truth).sum(axis=0) / counts.sum(axis=0)

    def add(self, row: str, frame: int, values: np.ndarray) -> None:
        """Count ``values [P,3]`` of a picture: squared error and number of values; shown object and whole object."""
        behind, typical = self.reference
        counted = self.counts[frame]
        contrast = ((self.truth[frame] if frame in self.there else typical) - behind)[counted]
        error = (values - self.truth[frame])[counted]
        found = (values - behind)[counted]
        sums = [np.square(error).sum(), error.size, (found * contrast).sum(), np.square(contrast).sum()]
        self.sums.setdefault(row, {})[frame] = np.array(sums, dtype=np.float64)


class AppearanceMeter:
    """Judges pictures by the objects that come or go. All true images are learned first, then pictures added.

    Args:
        masks: object masks.
        shots: camera, frame, width and height of every image.
    """

    def __init__(self, masks: ObjectMasks, shots: Iterable[tuple[str, int, int, int]]) -> None:
        self.names = masks.names
        by_camera: dict[str, dict[int, tuple[int, int]]] = {}
        for camera, frame, width, height in shots:
            by_camera.setdefault(camera, {})[frame] = (width, height)
        self.frames = sorted({frame for shot in by_camera.values() for frame in shot})
        there = appearing_objects(masks, self.frames)
        self._patches: dict[int, dict[str, _Patch]] = {number: {} for number in there}
        for camera, sizes in by_camera.items() if there else ():
            numbers = {frame: masks.read(camera, frame, *sizes[frame]).ravel() for frame in sorted(sizes)}
            for number, frames in there.items():
                patch = _patch(number, frames, numbers)
                if patch is not None:
                    self._patches[number][camera] = patch

    def learn(self, camera: str, frame: int, truth: np.ndarray) -> None:
        """Take in a true image ``[H,W,3]`` float in [0,1]."""
        for patches in self._patches.values():
            if camera in patches:
                patches[camera].truth[frame] = truth.reshape(-1, 3)[patches[camera].pixels].astype(np.float64)

    def add(self, camera: str, frame: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Count the pictures of one image, row name to ``[H,W,3]`` float; clamped to [0,1].

        Raises:
            ValueError: true images of the camera have not been learned.
        """
        for patches in self._patches.values():
            if camera not in patches:
                continue
            patch = patches[camera]
            unknown = sorted(set(patch.counts) - set(patch.truth))
            if unknown:
                raise ValueError(f"expected all true images of {camera} to be learned first, found none of {unknown}")
            for row, picture in pictures.items():
                values = np.clip(picture.reshape(-1, 3)[patch.pixels].astype(np.float64), 0.0, 1.0)
                patch.add(row, frame, values)

    def summary(self) -> dict[str, Any]:
        """Plain data by object: ``frames``, their numbers; ``phases``; ``pixels``, how many of an image; per row the
        ``psnr`` and the share ``shown`` of each phase, and ``shown_per_frame``. None where nothing can be seen of it.
        """
        return {
            self.names.get(number, f"object {number}"): self._summary_of([*patches.values()])
            for number, patches in self._patches.items()
            if patches
        }

    def _summary_of(self, patches: Sequence[_Patch]) -> dict[str, Any]:
        phases = phases_of(patches[0].there, self.frames)
        rows = {}
        for row in patches[0].sums:
            sums = np.zeros((len(self.frames), 4))
            for patch in patches:
                for frame, own in patch.sums[row].items():
                    sums[self.frames.index(frame)] += own
            shares = [float(found / whole) if whole > 0 else None for _, _, found, whole in sums]
            inside = [[phase.first <= frame <= phase.last for frame in self.frames] for phase in phases]
            errors = [sums[chosen, :2].sum(axis=0) for chosen in inside]
            rows[row] = {
                "psnr": [decibel(error / values) if values else None for error, values in errors],
                "shown": [_mean(share for share, one in zip(shares, chosen, strict=True) if one) for chosen in inside],
                "shown_per_frame": shares,
            }
        return {
            "frames": self.frames,
            "phases": [[phase.first, phase.last, phase.there] for phase in phases],
            "pixels": float(np.mean([len(patch.pixels) for patch in patches])),
            "rows": rows,
        }


def _patch(number: int, there: frozenset[int], numbers: Mapping[int, np.ndarray]) -> _Patch | None:
    """The object's pixels; None where it is never seen or always there. ``numbers``: frame to ``[H*W]``."""
    covered = np.any([numbers[frame] == number for frame in numbers], axis=0)
    gone = [frame for frame in numbers if frame not in there]
    if not covered.any() or not gone:
        return None
    pixels = np.flatnonzero(covered)
    inside = {frame: numbers[frame][pixels] for frame in numbers}
    # What lies behind is what a pixel shows most often while the object is away.
    away = np.stack([inside[frame] for frame in gone])
    kinds = np.unique(away)
    behind = kinds[np.stack([(away == kind).sum(axis=0) for kind in kinds]).argmax(axis=0)]
    counts = {frame: values == (number if frame in there else behind) for frame, values in inside.items()}
    return _Patch(there, pixels, counts)


def separation(summary: Mapping[str, Any], row: str) -> float | None:
    """How much more of the object a row shows in the frames in which it is there than in the others: 1 is right, 0
    cannot change; None where nothing can be seen of it."""
    there = {
        frame for frame in summary["frames"] if any(a <= frame <= b for a, b, is_there in summary["phases"] if is_there)
    }
    shares = dict(zip(summary["frames"], summary["rows"][row]["shown_per_frame"], strict=True))
    shown = _mean(share for frame, share in shares.items() if frame in there)
    ghost = _mean(share for frame, share in shares.items() if frame not in there)
    return None if shown is None or ghost is None else shown - ghost


def appearance_table(title: str, rows: Mapping[str, Sequence[tuple[Mapping[str, Any], str]]]) -> Table:
    """One object's rows, each the mean over seeds.

    Args:
        title: of the table.
        rows: label to what the seeds found, as the object's summary and the name of the row in it.
    """
    first, _ = next(iter(rows.values()))[0]
    phases = [Phase(*one) for one in first["phases"]]
    edges = [(one.last, two.first) for one, two in pairwise(phases)]
    header = [
        "",
        *(f"PSNR {phase.label}" for phase in phases),
        *(f"shown {phase.label}" for phase in phases),
        *(f"frames {before} / {after}" for before, after in edges),
    ]
    cells = []
    for label, found in rows.items():
        own = [summary["rows"][row] for summary, row in found]
        shares = [dict(zip(first["frames"], one["shown_per_frame"], strict=True)) for one in own]
        cells.append(
            [
                label,
                *(_cell([one["psnr"][number] for one in own], ".1f") for number in range(len(phases))),
                *(_percent([one["shown"][number] for one in own]) for number in range(len(phases))),
                *(" / ".join(_percent([one[f] for one in shares]) for f in edge) for edge in edges),
            ]
        )
    said = ", ".join(phase.label for phase in phases if phase.there)
    return Table(title, header, cells, [f"There in frames {said}. {PROTOCOL}"])


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _cell(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return mean_and_deviation(known, form) if len(known) == len(values) else "n/a"


def _percent(values: Sequence[float | None]) -> str:
    text = _cell([None if value is None else 100 * value for value in values], "z.0f")
    return text if text == "n/a" else f"{text} %"
