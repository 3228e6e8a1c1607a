"""Ranges of options that several families have; numbers outside end in a sentence instead of a traceback."""

from typing import Any

#: Options that must be at least 1 wherever a family has them; those that may be None are limits.
AT_LEAST_ONE = (
    "densify_interval",
    "smoothness_interval",
    "keyframe_interval",
    "window_growth",
    "window_frames",
    "seed_copies",
    "width",
    "embedding_size",
    "time_embedding_size",
    "grid_channels",
    "grid_resolution",
    "time_resolution",
    "max_gaussians",
    "max_seeds",
    "clip_frames",
)
_LARGEST_SH_DEGREE = 3


def check_ranges(config: Any) -> None:
    """Check a model config.

    Raises:
        ValueError: an option is out of range.
    """
    for name in AT_LEAST_ONE:
        value = getattr(config, name, None)
        if value is not None and not value >= 1:
            raise ValueError(f"expected {_option(name)} of 1 or more, found {value}")
    if not 0 <= config.sh_degree <= _LARGEST_SH_DEGREE:
        raise ValueError(f"expected {_option('sh_degree')} from 0 to {_LARGEST_SH_DEGREE}, found {config.sh_degree}")
    if not 0 <= config.ssim_weight <= 1:
        raise ValueError(f"expected {_option('ssim_weight')} from 0 to 1, found {config.ssim_weight}")
    if config.max_scale is not None and not config.max_scale > 0:
        raise ValueError(
            f"expected {_option('max_scale')} above 0, found {config.max_scale}; leave it out for no limit"
        )


def _option(name: str) -> str:
    return f"--pipeline.model.{name.replace('_', '-')}"
