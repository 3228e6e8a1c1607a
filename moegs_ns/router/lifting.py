"""From gates of pixels to responsibilities of Gaussians (MoE-GS App. D.1).

The responsibility of a Gaussian is the mean gate of its expert over the rays that see it, each weighted with what the
Gaussian adds to the expert's image there (Eq. 14).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.router.contributions import contributions
from moegs_ns.router.gate import gate
from moegs_ns.router.instant import Instant
from moegs_ns.router.mixture import MixtureModel


@dataclass(frozen=True, eq=False)
class Responsibilities:
    """What lifting found."""

    values: list[Tensor]
    """``[N_k]`` in [0,1], one tensor per expert."""
    seen: list[Tensor]
    """``[N_k]`` bool: whether a ray of the views met the Gaussian."""
    views: int
    """Number of images looked at."""

    @property
    def unseen(self) -> int:
        """How many Gaussians no ray met."""
        return sum(int((~seen).sum()) for seen in self.seen)


class Lifting:
    """Sums of Eq. 14, image by image: nothing is kept per image.

    Args:
        counts: number of Gaussians each expert stores.
        device: where the sums are kept.
    """

    def __init__(self, counts: Sequence[int], device: torch.device | str) -> None:
        # Thousands of images of thousands of pixels: single precision would lose the small ones.
        self._sums = [torch.zeros(count, 2, dtype=torch.float64, device=device) for count in counts]
        self._views = 0

    def add(self, instant: Instant, gates: Tensor) -> None:
        """One image.

        Args:
            instant: the Gaussians as its camera sees them.
            gates: ``[K,H,W]`` in [0,1].
        """
        found = contributions(instant, torch.stack([gates, torch.ones_like(gates)], dim=1)).double()
        for expert, (sums, rows) in enumerate(zip(self._sums, instant.rows, strict=True)):
            sums[rows] += found[instant.expert_ids == expert]
        self._views += 1

    def result(self) -> Responsibilities:
        """The responsibilities so far.

        Eq. 14 says nothing of a Gaussian that no ray met. It gets its expert's mean, the gate by which what was seen of
        the expert counts: other cameras, or frames left out, may see it, and 0 would tear holes there that no expert
        has. An expert of which nothing was seen at all gets 1 / K.
        """
        values, seen = [], []
        for sums in self._sums:
            gated, whole = sums.unbind(dim=1)
            mean = gated.sum() / whole.sum() if whole.sum() > 0 else gated.new_tensor(1.0 / len(self._sums))
            known = whole > 0
            values.append(torch.where(known, gated / torch.where(known, whole, 1.0), mean).clamp(0.0, 1.0).float())
            seen.append(known)
        return Responsibilities(values, seen, self._views)


@torch.no_grad()
def evaluation_gates(model: MixtureModel, camera: Cameras) -> tuple[Tensor, Instant]:
    """``[K,H,W]`` the gates of pixels a mixture renders with outside training, and what it composited."""
    view, instant = model.look(camera)
    config = model.config
    return gate(model.logits(view), config.eval_temperature, config.top_k), instant


def lift(model: MixtureModel, cameras: Iterable[Cameras]) -> Responsibilities:
    """Responsibilities of all Gaussians over the images of ``cameras``, each of size 1.

    Cameras of one instant should follow each other: experts are then deformed once for all of them.

    Raises:
        ValueError: the mixture has no gates of pixels (the volume router), or no experts.
    """
    if model.config.router == "volume":
        raise ValueError(
            "expected a mixture whose router gates pixels, found one with the volume router: it gates the opacities "
            "of one set of Gaussians already, so there is nothing to lift"
        )
    model.require_experts()
    lifting = Lifting([expert.num_gaussians for expert in model.expert_models], model.device)
    training = model.training
    model.train()  # only there are deformed experts remembered; nothing else here depends on it
    try:
        for camera in cameras:
            gates, instant = evaluation_gates(model, camera.to(model.device))
            lifting.add(instant, gates)
    finally:
        model.train(training)
        model.forget_splats()
    return lifting.result()


def views_of_stride(cameras: Cameras, frame_stride: int = 1, camera_stride: int = 1) -> list[int]:
    """Which images to lift from: every so-manieth frame, from the first, of every so-manieth camera, instant by
    instant.

    Args:
        cameras: of all images, with ``camera_index`` and ``frame_index`` in their metadata.
        frame_stride: 1 for all frames.
        camera_stride: 1 for all cameras.

    Raises:
        ValueError: strides below 1.
    """
    if min(frame_stride, camera_stride) < 1:
        raise ValueError(f"expected strides of 1 or more, found {frame_stride} (frames) and {camera_stride} (cameras)")
    metadata = cameras.metadata or {}
    frames, names = (metadata[key][:, 0].tolist() for key in ("frame_index", "camera_index"))
    chosen = [
        (frame, name, index)
        for index, (frame, name) in enumerate(zip(frames, names, strict=True))
        if frame % frame_stride == 0 and name % camera_stride == 0
    ]
    return [index for _, _, index in sorted(chosen)]
