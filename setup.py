"""Build hooks: what travels in the wheel beside the Python files that pyproject.toml declares.

Top-level ``cuda/`` and ``configs/`` become ``moegs_ns/_cuda`` and ``moegs_ns/_configs``. Hooks rather than a
``package-dir`` mapping, because the folders hold no Python packages and an editable install must keep reading them
where they lie (``moegs_ns/paths.py``).

On x86-64 Linux with a C++ compiler the CPU kernels are compiled for three levels of instruction sets into
``moegs_ns/_kernels``, and the wheel is tagged ``py3-none-linux_x86_64``: it serves every Python and torch, but only
this platform. (Not manylinux: the libraries use the system's or torch's libgomp, which that standard does not promise.)
Elsewhere the wheel is pure and compiles its kernels at first use.
"""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).resolve().parent))  # builds do not run in the checkout's own environment

from moegs_ns.splats.native_build import NativeBuildError, find_compiler
from moegs_ns.splats.native_prebuilt import compile_levels, runs_on_this_platform

_SHIPPED_FOLDERS = ("cuda", "configs")
_NOT_SHIPPED = {"__pycache__", "build"}
_KERNELS = Path("moegs_ns", "_kernels")


class BuildWithDataFolders(build_py):
    """``build_py`` that also copies the shipped folders and compiles the kernels; an editable install does neither."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source, target in self._shipped_files().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target, preserve_mode=False)
        self._compile_kernels()

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        shipped = [] if self.editable_mode else [*self._shipped_files().values(), *map(str, self.kernels())]
        return super().get_outputs(include_bytecode) + shipped

    def get_source_files(self) -> list[str]:
        return super().get_source_files() + list(self._shipped_files())

    def kernels(self) -> list[Path]:
        """Compiled kernels in the build folder, with their record; none before ``run`` and on other platforms."""
        return sorted(Path(self.build_lib, _KERNELS).glob("*"))

    def _compile_kernels(self) -> None:
        if not runs_on_this_platform():
            self.announce("no CPU kernels in this wheel: they are prebuilt for x86-64 Linux only", level=3)
            return
        try:
            builds = compile_levels(Path(self.build_lib, _KERNELS), find_compiler())
        except NativeBuildError as error:
            for leftover in self.kernels():
                leftover.unlink()
            self.warn(f"no CPU kernels in this wheel: {error}")
            return
        self.announce(f"CPU kernels compiled: {', '.join(build.library for build in builds)}", level=3)

    def _shipped_files(self) -> dict[str, str]:
        """Checkout path -> path in the build folder, for every file that ships."""
        files: dict[str, str] = {}
        for folder in _SHIPPED_FOLDERS:
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and not _NOT_SHIPPED.intersection(path.parts):
                    target = Path(self.build_lib, "moegs_ns", f"_{folder}", path.relative_to(folder))
                    files[str(path)] = str(target)
        return files


class WheelOfItsPlatform(bdist_wheel):
    """``bdist_wheel`` that names the platform exactly when compiled kernels are inside."""

    def run(self) -> None:
        # Built first: whether the wheel is pure is known only then, and decides its layout and name.
        if not self.skip_build:
            self.run_command("build")
            self.skip_build = True
        if self.get_finalized_command("build_py").kernels():
            self.root_is_pure = False
            # By this setuptools knows where to install; the kernels are no extension modules, but as little portable.
            self.distribution.has_ext_modules = lambda: True
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        # The kernels have a plain C interface: no Python version or ABI of it matters.
        return (python, abi, platform) if self.root_is_pure else ("py3", "none", platform)


setup(cmdclass={"build_py": BuildWithDataFolders, "bdist_wheel": WheelOfItsPlatform})
