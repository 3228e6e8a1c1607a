"""The files of a Nerfies or HyperNeRF capture: what is in them, checked; nothing is chosen or converted but axes.

``camera/<id>.json`` belongs to one image. ``orientation`` has as rows the camera's axes right, down and forward in the
world, ``position`` is its centre there; intrinsics are in pixels of the full (1x) size, pixel centres at +0.5.
``scene.json`` states near and far in a scaled world; here all is in that of ``position``, as ``points.npy`` is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moegs_ns.scene.geometry import FLIP_Y_AND_Z
from moegs_ns.scene.json_files import read_json
from moegs_ns.scene.lens import Lens


@dataclass(frozen=True)
class NerfiesCamera:
    """The camera of one image.

    Attributes:
        camera_to_world: float64 ``[3,4]``, OpenGL axes (x right, y up, z backward), as in nerfstudio.
        lens: in pixels of ``size``.
        size: width and height at which it was calibrated (1x).
    """

    camera_to_world: np.ndarray
    lens: Lens
    size: tuple[int, int]


@dataclass(frozen=True)
class NerfiesIds:
    """``dataset.json``: images by their names; training and validation may be empty."""

    ids: list[str]
    train: list[str]
    val: list[str]


@dataclass(frozen=True)
class NerfiesMoment:
    """What ``metadata.json`` says of an image: its instant, counted in frames, and which camera took it."""

    frame: int
    camera: int


def read_ids(path: Path) -> NerfiesIds:
    """``dataset.json``. Names that only the training or validation list has count as well.

    Raises:
        FileNotFoundError, ValueError: no such file, or lists of other things than names.
    """
    lists = read_json(path, "the names of a capture's images")
    ids, train, val = ([*lists.get(key, [])] for key in ("ids", "train_ids", "val_ids"))
    if not all(isinstance(name, str) for name in ids + train + val) or not ids + train + val:
        raise ValueError(f"expected lists of image names (ids, train_ids, val_ids) in {path}, found other values")
    return NerfiesIds(list(dict.fromkeys(ids + train + val)), train, val)


def read_moments(path: Path, ids: Sequence[str]) -> dict[str, NerfiesMoment]:
    """``metadata.json`` by image: ``time_id`` where every image has one, else ``warp_id``; ``camera_id``, else 0.

    Raises:
        FileNotFoundError, ValueError: no such file, or images it says nothing of.
    """
    rows = read_json(path, "the images' instants")
    absent = [name for name in ids if not isinstance(rows.get(name), Mapping)]
    if absent:
        raise ValueError(
            f"expected an entry for every image in {path}, found none for {len(absent)}, such as {absent[0]}; copy the "
            "file again, or take these names out of dataset.json"
        )
    key = "time_id" if all("time_id" in rows[name] for name in ids) else "warp_id"
    moments = {}
    for name in ids:
        frame, camera = rows[name].get(key), rows[name].get("camera_id", 0)
        if not all(isinstance(number, int) and number >= 0 for number in (frame, camera)):
            raise ValueError(
                f"expected whole numbers {key} and camera_id for {name} in {path}, found {rows[name]}; write it anew"
            )
        moments[name] = NerfiesMoment(frame, camera)
    return moments


def read_camera(path: Path) -> NerfiesCamera:
    """One ``camera/<id>.json``. That its orientation is a rotation is left to the caller, who has all of them.

    Raises:
        FileNotFoundError, ValueError: no such file, or numbers missing from it.
    """
    values = read_json(path, "an image's camera")
    try:
        orientation = np.array(values["orientation"], dtype=np.float64).reshape(3, 3)
        position = np.array(values["position"], dtype=np.float64).reshape(3)
        focal, aspect = float(values["focal_length"]), float(values.get("pixel_aspect_ratio", 1.0))
        column, row = (float(number) for number in values["principal_point"])
        width, height = (int(number) for number in values["image_size"])
        lens = Lens(
            fx=focal,
            fy=focal * aspect,
            cx=column,
            cy=row,
            skew=float(values.get("skew", 0.0)),
            radial=tuple(float(number) for number in values.get("radial_distortion") or ()),
            tangential=_pair(values.get("tangential_distortion") or values.get("tangential") or (0.0, 0.0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"expected orientation, position, focal_length, principal_point and image_size in {path}, reading them "
            f"failed ({error!r}); copy it again"
        ) from error
    numbers = [lens.fx, lens.fy, lens.cx, lens.cy, lens.skew, *lens.radial, *lens.tangential, *position]
    if not (np.isfinite(numbers).all() and min(lens.fx, lens.fy, width, height) > 0):
        raise ValueError(f"expected finite numbers and a positive focal length and size in {path}; estimate it anew")
    return NerfiesCamera(np.column_stack([orientation.T @ FLIP_Y_AND_Z, position]), lens, (width, height))


def _pair(values: Sequence[float]) -> tuple[float, float]:
    first, second = values
    return float(first), float(second)


def read_near_far(path: Path) -> tuple[float, float] | None:
    """Near and far of ``scene.json`` in the units of camera positions; None where it states none.

    Raises:
        FileNotFoundError, ValueError: no such file, or numbers that are none.
    """
    values = read_json(path, "the scene's scale and bounds")
    if "near" not in values or "far" not in values:
        return None
    try:
        scale = float(values.get("scale", 1.0))
        near, far = float(values["near"]) / scale, float(values["far"]) / scale
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"expected numbers scale, near and far in {path}, found others ({error})") from error
    return near, far
