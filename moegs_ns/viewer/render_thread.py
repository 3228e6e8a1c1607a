"""The thread that renders for one window of the viewer: coarse while something moves, fine when it rests.

nerfstudio's own has the right idea, and this is it, with four things changed for Gaussians on a CPU:

- Pictures on the move are as large as the time allows, see `moegs_ns.viewer.resolution`.
- The first change after a rest is drawn at once. nerfstudio takes it for the interruption of a render that has long
  ended, draws nothing, and shows it after a fifth of a second.
- After a move comes the fine picture, without the last coarse one once more.
- An error while rendering is told, and the next picture tried. nerfstudio's thread would end and the window freeze.

What is drawn is the page's affair (`ViewerPage.outputs`), and ``depth`` is what it is here: z-depth.
"""

import atexit
import time
import traceback
import weakref
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from nerfstudio.utils import writer
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.utils.writer import EventName
from nerfstudio.viewer.render_state_machine import RenderAction, RenderStateMachine, RenderStates
from nerfstudio.viewer.utils import CameraState, get_camera
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO
from nerfstudio.viewer_legacy.server import viewer_utils
from torch import Tensor

from moegs_ns.viewer.resolution import RenderPace, picture_size

if TYPE_CHECKING:
    from moegs_ns.viewer.page import ViewerPage

#: Pictures a second to aim at while something moves.
TARGET_FPS = 24.0
_FIRST_PIXELS = 160 * 120
_REST_SECONDS = 0.2
# Sides of depth images: the browser needs them only to hide what lies behind the scene.
_DEPTH_SIDE = {"low_move": 128, "low_static": 128, "high": 512}
_NOTHING = 0.5  # less opaque pixels hide nothing
_LAST_PICTURE_SECONDS = 10.0  # an operation of torch is not interrupted
_BEHIND_ALL = 1e4  # world units


class RenderThread(RenderStateMachine):
    """Renders for one client.

    Args:
        page: says what to draw.
        viewer: nerfstudio's ``Viewer``.
        client: viser's handle of the window.
    """

    state: RenderStates
    next_action: RenderAction | None

    def __init__(self, page: "ViewerPage", viewer: Any, client: Any) -> None:
        super().__init__(viewer, VISER_NERFSTUDIO_SCALE_RATIO, client)
        self.transitions["low_move"]["static"] = "high"
        self.target_fps = TARGET_FPS  # type: ignore[assignment]
        self.pace = RenderPace()
        self.size = (0, 0)
        """Height and width of the last picture."""
        self.page = page
        self._told = ""
        _started.add(self)

    @classmethod
    def take_over(cls, page: "ViewerPage", viewer: Any, client: Any) -> "RenderThread":
        """Render for a client from now on, in place of the thread that nerfstudio has just started for it."""
        machines = viewer.render_statemachines
        started = machines.get(client.client_id)
        if started is not None:
            started.running = False
            started._render_img = _interrupted  # it may still be about to draw its first picture
        machines[client.client_id] = thread = cls(page, viewer, client)
        thread.start()
        return thread

    def run(self) -> None:
        """Until the client leaves."""
        while self.running:
            if not self.viewer.ready:
                time.sleep(0.1)
                continue
            if not self.render_trigger.wait(_REST_SECONDS):
                if self.state == "high":
                    continue
                self.action(RenderAction("static", self.viewer.get_camera_state(self.client)))
            self.render_trigger.clear()
            action, self.next_action = self.next_action, None
            if action is None:
                continue
            self.interrupt_render_flag = False  # whatever it was to interrupt has ended
            if not self.running:
                return
            self.state = self.transitions[self.state][action.action]
            try:
                outputs = self._render_img(action.camera_state)
                self._send_output_to_viewer(outputs, static_render=action.action in ("static", "step"))
            except viewer_utils.IOChangeException:
                continue
            except Exception as error:
                self._tell(error)
            else:
                self._told = ""
                self.page.note_picture(self)

    def stop(self) -> None:
        """End, as soon as the operation under way has ended."""
        self.running = False
        self.interrupt_render_flag = True
        self.render_trigger.set()

    def _tell(self, error: Exception) -> None:
        message = f"{type(error).__name__}: {error}"
        if self._told != message and self.running:
            self._told = message
            CONSOLE.print(f"[bold yellow]The viewer could not draw a picture:\n{traceback.format_exc()}")
            self.client.add_notification("This picture could not be drawn", message, color="red")

    def _render_img(self, camera_state: CameraState) -> dict[str, Tensor]:
        viewer = self.viewer
        height, width = self._calculate_image_res(camera_state.aspect)
        if not viewer.render_tab_state.preview_render and viewer.include_time:
            camera_state.time = viewer.control_panel.time
        camera = get_camera(camera_state, height, width)
        with self.page.running.looking_at_model() as model:
            start = time.perf_counter()
            with viewer_utils.SetTrace(self.check_interrupt):  # a fine picture is given up when something moves
                outputs = self.page.outputs(model, camera.to(model.device))
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            seconds = time.perf_counter() - start
        self.size = height, width
        self.pace.note(height * width, seconds, full=self.state == "high")
        if writer.is_initialized():  # by this training divides its time
            writer.put_time(EventName.VIS_RAYS_PER_SEC, height * width / seconds, viewer.step, avg_over_steps=True)
        if viewer.control_panel.layer_depth and "depth" in outputs:
            outputs["gl_z_buf_depth"] = self._hiding_depth(outputs)
        return outputs

    def _hiding_depth(self, outputs: dict[str, Tensor]) -> Tensor:
        """``[h,w,1]`` z-depth in world units, small, and far away where there is nothing to hide anything."""
        depth, cover = outputs["depth"], outputs["accumulation"]
        depth = torch.where(cover[..., :1] > _NOTHING, depth, _BEHIND_ALL) * self.page.depth_margin
        scale = min(1.0, _DEPTH_SIDE[self.state] / max(depth.shape[:2]))
        size = [max(1, round(scale * side)) for side in depth.shape[:2]]
        return F.interpolate(depth.permute(2, 0, 1)[None], size=size, mode="nearest")[0].permute(1, 2, 0)

    def _calculate_image_res(self, aspect_ratio: float) -> tuple[int, int]:
        longest = self.viewer.control_panel.max_res
        if self.state == "high":
            return picture_size(float("inf"), aspect_ratio, longest)
        budget = 1.0 / min(self.target_fps, self.page.wanted_fps)
        return picture_size(self.pace.pixels_within(budget, _FIRST_PIXELS), aspect_ratio, longest)


_started: "weakref.WeakSet[RenderThread]" = weakref.WeakSet()


@atexit.register
def stop_rendering() -> None:
    """End the threads of all windows. A thread that is still inside torch when the interpreter ends takes the program
    with it: "terminate called without an active exception", and an exit status that tells of a failure."""
    threads = [thread for thread in _started if thread.is_alive()]
    for thread in threads:
        thread.stop()
    deadline = time.monotonic() + _LAST_PICTURE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _interrupted(camera_state: CameraState) -> dict[str, Tensor]:
    raise viewer_utils.IOChangeException
