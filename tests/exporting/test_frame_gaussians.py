"""What of a model's Gaussians reaches files: the picture stays, whatever is left out."""

from pathlib import Path

import pytest
import torch

from moegs_ns.exporting.frame_gaussians import Selection, frame_gaussians, time_of_frame
from moegs_ns.reporting.export_losses import viewer_picture
from moegs_ns.reporting.metrics import psnr
from moegs_ns.router.fused import fuse
from moegs_ns.splats.splats import sh_of
from tests.router.building import NUM_FRAMES, make_camera, make_expert, make_mixture, save_run

CLASSIC = ["stg", "4dgaussians", "ed3dgs"]  # families that project as viewers do


def own_picture(model, frame: int) -> torch.Tensor:
    return model.eval().get_outputs_for_camera(make_camera(time_of_frame(frame, NUM_FRAMES)))["rgb"]


@pytest.mark.parametrize("family", CLASSIC)
@pytest.mark.parametrize("frame", [0, 3])
def test_viewers_draw_what_the_expert_shows(family: str, frame: int) -> None:
    expert = make_expert(family, background="black")
    (found,) = frame_gaussians(expert, [frame], NUM_FRAMES)
    own = own_picture(expert, frame)
    assert own.std() > 0.05
    assert psnr(viewer_picture(found.splats, make_camera()), own) > 80.0
    (other,) = frame_gaussians(expert, [4 - frame], NUM_FRAMES)
    assert psnr(viewer_picture(other.splats, make_camera()), own) < 60.0  # the expert moves


def test_only_the_degree_in_use_is_exported() -> None:
    expert = make_expert("stg", sh_degree=3, step=15)  # one degree every ten steps
    (found,) = frame_gaussians(expert, [1], NUM_FRAMES)
    assert sh_of(found.splats).shape[1] == 4
    (flat,) = frame_gaussians(expert, [1], NUM_FRAMES, Selection(sh_degree=0))
    assert torch.equal(sh_of(flat.splats), sh_of(found.splats)[:, :1])


def test_what_is_left_out_was_invisible() -> None:
    expert = make_expert("stg", count=80)
    with torch.no_grad():
        expert.gaussians["opacities"][::3] = -5.8  # below 1/255
    (everything,) = frame_gaussians(expert, [2], NUM_FRAMES, Selection(min_opacity=0.0))
    (visible,) = frame_gaussians(expert, [2], NUM_FRAMES)
    assert len(everything) == expert.num_gaussians > 1.3 * len(visible)
    assert torch.equal(everything.splats.means[visible.rows], visible.splats.means)
    pictures = [viewer_picture(one.splats, make_camera()) for one in (everything, visible)]
    assert torch.equal(*pictures)


def test_rows_say_who_is_who_in_every_frame_and_clip() -> None:
    expert = make_expert("stg", clip_frames=3)
    frames = [*frame_gaussians(expert, range(NUM_FRAMES), NUM_FRAMES, Selection(min_opacity=0.0))]
    first, second = expert.parts[0].num_gaussians, expert.parts[1].num_gaussians
    assert [one.frame for one in frames] == [*range(NUM_FRAMES)]
    assert frames[0].rows.tolist() == frames[2].rows.tolist() == [*range(first)]
    assert frames[3].rows.tolist() == [*range(first, first + second)]
    own = own_picture(expert, 4)
    assert psnr(viewer_picture(frames[4].splats, make_camera()), own) > 60.0


def test_a_fused_model_is_one_set(tmp_path: Path) -> None:
    experts = [make_expert("stg", 1, count=30), make_expert("4dgaussians", 2, count=50, sh_degree=2, step=40)]
    runs = [save_run(tmp_path / name, one, name) for name, one in zip(("stg", "4dgaussians"), experts, strict=True)]
    mixture = make_mixture(runs)
    generator = torch.Generator().manual_seed(1)
    shares = [torch.rand(one.num_gaussians, generator=generator) for one in mixture.expert_models]
    model = fuse(mixture, shares, {})
    (found,) = frame_gaussians(model, [3], NUM_FRAMES, Selection(min_opacity=0.0))
    assert found.rows.tolist() == [*range(sum(one.num_gaussians for one in experts))]
    assert sh_of(found.splats).shape[1] == 9  # the higher degree of the two
    assert psnr(viewer_picture(found.splats, make_camera()), own_picture(model, 3)) > 60.0


@pytest.mark.parametrize("head", ["lite", "full"])
def test_features_are_refused(head: str) -> None:
    expert = make_expert("stg", head=head)
    with pytest.raises(ValueError, match=r"\(STG's lite and full heads\); bake them with --bake-sh"):
        next(frame_gaussians(expert, [0], NUM_FRAMES))


def test_wrong_requests_are_told() -> None:
    expert = make_expert("stg")
    with pytest.raises(ValueError, match="expected frames from 0 to 4, found 5"):
        next(frame_gaussians(expert, [5], NUM_FRAMES))
    with pytest.raises(ValueError, match="expected a smallest opacity from 0 to below 1, found 1"):
        Selection(min_opacity=1.0)
    with pytest.raises(ValueError, match="expected a spherical harmonics degree from 0 to 3, found 4"):
        Selection(sh_degree=4)
