"""Seed point clouds, with or without a time per point, and their PLY files.

The reader takes what COLMAP, Open3D, MeshLab and the published dynamic-splat pipelines write: ascii or binary, vertex
properties ``x y z``, ``red green blue`` and optionally ``time`` or ``t`` in [0,1]; other properties are skipped.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from moegs_ns.files import written_whole

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_BYTE_ORDER = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_TIME_NAMES = ("time", "t")
_MAX_HEADER_LINES, _MAX_HEADER_LINE = 1000, 10_000


@dataclass(frozen=True)
class PointCloud:
    """Points in world units."""

    xyz: np.ndarray
    """float32 ``[M,3]``"""
    rgb: np.ndarray
    """uint8 ``[M,3]``"""
    time: np.ndarray | None = None
    """float32 ``[M,1]`` in [0,1] over the whole clip, or None: the points belong to no instant in particular."""

    def __post_init__(self) -> None:
        count = len(self.xyz)
        if self.xyz.shape != (count, 3) or self.rgb.shape != (count, 3):
            raise ValueError(f"expected xyz [M,3] and rgb [M,3], found {self.xyz.shape} and {self.rgb.shape}")
        if self.time is not None and self.time.shape != (count, 1):
            raise ValueError(f"expected time [M,1] with M={count}, found {self.time.shape}")

    def __len__(self) -> int:
        return len(self.xyz)

    def select(self, keep: np.ndarray) -> PointCloud:
        """Points where the boolean mask ``keep`` [M] is true."""
        return PointCloud(self.xyz[keep], self.rgb[keep], None if self.time is None else self.time[keep])


def read_ply(path: Path) -> PointCloud:
    """Read a point cloud. Points with NaN or infinite coordinates are dropped with a warning that counts them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a PLY file, truncated, without coordinates, or with times outside [0,1].
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a point cloud at {path}, found no such file; check --point-cloud")
    vertices, properties = _read_properties(path)
    count = len(next(iter(vertices.values()), ()))
    for name in ("x", "y", "z"):
        if name not in properties:
            raise ValueError(
                f"expected vertex properties x, y, z in {path}, found {', '.join(properties)}; export it anew"
            )
    xyz = np.stack([vertices[name].astype(np.float32) for name in ("x", "y", "z")], axis=1)
    time_name = next((name for name in _TIME_NAMES if name in properties), None)
    time = None if time_name is None else vertices[time_name].astype(np.float32)[:, None]
    cloud = PointCloud(xyz, _colours(vertices, properties, path), time)
    finite = np.isfinite(xyz).all(axis=1) & (True if time is None else np.isfinite(time[:, 0]))
    if not finite.all():
        warnings.warn(f"dropped {int((~finite).sum())} of {count} points with NaN or infinity in {path}", stacklevel=2)
        cloud = cloud.select(finite)
    if cloud.time is not None and len(cloud) and (cloud.time.min() < 0 or cloud.time.max() > 1):
        raise ValueError(
            f"expected times in [0,1] (first to last frame of the clip) in property {time_name!r} of {path}, found "
            f"[{cloud.time.min():g}, {cloud.time.max():g}]; divide frame numbers by the last one"
        )
    return cloud


def read_ply_vertices(path: Path) -> dict[str, np.ndarray]:
    """All vertex properties of a PLY file by name, ``[M]`` each, whatever they mean.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a PLY file, or truncated.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a PLY file at {path}, found no such file")
    return _read_properties(path)[0]


def _read_properties(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The vertices' properties and their types, by name."""
    with path.open("rb") as file:
        encoding, count, properties = _read_header(file, path)
        return _read_vertices(file, path, encoding, count, properties), properties


def ply_has_time(path: Path) -> bool:
    """Whether the points of a PLY file carry times. Reads the header only."""
    with path.open("rb") as file:
        _, _, properties = _read_header(file, path)
    return any(name in properties for name in _TIME_NAMES)


def write_ply(path: Path, cloud: PointCloud, ascii: bool = False) -> None:
    """Write a point cloud that `read_ply` reads back exactly (binary) or to nine digits (ascii)."""
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    if cloud.time is not None:
        fields.append(("time", "<f4"))
    vertices = np.empty(len(cloud), dtype=fields)
    for axis, name in enumerate(("x", "y", "z")):
        vertices[name] = cloud.xyz[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = cloud.rgb[:, channel]
    if cloud.time is not None:
        vertices["time"] = cloud.time[:, 0]
    lines = ["ply", f"format {'ascii' if ascii else 'binary_little_endian'} 1.0", f"element vertex {len(cloud)}"]
    lines += [f"property {'uchar' if kind == 'u1' else 'float'} {name}" for name, kind in fields]
    with written_whole(path) as scratch, scratch.open("wb") as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode())
        if ascii:
            np.savetxt(file, vertices, fmt=["%.9g" if kind == "<f4" else "%d" for _, kind in fields])
        else:
            file.write(vertices.tobytes())


