"""How a mixture uses its experts, in numbers: who is used how much, how decidedly, how steadily, and how rightly.

The *winner* of a pixel is the expert with the largest gate. Against a camera's own image, three squared errors per
pixel say what a choice is worth: that of the winner, the smallest of all experts' (the pixel oracle's), and the
experts' mean, which choosing blindly would have. Where all experts err alike nothing is at stake, whoever wins; numbers
weighted by the stake say how the router does where it matters.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from moegs_ns.reporting.ensembles import SMOOTHING_WINDOW, smoothed, squared_errors
from moegs_ns.reporting.metrics import decibel

#: What each number of `GateNumbers` means, written beside the numbers.
DEFINITIONS = {
    "mean_gate": "mean gate per expert, in [0,1]; they sum to 1",
    "share_won": "share of pixels in which the expert's gate is the largest; of equal ones the first",
    "share_best": "share of pixels in which the expert's squared error is the smallest; of equal ones the first",
    "share_best_smoothed": f"the same for errors averaged over {SMOOTHING_WINDOW}x{SMOOTHING_WINDOW} pixels",
    "entropy": "mean entropy of a pixel's gates over log K: 0 one expert alone, 1 all alike",
    "max_gate": "mean over pixels of the largest gate",
    "change": "mean over pixels of half the sum over experts of |gate - gate at the measured frame before|, in [0,1]",
    "switched": "share of pixels whose winner is another one than at the measured frame before",
    "agreement": "share of pixels whose winner has the smallest squared error of all experts",
    "agreement_smoothed": f"the same for errors averaged over {SMOOTHING_WINDOW}x{SMOOTHING_WINDOW} pixels",
    "weighted_agreement": "agreement, each pixel weighted by the experts' mean less their smallest squared error",
    "regret": "mean squared error of the winners' pixels less that of the pixel oracle",
    "regret_smoothed": f"mean squared error of the winners' pixels less that of the {SMOOTHING_WINDOW}x"
    f"{SMOOTHING_WINDOW}-smoothed oracle; may be negative",
    "mixture_regret": "mean squared error of the mixture less that of the pixel oracle; blending can make it negative",
    "skill": "1 - regret / (the experts' mean squared error less the pixel oracle's): 1 always the best expert, 0 no "
    "better than blind choice",
    "psnr": "dB, data range 1, by picture; 'winner' is the picture made of each pixel's winner alone; over all frames "
    "the mean of the frames'",
    "regional_psnr": "dB by winner and expert: each expert's PSNR over all the pixels one expert won",
}
MIXTURE_PICTURE = "mixture"
WINNER_PICTURE = "winner"
ORACLE_PICTURES = ("smoothed_oracle", "pixel_oracle")


@dataclass(frozen=True)
class GateNumbers:
    """One frame's, or all frames' together; see `DEFINITIONS`. None where there is nothing to divide by.

    Per-expert numbers are in gate order.
    """

    mean_gate: list[float]
    share_won: list[float]
    share_best: list[float]
    share_best_smoothed: list[float]
    entropy: float
    max_gate: float
    change: float | None
    switched: float | None
    agreement: float
    agreement_smoothed: float
    weighted_agreement: float | None
    regret: float
    regret_smoothed: float
    mixture_regret: float
    skill: float | None
    psnr: dict[str, float]


@dataclass(frozen=True)
class GateStatistics:
    """What `GateMeter` found.

    Attributes:
        experts: names in gate order.
        frames: numbers of the measured frames.
        per_frame: as many.
        overall: over all frames.
        regional_psnr: ``[K][K]`` dB, by winner, then by expert; None for a winner that never won.
    """

    experts: list[str]
    frames: list[int]
    per_frame: list[GateNumbers]
    overall: GateNumbers
    regional_psnr: list[list[float] | None]

    def plain(self) -> dict[str, Any]:
        """As plain data for JSON, with the definitions."""
        return {"definitions": DEFINITIONS, **asdict(self)}


@dataclass
class GateMeter:
    """Update with every frame of one camera in order, then compute.

    Attributes:
        experts: names in gate order.
    """

    experts: Sequence[str]
    _frames: list[int] = field(default_factory=list)
    _numbers: list[GateNumbers] = field(default_factory=list)
    _sums: list[dict[str, float]] = field(default_factory=list)
    _regions: Tensor | None = None
    _won: Tensor | None = None
    _before: Tensor | None = None

    def update(self, frame: int, gates: Tensor, images: Tensor, mixture: Tensor, truth: Tensor) -> Tensor:
        """Measure one frame.

        Args:
            frame: its number.
            gates: ``[K,H,W]`` in [0,1], sum 1.
            images: ``[K,H,W,3]`` the experts' images; clamped to [0,1], as in the metrics protocol.
            mixture: ``[H,W,3]``, clamped too.
            truth: ``[H,W,3]`` in [0,1].

        Returns:
            ``[H,W]`` number of the expert that is best by smoothed errors, for pictures.

        Raises:
            ValueError: shapes that do not belong together, or a frame of another size than the one before.
        """
        self._check(gates, images, mixture, truth)
        count = len(self.experts)
        gates = gates.double()
        winner = gates.argmax(dim=0)
        errors = squared_errors(images.double().clamp(0.0, 1.0), truth.double())
        blurred = smoothed(errors, SMOOTHING_WINDOW)
        best, best_smoothed = errors.argmin(dim=0), blurred.argmin(dim=0)
        won = _of(errors, winner)
        smallest, stake = errors.amin(dim=0), errors.mean(dim=0) - errors.amin(dim=0)
        right = won <= smallest  # equal errors are equally right
        sums = {
            "stake": float(stake.mean()),
            "stake_right": float((stake * right).mean()),
            "regret": float((won - smallest).mean()),
        }
        mean_squared = {name: float(error.mean()) for name, error in zip(self.experts, errors, strict=True)}
        mean_squared[WINNER_PICTURE] = float(won.mean())
        mean_squared[MIXTURE_PICTURE] = float(squared_errors(mixture.double().clamp(0.0, 1.0)[None], truth).mean())
        mean_squared["smoothed_oracle"] = float(_of(errors, best_smoothed).mean())
        mean_squared["pixel_oracle"] = float(smallest.mean())
        before = self._before
        self._frames.append(frame)
        self._sums.append(sums)
        self._numbers.append(
            GateNumbers(
                mean_gate=gates.mean(dim=(1, 2)).tolist(),
                share_won=_shares(winner, count),
                share_best=_shares(best, count),
                share_best_smoothed=_shares(best_smoothed, count),
                entropy=float(normalised_entropy(gates).mean()),
                max_gate=float(gates.amax(dim=0).mean()),
                change=None if before is None else float((gates - before).abs().sum(dim=0).mean()) / 2,
                switched=None if before is None else float((winner != before.argmax(dim=0)).double().mean()),
                agreement=float(right.double().mean()),
                agreement_smoothed=float((_of(blurred, winner) <= blurred.amin(dim=0)).double().mean()),
                weighted_agreement=_ratio(sums["stake_right"], sums["stake"]),
                regret=sums["regret"],
                regret_smoothed=mean_squared[WINNER_PICTURE] - mean_squared["smoothed_oracle"],
                mixture_regret=mean_squared[MIXTURE_PICTURE] - mean_squared["pixel_oracle"],
                skill=_skill(sums["regret"], sums["stake"]),
                psnr={name: decibel(error) for name, error in mean_squared.items()},
            )
        )
        regions = torch.stack([errors[:, winner == number].sum(dim=1) for number in range(count)])
        pixels = torch.bincount(winner.flatten(), minlength=count)
        self._regions = regions if self._regions is None else self._regions + regions
        self._won = pixels if self._won is None else self._won + pixels
        self._before = gates
        return best_smoothed

    def compute(self) -> GateStatistics:
        """All frames count alike; ratios are taken of sums over all frames.

        Raises:
            ValueError: no frame was measured.
        """
        if not self._numbers or self._regions is None or self._won is None:
            raise ValueError("expected at least one frame to compute gate statistics of, found none")
        stake = sum(one["stake"] for one in self._sums)
        regional = [
            [decibel(float(error) / int(pixels)) for error in errors] if pixels else None
            for errors, pixels in zip(self._regions, self._won, strict=True)
        ]
        means: dict[str, Any] = {name: self._mean_of_lists(name) for name in _PER_EXPERT}
        means |= {name: self._mean(name) for name in _PLAIN_MEANS}
        overall = GateNumbers(
            **means,
            weighted_agreement=_ratio(sum(one["stake_right"] for one in self._sums), stake),
            skill=_skill(sum(one["regret"] for one in self._sums), stake),
            psnr={
                name: sum(one.psnr[name] for one in self._numbers) / len(self._numbers)
                for name in self._numbers[0].psnr
            },
        )
        return GateStatistics([*self.experts], [*self._frames], [*self._numbers], overall, regional)

    def _mean(self, name: str) -> float | None:
        values = [getattr(one, name) for one in self._numbers if getattr(one, name) is not None]
        return sum(values) / len(values) if values else None

    def _mean_of_lists(self, name: str) -> list[float]:
        columns = zip(*(getattr(one, name) for one in self._numbers), strict=True)
        return [sum(column) / len(column) for column in columns]

    def _check(self, gates: Tensor, images: Tensor, mixture: Tensor, truth: Tensor) -> None:
        shape = (len(self.experts), *truth.shape[:2])
        found = tuple(gates.shape), tuple(images.shape), tuple(mixture.shape), tuple(truth.shape)
        if found != (shape, (*shape, 3), (*shape[1:], 3), (*shape[1:], 3)):
            raise ValueError(
                f"expected gates [K,H,W], images [K,H,W,3], mixture and truth [H,W,3] of {shape[0]} experts, found "
                f"{', '.join(map(str, found))}"
            )
        if self._before is not None and self._before.shape != gates.shape:
            raise ValueError(
                f"expected frames of one size, found {found[0]} behind {tuple(self._before.shape)}; use a meter for "
                "each camera"
            )


_PER_EXPERT = ("mean_gate", "share_won", "share_best", "share_best_smoothed")
_PLAIN_MEANS = (
    *("entropy", "max_gate", "change", "switched", "agreement", "agreement_smoothed"),
    *("regret", "regret_smoothed", "mixture_regret"),
)


def normalised_entropy(gates: Tensor) -> Tensor:
    """``[K,H,W]`` gates -> ``[H,W]`` in [0,1], entropy over log K; 0 for a single expert."""
    count = gates.shape[0]
    if count == 1:
        return torch.zeros_like(gates[0])
    return (-torch.xlogy(gates, gates).sum(dim=0) / math.log(count)).clamp(0.0, 1.0)


def _of(values: Tensor, choice: Tensor) -> Tensor:
    """``[K,H,W]`` and numbers ``[H,W]`` -> the chosen ones ``[H,W]``."""
    return values.gather(0, choice[None])[0]


def _shares(choice: Tensor, count: int) -> list[float]:
    return (torch.bincount(choice.flatten(), minlength=count).double() / choice.numel()).tolist()


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _skill(regret: float, stake: float) -> float | None:
    share = _ratio(regret, stake)
    return None if share is None else 1.0 - share
