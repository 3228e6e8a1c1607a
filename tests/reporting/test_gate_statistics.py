"""Numbers of gates against loops in numpy."""

import json

import numpy as np
import pytest
import torch

from moegs_ns.reporting.gate_statistics import GateMeter, GateStatistics, normalised_entropy
from moegs_ns.reporting.gate_tables import gate_tables, sentences

NAMES = ("stg", "4dgaussians", "ex4dgs")
K, H, W, FRAMES = 3, 11, 13, 3


@pytest.fixture(scope="module")
def clip() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    gates = rng.dirichlet((0.7, 1.0, 0.4), size=(FRAMES, H, W)).transpose(0, 3, 1, 2)
    images, truth = rng.random((FRAMES, K, H, W, 3)), rng.random((FRAMES, H, W, 3))
    return {"gates": gates, "images": images, "truth": truth, "mixture": np.einsum("fkhw,fkhwc->fhwc", gates, images)}


def measure(clip: dict[str, np.ndarray], names: tuple[str, ...] = NAMES) -> GateStatistics:
    meter = GateMeter(names)
    for frame in range(len(clip["truth"])):
        parts = (torch.from_numpy(clip[name][frame]) for name in ("gates", "images", "mixture", "truth"))
        meter.update(5 + 2 * frame, *parts)
    return meter.compute()


def box_mean(errors: np.ndarray) -> np.ndarray:
    blurred = np.empty_like(errors)
    for y in range(H):
        for x in range(W):
            blurred[:, y, x] = errors[:, max(0, y - 4) : y + 5, max(0, x - 4) : x + 5].mean(axis=(1, 2))
    return blurred


def test_a_frame_equals_loops(clip: dict[str, np.ndarray]) -> None:
    found = measure(clip)
    for frame, numbers in enumerate(found.per_frame):
        gates, truth = clip["gates"][frame], clip["truth"][frame]
        errors = np.square(clip["images"][frame] - truth).mean(axis=-1)
        blurred = box_mean(errors)
        won, best, right, right_smoothed = np.zeros(K), np.zeros(K), 0, 0
        stake = stake_right = regret = regret_smoothed = entropy = 0.0
        for y in range(H):
            for x in range(W):
                winner = max(range(K), key=lambda k: gates[k, y, x])
                own = errors[:, y, x]
                won[winner] += 1
                best[own.argmin()] += 1
                right += winner == own.argmin()
                right_smoothed += winner == blurred[:, y, x].argmin()
                stake += own.mean() - own.min()
                stake_right += (own.mean() - own.min()) * (winner == own.argmin())
                regret += own[winner] - own.min()
                regret_smoothed += own[winner] - own[blurred[:, y, x].argmin()]
                entropy -= sum(gate * np.log(gate) for gate in gates[:, y, x]) / np.log(K)
        pixels = H * W
        np.testing.assert_allclose(numbers.mean_gate, gates.mean(axis=(1, 2)))
        np.testing.assert_allclose(numbers.share_won, won / pixels)
        np.testing.assert_allclose(numbers.share_best, best / pixels)
        assert numbers.entropy == pytest.approx(entropy / pixels)
        assert numbers.max_gate == pytest.approx(gates.max(axis=0).mean())
        assert numbers.agreement == pytest.approx(right / pixels)
        assert numbers.agreement_smoothed == pytest.approx(right_smoothed / pixels)
        assert numbers.weighted_agreement == pytest.approx(stake_right / stake)
        assert numbers.regret == pytest.approx(regret / pixels)
        assert numbers.regret_smoothed == pytest.approx(regret_smoothed / pixels)
        assert numbers.skill == pytest.approx(1 - regret / stake)
        mixture = np.square(clip["mixture"][frame] - truth).mean()
        assert numbers.psnr["mixture"] == pytest.approx(-10 * np.log10(mixture))
        assert numbers.mixture_regret == pytest.approx(mixture - errors.min(axis=0).mean())
        assert numbers.psnr["ex4dgs"] == pytest.approx(-10 * np.log10(errors[2].mean()))
        assert numbers.psnr["pixel_oracle"] == pytest.approx(-10 * np.log10(errors.min(axis=0).mean()))


