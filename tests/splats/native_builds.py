"""Builds of the kernels with other flags, each run against the float64 twin in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moegs_ns.splats import native_build
from moegs_ns.splats.native_build import NativeBuildError

ROOT = Path(__file__).resolve().parents[2]

# Renders forward and backward with the library in $MOEGS_NATIVE_LIBRARY and compares with the float64 twin.
COMPARE = """
import torch
from moegs_ns.splats import native_backend
from tests.splats.comparisons import compare_renderings
from tests.splats.function_cases import compare_all
from tests.splats.random_scenes import hard_cases, random_scene, render

torch.set_num_threads(2)
for scene in [*hard_cases(), random_scene(90, 400, k=2, c=11, width=90, height=70)]:
    compare_renderings(render(scene, "native"), render(scene.to(torch.float64), "torch"), rounding=scene.rounding)
compare_all()
print("all equal with", native_backend.build_info()["parallel"], native_backend.build_info()["vector_width"])
"""


def real_compiler() -> list[str]:
    """The compiler of this machine; without one the test is skipped."""
    try:
        return native_build.find_compiler()
    except NativeBuildError as error:
        pytest.skip(str(error))


def run_with(
    library: Path, program: str, *, timeout: float = 300.0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a program in another process whose kernels are ``library``.

    Args:
        library: of ``compile_library``.
        program: Python source; the project and its tests can be imported.
        timeout: in seconds.
        environment: further variables of the process.
    """
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "MOEGS_NATIVE_LIBRARY": str(library), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def has_openmp() -> bool:
    """Whether an ordinary build has OpenMP here."""
    return native_build._accepts(real_compiler(), "-fopenmp")


def compile_and_compare(folder: Path, flags: list[str], architecture: str | None = None, **environment: str) -> str:
    """Compiles the kernels into ``folder`` and holds them against the twin.

    Args:
        folder: for the library.
        flags: appended to the usual ones.
        architecture: see ``native_build.compile_library``.
        environment: further variables of the process that compares.

    Returns:
        What ``COMPARE`` says of the library: its parallelism and vector width.
    """
    library = folder / "splat_cpu.so"
    native_build.compile_library(library, real_compiler(), flags, architecture)
    result = run_with(library, COMPARE, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.partition("all equal with ")[2].strip()
