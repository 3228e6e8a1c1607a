"""Gate-aware pruning (MoE-GS §3.3): Gaussians of experts that matter little are removed, with their weights.

Which matter little is the affair of `moegs_ns.router.pruning_scores`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor

from moegs_ns.router.pruning_options import Criterion, PruningOptions
from moegs_ns.router.pruning_scores import PruningScores, check_prunable, score_gaussians

if TYPE_CHECKING:  # a mixture may prune itself in training
    from moegs_ns.router.mixture import MixtureModel

# From this share on, a Gaussian lies in a region that its expert wins.
_WINS = 0.5


@dataclass(frozen=True)
class PruningTarget:
    """How many Gaussians go: a share of all, or all that score low.

    Attributes:
        ratio: share of all Gaussians, in [0,1); 0 removes none.
        threshold: remove what scores less, instead of a share.

    Raises:
        ValueError: a share or threshold out of range, or both.
    """

    ratio: float = 0.0
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise ValueError(f"expected a share of Gaussians to prune from 0 to below 1, found {self.ratio}")
        if self.threshold is not None and not 0 <= self.threshold < float("inf"):
            raise ValueError(f"expected a threshold to prune by of 0 or more, found {self.threshold}")
        if self.threshold is not None and self.ratio:
            raise ValueError(
                f"expected a ratio or a threshold to prune by, found both ({self.ratio} and {self.threshold}); "
                "leave one out"
            )

    @property
    def nothing(self) -> bool:
        """Whether no Gaussian is to go, whatever it scores."""
        return self.threshold is None and self.ratio == 0

    def share_of_round(self, rounds: int) -> PruningTarget:
        """What to remove in each of equal rounds: the same share of those still there. No round needs to know how
        many there once were, so a resumed run goes on as if never interrupted."""
        return self if self.threshold is not None else PruningTarget(1 - (1 - self.ratio) ** (1 / rounds))


def prune(
    model: MixtureModel,
    cameras: Iterable[Cameras],
    target: PruningTarget,
    criterion: Criterion = "gate",
    temperature: float | None = None,
    seed: int = 0,
    optimizers: Optimizers | None = None,
) -> dict[str, Any]:
    """Score all Gaussians and remove those that matter least.

    Args:
        model: the mixture.
        cameras: the views to score by, each of size 1.
        target: how many go. Of every set of Gaussians (an expert, a clip of it, Ex4DGS' static and dynamic ones) the
            one that scores highest stays in any case.
        criterion, temperature, seed: as for `score_gaussians`.
        optimizers: those that train the router, if any.

    Returns:
        Plain facts: ``criterion``, ``ratio``, ``threshold``, ``temperature``, ``views``; ``before`` and ``after``, the
        numbers of Gaussians per expert; ``winning``, see `winning_shares`.

    Raises:
        ValueError: nothing can be scored, see `score_gaussians`.
    """
    check_prunable(model.config.router, criterion)
    before = _counts(model)
    scores = score_gaussians(model, cameras, criterion, temperature, seed)
    removed = choose(scores.values, set_sizes(model), target)
    remove_gaussians(model, removed, optimizers)
    return {
        "criterion": criterion,
        "ratio": target.ratio,
        "threshold": target.threshold,
        "temperature": scores.temperature,
        "views": scores.views,
        "before": before,
        "after": _counts(model),
        "winning": winning_shares(scores, removed),
    }


def choose(values: Tensor, set_sizes: Sequence[int], target: PruningTarget) -> Tensor:
    """``[N]`` bool, who goes: those of the lowest ``values [N]``, of equal ones the first; of every set, of the sizes
    given, the highest stays."""
    if target.threshold is not None:
        removed = values < target.threshold
    else:
        removed = torch.zeros_like(values, dtype=torch.bool)
        removed[values.argsort(stable=True)[: round(target.ratio * len(values))]] = True
    for own, gone in zip(values.split(list(set_sizes)), removed.split(list(set_sizes)), strict=True):
        if len(own) and gone.all():
            gone[own.argmax()] = False  # a view of `removed`
    return removed


def remove_gaussians(model: MixtureModel, removed: Tensor, optimizers: Optimizers | None = None) -> None:
    """Take Gaussians out of their experts and their weights out of the router and its optimizers.

    Survivors keep their values, their order and their optimizer moments, bit for bit.

    Args:
        model: the mixture.
        removed: ``[N]`` bool, of all experts' stored Gaussians end to end.
        optimizers: those that train the router, if any.
    """
    if not removed.any():
        return
    experts, weights = model.expert_models, model.router.gaussian_weights
    kept = (~removed).split([expert.num_gaussians for expert in experts])
    holders = [] if optimizers is None else [*optimizers.optimizers.values()]
    for expert, own in zip(experts, kept, strict=True):
        expert.keep_gaussians(own, holders)
    for one, own in zip(weights, kept, strict=bool(weights)):
        one.keep(own, holders)
    if optimizers is not None:
        # nerfstudio keeps a second list of parameters (for gradient clipping).
        optimizers.parameters.update(model.get_param_groups())
    model.forget_splats()


def winning_shares(scores: PruningScores, removed: Tensor) -> dict[str, float]:
    """How far pruning hit what makes the picture.

    Returns:
        ``by_responsibility`` and ``by_winner``: the share of the removed Gaussians whose responsibility is at least
        one half, and of those whose expert has the largest gate in at least half of what is seen of them; behind
        ``of_all_...`` the same shares of all Gaussians. 0 where none was removed.
    """
    wins = {"by_responsibility": scores.responsibilities >= _WINS, "by_winner": scores.winning >= _WINS}
    pruned = {name: float(won[removed].float().mean()) if removed.any() else 0.0 for name, won in wins.items()}
    return {**pruned, **{f"of_all_{name}": float(won.float().mean()) for name, won in wins.items()}}


def due(options: PruningOptions, iteration: int) -> bool:
    """Whether a round of pruning follows optimizer step ``iteration``, counted from 1."""
    behind = iteration - options.prune_start
    return (
        wanted(options)
        and behind >= 0
        and behind % options.prune_interval == 0
        and (behind // options.prune_interval < options.prune_rounds)
    )


def wanted(options: PruningOptions) -> bool:
    """Whether a training run prunes at all."""
    return not _target(options).nothing


def check_schedule(router: str, options: PruningOptions, total_steps: int | None) -> None:
    """Refuse options that could not do what they say, before training starts.

    Args:
        router: name of the mixture's router.
        options: of the schedule.
        total_steps: of the run, where known.

    Raises:
        ValueError: options out of range, a criterion the router cannot serve, or rounds after the last step.
    """
    if not wanted(options):
        return
    check_prunable(router, options.prune_criterion)
    for name in ("prune_start", "prune_interval", "prune_rounds", "prune_view_stride"):
        if getattr(options, name) < 1:
            option = name.replace("_", "-")
            raise ValueError(f"expected --pipeline.model.{option} of 1 or more, found {getattr(options, name)}")
    last = options.prune_start + (options.prune_rounds - 1) * options.prune_interval
    if total_steps is not None and last > total_steps:
        raise ValueError(
            f"expected all rounds of pruning within the run's {total_steps} steps, found the last after step {last}; "
            "lower --pipeline.model.prune-start, -interval or -rounds, or raise --max-num-iterations"
        )


def prune_by_schedule(
    model: MixtureModel, options: PruningOptions, cameras: Iterable[Cameras], optimizers: Optimizers
) -> dict[str, Any]:
    """One round of a training run's pruning; returns what `prune` does."""
    target = _target(options).share_of_round(options.prune_rounds)
    return prune(
        model, cameras, target, options.prune_criterion, options.prune_temperature, options.prune_seed, optimizers
    )


def every(cameras: Cameras, stride: int) -> Iterable[Cameras]:
    """Every ``stride``-th of some cameras, one at a time."""
    return (cameras[index : index + 1] for index in range(0, cameras.shape[0], stride))


def _target(options: PruningOptions) -> PruningTarget:
    return PruningTarget(options.prune_ratio, options.prune_threshold)


def _counts(model: MixtureModel) -> dict[str, int]:
    pairs = zip(model.expert_names, model.expert_models, strict=True)
    return {name: expert.num_gaussians for name, expert in pairs}


def set_sizes(model: MixtureModel) -> list[int]:
    """How many Gaussians each set of each expert has, in order; of every set one stays."""
    return [len(one) for expert in model.expert_models for one in expert.gaussian_sets()]
