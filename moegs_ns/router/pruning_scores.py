"""How little each Gaussian of a mixture matters: scores by which they are pruned (MoE-GS Eq. 10, and others).

Eq. 10 takes, view by view, the gradient of a gate *map* by a Gaussian's weights. Here the map is summed over its pixels
first, each expert's own map for its own Gaussians, so that one vector-Jacobian product serves all. (Gates of all
experts together sum to 1 in every pixel; their gradient would be 0.) A gate moves with its expert's own logit by
G (1 - G) / temperature, and the logit with the weights through the router's network and the splat.

With sharp gates G (1 - G) vanishes not only for losers but for winners too: the Gaussians that make the picture score 0
and would go first. *contribution* asks what the mixture shows of a Gaussian and knows no saturation; nor does
gate*responsibility, whose sensitivity is taken where no pixel is saturated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.router.contributions import contributions
from moegs_ns.router.gate import gate
from moegs_ns.router.instant import Instant
from moegs_ns.router.pruning_options import Criterion

if TYPE_CHECKING:  # a mixture may prune itself in training
    from moegs_ns.router.mixture import MixtureModel

#: Those that ask for the gradient of gates by weights of Gaussians.
_OF_GATES = ("gate", "gate*responsibility")
# A Gaussian less visible than this in all views together has no responsibility.
_MIN_VISIBLE = 1e-12


@dataclass(frozen=True, eq=False)
class PruningScores:
    """What the views say of N stored Gaussians, those of all experts end to end."""

    values: Tensor
    """``[N]`` at least 0; the lowest go first."""
    responsibilities: Tensor
    """``[N]`` in [0,1], Eq. 14: the gate of a Gaussian's expert, averaged over what is seen of the Gaussian; 0 for
    Gaussians that no view sees."""
    winning: Tensor
    """``[N]`` in [0,1]: the share of what is seen of a Gaussian that lies where its expert has the largest gate."""
    views: int
    """|D|, how many views were looked at."""
    temperature: float
    """Of the softmax over experts."""


def check_prunable(router: str, criterion: str) -> None:
    """Refuse what cannot be scored.

    Args:
        router: name of the mixture's router, see `RouterOptions`.
        criterion: see `score_gaussians`.

    Raises:
        ValueError: an unknown criterion, or one that the router has nothing to say of.
    """
    if criterion not in get_args(Criterion):
        raise ValueError(f"expected a pruning criterion of {', '.join(get_args(Criterion))}, found '{criterion}'")
    if router == "volume":
        raise ValueError(
            "pruning needs gates per pixel, found the volume router, which gates opacities; prune a mixture with the "
            "volume-aware or the pixel router"
        )
    if criterion in _OF_GATES and router == "pixel":
        raise ValueError(
            f"the criterion '{criterion}' needs router weights of Gaussians, found the pixel router, which has none; "
            "choose contribution, opacity or random"
        )


def criteria_for(router: str) -> list[Criterion]:
    """The criteria `check_prunable` has nothing against."""
    if router == "volume":
        return []
    return [one for one in get_args(Criterion) if not (one in _OF_GATES and router == "pixel")]


@torch.enable_grad()
def score_gaussians(
    model: MixtureModel,
    cameras: Iterable[Cameras],
    criterion: Criterion = "gate",
    temperature: float | None = None,
    seed: int = 0,
) -> PruningScores:
    """Score every Gaussian of every expert by what views show; one view at a time.

    Criteria:

    * ``gate``: Eq. 10. Norm of the gradient of the summed gate map by all weights of the Gaussian (w, w_dir, w_time),
      averaged over ALL views, also those that do not see it. (The authors' helpers average over the views that do, and
      leave w_time out.)
    * ``contribution``: the sum over pixels of G T α, the numerator of Eq. 14, averaged over all views.
    * ``gate*responsibility``: as ``gate``, but every pixel's logits are divided by no less than their own spread, so
      that no gate is saturated; times the responsibility.
    * ``opacity``: the largest opacity over the instants of the views. The mean would put what comes and goes first.
    * ``random``: uniform.

    Args:
        model: the mixture; neither its state nor its gradients change.
        cameras: the views D, each of size 1.
        criterion: see above.
        temperature: of the softmax over experts; None is that of evaluation. Contributions and responsibilities also
            leave out what ``top_k`` leaves out; gradients do not.
        seed: of ``random``.

    Raises:
        ValueError: no views, or as `check_prunable`.
    """
    check_prunable(model.config.router, criterion)
    model.require_experts()
    temperature = model.config.eval_temperature if temperature is None else temperature
    counts = [expert.num_gaussians for expert in model.expert_models]
    sensitivities, opacities = (torch.zeros(sum(counts), device=model.device) for _ in range(2))
    seen = torch.zeros(sum(counts), 3, dtype=torch.float64, device=model.device)
    views = 0
    for camera in cameras:
        needs_gradient = criterion in _OF_GATES
        with torch.set_grad_enabled(needs_gradient):
            view, instant = model.look(camera.to(model.device))
            logits = model.logits(view)
        if needs_gradient:
            unsaturated = criterion == "gate*responsibility"
            sensitivities += _sensitivities(model, logits, temperature, unsaturated)
        rows = _stored_rows(instant, counts)
        seen[rows] += contributions(instant, _maps(logits.detach(), temperature, model.config.top_k)).double()
        opacities[rows] = torch.maximum(opacities[rows], instant.splats.opacities.detach())
        views += 1
    if not views:
        raise ValueError("expected views to score Gaussians by, found none")
    gated, visible, won = seen.unbind(dim=1)
    shares = [
        torch.where(visible > _MIN_VISIBLE, part / visible.clamp_min(_MIN_VISIBLE), 0.0).clamp(0, 1).float()
        for part in (gated, won)
    ]
    values = {
        "gate": lambda: sensitivities / views,
        "contribution": lambda: (gated / views).float(),
        "gate*responsibility": lambda: sensitivities / views * shares[0],
        "opacity": lambda: opacities,
        "random": lambda: torch.rand(sum(counts), generator=torch.Generator().manual_seed(seed)).to(model.device),
    }[criterion]()
    return PruningScores(values, shares[0], shares[1], views, float(temperature))


def _sensitivities(model: MixtureModel, logits: Tensor, temperature: float, unsaturated: bool) -> Tensor:
    """``[N]`` norm of the gradient of every expert's summed gate map by the weights of its Gaussians."""
    constant = logits.detach()
    divisor = torch.full_like(constant[0], temperature)
    if unsaturated:
        divisor = torch.maximum(divisor, constant.amax(dim=0) - constant.amin(dim=0))
    gates = gate(constant / divisor)
    weights = [parameter for one in model.router.gaussian_weights for parameter in (one.base, one.time)]
    pulls = torch.autograd.grad(logits, weights, gates * (1 - gates) / temperature)
    pairs = zip(pulls[::2], pulls[1::2], strict=True)
    return torch.cat([torch.cat(pair, dim=1).norm(dim=1) for pair in pairs])


def _maps(logits: Tensor, temperature: float, top_k: int) -> Tensor:
    """``[K,3,H,W]`` of every expert: its gate, ones, and where its gate is the largest."""
    gates = gate(logits, temperature, top_k)
    winner = logits.argmax(dim=0)
    won = torch.stack([winner == expert for expert in range(len(logits))]).to(gates)
    return torch.stack([gates, torch.ones_like(gates), won], dim=1)


def _stored_rows(instant: Instant, counts: list[int]) -> Tensor:
    """Where an instant's Gaussians stand among those of all experts, ``[n]`` positions."""
    ranges, start = [], 0
    for rows, count in zip(instant.rows, counts, strict=True):
        first, behind, _ = rows.indices(count)
        ranges.append(torch.arange(start + first, start + behind, device=instant.expert_ids.device))
        start += count
    return torch.cat(ranges)
