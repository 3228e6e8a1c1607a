"""The currency of the house: the Gaussians of one instant, activated and in world units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

_SH_BASES = (1, 4, 9, 16)


@dataclass(frozen=True, eq=False)
class Splats:
    """3D Gaussians of one instant in activated space and the data set's own world units.

    Values are trusted (checking them would synchronise a GPU); shapes are checked.

    Raises:
        ValueError: a tensor's shape does not fit the others.
    """

    means: Tensor
    """[N, 3] centres."""
    quats: Tensor
    """[N, 4] rotations, (w, x, y, z), unit length."""
    scales: Tensor
    """[N, 3] standard deviations along the rotated axes, > 0."""
    opacities: Tensor
    """[N] in (0, 1)."""
    features: Tensor | None = None
    """[N, C] channels composited as they are, or None."""
    sh: Tensor | None = None
    """[N, B, 3] spherical harmonics coefficients of the colour, B = (degree + 1)^2, or None."""

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or self.means.shape[1] != 3:
            raise ValueError(f"Splats.means: expected shape [N, 3], found {list(self.means.shape)}")
        count = self.means.shape[0]
        for name, expected in (("quats", (count, 4)), ("scales", (count, 3)), ("opacities", (count,))):
            found = tuple(getattr(self, name).shape)
            if found != expected:
                hint = "; squeeze the trailing dimension" if name == "opacities" and found == (count, 1) else ""
                raise ValueError(
                    f"Splats.{name}: expected shape {list(expected)} to go with {count} means, "
                    f"found {list(found)}{hint}"
                )
        if self.features is not None and (self.features.ndim != 2 or self.features.shape[0] != count):
            raise ValueError(f"Splats.features: expected shape [{count}, C], found {list(self.features.shape)}")
        if self.sh is not None:
            shape = tuple(self.sh.shape)
            if len(shape) != 3 or shape[0] != count or shape[1] not in _SH_BASES or shape[2] != 3:
                raise ValueError(
                    f"Splats.sh: expected shape [{count}, B, 3] with B in {_SH_BASES}, found {list(shape)}"
                )

    def __len__(self) -> int:
        return self.means.shape[0]

    def detach(self) -> Splats:
        """The same Gaussians cut off from the autograd graph."""
        return self._map(Tensor.detach)

    def to(self, device: torch.device | str) -> Splats:
        """The same Gaussians on ``device`` (no copy when they are there already)."""
        return self._map(lambda tensor: tensor.to(device))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Splats:
        present = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(tensor) for name, tensor in present.items() if tensor is not None})


def sh_of(splats: Splats) -> Tensor:
    """``[N, B, 3]`` the spherical harmonics of Gaussians that have them.

    Raises:
        ValueError: these have none.
    """
    if splats.sh is None:
        raise ValueError("expected splats with spherical harmonics, found none")
    return splats.sh


def concatenate(parts: Sequence[Splats]) -> tuple[Splats, Tensor]:
    """Lays several experts' Gaussians end to end for one rasterization.

    ``features`` and ``sh`` survive only when every part has them with equal trailing shape: experts of different
    families colour their Gaussians differently, and their channels are then passed to ``rasterize`` directly.

    Args:
        parts: one ``Splats`` per expert, in expert order; may be empty sets, but at least one part.

    Returns:
        The joined Gaussians and ``expert_ids`` [N] int32, the index of the part each row came from.

    Raises:
        ValueError: no parts.
    """
    if not parts:
        raise ValueError("concatenate: expected at least one Splats, found none")
    joined = Splats(
        means=torch.cat([part.means for part in parts]),
        quats=torch.cat([part.quats for part in parts]),
        scales=torch.cat([part.scales for part in parts]),
        opacities=torch.cat([part.opacities for part in parts]),
        features=_concatenate_if_alike([part.features for part in parts]),
        sh=_concatenate_if_alike([part.sh for part in parts]),
    )
    # Not by repeat_interleave, which on CUDA waits to learn how many rows there will be.
    ids = joined.means.new_empty(len(joined), dtype=torch.int32)
    for expert, own in enumerate(ids.split([len(part) for part in parts])):
        own.fill_(expert)
    return joined, ids


def _concatenate_if_alike(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    if len(present) < len(tensors) or len({tensor.shape[1:] for tensor in present}) > 1:
        return None
    return torch.cat(present)
