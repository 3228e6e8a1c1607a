"""Step through a clip frame by frame in nerfstudio's viewer.

The viewer's own time slider runs from 0 to 1 in hundredths, so clips of more than a hundred frames have frames it
cannot show. These elements set it to exact frame times. nerfstudio installs every viewer element it finds among a
pipeline's public attributes.
"""

from typing import Any

from nerfstudio.viewer.viewer_elements import ViewerButton, ViewerControl, ViewerElement, ViewerSlider


class Timeline:
    """An integer frame slider with buttons for the next and the previous frame.

    Args:
        num_frames: frames of the clip; with a single frame there is nothing to step through.
    """

    def __init__(self, num_frames: int) -> None:
        self.num_frames = max(1, num_frames)
        self.control = ViewerControl()
        self.slider = ViewerSlider("Frame", 0, 0, max(1, self.num_frames - 1), 1, cb_hook=self._show)
        self.back = ViewerButton("Previous frame", cb_hook=lambda _: self._step(-1))
        self.forward = ViewerButton("Next frame", cb_hook=lambda _: self._step(+1))

    def elements(self) -> dict[str, ViewerElement | ViewerControl]:
        """What to hang on a pipeline, by attribute name."""
        if self.num_frames == 1:
            return {}
        return {
            "viewer_control": self.control,
            "frame_slider": self.slider,
            "previous_frame": self.back,
            "next_frame": self.forward,
        }

    def time_of(self, frame: float) -> float:
        """Time in [0,1] of a frame."""
        return min(max(frame, 0), self.num_frames - 1) / max(1, self.num_frames - 1)

    def _show(self, slider: Any) -> None:
        self.control.viewer.control_panel.time = self.time_of(slider.value)

    def _step(self, by: int) -> None:
        shown = round(self.control.viewer.control_panel.time * (self.num_frames - 1))
        # Wraps around, so that holding a direction plays the clip over and over. Setting the slider shows the frame.
        self.slider.value = (shown + by) % self.num_frames
