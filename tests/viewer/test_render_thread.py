"""The thread that renders for a window ends before the interpreter does: torch aborts a program that ends inside it."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading
from types import SimpleNamespace
import torch
from nerfstudio.viewer.render_state_machine import RenderAction
from nerfstudio.viewer_legacy.server.viewer_utils import SetTrace
from moegs_ns.viewer.render_thread import RenderThread

began = threading.Event()

def multiply():
    factor = torch.rand(300, 300)
    while True:
        factor = (factor @ factor).clamp(0, 1)
        began.set()

class Busy(RenderThread):
    def _render_img(self, camera_state):
        with SetTrace(self.check_interrupt):
            multiply()

threads = [Busy(None, SimpleNamespace(ready=True), None) for _ in range(2)]
for thread in threads:
    thread.start()
    if sys.argv[1] == "rendering":
        thread.action(RenderAction("step", None))
if sys.argv[1] == "rendering":
    began.wait(30)
print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("state", ["rendering", "resting"])
def test_a_program_ends_well_while_windows_are_open(state: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, state], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr[-2000:]
