"""One of many cameras against nerfstudio's own way to pick it."""

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from moegs_ns.scene.one_camera import one_camera


@pytest.mark.parametrize("times", [None, torch.arange(4.0)])
def test_one_camera_is_what_nerfstudio_picks(times: torch.Tensor | None) -> None:
    cameras = Cameras(
        torch.arange(48.0).view(4, 3, 4),
        fx=torch.arange(4.0),
        fy=7.0,
        cx=3.0,
        cy=2.0,
        width=6,
        height=torch.arange(4)[:, None],
        times=times,
        metadata={"camera_index": torch.arange(4)[:, None], "nested": {"a": torch.ones(4, 2)}, "name": "rig"},
    )

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return (value.dtype, value.tolist()) if isinstance(value, torch.Tensor) else value

    for index in range(4):
        one, other = one_camera(cameras, index), cameras[index : index + 1]
        assert plain(vars(one)) == plain(vars(other)) and type(one) is Cameras
        assert one.shape == (1,) and one.to("cpu").width.item() == 6
    assert cameras.shape == (4,) and cameras.metadata["camera_index"].shape == (4, 1)
