"""A child process that runs an ``ns-*`` or ``moegs`` command: ``python -m moegs_ns.training.child PARENT COMMAND ...``.

It ends with the process that started it, however that one ends: a training left behind by a killed parent would go on
writing into a run folder that the next call resumes. SIGTERM reaches the trainer as a keyboard interrupt, so that
``run.json`` says the run was interrupted.
"""

import ctypes
import importlib
import os
import signal
import sys
from types import FrameType

#: Module and function behind each command.
COMMANDS = {
    "ns-train": ("nerfstudio.scripts.train", "entrypoint"),
    "ns-eval": ("nerfstudio.scripts.eval", "entrypoint"),
    "moegs": ("moegs_ns.cli.main", "main"),
}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent dies (Linux; elsewhere the lock on the run folder must do)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Run the command; 128 + 15 when it was told to stop, because nerfstudio swallows keyboard interrupts."""
    parent, command, *arguments = sys.argv[1:]
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if not stopped:  # a second signal must not disturb what the first one began
            stopped = True
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sys.argv = [command, *arguments]
    try:
        end_with_parent(int(parent))
        module, function = COMMANDS[command]
        getattr(importlib.import_module(module), function)()
    except KeyboardInterrupt:
        stopped = True
    return 128 + signal.SIGTERM if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
