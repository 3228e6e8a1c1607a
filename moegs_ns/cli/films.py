"""``moegs render fixed``, ``bullet-time``, ``interpolate``, ``spiral``, ``orbit``, ``path``: films of a run."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from moegs_ns.cli.studio import Studio
    from moegs_ns.exporting.film import Film

#: Seconds; a clip of a second would rush the camera through the scene.
_SHORTEST_MOVE = 4.0
#: Of H.264's constant rate factors.
WORST_QUALITY = 51


@dataclass(kw_only=True)
class FilmCommand:
    """What all films have in common: what they show, and how they are written."""

    run_folder: tyro.conf.Positional[Path]
    """Run folder: of an expert, a student, a mixture or a fused model."""
    output: Path | None = None
    """Video to write: *.mp4 is H.264 (yuv420p, plays everywhere), *.mkv is FFV1 (lossless). Default: an mp4 in renders/
    of the run folder, or none with --frames."""
    frames: Path | None = None
    """Folder for the frames as PNG files. A render that was stopped goes on where it was when the same command is given
    again. With --output a video is made of them as well."""
    overwrite: bool = False
    """Remove another render's frames from --frames; they are refused otherwise."""
    show: tuple[str, ...] = ()
    """Pictures of a frame, side by side: outputs of the model such as rgb, depth, expert_stg, gate_stg; truth (of
    `fixed`); of mixtures also the groups experts, gates, mixture, and winner. Default: rgb."""
    side_by_side: bool = False
    """Show all there is: truth (of `fixed`), and of a mixture every expert, its gate, the mixture and the winners."""
    columns: int | None = None
    """Pictures in a row. Default: one row of up to four, two rows of more."""
    labels: bool = True
    """Write above each of several pictures what it is."""
    downscale: float = 1.0
    """Make pictures smaller by this factor."""
    fps: float | None = None
    """Frames per second of the video. Default: the scene's, or the camera path's."""
    quality: int = 17
    """Constant rate factor of H.264, from 0 (best) to 51."""
    device: str | None = None
    """Torch device, such as cpu. Default: CUDA where there is one."""

    @property
    def stopped_message(self) -> str:
        """What to say when interrupted."""
        if self.frames is None:
            return "Stopped. With --frames FOLDER a render goes on where it stopped."
        return f"Stopped. The same command goes on with the frames in {self.frames}."

    def run(self) -> None:
        """Render, write, and print the paths.

        Raises:
            FileNotFoundError, ValueError: not a run, its data are gone, or options that do not fit it or each other.
        """
        if not 0 <= self.quality <= WORST_QUALITY:
            raise ValueError(f"expected --quality from 0 (best) to {WORST_QUALITY}, found {self.quality}")
        from moegs_ns.cli.devices import check_torch_device
        from moegs_ns.cli.filming import make_film

        check_torch_device(self.device)
        make_film(self)

    @abstractmethod
    def film(self, studio: "Studio") -> "Film":
        """Cameras and times of the frames.

        Raises:
            FileNotFoundError, ValueError: as `run`.
        """

    @property
    @abstractmethod
    def title(self) -> str:
        """Name of the default video."""


@dataclass(kw_only=True)
class _Instant:
    time: float | None = None
    """The instant: from 0, the first frame of the clip, to 1, the last."""
    frame: int | None = None
    """The instant as the number of a frame of the clip, from 0."""


@dataclass(kw_only=True)
class _Seconds:
    seconds: float | None = None
    """Length of the video; time runs through the clip once. Default: the clip's own length, but at least 4 s."""


@dataclass(kw_only=True)
class _AlongCameras:
    cameras: tuple[str, ...] = ()
    """Training cameras to pass, by name and in this order. Default: all, in an order that makes a short way."""


@dataclass(kw_only=True)
class _FromCamera:
    camera: str | None = None
    """Camera to begin at, of any split. Default: the most central training camera."""


