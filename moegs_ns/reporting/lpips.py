"""LPIPS that never breaks an offline run, never enters a checkpoint and never goes missing in silence."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

Network = Literal["alex", "vgg"]

_BACKBONE_FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
_BACKBONES = {"alex": "AlexNet_Weights.IMAGENET1K_V1", "vgg": "VGG16_Weights.IMAGENET1K_V1"}
_SMALLEST_SIDE = {"alex": 32, "vgg": 16}
_DOWNLOAD_TIMEOUT_SECONDS = 10.0


class LazyLpips:
    """One LPIPS network, built at first use.

    Deliberately not an ``nn.Module``: as a part of a pipeline its 10 to 60 MB of weights must not be saved with every
    checkpoint. The learned heads come with torchmetrics; the backbone is torchvision's and is downloaded by torch
    unless its file is already in torch's hub folder.

    Attributes:
        unavailable: why there are no values, or None.
    """

    def __init__(self, network: Network) -> None:
        if network not in _BACKBONE_FILES:
            raise ValueError(f"expected the LPIPS network to be one of {sorted(_BACKBONE_FILES)}, found '{network}'")
        self.network: Network = network
        self.unavailable: str | None = None
        self._metric: Any = None

    @torch.no_grad()
    def __call__(self, prediction: Tensor, target: Tensor) -> float | None:
        """Distance of two images ``[H,W,3]`` in [0,1] (0 = equal), or None with the reason in `unavailable`."""
        smallest = _SMALLEST_SIDE[self.network]
        height, width = prediction.shape[:2]
        if min(height, width) < smallest:
            self._give_up(f"needs images of at least {smallest} pixels a side, found {width}x{height}")
            return None
        if self.unavailable is None and self._metric is None:
            try:
                self._have_backbone()
                self._metric = self._build()
            except Exception as error:  # URLError, OSError, a corrupt file: none of them may end an evaluation
                file = self._backbone_file()
                self._give_up(f"backbone weights could not be had ({error}); put {file.name} into {file.parent}")
                return None
        if self.unavailable is not None:
            return None
        self._metric.to(prediction.device)
        value = self._metric(_batch(prediction), _batch(target))
        return float(value)

    def describe(self) -> str:
        """Implementation and input range, or why there are no values; for the protocol stamp of a result."""
        if self.unavailable is not None:
            return f"unavailable: {self.unavailable}"
        import torchmetrics

        return f"torchmetrics {torchmetrics.__version__}, {self.network} backbone, inputs scaled from [0,1] to [-1,1]"

    def _have_backbone(self) -> None:
        """Download the backbone where it is missing; trying first is cheaper than building a network in vain."""
        import torchvision.models

        url = torchvision.models.get_weight(_BACKBONES[self.network]).url
        file = self._backbone_file()
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            with _socket_timeout(_DOWNLOAD_TIMEOUT_SECONDS):
                torch.hub.download_url_to_file(url, str(file), hash_prefix=file.stem.split("-")[-1], progress=False)

    def _backbone_file(self) -> Path:
        return Path(torch.hub.get_dir()) / "checkpoints" / _BACKBONE_FILES[self.network]

    def _build(self) -> Any:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        return LearnedPerceptualImagePatchSimilarity(net_type=self.network, normalize=True).eval()

    def _give_up(self, reason: str) -> None:
        if self.unavailable is None:
            CONSOLE.print(f"[bold yellow]LPIPS ({self.network}) is left out of the results: {reason}", soft_wrap=True)
        self.unavailable = reason


def _batch(image: Tensor) -> Tensor:
    return image.permute(2, 0, 1)[None].float().clamp(0.0, 1.0)  # torchmetrics refuses 1.0000001


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torch.hub downloads without a timeout; a firewall that swallows packets would hang the evaluation."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
