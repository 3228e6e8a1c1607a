"""The field hides seeds while nothing is at their place, and leaves the rest as it is."""

from types import ModuleType
from typing import Any

import pytest
import torch

from moegs_ns.experts import canonical
from moegs_ns.experts.fields.deformation import DeformationHeads
from moegs_ns.experts.fields.hexplane import HexPlane
from moegs_ns.experts.presence import HIDDEN_LOGIT, learn_presence, present
from moegs_ns.experts.seeds import SeedCloud
from tests.experts import test_ed3dgs, test_four_d_gaussians

FRAMES = 11  # a tenth of the clip apart
NAN = float("nan")


def cloud(points: torch.Tensor, times: list[float], durations: list[float]) -> SeedCloud:
    return SeedCloud(points, torch.zeros(len(points), 3), torch.tensor(times), torch.tensor(durations))


@pytest.mark.parametrize(
    ("time", "duration", "frames"),
    [
        (0.5, 0.4, range(3, 8)),
        (0.5, 0.01, [5]),  # half a frame at least
        (0.0, 0.3, [0, 1]),
        (1.0, 1.0, range(5, 11)),
        (NAN, NAN, range(FRAMES)),
        (0.5, NAN, range(FRAMES)),  # known to be there, but not how long
    ],
)
def test_a_seed_is_there_around_its_time(time: float, duration: float, frames: list[int]) -> None:
    seeds = cloud(torch.zeros(1, 3), [time], [duration])
    assert [f for f in range(FRAMES) if present(seeds, f / (FRAMES - 1), FRAMES)] == list(frames)


def test_the_field_hides_what_is_not_there_and_changes_nothing_else() -> None:
    """A thing passes eight places, two frames at each; beside its way lies what stands still."""
    torch.manual_seed(3)
    way = torch.linspace(-1, 1, 8)
    moving = torch.stack([way, torch.zeros(8), torch.zeros(8)], dim=-1)
    still = torch.rand(40, 3) * 2 - 1
    still[:, 1] = torch.where(still[:, 1] > 0, still[:, 1].clamp_min(0.4), still[:, 1].clamp_max(-0.4))
    times = [*torch.linspace(0, 1, 8).tolist(), *[NAN] * 40]
    seeds = cloud(torch.cat([moving, still]), times, [*[0.2] * 8, *[NAN] * 40])
    grid = HexPlane(torch.tensor([[-1.0] * 3, [1.0] * 3]), 8, 16, (1,), FRAMES)
    network = DeformationHeads(grid.feature_size, 32, {"means": 3, "opacities": 1})
    parameters = [*grid.parameters(), *network.parameters()]

    def changes(time: float, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return network(grid(seeds.points[rows], time))

    untouched = torch.random.get_rng_state()
    learn_presence(seeds, FRAMES, changes, parameters, 200)
    assert torch.equal(torch.random.get_rng_state(), untouched)  # of training's own draws
    assert all(parameter.grad is None for parameter in parameters)
    rows = torch.arange(len(seeds))
    there = torch.stack([present(seeds, f / (FRAMES - 1), FRAMES) for f in range(FRAMES)])
    with torch.no_grad():
        found = [changes(f / (FRAMES - 1), rows) for f in range(FRAMES)]
    opacity = torch.stack([change["opacities"][:, 0] for change in found])
    assert (~there).sum() == sum(FRAMES - len(there[:, i].nonzero()) for i in range(8))
    assert opacity[~there].median() < 0.8 * HIDDEN_LOGIT
    assert opacity[there].median().abs() < 0.5
    assert opacity[there[:, :8].nonzero(as_tuple=True)].median() > 0.4 * HIDDEN_LOGIT
    assert torch.stack([change["means"] for change in found]).abs().max() < 0.1


@pytest.mark.parametrize(
    ("family", "field"),
    [(test_four_d_gaussians, {"grid", "network"}), (test_ed3dgs, {"fine_network", "embeddings"})],
)
def test_the_first_step_finds_a_fitted_field_and_later_ones_do_not_fit_again(
    family: ModuleType, field: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = torch.full((20,), NAN)
    times[10:] = 0.5
    model = family.build(times=times, canonical_seeds="all", presence_fits=3).train()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    seen = []

    def noting(seeds: SeedCloud, num_frames: int, changes: Any, parameters: Any, fits: int) -> None:
        seen.append((seeds.points, num_frames, fits))
        learn_presence(seeds, num_frames, changes, parameters, fits)

    monkeypatch.setattr(canonical, "learn_presence", noting)
    for step in (0, 1):
        model._begin_step(step)
    ((points, num_frames, fits),) = seen
    assert torch.equal(points, model.gaussians["means"]) and num_frames == model.num_frames and fits == 3
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    # The field and what it reads of each Gaussian, but nothing that is seen without it; of E-D3DGS the fine half only.
    parts = {name.split(".")[0] if "embeddings" not in name else "embeddings" for name in changed}
    assert parts == field
    assert all(value.grad is None for value in model.parameters())
    none = family.build(times=times, canonical_seeds="all").train()
    none._begin_step(0)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("options", "timed", "message"),
    [
        ({"deform_opacity": False}, True, "expected deform-opacity True and canonical-seeds all, found False and all"),
        ({"canonical_seeds": "first"}, True, "found True and first"),
        ({"presence_fits": -1}, True, "presence-fits of 0 or more, found -1"),
        ({}, False, "expected seed points with a time"),
    ],
)
def test_a_field_that_cannot_learn_when_seeds_are_there_says_why(
    options: dict[str, Any], timed: bool, message: str
) -> None:
    times = torch.full((20,), 0.5 if timed else NAN)
    with pytest.raises(ValueError, match=message):
        test_four_d_gaussians.build(
            times=times, **{"presence_fits": 3, "canonical_seeds": "all", **options}
        )._begin_step(0)
