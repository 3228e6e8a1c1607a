"""How a spacetime Gaussian holds colour, and how what is composited of many becomes a picture.

========  =============================================  ==================  ===================
head      a Gaussian's tensors (floats)                  composited          picture
========  =============================================  ==================  ===================
``sh``    ``sh_base`` 3, ``sh_rest`` 3 (B - 1)           RGB                 as composited
``lite``  ``features`` 3                                 RGB                 as composited
``full``  ``features`` 6, ``time_features`` 3            9 features          `FeatureDecoder`
========  =============================================  ==================  ===================

``lite`` and ``full`` are the models of the STG paper (Li et al., CVPR 2024, "Splatted Feature Rendering"), which has
no spherical harmonics: the first looks the same from everywhere, the second sees the viewing ray in its decoder.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.splats.native_decoder import decode_native
from moegs_ns.splats.rasterize import takes_native
from moegs_ns.splats.sh import joined_sh, sh_tensors

HeadName = Literal["sh", "lite", "full"]
DecoderOutput = Literal["sigmoid", "clamp"]

# Albedo, specular and time features, three channels each; the decoder's hidden layer.
_FEATURES, _RAY_CHANNELS, _HIDDEN = 9, 6, 6


class FeatureDecoder(nn.Module):
    """The full model's network: albedo plus a correction from the other features and the ray, pixel by pixel.

    ``rgb = f(albedo + W2 relu(W1 [specular, time, rays]))``, both matrices without bias (90 weights). A linear map of
    the last axis is the authors' 1x1 convolution in the rasterizer's own layout.

    Args:
        output: f: ``sigmoid`` as the authors have it on Neural 3D Video, ``clamp`` to [0,1] as on Technicolor.
    """

    def __init__(self, output: DecoderOutput) -> None:
        super().__init__()
        self.output = output
        self.hidden = nn.Linear(_FEATURES - 3 + _RAY_CHANNELS, _HIDDEN, bias=False)
        self.color = nn.Linear(_HIDDEN, 3, bias=False)

    def forward(self, features: Tensor, rays: Tensor) -> Tensor:
        """``[H,W,3]`` colours in [0,1].

        Args:
            features: ``[H,W,9]`` composited: albedo, specular, time.
            rays: ``[6,H,W]`` camera centre (world units) and unit direction, see `ray_image`.
        """
        weights = self.hidden.weight, self.color.weight
        native = takes_native(features, rays, *weights) and not (rays.requires_grad and torch.is_grad_enabled())
        decode = decode_native if native else decode_torch
        return decode(features, rays, *weights, self.output == "sigmoid")


def decode_torch(features: Tensor, rays: Tensor, hidden_weight: Tensor, color_weight: Tensor, sigmoid: bool) -> Tensor:
    """The twin of the compiled kernel, see `decode_native`. Takes every floating dtype and device."""
    # Concatenation makes a dense copy, so the products do not depend on how the features lay in memory: a picture out
    # of a pass over several experts equals the expert's own bit for bit.
    seen = torch.cat([features[..., 3:], rays.permute(1, 2, 0)], dim=-1)
    rgb = features[..., :3] + F.linear(F.relu(F.linear(seen, hidden_weight)), color_weight)
    return torch.sigmoid(rgb) if sigmoid else rgb.clamp(0.0, 1.0)


class ColorHead(nn.Module):
    """Colour is composited as it is; what the heads have in common."""

    def tensors(self, colors: Tensor, specular: bool = True) -> dict[str, Tensor]:
        """Raw tensors of new Gaussians that show ``colors [N,3]`` in [0,1] at first.

        Args:
            colors: of the Gaussians.
            specular: whether features that come in addition to the albedo start from the colours too, or from 0.
        """
        return {"features": colors.clone()}

    def splat_fields(self, gaussians: GaussianSet, offset: Tensor) -> dict[str, Tensor]:
        """The fields of ``Splats`` that hold colour: ``features [N,C]`` or ``sh [N,B,3]``.

        Args:
            gaussians: with the tensors this head asked for.
            offset: ``[N]`` time since each Gaussian's temporal centre, on STG's clock.
        """
        return {"features": gaussians["features"]}

    def background(self, color: Tensor) -> Tensor:
        """``[C]`` channels behind all Gaussians where the background's colour is to be ``color [3]``."""
        return color

    def decode(self, composited: Tensor, rays: Callable[[], Tensor]) -> Tensor:
        """``[H,W,3]`` picture from the first channels of ``composited``; ``rays()`` is the image's ``[6,H,W]``."""
        return composited if composited.shape[-1] == 3 else composited[..., :3]


class SphericalHarmonicsHead(ColorHead):
    """View-dependent colour in spherical harmonics, as in 3D Gaussian Splatting.

    Args:
        degree: 0 to 3.
    """

    def __init__(self, degree: int) -> None:
        super().__init__()
        self._degree = degree

    def tensors(self, colors: Tensor, specular: bool = True) -> dict[str, Tensor]:
        """``sh_base [N,3]`` and ``sh_rest [N,B-1,3]``, the latter 0."""
        return sh_tensors(colors, self._degree)

    def splat_fields(self, gaussians: GaussianSet, offset: Tensor) -> dict[str, Tensor]:
        """``sh [N,B,3]``."""
        return {"sh": joined_sh(gaussians["sh_base"], gaussians["sh_rest"])}


class FeatureHead(ColorHead):
    """Nine features a Gaussian, decoded after compositing.

    Features are composited over zeros and the decoder makes of an empty pixel what it will: a background colour has no
    meaning here.

    Args:
        output: see `FeatureDecoder`.
    """

    def __init__(self, output: DecoderOutput) -> None:
        super().__init__()
        self.decoder = FeatureDecoder(output)

    def tensors(self, colors: Tensor, specular: bool = True) -> dict[str, Tensor]:
        """``features [N,6]``, albedo and specular, and ``time_features [N,3]``, which are 0."""
        second = colors if specular else torch.zeros_like(colors)
        return {"features": torch.cat([colors, second], dim=1), "time_features": torch.zeros_like(colors)}

    def splat_fields(self, gaussians: GaussianSet, offset: Tensor) -> dict[str, Tensor]:
        """``features [N,9]``: the time features grow with the offset."""
        return {"features": torch.cat([gaussians["features"], offset[:, None] * gaussians["time_features"]], dim=1)}

    def background(self, color: Tensor) -> Tensor:
        """``[9]`` zeros."""
        return color.new_zeros(_FEATURES)

    def decode(self, composited: Tensor, rays: Callable[[], Tensor]) -> Tensor:
        """``[H,W,3]`` decoded from the first nine channels."""
        own = composited if composited.shape[-1] == _FEATURES else composited[..., :_FEATURES]
        return self.decoder(own, rays())


def make_head(name: HeadName, sh_degree: int, output: DecoderOutput) -> ColorHead:
    """The head of that name.

    Raises:
        ValueError: there is none.
    """
    if name == "sh":
        return SphericalHarmonicsHead(sh_degree)
    if name == "lite":
        return ColorHead()
    if name == "full":
        return FeatureHead(output)
    raise ValueError(f"expected the head to be 'sh', 'lite' or 'full', found '{name}'")
