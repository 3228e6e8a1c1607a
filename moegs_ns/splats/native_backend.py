"""The CPU backend: the compiled kernels of ``cuda/`` that project and composite, behind torch's autograd."""

from moegs_ns.splats.native_compositing import composite, composite_parts, count_intersections
from moegs_ns.splats.native_library import available, build_info, unavailable_reason
from moegs_ns.splats.native_projection import project, project_parts

__all__ = [
    "available",
    "build_info",
    "composite",
    "composite_parts",
    "count_intersections",
    "project",
    "project_parts",
    "unavailable_reason",
]
