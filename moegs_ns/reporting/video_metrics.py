"""What scores of single images do not see: how well is shown what moves, and whether what stands still flickers.

*Dynamic PSNR* is PSNR over the pixels that change at some time (`moegs_ns.reporting.dynamic_regions`). *Flicker* is how
much a rendering changes from frame to frame where the truth does not. The truth's own changes are not subtracted: there
they are noise by definition, which no model is asked to repeat, and their size is written beside the protocol.
(Erofeev et al.'s dtSSD and Lai et al.'s warping error compare changes everywhere; with the noise of real video in every
pixel they hardly tell models apart, and the second wants optical flow.)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from moegs_ns.reporting.dynamic_regions import DEFINITION, DynamicRegion, RegionFinder
from moegs_ns.reporting.metrics import as_float_image, decibel

NAMES = ("psnr_dynamic", "flicker")
_FLICKER = (
    "mean absolute change of the rendering from one image of a test camera to the next, over all pixels outside the "
    "dynamic region and all channels, in levels of 255; 0 for a still picture"
)


@dataclass(frozen=True)
class TruthImage:
    """A test camera's image and what tells where it was taken.

    Attributes:
        camera: name of the camera, None if unknown.
        frame: number in the clip, None if unknown.
        pose: flat: camera-to-world and intrinsics; equal for images of a camera that stands still.
        image: ``[H,W,3]`` uint8, or float in [0,1].
    """

    camera: str | None
    frame: int | None
    pose: Tensor
    image: Tensor


class VideoMetrics:
    """Scores of renderings as videos; images come camera by camera, in the order of time.

    Args:
        truths: all test images, in that order. They are looked at once, and only a few maps per camera are kept.
    """

    def __init__(self, truths: Iterable[TruthImage]) -> None:
        self._regions = _regions(truths)
        self._previous: dict[str, tuple[str, int, Tensor]] = {}

    @torch.no_grad()
    def measure(
        self, row: str, prediction: Tensor, target: Tensor, camera: str | None, frame: int | None
    ) -> dict[str, float]:
        """Scores of one image.

        Args:
            row: which of several videos it belongs to (a mixture's, an expert's).
            prediction: ``[H,W,3]`` float rendering; values outside [0,1] are clamped.
            target: ``[H,W,3]`` the camera's image, uint8 or float in [0,1]; may lie on another device.
            camera: its name.
            frame: its number in the clip.

        Returns:
            ``psnr_dynamic`` in dB, at most 100; ``flicker`` in levels of 255. Without an entry for what cannot be had
            of this image: `describe` says what cannot be had at all.
        """
        region = self._regions.get(str(camera))
        if not isinstance(region, DynamicRegion) or frame is None:
            return {}
        picture = prediction.detach().float().clamp(0.0, 1.0)
        changing = region.changing.to(picture.device)
        values: dict[str, float] = {}
        if bool(changing.any()):
            errors = (picture - as_float_image(target).to(picture.device)).square().mean(dim=-1)
            values["psnr_dynamic"] = decibel(_mean_over(errors, changing))
        before = self._previous.get(row)
        if before is not None and before[:2] == (camera, frame - region.frame_step) and not bool(changing.all()):
            change = (picture - before[2]).abs().mean(dim=-1)
            values["flicker"] = 255.0 * _mean_over(change, ~changing)
        self._previous[row] = (str(camera), frame, picture)
        return values

    def describe(self) -> dict[str, str]:
        """Definition of each metric, or ``unavailable:`` with the reason."""
        known = {camera: region for camera, region in self._regions.items() if isinstance(region, DynamicRegion)}
        if not known:
            reasons = "; ".join(f"{camera}: {reason}" for camera, reason in self._summed_up().items())
            return dict.fromkeys(NAMES, f"unavailable: no test camera that stands still ({reasons or 'no images'})")
        moving = [camera for camera, region in known.items() if region.share > 0]
        still = [camera for camera, region in known.items() if region.share < 1]
        return {
            "psnr_dynamic": self._of(moving, f"as PSNR, over the dynamic region: {DEFINITION}", "nothing changes"),
            "flicker": self._of(still, _FLICKER, "everything changes"),
        }

    def _of(self, cameras: list[str], definition: str, otherwise: str) -> str:
        if not cameras:
            return f"unavailable: {otherwise} before any test camera that stands still"
        some = "" if len(cameras) == len(self._regions) else f"; of {', '.join(cameras)} only"
        return f"{definition}{some}"

    def regions(self) -> dict[str, Any]:
        """Plain data per camera: ``share`` of the image that changes, ``truth_flicker`` (noise of the camera's own
        images in levels of 255), ``frame_step``; or ``unavailable`` with the reason."""
        described: dict[str, Any] = {}
        for camera, region in self._regions.items():
            if isinstance(region, DynamicRegion):
                described[camera] = {
                    "share": region.share,
                    "truth_flicker": region.truth_flicker,
                    "frame_step": region.frame_step,
                }
            else:
                described[camera] = {"unavailable": region}
        return described

    def _summed_up(self) -> dict[str, str]:
        """Reasons by camera; cameras with the same reason as one."""
        cameras: dict[str, list[str]] = {}
        for camera, region in self._regions.items():
            if isinstance(region, str):
                cameras.setdefault(region, []).append(camera)
        return {
            names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more": reason
            for reason, names in cameras.items()
        }


def _regions(truths: Iterable[TruthImage]) -> dict[str, DynamicRegion | str]:
    """Region by camera; in the place of one that cannot be had the reason."""
    regions: dict[str, DynamicRegion | str] = {}
    for camera, images in groupby(truths, key=lambda truth: truth.camera):
        finder, reason = None, "its images stand apart from one another" if str(camera) in regions else None
        for truth in images:
            if camera is None or truth.frame is None:
                reason = "its images do not say which camera and frame they are"
            if reason is None:
                finder = finder or RegionFinder(truth.pose)
                finder.add(truth.frame or 0, truth.pose, as_float_image(truth.image))
        if finder is not None and reason is None:
            regions[str(camera)] = finder.region()
        else:
            regions[str(camera)] = reason or "no images"
    return regions


def _mean_over(values: Tensor, chosen: Tensor) -> float:
    """Mean of ``values [H,W]`` where ``chosen``, summed in double precision without gathering the pixels."""
    return float((values * chosen).sum(dtype=torch.float64)) / int(chosen.sum())