def times_within_range(cloud: PointCloud, first_frame: int, num_frames: int, clip_frames: int) -> PointCloud:
    """The cloud for a part of the clip: times then run 0..1 over that part, points of other frames are dropped.

    An untimed cloud is returned as it is.

    Raises:
        ValueError: no point belongs to the part.
    """
    if cloud.time is None or (first_frame == 0 and num_frames == clip_frames):
        return cloud
    frames = cloud.time[:, 0] * (clip_frames - 1) - first_frame
    keep = (frames > -0.5) & (frames < num_frames - 0.5)
    if not keep.any():
        raise ValueError(
            f"expected points at frames {first_frame} to {first_frame + num_frames - 1}, found none: the cloud's "
            f"times (0..1 over all {clip_frames} frames) cover other frames; give another --point-cloud"
        )
    part = cloud.select(keep)
    time = (frames[keep] / max(1, num_frames - 1)).clip(0, 1).astype(np.float32)[:, None]
    return PointCloud(part.xyz, part.rgb, time)


def _read_header(file: BinaryIO, path: Path) -> tuple[str, int, dict[str, str]]:
    """Encoding, number of vertices and their properties (name -> NumPy type, in file order)."""
    if file.readline(_MAX_HEADER_LINE).strip() != b"ply":
        raise ValueError(f"expected a PLY file at {path}, found another format; convert it to PLY")
    encoding, count, properties = "", -1, {}
    element = ""
    for _ in range(_MAX_HEADER_LINES):
        words = file.readline(_MAX_HEADER_LINE).decode("ascii", errors="replace").split()
        if words == ["end_header"]:
            break
        if words[:1] == ["format"] and len(words) > 1:
            encoding = words[1]
        elif words[:1] == ["element"] and len(words) == 3:
            if count < 0 and words[1] != "vertex":
                raise ValueError(f"expected 'vertex' as the first element of {path}, found {words[1]!r}; export anew")
            element = words[1]
            if element == "vertex":
                count = int(words[2])
        elif words[:1] == ["property"] and element == "vertex":
            if len(words) != 3 or words[1] not in _TYPES:
                raise ValueError(
                    f"expected vertices of plain numbers in {path}, found {' '.join(words)!r}; export anew"
                )
            properties[words[2]] = _TYPES[words[1]]
    else:
        raise ValueError(f"expected 'end_header' in {path}, found none; the file is damaged")
    if encoding not in _BYTE_ORDER or count < 0:
        raise ValueError(f"expected a format and an element 'vertex' in the header of {path}; the file is damaged")
    return encoding, count, properties


def _read_vertices(
    file: BinaryIO, path: Path, encoding: str, count: int, properties: dict[str, str]
) -> dict[str, np.ndarray]:
    if count == 0:
        return {name: np.empty(0) for name in properties}
    if encoding == "ascii":
        lines = [line for _, line in zip(range(count), file, strict=False)]
        try:
            table = np.array([line.split() for line in lines], dtype=np.float64).reshape(len(lines), -1)
        except ValueError as error:
            raise ValueError(f"expected {len(properties)} numbers per line in {path}: {error}; export anew") from error
        if len(table) != count or table.shape[1] != len(properties):
            raise ValueError(
                f"expected {count} lines of {len(properties)} numbers in {path}, found {len(table)} lines of "
                f"{table.shape[1]}; the file is truncated or damaged"
            )
        return {name: table[:, column] for column, name in enumerate(properties)}
    layout = np.dtype([(name, _BYTE_ORDER[encoding] + kind) for name, kind in properties.items()])
    there = path.stat().st_size - file.tell()  # a header may claim any number: memory is claimed for what is there
    if there < layout.itemsize * count:
        raise ValueError(
            f"expected {count} points of {layout.itemsize} bytes in {path}, found {there} bytes: the file is "
            "truncated; copy it again"
        )
    vertices = np.frombuffer(file.read(layout.itemsize * count), dtype=layout)
    return {name: vertices[name] for name in properties}


def _colours(vertices: dict[str, np.ndarray], properties: dict[str, str], path: Path) -> np.ndarray:
    """uint8 ``[M,3]``; floating-point colours are taken as [0,1]."""
    names = ("red", "green", "blue")
    if not all(name in properties for name in names):
        warnings.warn(
            f"expected colours (red, green, blue) in {path}, found {', '.join(properties)}; the points start grey",
            stacklevel=3,
        )
        return np.full((len(vertices["x"]), 3), 128, dtype=np.uint8)
    rgb = np.stack([vertices[name] for name in names], axis=1)
    if properties["red"].startswith("f"):
        return (rgb.clip(0, 1) * 255).round().astype(np.uint8)
    if len(rgb) and (rgb.min() < 0 or rgb.max() > 255):
        raise ValueError(f"expected colours in 0..255 in {path}, found [{rgb.min():g}, {rgb.max():g}]")
    return rgb.astype(np.uint8)
