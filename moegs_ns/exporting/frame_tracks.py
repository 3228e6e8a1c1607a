"""Bytes of Gaussians over the frames of a clip, of which most never change.

A track holds what is true in the first frame, and of the Gaussians that ever change what each further frame adds to the
one before. Bytes stand plane by plane (all first bytes, all second ones), so that what stands still becomes zeros in a
row, which compression takes away.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LEVEL = 9


@dataclass(frozen=True)
class Track:
    """One kind of bytes of N Gaussians over F frames.

    Attributes:
        frames, gaussians, width: F, N and bytes per Gaussian.
        changing: how many Gaussians ever change.
        data: compressed (zlib): a bit per Gaussian whether it changes, lowest bits first; the first frame's planes,
            ``width x gaussians``; for every further frame its planes of differences modulo 256, ``width x changing``.
    """

    frames: int
    gaussians: int
    width: int
    changing: int
    data: bytes


def write_track(values: np.ndarray) -> Track:
    """The track of uint8 ``[F,N,B]``, F > 0.

    Raises:
        ValueError: no frames.
    """
    if len(values) == 0:
        raise ValueError("expected at least one frame to write, found none")
    frames, gaussians, width = values.shape
    changes = (values != values[:1]).any(axis=(0, 2))
    moving = values[:, changes]
    steps = moving[1:] - moving[:-1]  # modulo 256, as uint8 wraps
    parts = [
        np.packbits(changes, bitorder="little"),
        np.ascontiguousarray(values[0].T),
        np.ascontiguousarray(steps.transpose(0, 2, 1)),
    ]
    data = zlib.compress(b"".join(part.tobytes() for part in parts), _LEVEL)
    return Track(frames, gaussians, width, int(changes.sum()), data)


def read_track(track: Track) -> np.ndarray:
    """uint8 ``[F,N,B]``.

    Raises:
        ValueError: data of another size than the track says.
    """
    sizes = _sizes(track)
    data = np.frombuffer(zlib.decompressobj().decompress(track.data, sum(sizes) + 1), np.uint8)
    if len(data) != sum(sizes):
        raise ValueError(f"expected a track of {sum(sizes)} bytes, found {len(data)}; was the file cut off?")
    bits, first, steps = np.split(data, np.cumsum(sizes)[:-1])
    changes = np.unpackbits(bits, count=track.gaussians, bitorder="little").astype(bool)
    values = np.repeat(first.reshape(1, track.width, track.gaussians).transpose(0, 2, 1), track.frames, axis=0)
    differences = steps.reshape(track.frames - 1, track.width, track.changing).transpose(0, 2, 1)
    values[1:, changes] += np.cumsum(differences, axis=0, dtype=np.uint8)
    return values


def _sizes(track: Track) -> Sequence[int]:
    return (
        (track.gaussians + 7) // 8,
        track.width * track.gaussians,
        (track.frames - 1) * track.width * track.changing,
    )
