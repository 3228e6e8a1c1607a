"""Build hook: top-level ``cuda/`` and ``configs/`` travel in the wheel as ``moegs_ns/_cuda`` and ``moegs_ns/_configs``.

Everything else is declared in pyproject.toml. A hook rather than a ``package-dir`` mapping, because the folders hold
no Python packages and an editable install must keep reading them where they lie (``moegs_ns/paths.py``).
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

_SHIPPED_FOLDERS = ("cuda", "configs")
_NOT_SHIPPED = {"__pycache__", "build"}


class BuildWithDataFolders(build_py):
    """``build_py`` that also copies the shipped folders; an editable install copies nothing."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source, target in self._shipped_files().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target, preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        shipped = [] if self.editable_mode else list(self._shipped_files().values())
        return super().get_outputs(include_bytecode) + shipped

    def get_source_files(self) -> list[str]:
        return super().get_source_files() + list(self._shipped_files())

    def _shipped_files(self) -> dict[str, str]:
        """Checkout path -> path in the build folder, for every file that ships."""
        files: dict[str, str] = {}
        for folder in _SHIPPED_FOLDERS:
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and not _NOT_SHIPPED.intersection(path.parts):
                    target = Path(self.build_lib, "moegs_ns", f"_{folder}", path.relative_to(folder))
                    files[str(path)] = str(target)
        return files


setup(cmdclass={"build_py": BuildWithDataFolders})
