"""What can be chosen when a scene is prepared; the docstrings are the manual of ``moegs data prepare``.

Standard library only: the command's help answers at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LensModel = Literal["pinhole", "radial", "opencv"]
Sharing = Literal["auto", "shared", "each"]
SeedKind = Literal["auto", "triangulated", "swept", "agreeing", "random"]


@dataclass(frozen=True)
class TimeOptions:
    """Which frames of the videos show the same instants."""

    fps: float | None = None
    """Frames per second of the scene; of each video the frames nearest in time are taken. Default: that of the slowest
    video."""
    starts: tuple[str, ...] = ()
    """When cameras took their first frames, in seconds: cam03=0.1 began a tenth of a second after those not named."""
    estimate_starts: bool = False
    """Estimate when each camera began from what moves in the videos; --starts are kept."""
    starts_within: float = 1.5
    """Seconds by which cameras began apart at most, for that estimate: a wider search errs more easily."""
    first_frame: int = 0
    """Frames to leave out at the start of what all cameras show."""
    num_frames: int | None = None
    """Number of frames to take from there on. Default: all."""


@dataclass(frozen=True)
class CameraOptions:
    """Where cameras stand and what their lenses do."""

    poses: Path | None = None
    """Known cameras: a poses_bounds.npy, Technicolor's cameras_parameters.txt, or the folder of a COLMAP model (text or
    binary). Default: estimate them by structure from motion."""
    focal: float | None = None
    """Focal length in pixels, if it is known, of all cameras; only for structure from motion."""
    lens: LensModel = "radial"
    """What structure from motion may assume of lenses: no distortion, one radial coefficient, or OpenCV's four."""
    lens_sharing: Sharing = "auto"
    """Whether all cameras of one image size have the same lens: shared, each its own, or whichever fits."""
    sfm_frames: int = 2
    """Number of instants whose pictures structure from motion looks at."""
    depth: float = 4.0
    """Structure from motion does not know how large a scene is: median distance of its points from the cameras, in the
    world units to write."""
    drop_unplaced: bool = False
    """Go on without the cameras that structure from motion cannot place."""
    size: tuple[int, int] | None = None
    """Width and height of all pictures. Default: as they are if all have one size, else that of the smallest."""


@dataclass(frozen=True)
class SeedOptions:
    """What Gaussians start from."""

    seeds: SeedKind = "auto"
    """Triangulated from features of neighbouring cameras, swept (depth maps of all cameras, kept where neighbours
    agree), random places at which the cameras' colours agree, or random ones. Default: triangulated and swept ones
    together; the others only where these are hardly any."""
    seed_frames: Literal["first", "all"] | int = "first"
    """Instants to make seeds at: the first, which gives points without times, all, or so many, evenly spread."""
    features: int = 4000
    """Points to look for in a picture, at most."""
    neighbours: int = 8
    """Cameras to match each camera with, at most."""
    least_views: int | None = None
    """Cameras that must agree on a triangulated point. Default: three, or two where that leaves fewer than 500."""
    swept_points: int = 10000
    """Number of points to keep of the depth maps of an instant, evenly spread."""
    random_points: int = 10000
    """Number of random seeds, where they are made."""
    dense_cloud: Path | None = None
    """Dense cloud of the reconstruction that --poses comes from (fused.ply, or a COLMAP workspace) to take seeds from
    instead, one per voxel."""
    voxel: float | None = None
    """Edge length of those voxels in world units. Default: a 200th of the cloud's longest side."""


@dataclass(frozen=True)
class PrepareOptions:
    """One preparation."""

    videos: tuple[Path, ...]
    """Files, or folders of them."""
    output_dir: Path
    """The scene's folder; must not exist yet."""
    time: TimeOptions = TimeOptions()
    cameras: CameraOptions = CameraOptions()
    seeds: SeedOptions = SeedOptions()

    def check(self) -> None:
        """Refuse what contradicts itself, before any work.

        Raises:
            ValueError: numbers out of range, or options that exclude each other.
            FileNotFoundError: known cameras, or a cloud, that are not there.
        """
        seeds, cameras = self.seeds, self.cameras
        counts = {
            "--sfm-frames": cameras.sfm_frames,
            "--features": seeds.features,
            "--neighbours": seeds.neighbours,
            "--swept-points": seeds.swept_points,
            "--random-points": seeds.random_points,
            "--seed-frames": seeds.seed_frames if isinstance(seeds.seed_frames, int) else 1,
        }
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"expected {name} of 1 or more, found {value}")
        self._check_numbers()
        if seeds.least_views is not None and seeds.least_views < 2:
            raise ValueError(f"expected --least-views of 2 or more, found {seeds.least_views}")
        if cameras.focal is not None and cameras.focal <= 0:
            raise ValueError(f"expected --focal above 0, found {cameras.focal}")
        if seeds.dense_cloud is not None and cameras.poses is None:
            raise ValueError(
                "expected --poses with --dense-cloud: a dense cloud lies in the world of its own reconstruction; give "
                "that reconstruction's cameras"
            )

    def _check_numbers(self) -> None:
        time, cameras, seeds = self.time, self.cameras, self.seeds
        above = {"--fps": time.fps, "--depth": cameras.depth, "--voxel": seeds.voxel, "--num-frames": time.num_frames}
        for name, value in above.items():
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"expected {name} above 0, found {value}")
        least = {"--first-frame": time.first_frame, "--starts-within": time.starts_within}
        for name, value in least.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"expected {name} of 0 or more, found {value}")
        if cameras.size is not None and min(cameras.size) < 1:
            raise ValueError(f"expected --size of at least 1 by 1 pixels, found {' by '.join(map(str, cameras.size))}")
        for name, path in (("--poses", cameras.poses), ("--dense-cloud", seeds.dense_cloud)):
            if path is not None and not path.exists():
                raise FileNotFoundError(f"expected a file or folder at {path} for {name}, found none")

    def start_times(self) -> dict[str, float]:
        """Camera -> seconds, of those given.

        Raises:
            ValueError: not NAME=SECONDS.
        """
        starts = {}
        for given in self.time.starts:
            name, equals, seconds = given.partition("=")
            try:
                starts[name] = float(seconds)
            except ValueError:
                equals = ""
            if not equals or not name:
                raise ValueError(f"expected --starts like cam03=0.1, found {given!r}")
        return starts
