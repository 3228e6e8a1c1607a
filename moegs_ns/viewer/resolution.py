"""How large a picture may be if it is to come in time.

nerfstudio takes rendering for a matter of rays: so many a second, whatever their number. Gaussians have to be deformed
and projected however small the picture is. Where that alone takes longer than a frame may, a rule of rays shrinks the
picture to a few dozen pixels and gains nothing by it.
"""

from collections import deque
from statistics import median

_REMEMBERED = 8
# Of what is spent on the Gaussians alone: a picture may cost that much more, though it comes late already.
_PIXELS_SHARE = 0.5
# Smaller pictures show nothing, however fast they come.
_FEWEST_PIXELS = 128 * 96


class RenderPace:
    """Learns from renders what pictures cost: ``seconds = fixed + per_pixel * pixels``.

    Two kinds of renders are told apart, small ones while something moves and full ones after it; the medians of the
    last few of each give the two numbers.
    """

    def __init__(self) -> None:
        self._small: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._full: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)

    def note(self, pixels: int, seconds: float, full: bool) -> None:
        """A picture was rendered."""
        (self._full if full else self._small).append((float(pixels), seconds))

    def seconds(self, full: bool) -> float | None:
        """Median time of the last pictures of a kind; None before the first."""
        kind = self._full if full else self._small
        return median(seconds for _, seconds in kind) if kind else None

    def costs(self) -> tuple[float, float] | None:
        """Seconds for any picture, and seconds per pixel; None before the first render."""
        points = [
            (median(pixels for pixels, _ in kind), median(seconds for _, seconds in kind))
            for kind in (self._small, self._full)
            if kind
        ]
        if not points:
            return None
        (pixels, seconds), (more_pixels, more_seconds) = points[0], points[-1]
        if more_pixels <= 1.2 * pixels:  # too alike to tell what pixels cost: all of it, then
            return 0.0, more_seconds / more_pixels
        per_pixel = max((more_seconds - seconds) / (more_pixels - pixels), 0.0)
        return max(more_seconds - per_pixel * more_pixels, 0.0), per_pixel

    def pixels_within(self, budget: float, default: int) -> float:
        """How many pixels a picture may have that is to take ``budget`` seconds; ``default`` while nothing is known.

        Where Gaussians alone take longer, as many as cost half of what they do: fewer would hardly be faster. Never
        fewer than can be made out.
        """
        costs = self.costs()
        if costs is None:
            return default
        fixed, per_pixel = costs
        seconds = max(budget - fixed, _PIXELS_SHARE * fixed)
        return max(seconds / per_pixel, _FEWEST_PIXELS) if per_pixel > 0 else float("inf")


def picture_size(pixels: float, aspect: float, longest: int) -> tuple[int, int]:
    """Height and width of a picture of about so many pixels, no side above ``longest``, none below 16.

    Args:
        pixels: how many; may be infinite.
        aspect: width over height, above 0.
        longest: pixels of the longer side of a full picture.
    """
    height = min(longest, longest / aspect, (pixels / aspect) ** 0.5)
    return max(16, round(height)), max(16, round(height * aspect))
