"""What can be shown of a model's outputs, and how: names, colours, maps made of several outputs."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from moegs_ns.exporting.gate_picture import winner_map
from moegs_ns.exporting.palette import EXPERT_COLORS, error_colors, expert_color
from moegs_ns.viewer.markdown import as_words

#: Pictures made here, not by a model.
WINNER, ERROR = "winner", "error"
#: Mean absolute difference of colours, which lie in [0,1], that is drawn white.
ERROR_TOP = 0.25

_PLAIN = {
    "rgb": "Picture",
    "depth": "Depth",
    "accumulation": "Opacity",
    WINNER: "Winner map",
    ERROR: "Error, nearest training view",
}
_KINDS = {"expert_": "Expert", "gate_": "Gate", "share_": "Share"}


def title(output: str, mixture: bool = False) -> str:
    """What people call an output; the picture of a mixture is called so."""
    if output == "rgb" and mixture:
        return "Mixture"
    for prefix, kind in _KINDS.items():
        if output.startswith(prefix):
            return f"{kind}: {output.removeprefix(prefix)}"
    return _PLAIN.get(output, output)


def in_order(outputs: Iterable[str]) -> list[str]:
    """Outputs as a menu lists them: picture, experts, gates, maps, all else."""
    first = ("rgb", "expert_", "gate_", "share_", WINNER, ERROR)
    ranks = {name: next((at for at, start in enumerate(first) if name.startswith(start)), 9) for name in outputs}
    return sorted(ranks, key=lambda name: ranks[name])


def gates_of(outputs: dict[str, Tensor], experts: Sequence[str]) -> Tensor | None:
    """``[K,H,W]`` gates, or shares of what is seen; None where a model gives neither."""
    for prefix in ("gate_", "share_"):
        names = [prefix + name for name in experts]
        if names and all(name in outputs for name in names):
            return torch.stack([outputs[name][..., 0] for name in names])
    return None


def winner_picture(gates: Tensor) -> Tensor:
    """``[H,W,3]`` in [0,1]: the colour of the expert with the largest of the gates ``[K,H,W]``."""
    return torch.from_numpy(winner_map(gates.cpu().numpy())).to(gates.device) / 255


def tinted(rgb: Tensor, gates: Tensor, opacity: float) -> Tensor:
    """The picture ``[H,W,3]`` under the experts' colours, mixed by the gates ``[K,H,W]``; ``opacity`` in [0,1]."""
    places = np.arange(len(gates)) % len(EXPERT_COLORS)
    colors = torch.from_numpy(EXPERT_COLORS[places]).to(rgb) / 255
    return torch.lerp(rgb, torch.einsum("khw,kc->hwc", gates.to(rgb), colors), opacity)


def error_picture(image: Tensor, truth: Tensor) -> Tensor:
    """``[H,W,3]`` in [0,1]: the mean absolute difference of two images' colours, from black to white."""
    difference = (image - truth).abs().mean(dim=-1)
    return torch.from_numpy(error_colors(difference.cpu().numpy(), ERROR_TOP)).to(image.device) / 255


def grey(values: Tensor) -> Tensor:
    """``[H,W,1]`` in [0,1] as a picture ``[H,W,3]``: white is 1."""
    return values.clamp(0.0, 1.0).expand(-1, -1, 3)


def is_share(output: str) -> bool:
    """Whether an output's values are parts of one, which need no scale of their own."""
    return output == "accumulation" or output.startswith(("gate_", "share_"))


def psnr(image: Tensor, truth: Tensor) -> float:
    """In dB, of images in [0,1]; 120 at most."""
    return float(-10 * torch.log10((image - truth).square().mean().clamp_min(1e-12)))


def legend(experts: Sequence[str]) -> str:
    """A line of each expert's colour and name, in the viewer's Markdown, which takes JSX."""
    entries = []
    for place, name in enumerate(experts):
        red, green, blue = expert_color(place)
        color = f'{{{{color: "#{red:02X}{green:02X}{blue:02X}"}}}}'
        entries.append(f'<span style={{{{whiteSpace: "nowrap"}}}}><span style={color}>■</span> {as_words(name)}</span>')
    return " &nbsp; ".join(entries)
