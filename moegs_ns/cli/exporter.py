"""A run made ready to be exported: its model, the cameras it was recorded with, and what is asked of it."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.exporting.frame_gaussians import (
    FrameGaussians,
    GaussianSource,
    Selection,
    frame_gaussians,
    time_of_frame,
)
from moegs_ns.exporting.gate_picture import evenly_spaced
from moegs_ns.exporting.orientation import rotation_to_y_down
from moegs_ns.exporting.sh_bake import BakedExpert
from moegs_ns.exporting.viewpoints import Viewpoint, spread_viewpoints
from moegs_ns.training.fusion import scene_of_record
from moegs_ns.training.load_run import LoadedRun, load_model, load_run

if TYPE_CHECKING:
    from moegs_ns.cli.export import Export

_MOST_VIEWPOINTS = 24
_BAKED_DEGREE = 2


@dataclass(frozen=True)
class Exporter:
    """A loaded run and what is asked of it.

    Attributes:
        asked: the command's options.
        record: the run's.
        model: in evaluation mode.
        run: with the images to compare with; None without data.
        viewpoints: of the training cameras, on the model's device; none without data.
        frames: numbers in the clip, ascending.
        selection: what of their Gaussians.
    """

    asked: "Export"
    record: Mapping[str, Any]
    model: Any
    run: LoadedRun | None
    viewpoints: Sequence[Viewpoint]
    frames: Sequence[int]
    selection: Selection

    @property
    def source(self) -> GaussianSource:
        """Whom to ask for Gaussians."""
        if not self.baked:
            return self.model
        degree = _BAKED_DEGREE if self.asked.sh_degree is None else self.asked.sh_degree
        return BakedExpert(self.model, self.viewpoints, degree)

    @property
    def baked(self) -> bool:
        """Whether colours are made of features."""
        return self.asked.bake_sh

    @property
    def fps(self) -> float:
        """Frames per second of what is exported."""
        step = self.frames[1] - self.frames[0] if len(self.frames) > 1 else 1
        return float(self.record["scene"]["fps"]) / step

    @property
    def positions(self) -> Tensor | None:
        """``[V,3]`` of the viewpoints, in the exported world on the CPU; None without any."""
        if not self.viewpoints:
            return None
        positions = torch.stack([view.position for view in self.viewpoints]).cpu()
        return positions if self.selection.rotation is None else positions @ self.selection.rotation.T

    def gaussians(self, frames: Sequence[int]) -> Iterator[FrameGaussians]:
        """Of some frames of the clip."""
        return frame_gaussians(self.source, frames, int(self.record["scene"]["num_frames"]), self.selection)

    @property
    def images(self) -> LoadedRun:
        """The run with its images.

        Raises:
            ValueError: the data were not to be touched.
        """
        if self.run is None:
            raise ValueError("expected the scene's data, found none; leave out --without-data")
        return self.run

    def images_of_cameras(self) -> dict[str, list[int]]:
        """Numbers of the images of exported frames, by camera, in the order of time. A camera may lack frames."""
        frames, wanted = image_frames(self.images), {*self.frames}
        found: dict[str, list[int]] = {}
        for index, (camera, _) in enumerate(self.images.images):
            if frames[index] in wanted:
                found.setdefault(camera, []).append(index)
        return {camera: sorted(own, key=lambda index: frames[index]) for camera, own in found.items()}

    def checked_images(self) -> list[tuple[int, int]]:
        """Number and frame of the images to compare, evenly over those of exported frames."""
        if self.run is None or not self.asked.check_images:
            return []
        frames, wanted = image_frames(self.run), {*self.frames}
        fitting = [(index, frame) for index, frame in enumerate(frames) if frame in wanted]
        return [fitting[position] for position in evenly_spaced(len(fitting), self.asked.check_images)]

    @torch.no_grad()
    def own_picture(self, index: int) -> Tensor:
        """``[H,W,3]`` in [0,1], what the model shows an image's camera at the time of its frame."""
        camera = self.images.dataset.cameras[index : index + 1].to(self.model.device)
        time = time_of_frame(image_frames(self.images)[index], int(self.record["scene"]["num_frames"]))
        camera.times = torch.full((1, 1), time, device=self.model.device)
        return self.model.get_outputs_for_camera(camera)["rgb"].clamp(0.0, 1.0)


def image_frames(run: LoadedRun) -> list[int]:
    """Frame in the clip, from 0, of every image of the run's split."""
    first = int(run.dataset.metadata["first_frame"])
    return [frame - first for _, frame in run.images]


def refuse_mixture(record: Mapping[str, Any], asked: "Export") -> None:
    """Raises ValueError where Gaussians of a mixture are asked for."""
    if record["expert"]["name"] != "router" or asked.format == "video":
        return
    run, student = shlex.quote(str(asked.run_folder)), record["model"]["experts"][0]
    scene = scene_of_record(dict(record), asked.run_folder)
    data = shlex.join(["--data", str(scene.data), scene.parser, *scene.options])
    raise ValueError(
        "expected Gaussians to export, found a mixture: a mixture's picture lives in image space, where its router "
        "blends the experts' images pixel by pixel, so no "
        f"file of Gaussians holds it: export a student (`ns-train moegs-distill --teacher {run} --student {student} "
        f"{data}`) or the fused set (`moegs fuse {run}`) instead, or a "
        "video of it (--format video)"
    )


def refuse_idle_bake(record: Mapping[str, Any], asked: "Export") -> None:
    """Raises ValueError where colours are to be made of features and the model has none."""
    head = record["expert"]["config"].get("head", "sh")
    if asked.bake_sh and head == "sh":
        raise ValueError(
            "expected a model whose colours are features (STG's heads lite and full) beside --bake-sh, found one with "
            f"spherical harmonics at {asked.run_folder}; leave out --bake-sh"
        )


def load(asked: "Export", record: Mapping[str, Any], frames: Sequence[int]) -> Exporter:
    """Load the model, and of the data what is needed.

    Raises:
        FileNotFoundError: the data are gone.
        ValueError: options that need data, without them.
    """
    if asked.without_data:
        needing = {"--format video": asked.format == "video", "--bake-sh": asked.bake_sh}
        needing["--format html"] = asked.format == "html"
        needing["--axes y-down"] = asked.axes == "y-down"
        wanted = [name for name, given in needing.items() if given]
        if wanted:
            raise ValueError(f"{wanted[0]} needs the scene's cameras; leave out --without-data")
        selection = Selection(asked.min_opacity, asked.sh_degree)
        return Exporter(asked, record, load_model(asked.run_folder, asked.device), None, (), frames, selection)
    split = "test" if record["scene"]["cameras"].get("test") else "train"
    try:
        run = load_run(asked.run_folder, split, asked.device)
        cameras: Cameras = run.other_split("train").cameras
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} (--without-data exports without them)") from error
    viewpoints = spread_viewpoints(cameras, _MOST_VIEWPOINTS, run.model.device)
    selection = Selection(
        asked.min_opacity,
        asked.sh_degree,
        rotation_to_y_down(cameras.camera_to_worlds) if asked.axes == "y-down" else None,
        viewpoints if asked.fit_viewers else (),
    )
    return Exporter(asked, record, run.model, run, viewpoints, frames, selection)