@dataclass(kw_only=True)
class _Spiral(_FromCamera):
    radius: float | None = None
    """Of the spiral, in world units. Default: half the typical distance between that camera and the others."""
    turns: int = 2
    """Circles the camera makes."""


@dataclass(kw_only=True)
class _Orbit(_FromCamera):
    degrees: float | None = None
    """How far around the scene's middle: 360 goes once around, less swings there and back. Default: as far as the
    training cameras stand around it."""


@dataclass(kw_only=True)
class Fixed(FilmCommand):
    """Stand at one camera while time runs: its frames as they were recorded, or slower."""

    camera: str | None = None
    """Name of a camera, of any split, such as cam00. Default: the first test camera."""
    pose_frame: int | None = None
    """Of a camera that moved: stand where it stood in this frame. Default: in its first."""
    seconds: float | None = None
    """Length of the video; time runs through the clip once. Default: every frame of the clip, once, at its own time."""

    title = "fixed"

    def film(self, studio: "Studio") -> "Film":
        return studio.standing(self.camera, self.pose_frame, self.seconds)


@dataclass(kw_only=True)
class BulletTime(FilmCommand, _AlongCameras, _Spiral, _Orbit, _Instant):
    """Hold the time (--time or --frame) and move the camera."""

    move: Literal["interpolate", "spiral", "orbit"] = "interpolate"
    """How the camera moves: smoothly from training camera to training camera, in circles around one, or around the
    scene's middle. --cameras belongs to interpolate, --camera to the others."""
    seconds: float = _SHORTEST_MOVE
    """Length of the video."""

    title = "bullet-time"

    def film(self, studio: "Studio") -> "Film":
        count = studio.frames_of(self.seconds)
        instant = studio.instant(self.time, self.frame)
        if instant is None:
            raise ValueError("expected the instant to hold, --time T (0 to 1) or --frame F, found neither")
        if self.cameras and self.move != "interpolate":
            raise ValueError(f"expected --camera NAME to begin the {self.move} at, found --cameras; see --help")
        if self.camera and self.move == "interpolate":
            raise ValueError("expected --cameras NAME NAME ... to pass, found --camera; see --help")
        times = [instant] * count
        if self.move == "interpolate":
            return studio.interpolation(self.cameras, times)
        if self.move == "spiral":
            return studio.spiral(self.camera, self.radius, self.turns, times)
        return studio.orbit(self.camera, self.degrees, times)


@dataclass(kw_only=True)
class Interpolate(FilmCommand, _AlongCameras, _Seconds):
    """Move smoothly from training camera to training camera while time runs."""

    title = "interpolate"

    def film(self, studio: "Studio") -> "Film":
        return studio.interpolation(self.cameras, studio.running(self.seconds, _SHORTEST_MOVE))


@dataclass(kw_only=True)
class Spiral(FilmCommand, _Spiral, _Seconds):
    """Move in circles around a camera while time runs."""

    title = "spiral"

    def film(self, studio: "Studio") -> "Film":
        return studio.spiral(self.camera, self.radius, self.turns, studio.running(self.seconds, _SHORTEST_MOVE))


@dataclass(kw_only=True)
class Orbit(FilmCommand, _Orbit, _Seconds):
    """Move around the scene's middle while time runs."""

    title = "orbit"

    def film(self, studio: "Studio") -> "Film":
        return studio.orbit(self.camera, self.degrees, studio.running(self.seconds, _SHORTEST_MOVE))


@dataclass(kw_only=True)
class FollowPath(FilmCommand, _Instant):
    """Follow a camera path of nerfstudio's viewer, with its times, field of view, size and rate. The data may be gone.

    Where not every entry of the path has a time, time runs through the clip once. --time or --frame holds it instead.
    """

    camera_path: Path
    """The JSON file that the viewer's Render tab writes."""

    @property
    def title(self) -> str:
        return self.camera_path.stem

    def film(self, studio: "Studio") -> "Film":
        return studio.path(self.camera_path, studio.instant(self.time, self.frame))
