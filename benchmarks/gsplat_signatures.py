"""Regenerates tests/splats/gsplat_signatures.json from gsplat wheels, without importing or installing them.

The tests of the CUDA path run it on the CPU against fakes that reject every call the real functions would reject. What
the real functions accept is recorded here, per gsplat version:

    pip download --no-deps -d wheels gsplat==1.4.0
    pip download --no-deps -d wheels gsplat==1.5.3
    python benchmarks/gsplat_signatures.py wheels/*.whl
"""

from __future__ import annotations

import argparse
import ast
import json
import zipfile
from pathlib import Path

FUNCTIONS = ("fully_fused_projection", "isect_tiles", "isect_offset_encode", "rasterize_to_pixels")
TARGET = Path(__file__).resolve().parent.parent / "tests" / "splats" / "gsplat_signatures.json"


def read_signatures(source: str) -> dict[str, dict[str, object]]:
    """For each of ``FUNCTIONS`` in a module's source: required parameters in order, then optional ones with defaults.

    Raises:
        ValueError: a function is missing or takes keyword-only or variadic parameters.
    """
    definitions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    signatures: dict[str, dict[str, object]] = {}
    for name in FUNCTIONS:
        if name not in definitions:
            raise ValueError(f"expected a function '{name}' in gsplat/cuda/_wrapper.py, found none")
        arguments = definitions[name].args
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs:
            raise ValueError(f"expected plain parameters of '{name}', found others; extend this script")
        names = [argument.arg for argument in arguments.args]
        defaults = [ast.literal_eval(default) for default in arguments.defaults]
        required = len(names) - len(defaults)
        signatures[name] = {
            "required": names[:required],
            "optional": dict(zip(names[required:], defaults, strict=True)),
        }
    return signatures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path, help="gsplat-<version>-*.whl files")
    recorded = {}
    for wheel in parser.parse_args().wheels:
        version = wheel.name.split("-")[1]
        with zipfile.ZipFile(wheel) as archive:
            recorded[version] = read_signatures(archive.read("gsplat/cuda/_wrapper.py").decode())
    TARGET.write_text(json.dumps(dict(sorted(recorded.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
