"""Every data parser as nerfstudio's plugin discovery finds it (entry points ``nerfstudio.dataparser_configs``).

Imports `moegs_ns.scene.dataparsers` only: see there for why.
"""

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from moegs_ns.scene.dataparsers.layouts import LAYOUTS


def _specification(layout: str) -> DataParserSpecification:
    return DataParserSpecification(config=LAYOUTS[layout].config(), description=LAYOUTS[layout].description)


n3v = _specification("n3v")
technicolor = _specification("technicolor")
hypernerf = _specification("hypernerf")
dynamic_transforms = _specification("transforms")
dynamic_blender = _specification("blender")
