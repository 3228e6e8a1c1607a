"""Step through a clip frame by frame in nerfstudio's viewer, or play it.

The viewer's own time slider runs from 0 to 1 in hundredths, so clips of more than a hundred frames have frames it
cannot show. This panel sets it to exact frame times.
"""

import threading
import time

import viser

from moegs_ns.viewer.running_viewer import RunningViewer

_FASTEST = 60


class Timeline:
    """An integer frame slider, buttons for the next and the previous frame, and a player.

    Args:
        num_frames: frames of the clip; with a single frame there is nothing to step through.
        fps: at which the clip was recorded.
    """

    def __init__(self, num_frames: int, fps: float = 30.0) -> None:
        self.num_frames = max(1, num_frames)
        self._recorded_fps = min(max(1, round(fps)), _FASTEST)
        self._playing = threading.Event()
        self._player: threading.Thread | None = None

    @property
    def playing(self) -> bool:
        """Whether the clip plays."""
        return self._playing.is_set()

    @property
    def fps(self) -> float:
        """Frames a second at which it does."""
        return float(self._speed.value)

    def install(self, running: RunningViewer) -> None:
        """Put the elements where the viewer's elements go at present."""
        self._running, gui = running, running.gui
        self.slider = gui.add_slider("Frame", 0, max(1, self.num_frames - 1), 1, 0)
        self.slider.on_update(lambda _: self._show())
        self._play = gui.add_button("Play clip", icon=viser.Icon.PLAYER_PLAY_FILLED)
        self._play.on_click(lambda _: self.play())
        self._pause = gui.add_button("Pause clip", icon=viser.Icon.PLAYER_PAUSE_FILLED, visible=False)
        self._pause.on_click(lambda _: self.pause())
        for label, by, icon in (
            ("Previous frame", -1, viser.Icon.PLAYER_TRACK_PREV),
            ("Next frame", +1, viser.Icon.PLAYER_TRACK_NEXT),
        ):
            gui.add_button(label, icon=icon, color="gray").on_click(lambda _, by=by: self._step(by))
        self._speed = gui.add_slider(
            "Frames/s", 1, _FASTEST, 1, self._recorded_fps, hint="Frames that come too late to be drawn are left out"
        )

    def time_of(self, frame: float) -> float:
        """Time in [0,1] of a frame."""
        return min(max(frame, 0), self.num_frames - 1) / max(1, self.num_frames - 1)

    def play(self) -> None:
        """Go through the clip over and over, until `pause` or until nobody watches."""
        if self.playing:
            return
        self._playing.set()
        self._play.visible, self._pause.visible = False, True
        self._player = threading.Thread(target=self._run, daemon=True, name="clip player")
        self._player.start()

    def pause(self) -> None:
        """Stay at the frame shown."""
        self._playing.clear()
        self._play.visible, self._pause.visible = True, False

    def _run(self) -> None:
        position, last = float(self.slider.value), time.monotonic()
        shown = self.slider.value
        while self.playing:
            time.sleep(1 / self.fps)
            now = time.monotonic()
            if self.slider.value != shown:  # someone moved it
                position = float(self.slider.value)
            position = (position + (now - last) * self.fps) % self.num_frames
            last = now
            if not self._running.server.get_clients():
                self.pause()
            elif self.playing and int(position) != self.slider.value:
                self.slider.value = shown = int(position)

    def _show(self) -> None:
        self._running.control_panel.time = self.time_of(self.slider.value)

    def _step(self, by: int) -> None:
        shown = round(self._running.control_panel.time * (self.num_frames - 1))
        # Wraps around, so that holding a direction plays the clip over and over. Setting the slider shows the frame.
        self.slider.value = (shown + by) % self.num_frames
