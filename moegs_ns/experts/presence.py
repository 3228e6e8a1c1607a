"""A deformation field that knows from the start when each seed point is there.

Ours, for canonical sets that start from the seeds of all instants. A thing that passes a place in two frames of a
hundred leaves seeds there that every other frame wants gone. Their opacity sinks before the field has learnt to tell
the frames apart, and what is nearly transparent gets no gradient that could bring it back. Therefore the field is
fitted to what is known of the seeds before the first image is rendered: hidden while nothing moves at their place,
unchanged otherwise.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import Parameter

from moegs_ns.experts.seeds import SeedCloud

#: Logit of the opacity of what is not there, below that of what is.
HIDDEN_LOGIT = -5.0
_LEARNING_RATE = 0.02
_ROWS_PER_FIT = 2048
# Other attributes must not change at first; their numbers (world units, log scales) are small beside logits.
_STILLNESS = 10.0

Changes = Callable[[float, Tensor], Mapping[str, Tensor]]


def present(seeds: SeedCloud, time: float, num_frames: int) -> Tensor:
    """``[M]`` bool: seeds that are there at ``time`` in [0,1]: as long before and after their own time as makes up the
    duration of movement at their place, half a frame at least. Those without a time or duration always are."""
    half = torch.clamp(seeds.durations / 2, min=0.5 / max(num_frames - 1, 1))
    return ~((seeds.times - time).abs() > half)  # a comparison with NaN is false


@torch.enable_grad()
def learn_presence(
    seeds: SeedCloud, num_frames: int, changes: Changes, parameters: Iterable[Parameter], fits: int
) -> None:
    """Fit a field so that it hides seeds while they are not there, and changes nothing else.

    Args:
        seeds: M points, those the Gaussians started from.
        num_frames: frames of the clip.
        changes: ``changes(time, rows)``, what the field adds to the raw values of the Gaussians at ``rows [n]`` (on the
            parameters' device); ``opacities`` among them.
        parameters: of the field.
        fits: how often it is fitted, each at one frame's time.
    """
    parameters = list(parameters)
    device = parameters[0].device
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    generator = torch.Generator().manual_seed(0)
    for done in range(fits):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - done / fits)
        frame = int(torch.randint(num_frames, (), generator=generator))
        time = frame / max(num_frames - 1, 1)
        rows = torch.randperm(len(seeds), generator=generator)[:_ROWS_PER_FIT]
        there, timed = present(seeds, time, num_frames)[rows].to(device), seeds.timed[rows].to(device)
        others = dict(changes(time, rows.to(device)))
        opacities = others.pop("opacities").flatten()
        misses = (opacities - torch.where(there, 0.0, HIDDEN_LOGIT).to(opacities)).square()
        # Each kind counts alike: few of the seeds with a time are there at any one.
        kinds = (~there, there & timed, there & ~timed)
        loss = torch.stack([misses[kind].mean() for kind in kinds if kind.any()]).sum()
        for change in others.values():
            loss = loss + _STILLNESS * change.square().mean()
        # What else the field reads must not be left with gradients.
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    optimizer.zero_grad()
