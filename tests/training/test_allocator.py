"""Blocks that are freed and asked for again cost no page faults."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import resource, sys
import torch
from moegs_ns.training.allocator import keep_freed_memory

def faults_of_sixty_steps():
    def step():
        held = [torch.ones(1_000_000) for _ in range(20)]  # together more than the library keeps by itself
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(60):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    assert not keep_freed_memory("cuda") and keep_freed_memory("cpu")
print(faults_of_sixty_steps())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_blocks_are_reused(project_root: Path) -> None:
    def faults(mode: str) -> int:
        command = [sys.executable, "-c", COUNT, mode]
        # The C library may be told otherwise by the environment.
        result = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=True, timeout=120)
        return int(result.stdout)

    usual, kept = faults("usual"), faults("kept")
    # Not the number of pages: the system may hand out many at a time.
    assert kept < usual / 2
