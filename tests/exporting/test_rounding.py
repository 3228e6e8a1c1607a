"""One rule turns floats into bytes: ns-eval (torchvision), ns-render (mediapy) and ``moegs render`` agree."""

from pathlib import Path

import mediapy
import numpy as np
import torch
import torchvision.utils
from PIL import Image

from moegs_ns.exporting.frame_folder import save_frame
from moegs_ns.exporting.panels import as_uint8


def test_all_writers_round_alike_where_it_is_close(tmp_path: Path) -> None:
    edges = ((np.arange(256) + 0.5) / 255).astype(np.float32)
    values = [edges]
    for direction in (np.inf, -np.inf):
        near = edges
        for _ in range(6):
            near = np.nextafter(near, np.float32(direction))
            values.append(near)
    special = np.array([0, -0.0, 1, -0.3, 1.7, 1e-30], np.float32)
    spread = np.random.default_rng(0).uniform(-0.1, 1.1, 64 * 3 * 100).astype(np.float32)
    flat = np.concatenate([*values, special, spread])
    flat = np.pad(flat, (0, -len(flat) % 192))
    image = flat.reshape(-1, 64, 3)
    torchvision.utils.save_image(torch.from_numpy(image).permute(2, 0, 1), tmp_path / "eval.png")
    mediapy.write_image(tmp_path / "render.png", image, fmt="png")
    save_frame(tmp_path / "moegs.png", as_uint8(image))
    with Image.open(tmp_path / "moegs.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.floor(np.clip(image, 0, 1) * np.float32(255) + 0.5))
    files = [(tmp_path / name).read_bytes() for name in ("eval.png", "render.png", "moegs.png")]
    assert files[0] == files[1] == files[2]
