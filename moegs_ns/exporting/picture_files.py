"""Pictures as files: lossless, or as small as a page or a repository wants them."""

from pathlib import Path

import numpy as np
from PIL import Image

from moegs_ns.files import written_whole

#: Bytes of a picture that is to stand in documentation.
DOCUMENT_LIMIT = 1_000_000
_LARGEST_PALETTE = 256
_SHRINKING = 0.8  # of the sides, per attempt
_WEBP_QUALITY = 80


def save_picture(path: Path, picture: np.ndarray) -> Path:
    """Write uint8 ``[H,W,3]`` without loss: PNG, or WebP where the path says so; the folder is created.

    A PNG of few colours has a palette.
    """
    with written_whole(path) as scratch:
        if path.suffix == ".webp":
            Image.fromarray(picture).save(scratch, format="WEBP", lossless=True)
        else:
            (_exact_palette(picture) or Image.fromarray(picture)).save(scratch, format="PNG", optimize=True)
    return path


def save_photograph(path: Path, picture: np.ndarray) -> Path:
    """Write uint8 ``[H,W,3]`` as lossy WebP, a few per cent of its size; a path ``.png`` is written without loss."""
    if path.suffix != ".webp":
        return save_picture(path, picture)
    with written_whole(path) as scratch:
        Image.fromarray(picture).save(scratch, format="WEBP", quality=_WEBP_QUALITY, method=4)
    return path


def save_small_picture(path: Path, picture: np.ndarray, limit: int = DOCUMENT_LIMIT) -> Path:
    """Write uint8 ``[H,W,3]`` as a PNG of at most ``limit`` bytes.

    Without loss if that fits; else with a palette of 256 colours; else also smaller by as much as it takes.

    Raises:
        ValueError: not even a single pixel fits.
    """
    save_picture(path, picture)
    image = Image.fromarray(picture)
    while path.stat().st_size > limit:
        if max(image.size) == 1:
            path.unlink()
            raise ValueError(f"expected a limit a PNG can keep, found {limit} bytes")
        # Of Pillow's ways to choose a palette the one that keeps the bright colours of small things.
        palette = image.quantize(_LARGEST_PALETTE, Image.Quantize.MAXCOVERAGE)
        with written_whole(path) as scratch:
            palette.save(scratch, format="PNG", optimize=True)
        width, height = image.size
        image = Image.fromarray(picture).resize(
            (max(1, int(_SHRINKING * width)), max(1, int(_SHRINKING * height))), Image.Resampling.LANCZOS
        )
    return path


def _exact_palette(picture: np.ndarray) -> Image.Image | None:
    """The picture with a palette of all its colours, None if these are too many for one."""
    packed = picture.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    colors, numbers = np.unique(packed, return_inverse=True)
    if len(colors) > _LARGEST_PALETTE:
        return None
    height, width = picture.shape[:2]
    image = Image.frombytes("P", (width, height), numbers.astype(np.uint8).tobytes())
    image.putpalette(np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=-1).astype(np.uint8).tobytes())
    return image
