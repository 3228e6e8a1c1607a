"""A film to be rendered: a camera and an instant per frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras

from moegs_ns.exporting.frame_folder import digest


@dataclass(frozen=True)
class Film:
    """N frames.

    Attributes:
        cameras: N pinholes of one size, each with a time in [0,1].
        fps: frames per second.
        photographs: per frame the number of the image that was taken from there, none where there is none.
    """

    cameras: Cameras
    fps: float
    photographs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (self.fps > 0 and np.isfinite(self.fps)):
            raise ValueError(f"expected frames per second above 0, found {self.fps}")
        sizes = {(int(w), int(h)) for w, h in zip(self.cameras.width, self.cameras.height, strict=True)}
        if len(sizes) != 1:
            raise ValueError(f"expected frames of one size for a film, found {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the rendered pictures."""
        return int(self.cameras.width[0]), int(self.cameras.height[0])

    def frame(self, number: int) -> Cameras:
        """The camera of a frame, of size 1, with its time."""
        return self.cameras[number : number + 1]

    def scaled(self, factor: float) -> "Film":
        """Its pictures smaller by ``factor``, rounded as ns-render's ``--downscale-factor`` rounds.

        Raises:
            ValueError: a factor below 1, or of which no pixel is left.
        """
        if factor == 1:
            return self
        if not factor > 1 or min(self.size) < factor:
            raise ValueError(f"expected a --downscale of at least 1 that leaves pixels of {self.size}, found {factor}")
        cameras = self.cameras[torch.arange(len(self))]  # a copy: rescaling acts in place
        cameras.rescale_output_resolution(1.0 / factor)
        return replace(self, cameras=cameras)

    def identity(self) -> str:
        """Digest of all cameras and times, to the bit."""
        cameras = self.cameras
        assert cameras.times is not None
        parts = (cameras.camera_to_worlds, cameras.fx, cameras.fy, cameras.cx, cameras.cy, cameras.times)
        sizes = (cameras.width, cameras.height)
        return digest(*(part.cpu().numpy().tobytes() for part in (*parts, *sizes)))


def film_along(poses: np.ndarray, lens: Cameras, times: Sequence[float] | np.ndarray, fps: float) -> Film:
    """A film of poses ``[N,3,4]``, all through the lens of one camera.

    Args:
        poses: camera-to-world, OpenGL axes.
        lens: of size 1; its intrinsics and size are taken.
        times: N times in [0,1].
        fps: frames per second.
    """
    cameras = Cameras(
        camera_to_worlds=torch.from_numpy(np.asarray(poses)).float(),
        fx=float(lens.fx.item()),
        fy=float(lens.fy.item()),
        cx=float(lens.cx.item()),
        cy=float(lens.cy.item()),
        width=int(lens.width.item()),
        height=int(lens.height.item()),
        times=torch.from_numpy(np.asarray(times, np.float64)).float()[:, None],
    )
    return Film(cameras, fps)
