"""Every layout of scenes there is: what run records call it, which data parser reads it.

The one list of them. nerfstudio's entry points, and whatever reads a run's data again, take it from here.
"""

from dataclasses import dataclass

from moegs_ns.scene.dataparsers.base import DynamicDataParserConfig
from moegs_ns.scene.dataparsers.blender import BlenderDataParserConfig
from moegs_ns.scene.dataparsers.hypernerf import HyperNeRFDataParserConfig
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.dataparsers.technicolor import TechnicolorDataParserConfig
from moegs_ns.scene.dataparsers.transforms import TransformsDataParserConfig


@dataclass(frozen=True)
class Layout:
    """How scenes may lie on disk.

    Attributes:
        name: in run records (``layout`` of a parser's metadata).
        parser: the data parser's name on the command line.
        config: its options.
        description: in one sentence.
    """

    name: str
    parser: str
    config: type[DynamicDataParserConfig]
    description: str


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "n3v",
            "n3v-data",
            N3VDataParserConfig,
            "Synchronised videos with poses_bounds.npy, the layout of the Neural 3D Video scenes.",
        ),
        Layout(
            "technicolor",
            "technicolor-data",
            TechnicolorDataParserConfig,
            "Undistorted images of a 4x4 rig with cameras_parameters.txt, the layout of the Technicolor scenes.",
        ),
        Layout(
            "hypernerf",
            "hypernerf-data",
            HyperNeRFDataParserConfig,
            "Captures by one or two moving cameras, the layout of Nerfies and HyperNeRF.",
        ),
        Layout(
            "transforms",
            "dynamic-transforms-data",
            TransformsDataParserConfig,
            "Captures of one camera or several in nerfstudio's transforms.json, with a time per image.",
        ),
        Layout(
            "blender",
            "dynamic-blender-data",
            BlenderDataParserConfig,
            "Synthetic objects with a time per image and transparent background, the layout of the D-NeRF scenes.",
        ),
    )
}


def find_layout(name: str | None) -> Layout:
    """The layout a run record names.

    Raises:
        ValueError: there is none of that name, as for scenes that nerfstudio's own data parsers read.
    """
    if name not in LAYOUTS:
        raise ValueError(
            f"expected a run on a scene of one of the layouts {', '.join(LAYOUTS)}, found {name!r}; ns-eval, ns-render "
            "and ns-viewer work with it"
        )
    return LAYOUTS[name]
