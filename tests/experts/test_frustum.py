"""Training without the Gaussians no camera sees: nothing but the time it takes is different."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox

from moegs_ns.experts import ed3dgs, four_d_gaussians, frustum
from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.deformed_splats import deformed_splats
from moegs_ns.experts.ed3dgs import ED3DGSModelConfig
from moegs_ns.experts.four_d_gaussians import FourDGaussiansModelConfig
from moegs_ns.splats.camera import viewmat_from_camera_to_world
from moegs_ns.splats.rasterize import rasterize

SMALL = {"width": 8, "sh_degree": 1, "max_scale": None}
FAMILIES: dict[str, Any] = {
    "4dgaussians": FourDGaussiansModelConfig(
        **SMALL, grid_channels=4, grid_resolution=4, time_resolution=5, coarse_steps=0
    ),
    "ed3dgs": ED3DGSModelConfig(
        **SMALL, time_embedding_size=6, embedding_size=4, time_embedding_std=1.0, anneal_steps=0, time_offsets=False
    ),
    "ed3dgs with offsets": ED3DGSModelConfig(
        **SMALL, time_embedding_size=6, embedding_size=4, time_embedding_std=1.0, anneal_steps=0
    ),
}


def build(family: str, spread: float = 3.0, seeds: int = 300) -> ExpertModel:
    """An expert whose Gaussians lie far and wide and are moved far."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = FAMILIES[family].setup(
        scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
        num_train_data=10,
        seed_points=(
            spread * torch.randn(seeds, 3, generator=generator),
            torch.randint(0, 256, (seeds, 3), generator=generator, dtype=torch.uint8),
        ),
        metadata={"num_frames": 5, "camera_extent": 2.0, "camera_names": ["a"]},
    )
    if "embeddings" in model.gaussians.params:
        model.gaussians["embeddings"].data.normal_(generator=generator)
    model.gaussians["scales"].data.fill_(-2.5)
    for name, parameter in model.named_parameters():
        if "heads.means" in name and parameter.ndim == 2:
            parameter.data.mul_(3.0)
    return model.train()


def views(camera: Callable[..., Cameras], times: list[float]) -> list[Cameras]:
    """One camera to the left, the next to the right of the middle, and so on."""
    found = []
    for number, time in enumerate(times):
        one = camera(time)
        one.camera_to_worlds[0, 0, 3] = 1.5 * (-1) ** number
        one.metadata = {"camera_index": torch.tensor([[0]])}
        found.append(one)
    return found


def take_step(model: ExpertModel, cameras: list[Cameras]) -> dict[str, torch.Tensor]:
    """Pictures, gradients and statistics of a step."""
    model.zero_grad()
    model.gaussians.reset_statistics()
    model._begin_step(0)
    model.expect_cameras(cameras)
    pictures = [model.get_outputs(camera)["rgb"] for camera in cameras]
    target = torch.rand(pictures[0].shape, generator=torch.Generator().manual_seed(1))
    sum((picture - target).square().mean() for picture in pictures).backward()
    model._collect_statistics()
    return {
        **{f"picture {number}": picture.detach() for number, picture in enumerate(pictures)},
        **{name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None},
        "gradient_sum": model.gaussians.gradient_sum.clone(),
        "gradient_count": model.gaussians.gradient_count.clone(),
    }


def forget_views(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (four_d_gaussians, ed3dgs):
        monkeypatch.setattr(module, "rows_in_view", lambda *_: None)


@pytest.mark.parametrize("times", [[0.4], [0.4, 0.4], [0.4, 0.9, 0.4]], ids=["one", "same instant", "mixed"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_the_same_without_what_no_camera_sees(
    family: str, times: list[float], camera: Callable[..., Cameras], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cameras = build(family), views(camera, times)
    drawn: list[torch.Tensor | None] = []
    rows_in_view = frustum.rows_in_view
    for module in (four_d_gaussians, ed3dgs):
        monkeypatch.setattr(module, "rows_in_view", lambda *a: (drawn.append(rows_in_view(*a)), drawn[-1])[1])
    sparing = take_step(model, cameras)
    assert all(rows is not None and len(rows) < 0.8 * len(model.gaussians) for rows in drawn)
    forget_views(monkeypatch)
    whole = take_step(model, cameras)
    assert sparing.keys() == whole.keys()
    assert 0 < int((whole["gradient_count"] > 0).sum()) < len(model.gaussians)
    for name, expected in whole.items():
        scale = expected.abs().max().clamp_min(1e-8)
        error = (sparing[name] - expected).abs().max() / scale
        assert error < 2e-5, name


def shown_undeformed(model: ExpertModel, view: Cameras) -> torch.Tensor:
    """Which Gaussians a view shows where nothing is deformed."""
    viewmat, intrinsics = viewmat_from_camera_to_world(view.camera_to_worlds[0]), view.get_intrinsics_matrices()[0]
    splats = deformed_splats(model.gaussians, {})
    size = int(view.width), int(view.height)
    return rasterize(splats, splats.means, viewmat, intrinsics, *size, settings=model.projection_settings).visible


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_deformation_brings_into_view_is_drawn(family: str, camera: Callable[..., Cameras]) -> None:
    model, (view,) = build(family), views(camera, [0.4])
    undeformed = shown_undeformed(model, view)
    model._begin_step(0)
    model.expect_cameras([view])
    _, rows = model.splats_of_view(view)
    drawn = torch.zeros(len(model.gaussians), dtype=torch.bool)
    drawn[rows] = True
    assert (drawn & ~undeformed).any()  # some come into view
    assert len(rows) < len(model.gaussians)


@pytest.mark.parametrize("family", FAMILIES)
def test_where_all_is_in_view_nothing_is_picked(family: str, camera: Callable[..., Cameras]) -> None:
    model, (view,) = build(family, spread=0.2), views(camera, [0.4])
    model._begin_step(0)
    model.expect_cameras([view])
    splats, rows = model.splats_of_view(view)
    assert rows is None and len(splats) == len(model.gaussians)


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_knows_no_views(family: str, camera: Callable[..., Cameras]) -> None:
    model, (view,) = build(family).eval(), views(camera, [0.4])
    model.expect_cameras([view])
    splats, rows = model.splats_of_view(view)
    assert rows is None and len(splats) == len(model.gaussians)


def test_rows_taken_and_put_back() -> None:
    values = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([1, 4, 6])
    assert torch.equal(frustum.take_rows(values, rows), values[rows])
    assert frustum.take_rows(values, None) is values
    assert torch.autograd.gradcheck(lambda values: frustum.take_rows(values, rows), (values,))
    put = frustum.put_rows(values[rows], rows, 7)
    assert torch.equal(put[rows], values[rows]) and not put[[0, 2, 3, 5]].any()
