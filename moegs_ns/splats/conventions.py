"""How far a projected Gaussian reaches: the one numeric rule of the rasterizer that differs between gsplat's releases.

==============  =====================================  ================================================================
profile         releases                               extent on the screen
==============  =====================================  ================================================================
``GSPLAT_1_4``  1.4 (nerfstudio 1.1.5 pins 1.4.0)      a square of 3 standard deviations of the larger principal axis
``GSPLAT_1_5``  1.5                                    a rectangle of 3.33 standard deviations along the image's axes
==============  =====================================  ================================================================

The extent decides which Gaussians count as visible (``radii``, ``radius_clip``, density control's statistics) and which
tiles of 16x16 pixels consider a Gaussian. In images the two differ by what lies between 3 and 3.33 standard deviations
in tiles that the smaller square does not touch: at most 1/90 of a Gaussian's opacity in a pixel.

What is not part of a profile, and why:

- *A square or a rectangle as the set of tiles, under* ``GSPLAT_1_5``. A pixel takes a Gaussian only where its alpha is
  at least 1/255, and opacity is at most 1, so nothing is drawn farther out than ``sqrt(2 ln 255) = 3.3290`` standard
  deviations. 3.33 is just beyond: whatever tiles are listed in addition, the images are the same. ``radii`` can
  therefore stay one number per Gaussian, the longer half side, and compositing needs no profile: alpha alone cuts.
- *Extents that shrink with opacity, and Gaussians of an opacity below 1/255.* gsplat 1.5 leaves these out when its
  projection is told the opacities, which is faster there. By the same rule no pixel changes. The project's CUDA path
  does not tell it (one projection serves colours and router weights), so ``radii`` agree too. The CPU kernels cut by
  opacity in any case, after projection.
- *The largest alpha*, 0.999, *the compensation of antialiasing, the end of a pixel at 1e-4, and the gradients*: the
  same in both releases (read in the sources of 1.4.0 and 1.5.3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Conventions:
    """A release's rule for the extent of a Gaussian on the screen."""

    name: str
    """The releases it describes, for messages and files."""
    sigmas: float
    """Standard deviations from the centre to the border (> 0)."""
    per_axis: bool
    """A rectangle whose half sides follow the standard deviations along the image's axes, rather than a square whose
    half side follows the larger principal one."""

    def __post_init__(self) -> None:
        if not self.sigmas > 0.0:
            raise ValueError(f"Conventions: expected sigmas > 0, found {self.sigmas}")


GSPLAT_1_4 = Conventions("gsplat-1.4", sigmas=3.0, per_axis=False)
"""The project's own, under which all its numbers were made."""
GSPLAT_1_5 = Conventions("gsplat-1.5", sigmas=3.33, per_axis=True)
"""For comparisons with a newer gsplat."""

_BY_RELEASE = {(1, 4): GSPLAT_1_4, (1, 5): GSPLAT_1_5}


def conventions_of_gsplat(version: str) -> Conventions:
    """The profile of an installed gsplat, by its ``__version__`` such as ``1.5.3`` or ``1.5.3+pt24cu124``.

    Raises:
        ValueError: no profile describes this release.
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    profile = _BY_RELEASE.get((int(found[1]), int(found[2]))) if found else None
    if profile is None:
        known = ", ".join(f"{major}.{minor}" for major, minor in _BY_RELEASE)
        raise ValueError(
            f"expected a gsplat release whose conventions are known ({known}), found '{version}'; install one of "
            "these, or compare the release's rules with the profiles in moegs_ns/splats/conventions.py and add one"
        )
    return profile
