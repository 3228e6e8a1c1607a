"""In what an expert's picture differs from the others': hints of who is wrong that no Gaussian's weight can hold.

Every expert is compared with the mean over experts, so that permuting experts permutes what is found, and a mixture of
copies of one expert finds nothing.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from moegs_ns.router.interface import RouterView

Comparison = Literal["alpha", "depth", "color"]
#: Channels of each comparison.
COMPARED_CHANNELS: dict[str, int] = {"alpha": 2, "depth": 1, "color": 5}
# Pixels covered less than this by all experts together have no depth to compare with.
_MIN_COVER = 1e-4


@torch.no_grad()
def comparison_channels(view: RouterView, names: Sequence[Comparison]) -> Tensor:
    """``[K,C,H,W]`` of one image; constants.

    * ``alpha``: the expert's accumulated opacity, and its difference from the mean.
    * ``depth``: relative difference from the mean depth, weighted by the expert's opacity; 0 where it shows nothing.
    * ``color``: difference from the mean picture (RGB); its length; and the experts' mean length, how much they
      disagree in all.

    Raises:
        ValueError: depths are asked for and not there.
    """
    found = []
    for name in names:
        if name == "alpha":
            alphas = view.alphas
            found += [alphas[:, None], (alphas - alphas.mean(dim=0))[:, None]]
        elif name == "depth":
            if view.depths is None:
                raise ValueError("expected depths to compare, found none; composite them with depth=True")
            cover = view.alphas.sum(dim=0)
            mean = (view.alphas * view.depths).sum(dim=0) / cover.clamp_min(_MIN_COVER)
            relative = (view.depths - mean) / mean.clamp_min(_MIN_COVER)
            found.append((view.alphas * relative.clamp(-1, 1) * (cover > _MIN_COVER))[:, None])
        else:
            difference = (view.pictures - view.pictures.mean(dim=0)).permute(0, 3, 1, 2)
            length = difference.square().sum(dim=1, keepdim=True).sqrt()
            found += [difference, length, length.mean(dim=0, keepdim=True).expand_as(length)]
    return torch.cat(found, dim=1)


@torch.no_grad()
def disagreement(pictures: Tensor, window: int = 9) -> Tensor:
    """``[K,H,W]`` how far each expert's picture is from the mean of all: the mean absolute difference of its colours,
    averaged over ``window x window`` pixels; at the border over those inside the image. An expert that is far from all
    others is more often wrong than they are, also where no training camera could tell.

    Args:
        pictures: ``[K,H,W,3]``.
        window: odd.
    """
    difference = (pictures - pictures.mean(dim=0)).abs().mean(dim=-1)
    return F.avg_pool2d(difference[:, None], window, stride=1, padding=window // 2, count_include_pad=False)[:, 0]
