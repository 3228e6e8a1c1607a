"""Every layout of scenes there is: what run records call it, which data parser reads it.

The one list of them. nerfstudio's entry points, and whatever reads a run's data again, take it from here.
"""

from dataclasses import dataclass

from moegs_ns.scene.dataparsers.base import DynamicDataParserConfig
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig


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
    )
}
