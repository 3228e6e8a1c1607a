"""Every data parser as nerfstudio's plugin discovery finds it (entry points ``nerfstudio.dataparser_configs``).

Imports `moegs_ns.scene.dataparsers` only: see there for why.
"""

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig

n3v = DataParserSpecification(
    config=N3VDataParserConfig(),
    description="Synchronised videos with poses_bounds.npy, the layout of the Neural 3D Video scenes.",
)
