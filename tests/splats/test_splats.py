import pytest
import torch

from moegs_ns.splats.splats import Splats, concatenate


def make(count: int = 4, **changes) -> Splats:
    tensors = {
        "means": torch.rand(count, 3),
        "quats": torch.rand(count, 4),
        "scales": torch.rand(count, 3),
        "opacities": torch.rand(count),
    }
    return Splats(**(tensors | changes))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_length_is_the_number_of_gaussians(count):
    assert len(make(count)) == count


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("means", (4, 2)),
        ("means", (1, 4, 3)),
        ("quats", (4, 3)),
        ("quats", (3, 4)),
        ("scales", (4,)),
        ("opacities", (4, 1)),
        ("features", (4,)),
        ("features", (3, 8)),
        ("sh", (4, 5, 3)),
        ("sh", (4, 16)),
        ("sh", (4, 16, 1)),
        ("sh", (3, 16, 3)),
    ],
)
def test_wrong_shapes_are_named(name, shape):
    with pytest.raises(ValueError, match=f"Splats.{name}: expected shape"):
        make(**{name: torch.rand(shape)})


def test_detach_cuts_every_tensor():
    splats = make(means=torch.rand(4, 3, requires_grad=True), sh=torch.rand(4, 9, 3, requires_grad=True))
    detached = splats.detach()
    assert splats.means.requires_grad
    assert not detached.means.requires_grad
    assert not detached.sh.requires_grad
    assert detached.features is None
    assert torch.equal(detached.sh, splats.sh)


def test_to_moves_every_tensor():
    moved = make(features=torch.rand(4, 2)).to("meta")
    assert {t.device.type for t in (moved.means, moved.quats, moved.scales, moved.opacities, moved.features)} == {
        "meta"
    }


def test_concatenate_keeps_order_and_numbers_the_parts():
    parts = [make(2), make(0), make(3)]
    joined, expert_ids = concatenate(parts)
    assert expert_ids.dtype == torch.int32
    assert expert_ids.tolist() == [0, 0, 2, 2, 2]
    for name in ("means", "quats", "scales", "opacities"):
        expected = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(getattr(joined, name), expected)


def test_concatenate_keeps_colours_only_when_all_parts_are_alike():
    alike, _ = concatenate([make(2, features=torch.ones(2, 5)), make(1, features=torch.zeros(1, 5))])
    assert alike.features.tolist() == [[1.0] * 5] * 2 + [[0.0] * 5]
    for other in (make(1, features=torch.zeros(1, 4)), make(1, sh=torch.zeros(1, 4, 3)), make(1)):
        assert concatenate([make(2, features=torch.ones(2, 5)), other])[0].features is None
    assert concatenate([make(2, sh=torch.ones(2, 4, 3)), make(1, sh=torch.ones(1, 16, 3))])[0].sh is None


def test_concatenate_needs_a_part():
    with pytest.raises(ValueError, match="at least one"):
        concatenate([])
