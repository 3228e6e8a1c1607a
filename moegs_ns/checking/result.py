"""What every check of a scene answers with."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


class Verdict(enum.IntEnum):
    """How bad it is; the worst of all checks is the exit status of ``moegs data check``."""

    FINE = 0
    DOUBTFUL = 1
    UNUSABLE = 2

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: of the check.
        verdict: trains well; trains, but worse than it could; does not train, or not to anything of use.
        sentence: what was found and what to do, in one sentence.
        cameras: names of those concerned; of captures by moving cameras also names of images. Empty where all are, or
            none is.
        numbers: what was measured, plain data; with the limits it was judged by.
        skipped: whether the check has no meaning for this scene, or nothing to go by.
    """

    name: str
    verdict: Verdict
    sentence: str
    cameras: tuple[str, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    skipped: bool = False

    def as_data(self) -> dict[str, Any]:
        """For JSON: numbers rounded to four digits, what is not finite is null."""
        return {
            "check": self.name,
            "verdict": self.verdict.word,
            "skipped": self.skipped,
            "cameras": list(self.cameras),
            "sentence": self.sentence,
            "numbers": _plain(self.numbers),
        }


def fine(name: str, sentence: str, **numbers: Any) -> CheckResult:
    """A check that found nothing wrong."""
    return CheckResult(name, Verdict.FINE, sentence, numbers=numbers)


def skipped(name: str, reason: str) -> CheckResult:
    """A check that does not apply, with the reason."""
    return CheckResult(name, Verdict.FINE, reason, skipped=True)


def worst(results: Iterable[CheckResult]) -> Verdict:
    """The worst verdict of all; fine where there is none."""
    return max((result.verdict for result in results), default=Verdict.FINE)


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names for a sentence; of many the first few and how many more."""
    names = list(names)
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):  # numpy
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value
