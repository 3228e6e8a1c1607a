"""``moegs export``: a run's Gaussians as files that other programs read, and what that loses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

ExportFormat = Literal["ply", "splat", "4dgs", "html", "video"]
#: What a page may weigh where nothing else is said, in 10^6 bytes: still pleasant to send.
LARGEST_PAGE_MB = 25.0
Axes = Literal["own", "y-down"]


@dataclass
class Export:
    """Write an expert, a student or a fused model as files that other programs read, and say what that loses.

    Files are read back, drawn as a standard viewer would, and compared with the model's own pictures. Run it again
    after an interruption: finished frames are kept. A mixture's picture lives in image space, so no file of Gaussians
    holds it: export a student of it, or the set that `moegs fuse` makes of it.
    """

    run_folder: tyro.conf.Positional[Path]
    """Run folder of an expert, a student or a fused model; of a mixture, for --format video only."""
    format: ExportFormat = "ply"
    """`ply`: one file per frame in the layout of 3D Gaussian Splatting, which SuperSplat and most viewers read.
    `splat`: one file per frame, 32 bytes a Gaussian, colours that do not depend on the view. `4dgs`: one file for the
    clip (needs the package fourdgs). `html`: one page that plays the clip in a browser, also offline. `video`: what the
    test cameras see, as mp4."""
    html: bool = False
    """The same as --format html."""
    output: Path | None = None
    """Folder to write into. Default: export/<format> in the run folder."""
    frames: str = ":"
    """Which frames of the clip, from 0: one number, or first:end:step, such as 0:48:2. Default: all."""
    min_opacity: float = 1.0 / 255.0
    """Leave out Gaussians less opaque than this at a frame; up to 1/255, the default, that changes no picture."""
    sh_degree: Literal[0, 1, 2, 3] | None = None
    """Highest degree of spherical harmonics to write. Default: what the model has; 2 with --bake-sh."""
    axes: Axes = "own"
    """Axes of the exported world: `own` are the data set's; `y-down` turns it so that the training cameras' up points
    along -y, which viewers take for upright."""
    fit_viewers: bool = True
    """Fit Gaussians that their expert draws with another blur than viewers have (Ex4DGS) to what viewers draw, as seen
    from the training cameras. Changes nothing for other experts."""
    bake_sh: bool = False
    """Let STG's feature heads (lite, full) be exported: fit spherical harmonics to what they show the training cameras.
    What that loses is printed. Refused for models that have spherical harmonics."""
    max_mb: float | None = None
    """Largest page of `html`, in MB: degrees of spherical harmonics are left out, highest first, until it fits.
    Default: 25."""
    check_images: int = 3
    """Compare so many images of the test cameras (of the training cameras where there are none), evenly over the
    clip; 0 = none."""
    without_data: bool = False
    """Do not touch the scene's data, for runs whose data are gone: nothing is compared, --fit-viewers has no effect,
    and colours of `splat` files are means over all directions instead of those the training cameras see."""
    overwrite: bool = False
    """Replace another export in the output folder."""
    device: str | None = None
    """Torch device to evaluate the model on. Default: the first CUDA device, where there is one."""

    def run(self) -> None:
        """Export, compare, print.

        Raises:
            FileNotFoundError: no run, or its data are gone.
            ValueError: a run that cannot be exported this way, options that do not fit, or no space on the disk.
        """
        if self.html:
            if self.format not in ("ply", "html"):
                raise ValueError(
                    f"expected --html, short for --format html, alone, found --format {self.format} beside it"
                )
            self.format = "html"
        self._check_options()
        from moegs_ns.cli.console import make_console
        from moegs_ns.cli.devices import check_torch_device
        from moegs_ns.cli.export_run import export_run

        check_torch_device(self.device)

        export_run(self, make_console())

    def _check_options(self) -> None:
        """Refuse numbers out of range, and options that would have no effect."""
        if self.max_mb is not None and self.format != "html":
            raise ValueError(f"expected --format html beside --max-mb, found --format {self.format}")
        if self.max_mb is not None and not self.max_mb > 0:
            raise ValueError(f"expected --max-mb above 0, found {self.max_mb:g}")
        if self.check_images < 0:
            raise ValueError(f"expected --check-images of 0 or more, found {self.check_images}")
        if self.format == "video":
            from moegs_ns.exporting.frame_gaussians import INVISIBLE

            of_gaussians = {"--sh-degree": self.sh_degree is not None, "--bake-sh": self.bake_sh}
            of_gaussians |= {"--min-opacity": self.min_opacity != INVISIBLE, "--axes": self.axes != "own"}
            idle = [name for name, given in of_gaussians.items() if given]
            if idle:
                raise ValueError(
                    f"expected options of pictures beside --format video, found {', '.join(idle)}: a video shows what "
                    "the model draws, whatever files of Gaussians would hold; leave that out"
                )
