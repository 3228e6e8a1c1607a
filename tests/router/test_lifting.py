"""Responsibilities of Gaussians: invariants, and values against compositing Gaussian by Gaussian in numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from moegs_ns.router.instant import Instant
from moegs_ns.router.lifting import Lifting, Responsibilities, evaluation_gates, lift, views_of_stride
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.splats import torch_backend
from tests.router.building import (
    HEIGHT,
    NUM_FRAMES,
    WIDTH,
    make_camera,
    make_expert,
    make_mixture,
    randomise_router,
    save_run,
)

pytestmark = pytest.mark.usefixtures("native")

TIMES = (0.0, 0.25, 1.0)


def contributions_by_hand(instant: Instant) -> np.ndarray:
    """``[N,H,W]`` T α of every Gaussian within its own expert, front to back, pixel by pixel."""
    splats, count = instant.splats, len(instant.splats)
    found = np.zeros((count, HEIGHT, WIDTH))
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for expert, settings in enumerate(instant.settings):
        rows = np.flatnonzero(instant.expert_ids.numpy() == expert)
        projected = torch_backend.project(
            splats.means[rows], splats.quats[rows], splats.scales[rows], instant.viewmat, instant.intrinsics,
            WIDTH, HEIGHT, settings,
        )  # fmt: skip
        opacities = (splats.opacities[rows] * projected.compensations).double().numpy()
        means, conics = projected.means2d.double().numpy(), projected.conics.double().numpy()
        transmittance, running = np.ones((HEIGHT, WIDTH)), np.ones((HEIGHT, WIDTH), dtype=bool)
        for one in np.argsort(projected.depths.numpy(), kind="stable"):
            if not (projected.radii[one] > 0).all():
                continue
            dx, dy = means[one, 0] - x, means[one, 1] - y
            a, b, c = conics[one]
            alpha = np.minimum(0.999, opacities[one] * np.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy))
            drawn = running & (alpha >= 1 / 255)
            running &= ~(drawn & (transmittance * (1 - alpha) <= 1e-4))
            drawn &= running
            found[rows[one]][drawn] = (transmittance * alpha)[drawn]
            transmittance[drawn] *= 1 - alpha[drawn]
    return found


def lift_with(model: MixtureModel, gates: torch.Tensor) -> Responsibilities:
    """Lifting with given gates ``[K,H,W]`` at every instant."""
    lifting = Lifting([expert.num_gaussians for expert in model.expert_models], "cpu")
    for time in TIMES:
        lifting.add(model.instant(make_camera(time)), gates)
    return lifting.result()


def test_responsibilities_equal_a_sum_over_pixels_of_every_gaussian(tmp_path: Path) -> None:
    families = ("stg", "ex4dgs")  # two groups of projection
    runs = [save_run(tmp_path / name, make_expert(name, seed, count=12), name) for seed, name in enumerate(families)]
    model = make_mixture(runs).eval()
    randomise_router(model, scale=3.0)
    found = lift(model, [make_camera(time) for time in TIMES])
    gated, whole = 0.0, 0.0
    for time in TIMES:
        gates, instant = evaluation_gates(model, make_camera(time))
        rendered = model.get_outputs_for_camera(make_camera(time))
        for name, one in zip(model.expert_names, gates, strict=True):
            assert torch.equal(rendered[f"gate_{name}"][..., 0], one)
        raw = contributions_by_hand(instant)
        assert raw.sum(axis=0).max() > 0.5
        of_expert = gates.double().numpy()[instant.expert_ids.numpy()]
        gated, whole = gated + (of_expert * raw).sum(axis=(1, 2)), whole + raw.sum(axis=(1, 2))
    for expert, (values, seen) in enumerate(zip(found.values, found.seen, strict=True)):
        rows = instant.expert_ids.numpy() == expert
        assert (seen.numpy() == (whole[rows] > 0)).mean() > 0.99  # at the very edge rounding decides
        both = seen.numpy() & (whole[rows] > 1e-2)
        assert both.sum() >= 8 and values[torch.from_numpy(both)].std() > 0.02
        np.testing.assert_allclose(values.numpy()[both], (gated[rows] / np.maximum(whole[rows], 1e-9))[both], atol=2e-3)
        mean = gated[rows].sum() / whole[rows].sum()
        np.testing.assert_allclose(values.numpy()[~seen.numpy()], mean, atol=2e-3)
    assert found.views == len(TIMES)


def test_responsibilities_lie_between_0_and_1(runs: list[Path]) -> None:
    model = make_mixture(runs)
    randomise_router(model, scale=10.0)
    found = lift(model, [make_camera(time) for time in TIMES])
    assert [len(values) for values in found.values] == [expert.num_gaussians for expert in model.expert_models]
    for values in found.values:
        assert values.min() >= 0 and values.max() <= 1


def test_a_gate_of_1_makes_responsibilities_of_exactly_1(runs: list[Path]) -> None:
    model = make_mixture(runs).eval()
    gates = torch.stack([torch.ones(HEIGHT, WIDTH), torch.zeros(HEIGHT, WIDTH)])
    first, second = lift_with(model, gates).values
    assert (first == 1).all() and (second == 0).all()
    alone = make_mixture(runs[:1])
    (values,) = lift(alone, [make_camera(0.5)]).values
    assert (values == 1).all()


def test_gaussians_no_ray_met_get_their_experts_mean(tmp_path: Path) -> None:
    expert = make_expert("stg", 1, count=20)
    with torch.no_grad():
        expert.gaussians["means"][:5, 2] = 50.0  # behind the camera
        expert.gaussians["motion"][:5] = 0
    model = make_mixture(
        [save_run(tmp_path / "a", expert, "stg"), save_run(tmp_path / "b", make_expert("stg", 2), "stg")]
    )
    model.eval()
    gates = torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1)
    found = lift_with(model, gates)
    assert not found.seen[0][:5].any() and found.unseen >= 5
    whole = gated = 0.0
    for time in TIMES:
        alpha = model.composite(make_camera(time), depth=False)[0].alphas[0]
        whole, gated = whole + alpha.sum(), gated + (gates[0] * alpha).sum()
    torch.testing.assert_close(found.values[0][:5], (gated / whole).expand(5), rtol=1e-4, atol=1e-5)


def test_a_mixture_nobody_sees_is_shared_equally(runs: list[Path]) -> None:
    model = make_mixture(runs)
    camera = make_camera(0.5)
    camera.camera_to_worlds[0, :, 3] += 100.0
    found = lift(model, [camera])
    assert found.unseen == sum(map(len, found.values))
    assert all((values == 0.5).all() for values in found.values)


def test_clips_keep_their_rows(tmp_path: Path) -> None:
    expert = make_expert("stg", 1, clip_frames=2)
    model = make_mixture(
        [save_run(tmp_path / "clips", expert, "stg"), save_run(tmp_path / "b", make_expert("stg", 2), "stg")]
    )
    randomise_router(model)
    counts = [part.num_gaussians for part in expert.parts]
    first = lift(model, [make_camera(0.0)])
    assert first.seen[0][: counts[0]].any() and not first.seen[0][counts[0] :].any()
    last = lift(model, [make_camera(1.0)])
    assert last.seen[0][-counts[-1] :].any() and not last.seen[0][: -counts[-1]].any()


def test_permuting_experts_permutes_responsibilities(tmp_path: Path) -> None:
    runs = [save_run(tmp_path / f"{i}", make_expert("stg", i, count=20 + i), "stg") for i in range(3)]
    order = [2, 0, 1]
    model, permuted = make_mixture(runs), make_mixture([runs[index] for index in order])
    randomise_router(model)
    permuted.router.network.load_state_dict(model.router.network.state_dict())
    for target, source in enumerate(order):
        permuted.router.weights[target].load_state_dict(model.router.weights[source].state_dict())
    one, other = (lift(which, [make_camera(0.3)]) for which in (model, permuted))
    for target, source in enumerate(order):
        torch.testing.assert_close(other.values[target], one.values[source], atol=1e-5, rtol=1e-5)


def test_lifting_leaves_the_model_as_it_was(runs: list[Path]) -> None:
    model = make_mixture(runs)
    randomise_router(model)
    for training in (True, False):
        model.train(training)
        lift(model, [make_camera(0.3)])
        assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_volume_router_has_nothing_to_lift(runs: list[Path]) -> None:
    with pytest.raises(ValueError, match="found one with the volume router"):
        lift(make_mixture(runs, router="volume"), [make_camera(0.3)])


def test_strides_count_frames_and_cameras() -> None:
    names, frames = torch.arange(3 * NUM_FRAMES) // NUM_FRAMES, torch.arange(3 * NUM_FRAMES) % NUM_FRAMES
    cameras = Cameras(
        torch.eye(4)[:3].expand(len(names), 3, 4),
        fx=1.0, fy=1.0, cx=1.0, cy=1.0, width=2, height=2,
        metadata={"camera_index": names[:, None], "frame_index": frames[:, None]},
    )  # fmt: skip
    assert sorted(views_of_stride(cameras)) == list(range(15))
    assert views_of_stride(cameras)[:4] == [0, 5, 10, 1]  # instant by instant
    assert views_of_stride(cameras, frame_stride=2, camera_stride=2) == [0, 10, 2, 12, 4, 14]
    with pytest.raises(ValueError, match="strides of 1 or more, found 0"):
        views_of_stride(cameras, frame_stride=0)


def test_gates_of_lifting_are_those_of_the_picture(tmp_path: Path) -> None:
    """With all that changes them outside training."""
    runs = [save_run(tmp_path / str(seed), make_expert("stg", seed), "stg") for seed in range(3)]
    model = make_mixture(runs, distrust=30.0, eval_temperature=0.5, top_k=2).eval()
    randomise_router(model)
    outputs = model.get_outputs_for_camera(make_camera(0.3))
    gates, _ = evaluation_gates(model, make_camera(0.3))
    for index, name in enumerate(model.expert_names):
        assert torch.equal(gates[index], outputs[f"gate_{name}"][..., 0])