def test_changes_are_from_frame_to_frame(clip: dict[str, np.ndarray]) -> None:
    found, gates = measure(clip), clip["gates"]
    assert found.per_frame[0].change is None and found.per_frame[0].switched is None
    changes = [np.abs(gates[i] - gates[i - 1]).sum(axis=0).mean() / 2 for i in (1, 2)]
    switches = [(gates[i].argmax(axis=0) != gates[i - 1].argmax(axis=0)).mean() for i in (1, 2)]
    np.testing.assert_allclose([one.change for one in found.per_frame[1:]], changes)
    np.testing.assert_allclose([one.switched for one in found.per_frame[1:]], switches)
    assert found.overall.change == pytest.approx(np.mean(changes))
    assert found.frames == [5, 7, 9]


def test_all_frames_together(clip: dict[str, np.ndarray]) -> None:
    found = measure(clip)
    errors = np.square(clip["images"] - clip["truth"][:, None]).mean(axis=-1)  # [F,K,H,W]
    winner = clip["gates"].argmax(axis=1)
    stake = errors.mean(axis=1) - errors.min(axis=1)
    right = np.take_along_axis(errors, winner[:, None], axis=1)[:, 0] == errors.min(axis=1)
    assert found.overall.weighted_agreement == pytest.approx((stake * right).sum() / stake.sum())
    assert found.overall.weighted_agreement != pytest.approx(
        np.mean([one.weighted_agreement for one in found.per_frame if one.weighted_agreement]), rel=1e-6
    )
    assert found.overall.psnr["stg"] == pytest.approx(np.mean([one.psnr["stg"] for one in found.per_frame]))
    for own in range(K):
        expected = [-10 * np.log10(errors[:, other][winner == own].mean()) for other in range(K)]
        np.testing.assert_allclose(found.regional_psnr[own], expected)


def test_a_router_that_is_always_right_has_no_regret(clip: dict[str, np.ndarray]) -> None:
    errors = np.square(clip["images"] - clip["truth"][:, None]).mean(axis=-1)
    right = np.moveaxis(np.eye(K)[errors.argmin(axis=1)], -1, 1)
    whole = measure({**clip, "gates": right}).overall
    assert (whole.agreement, whole.weighted_agreement, whole.skill, whole.regret) == (1.0, 1.0, 1.0, 0.0)
    assert whole.entropy == 0.0 and whole.max_gate == 1.0


def test_copies_of_one_expert_are_all_right(clip: dict[str, np.ndarray]) -> None:
    same = np.repeat(clip["images"][:, :1], K, axis=1)
    found = measure({**clip, "images": same})
    assert found.overall.agreement == found.overall.agreement_smoothed == 1.0
    assert found.overall.weighted_agreement is None and found.overall.skill is None  # nothing is at stake
    assert json.loads(json.dumps(found.plain()))["overall"]["skill"] is None
    assert all(table.markdown() for table in gate_tables(found)) and sentences(found)


def test_experts_that_never_win_are_named(clip: dict[str, np.ndarray]) -> None:
    gates = np.zeros_like(clip["gates"])
    gates[:, 1] = 1.0
    found = measure({**clip, "gates": gates})
    assert found.regional_psnr[0] is None and found.regional_psnr[1] is not None
    assert "Hardly used, below 1 % of the pixels: stg, ex4dgs." in sentences(found)


def test_entropy_runs_from_one_to_all() -> None:
    gates = torch.tensor([[[1.0, 0.5, 0.25]], [[0.0, 0.5, 0.75]]])
    expected = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    np.testing.assert_allclose(normalised_entropy(gates)[0], [0.0, 1.0, expected], rtol=1e-6)
    assert normalised_entropy(torch.ones(1, 2, 2)).max() == 0.0


def test_what_does_not_belong_together_is_refused() -> None:
    meter = GateMeter(("a", "b"))
    with pytest.raises(ValueError, match="at least one frame"):
        meter.compute()
    with pytest.raises(ValueError, match=r"of 2 experts, found \(3, 4, 5\)"):
        meter.update(0, torch.rand(3, 4, 5), torch.rand(3, 4, 5, 3), torch.rand(4, 5, 3), torch.rand(4, 5, 3))
    meter.update(0, torch.rand(2, 4, 5), torch.rand(2, 4, 5, 3), torch.rand(4, 5, 3), torch.rand(4, 5, 3))
    with pytest.raises(ValueError, match="a meter for each camera"):
        meter.update(1, torch.rand(2, 6, 5), torch.rand(2, 6, 5, 3), torch.rand(6, 5, 3), torch.rand(6, 5, 3))
