"""``moegs report motion``: how the experts of a run move, in numbers and drawn over a frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    import numpy as np

    from moegs_ns.experts.base import ExpertModel
    from moegs_ns.reporting.evaluation_files import RunResult
    from moegs_ns.reporting.motion import Motion
    from moegs_ns.training.load_run import LoadedRun, View


@dataclass
class ReportMotion:
    """Displacement statistics of every expert of a run, and their trajectories drawn over a frame of a test camera.

    Scenes that ship tracks of surface points (gt_tracks.npz) also get the 3D end-point error. Written as
    `moegs report motion RUN`.
    """

    run_folder: tyro.conf.Positional[Path]
    """Run folder, of a mixture or a single expert."""
    output: Path | None = None
    """Folder to write the picture into. Default: pictures/ in the run folder."""
    count: int = 400
    """How many trajectories are drawn."""

    def run(self) -> None:
        """Load, measure, draw, print.

        Raises:
            FileNotFoundError, ValueError: not a run, or its data are gone.
        """
        from moegs_ns.cli.console import make_console
        from moegs_ns.exporting.panels import as_uint8, row_of_panels
        from moegs_ns.exporting.picture_files import save_picture
        from moegs_ns.reporting.motion import motion_statistics, read_tracks, track_errors
        from moegs_ns.reporting.motion_tables import statistics_table, track_table
        from moegs_ns.training.load_run import load_run

        if self.count < 1:
            raise ValueError(f"expected --count of 1 or more, found {self.count}")
        console = make_console()
        run = load_run(self.run_folder)
        experts = _experts_of(run)
        motions = {name: _motion_of(expert, run) for name, expert in experts.items()}
        title = f"{run.record['scene']['scene']}: motion of {self.run_folder.name}"
        tables = [statistics_table(title, {name: [motion_statistics(one)] for name, one in motions.items()})]
        tracks = read_tracks(Path(run.record["scene"]["data"])) or {}
        errors = {name: [track_errors(motion, tracks)] for name, motion in motions.items()}
        if all(own for (own,) in errors.values()):
            tables.append(track_table(f"{run.record['scene']['scene']}: 3D end-point error", errors))
        for table in tables:
            console.print(table.terminal())
        view = _middle_view(run)
        panels = {"truth": as_uint8(view.truth.cpu().numpy())}
        for name, expert in experts.items():
            panels[name] = self._draw(expert, motions[name], view)
        folder = self.output or self.run_folder / "pictures"
        file = save_picture(folder / f"trajectories-{view.camera_name}.png", row_of_panels(panels))
        console.print(str(file), soft_wrap=True, highlight=False)

    def _draw(self, expert: "ExpertModel", motion: "Motion", view: "View") -> "np.ndarray":
        import numpy as np

        from moegs_ns.exporting.panels import as_uint8
        from moegs_ns.exporting.trajectory_picture import choose_trajectories, draw_trajectories

        picture = as_uint8(expert.get_outputs_for_camera(view.camera)["rgb"].cpu().numpy())
        pixels, in_front = _project(motion.positions, view)
        shown = motion.visible & in_front
        steps = np.linalg.norm(np.diff(pixels, axis=0), axis=-1)
        lengths = np.where(shown[1:] & shown[:-1], steps, 0.0).sum(axis=0)
        chosen = choose_trajectories(np.where(lengths > 1.0, lengths, 0.0), self.count)  # a pixel is no motion
        return draw_trajectories(picture, pixels[:, chosen], shown[:, chosen])


def expert_motion(result: "RunResult") -> dict[str, Any] | None:
    """What :func:`moegs_ns.reporting.motion.motion_summary` says of an expert's run; None for mixtures, whose experts
    move as they do in their own runs."""
    from moegs_ns.reporting.motion import motion_summary, read_tracks
    from moegs_ns.training.load_run import load_run

    if result.expert_names:
        return None
    run = load_run(result.folder)
    (expert,) = _experts_of(run).values()
    return motion_summary(_motion_of(expert, run), read_tracks(Path(run.record["scene"]["data"])))


def _experts_of(run: "LoadedRun") -> dict[str, "ExpertModel"]:
    """The experts by name: those of a mixture, or the run's only one."""
    from moegs_ns.router.mixture import MixtureModel

    model = run.model
    if isinstance(model, MixtureModel):
        return dict(zip(model.expert_names, model.experts, strict=True))  # type: ignore[arg-type]
    return {run.record["expert"]["name"]: model}  # type: ignore[dict-item]


def _motion_of(expert: "ExpertModel", run: "LoadedRun") -> "Motion":
    import numpy as np

    from moegs_ns.reporting.motion import Motion

    times = np.linspace(0.0, 1.0, int(run.dataset.metadata["num_frames"])).tolist()
    positions, opacities = expert.trajectories(times)
    return Motion(positions.cpu().numpy(), opacities.cpu().numpy(), expert.camera_extent)


def _middle_view(run: "LoadedRun") -> "View":
    """The frame in the middle of the clip, of the first test camera; the nearest there is, if some are missing."""
    middle = int(run.dataset.metadata["first_frame"]) + int(run.dataset.metadata["num_frames"]) // 2
    distances = [abs(frame - middle) for _, frame in run.images]
    return next(run.views([distances.index(min(distances))]))


def _project(points: "np.ndarray", view: "View") -> tuple["np.ndarray", "np.ndarray"]:
    """World points ``[T,N,3]`` to pixels ``[T,N,2]``, and whether they lie before the camera ``[T,N]``."""
    import numpy as np

    from moegs_ns.splats.camera import viewmat_from_camera_to_world

    viewmat = viewmat_from_camera_to_world(view.camera.camera_to_worlds[0]).cpu().numpy()
    intrinsics = view.camera.get_intrinsics_matrices()[0].cpu().numpy()
    local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    in_front = local[..., 2] > 1e-3
    image = local @ intrinsics.T
    return image[..., :2] / np.maximum(image[..., 2:], 1e-3), in_front
