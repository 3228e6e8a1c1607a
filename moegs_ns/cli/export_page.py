"""``moegs export --format html``: what the page says, from where it is seen first, how large it may get."""

from nerfstudio.cameras.cameras import Cameras
from rich.console import Console
from rich.progress import track

from moegs_ns.cli.export import LARGEST_PAGE_MB
from moegs_ns.cli.exporter import Exporter
from moegs_ns.exporting.export_folder import ExportFolder
from moegs_ns.exporting.frame_gaussians import FrameGaussians
from moegs_ns.exporting.splat_page import PageScene, PageSize, write_splat_page
from moegs_ns.scene.start_view import StartPlace, start_place

PAGE_NAME = "scene.html"
_SCENE_DISTANCE = 3.0  # nearest bounds of a scene, where no Gaussian lies before the first camera


def write_page(exporter: Exporter, folder: ExportFolder, console: Console) -> list[str]:
    """The clip as one page, unless it is there."""
    folder.announce([PAGE_NAME])
    if not folder.has(PAGE_NAME):
        told = track(
            exporter.gaussians(exporter.frames),
            "Reading frames",
            total=len(exporter.frames),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        frames = [*told]
        scene, most_bytes = page_scene(exporter, frames[0]), (exporter.asked.max_mb or LARGEST_PAGE_MB) * 1e6
        sizes: list[PageSize] = []
        folder.write_file(PAGE_NAME, lambda path: sizes.append(write_splat_page(path, frames, scene, most_bytes)))
        for line in size_lines(sizes[0], most_bytes / 1e6):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
    return [PAGE_NAME]


def page_scene(exporter: Exporter, first: FrameGaussians) -> PageScene:
    """What the page says of a run.

    Args:
        exporter: with the run's cameras.
        first: the frame it starts with.
    """
    record, step, train = exporter.record, exporter.images.step, exporter.images.other_split("train")
    count, width, height = (
        len(train.metadata["camera_names"]),
        int(train.cameras.width[0]),
        int(train.cameras.height[0]),
    )
    return PageScene(
        title=str(record["scene"]["scene"]),
        facts=record["method"] + (f" after {step + 1:,} steps of training" if step else ""),
        rows={
            "Model": str(record["method"]),
            "Trained on": f"{count} camera{'s' * (count != 1)}, {width} × {height}",
        },
        view=first_view(exporter, train.cameras, first),
        fps=exporter.fps,
        background=page_background(exporter),
    )


def page_background(exporter: Exporter) -> tuple[float, float, float]:
    """The model's own, which a page holds."""
    return (1.0, 1.0, 1.0) if exporter.record["expert"]["config"].get("background") == "white" else (0.0, 0.0, 0.0)


def first_view(exporter: Exporter, cameras: Cameras, first: FrameGaussians) -> StartPlace:
    """The most central of the training cameras, in the exported world."""
    rotation = exporter.selection.rotation
    means = first.splats.means if rotation is None else first.splats.means @ rotation
    distance = _SCENE_DISTANCE * float(exporter.record["scene"].get("near") or 1.0)
    place = start_place(cameras, means, distance)
    return place if rotation is None else place.turned(rotation)


def size_lines(size: PageSize, max_mb: float) -> list[str]:
    """What the page takes, in sentences."""
    steps = ", ".join(f"{taken / 1e6:.1f} with degree {degree}" for degree, taken in enumerate(size.degree_bytes))
    lines = [
        f"{size.gaussians:,} Gaussians; MB of the page by degree of spherical harmonics: {steps}; of these "
        f"{size.viewer_bytes / 1e6:.1f} are the viewer."
    ]
    if size.degree + 1 < len(size.degree_bytes):
        lines.append(
            f"Degree {len(size.degree_bytes) - 1} does not fit into {max_mb:g} MB: the page has degree {size.degree}."
        )
    return lines
