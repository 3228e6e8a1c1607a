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

def faults_of_a_hundred_steps():
    def step():
        return [torch.zeros(1_000_000).add_(1).sum() for _ in range(3)]
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    assert not keep_freed_memory("cuda") and keep_freed_memory("cpu")
print(faults_of_a_hundred_steps())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_blocks_are_reused(project_root: Path) -> None:
    def faults(mode: str) -> int:
        command = [sys.executable, "-c", COUNT, mode]
        # The C library may be told otherwise by the environment.
        result = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=True, timeout=120)
        return int(result.stdout)

    usual, kept = faults("usual"), faults("kept")
    assert kept < 2000
    assert usual > 5 * kept
