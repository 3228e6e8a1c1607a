"""Options every expert has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nerfstudio.models.base_model import ModelConfig
from nerfstudio.utils.rich_utils import CONSOLE

from moegs_ns.experts.option_ranges import check_ranges


def _expert_model() -> type:
    from moegs_ns.experts.base import ExpertModel  # which reads these options

    return ExpertModel


@dataclass
class ExpertModelConfig(ModelConfig):
    """Options every expert has."""

    _target: type = field(default_factory=_expert_model)
    enable_collider: bool = False
    ssim_weight: float = 0.2
    """Share of (1 - SSIM) in the photometric loss; the rest is L1."""
    sh_degree: int = 3
    """Degree of the spherical harmonics that hold view-dependent colour, 0 to 3."""
    sh_degree_interval: int = 1000
    """Steps after which one more degree of the spherical harmonics is used."""
    background: Literal["black", "white"] = "black"
    """Colour behind all Gaussians."""
    near: float | None = None
    """Gaussians closer to the camera than this (world units) are not drawn. Default: four fifths of the scene's own
    near bound."""
    far: float | None = None
    """Gaussians farther from the camera than this (world units) are not drawn. Default: ten times the scene's own far
    bound, which leaves room for a background."""
    default_time: float = 0.0
    """Time in [0,1] rendered for cameras that carry none."""
    max_gaussians: int | None = None
    """Never grow beyond this many Gaussians; seeds are thinned out to it as well."""
    max_seeds: int | None = None
    """Larger seed clouds are thinned out to this many points, which leaves room to grow; points without a time go
    first, because those with one are what moves."""
    max_scale: float | None = None
    """No Gaussian's standard deviations grow beyond this share of the camera extent. Giants far outside the view are
    projected wrongly, and lie like fog over the camera nothing was trained on. Default: no limit, as in the papers."""
    camera_gains: bool = False
    """Learn one gain per training camera and colour channel, for rigs whose cameras differ in exposure. Their geometric
    mean is 1; they act in training only, every other picture is rendered without."""
    densify_views: Literal["last", "all", "sum"] = "last"
    """How the cameras of a step enter the densification statistics: the last one only (as STG's authors do), all as
    views of their own, or added up into one (as 4DGaussians' authors do)."""

    def prepare_start(self, data: Mapping[str, Any]) -> None:
        """The trainer calls this before it writes anything of a new run: refuse what these data cannot give.

        Args:
            data: what the training data say of themselves (``train_cameras``, ``background``), empty when unknown.

        Raises:
            ValueError: options out of range, or that need more cameras than there are.
        """
        check_ranges(self)
        if self.camera_gains:  # their mean is 1: a single camera would have none
            require_cameras(data, 2, "gains per camera", "--pipeline.model.camera-gains False")
        behind = data.get("background")
        if behind is not None and behind != self.background:
            CONSOLE.print(
                f"[bold yellow]The images were composited on {behind}, and this expert renders on {self.background}: "
                f"Gaussians will have to be the difference. Pass --pipeline.model.background {behind}",
                soft_wrap=True,
            )


def require_cameras(data: Mapping[str, Any], count: int, wanted_for: str, without: str) -> None:
    """Refuse data with fewer training cameras than an option needs; data that do not name any are not judged.

    Args:
        data: as for `ExpertModelConfig.prepare_start`.
        count: how many it needs.
        wanted_for: what the cameras are for.
        without: the option that does without.

    Raises:
        ValueError: there are fewer.
    """
    names = data.get("train_cameras")
    if names is not None and len(names) < count:
        raise ValueError(
            f"{wanted_for}: expected at least {count} training cameras, found {len(names)} ({', '.join(names)}); set "
            f"{without} (moegs train: add +one-camera to --preset), as a capture by one camera has to"
        )
