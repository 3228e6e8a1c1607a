"""Memory that training and rendering on a CPU ask for anew in every step and frame is kept by the process."""

import ctypes
import sys

import torch

# Parameters of glibc's mallopt, and the largest block it hands out of its heap in any version.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_HEAP_BLOCK = 32 << 20
_KEPT_BYTES = 512 << 20


def keep_freed_memory(device: torch.device | str) -> bool:
    """On a CPU, let the C library reuse freed blocks instead of giving them back to the system at once.

    A training step, or a frame, frees and asks for the same blocks of some hundred kilobytes to some megabytes again
    and again; each time fresh, their pages come one by one: 6,000 to 10,000 faults a step, a tenth of its time. At most
    512 MB that nobody uses stay with the process. Holds for the process, from the call on.

    Returns:
        Whether ``device`` is a CPU and the C library one that can be told so (glibc).
    """
    if torch.device(device).type != "cpu" or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    reuses = mallopt(_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK) == 1
    keeps = mallopt(_TRIM_THRESHOLD, _KEPT_BYTES) == 1
    return reuses and keeps
