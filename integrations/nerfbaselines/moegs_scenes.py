"""Scenes that moegs_ns reads, with their times, as NerfBaselines data sets.

A scene's folder holds ``nb-info.json``, which names this loader and its options::

    {"loader": "moegs", "loader_kwargs": {"parser": "n3v-data", "downscale": 2}, "id": "n3v", "scene": "coffee_martini",
     "evaluation_protocol": "default"}

NerfBaselines reads images from files, so frames of videos are written as PNG into the cache of moegs_ns, once.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from nerfbaselines import DatasetNotFoundError, camera_model_to_int, new_cameras, new_dataset
from PIL import Image

#: What the columns of ``cameras.metadata`` are; `moegs_method` finds them by these names.
COLUMNS = ["time", "camera"]


def load_scene(path: str, split: str, *, features: Any = None, parser: str = "n3v-data", **options: Any) -> Any:
    """One split of a scene, images not yet loaded.

    Args:
        path: its folder.
        split: ``train`` or ``test``.
        features: what NerfBaselines asks for; images, and seed points as 3D points, are given always.
        parser: data parser of moegs_ns, as on the command line.
        options: its options, by name.

    Raises:
        DatasetNotFoundError: the data parser finds no scene there.
        ValueError: no such parser or option.
    """
    from moegs_ns.scene.dataparsers.layouts import LAYOUTS
    from moegs_ns.scene.dataset import FrameDataset

    configs = {layout.parser: layout.config for layout in LAYOUTS.values()}
    if parser not in configs:
        raise ValueError(f"expected a data parser among {', '.join(sorted(configs))}, found '{parser}'")
    try:
        outputs = configs[parser](data=Path(path), **options).setup().get_dataparser_outputs(split=split)
    except TypeError as error:
        raise ValueError(f"expected options of {parser} in nb-info.json, found {sorted(options)}") from error
    except (FileNotFoundError, ValueError) as error:
        raise DatasetNotFoundError(f"{path} does not contain a scene for {parser}: {error}") from error
    dataset = FrameDataset(outputs)
    cameras, metadata = outputs.cameras, outputs.metadata
    count = len(outputs.image_filenames)
    numbers = cameras.metadata["camera_index"][:, 0].numpy()
    frames = cameras.metadata["frame_index"][:, 0].numpy()
    names = [metadata["camera_names"][number] for number in numbers]
    root = _image_folder(path, parser, options)
    paths = []
    for index in range(count):
        file = root / names[index] / f"{int(frames[index]) + int(metadata['first_frame']):05d}.png"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(".part")
            Image.fromarray(dataset.get_numpy_image(index)).save(unfinished, format="png", compress_level=1)
            unfinished.replace(file)
        paths.append(str(file))
    poses = cameras.camera_to_worlds.numpy().astype(np.float32).copy()
    poses[:, :, 1:3] *= -1  # OpenGL to OpenCV
    seeds = metadata.get("points3D_xyz")
    return new_dataset(
        cameras=new_cameras(
            poses=poses,
            intrinsics=np.stack([getattr(cameras, name)[:, 0].numpy() for name in ("fx", "fy", "cx", "cy")], axis=1),
            camera_models=np.full(count, camera_model_to_int("pinhole"), np.int32),
            image_sizes=np.stack([cameras.width[:, 0].numpy(), cameras.height[:, 0].numpy()], axis=1).astype(np.int32),
            nears_fars=np.tile(np.array([metadata["near"], metadata["far"]], np.float32), (count, 1)),
            metadata=np.stack([cameras.times[:, 0].numpy(), numbers.astype(np.float32)], axis=1),
        ),
        image_paths=paths,
        image_paths_root=str(root),
        points3D_xyz=None if seeds is None else np.asarray(seeds, np.float32),
        points3D_rgb=None if seeds is None else np.asarray(metadata["points3D_rgb"], np.uint8),
        metadata={
            "type": "forward-facing" if parser in ("n3v-data", "technicolor-data") else None,
            "color_space": "srgb",
            "evaluation_protocol": "default",
            "camera_metadata": list(COLUMNS),
        },
    )


def _image_folder(path: str, parser: str, options: dict[str, Any]) -> Path:
    from moegs_ns.paths import user_cache_dir

    scene = Path(path).resolve()
    facts = json.dumps([str(scene), parser, options], sort_keys=True, default=str)
    digest = hashlib.sha256(facts.encode()).hexdigest()[:16]
    return user_cache_dir() / "nerfbaselines" / f"{scene.name}-{digest}"
