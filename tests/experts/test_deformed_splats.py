"""Canonical Gaussians plus changes: the compiled way against its twin in float64, values and gradients."""

import pytest
import torch

from moegs_ns.experts.deformed_splats import deformed_splats, deformed_splats_torch
from moegs_ns.splats.gaussian_set import GaussianSet

COUNT = 133  # more than a block of the kernel's, and no multiple of one
NAMES = ("means", "quats", "scales", "opacities", "sh")


def make(degree, dtype=torch.float32):
    torch.manual_seed(0)
    bases = (degree + 1) ** 2
    shapes = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (), "sh_base": (3,), "sh_rest": (bases - 1, 3)}
    gaussians = GaussianSet({name: torch.randn(COUNT, *shape) for name, shape in shapes.items()})
    return gaussians.to(dtype), {"means": 3, "quats": 4, "scales": 3, "opacities": 1, "sh": 3 * bases}


def run(function, dtype, degree, changed, rows):
    gaussians, sizes = make(degree, dtype)
    count = COUNT if rows is None else len(rows)
    generator = torch.Generator().manual_seed(1)
    draws = {name: torch.randn(count, sizes[name], generator=generator) for name in NAMES}
    changes = {name: draws[name].to(dtype).requires_grad_() for name in changed}
    splats = function(gaussians, changes, rows)
    tensors = {name: getattr(splats, name) for name in NAMES}
    sum(
        (tensor * torch.linspace(-1, 2, tensor.numel(), dtype=dtype).view_as(tensor)).sum()
        for tensor in tensors.values()
    ).backward()
    gradients = {f"raw {name}": value.grad for name, value in gaussians.params.items()}
    gradients |= {f"change {name}": value.grad for name, value in changes.items()}
    return tensors, gradients


@pytest.mark.parametrize(
    "rows",
    [None, torch.tensor([2, 3, 70, 131]), torch.arange(1, COUNT), torch.zeros(0, dtype=torch.int64)],
    ids=["all", "some", "nearly all", "none"],
)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("changed", [(), ("means", "quats"), NAMES], ids=["still", "moved", "changed"])
def test_the_kernel_gives_the_twins_values_and_gradients(degree, changed, rows):
    found = run(deformed_splats, torch.float32, degree, changed, rows)
    wanted = run(deformed_splats_torch, torch.float64, degree, changed, rows)
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value.shape == other[name].shape
            torch.testing.assert_close(value.double(), other[name], rtol=1e-5, atol=1e-5, msg=name)


def test_any_number_of_threads_gives_the_same_bits():
    results = []
    try:
        for threads in (1, 2, 300):
            torch.set_num_threads(threads)
            results.append(run(deformed_splats, torch.float32, 1, NAMES, torch.arange(3, COUNT - 2, 2)))
    finally:
        torch.set_num_threads(1)
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            assert all(torch.equal(value, same[name]) for name, value in one.items())


def test_rows_that_do_not_ascend_are_refused():
    gaussians, _ = make(1)
    for rows in ([1, 0], [2, 2], [0, COUNT]):
        with pytest.raises(ValueError, match="rows that ascend"):
            deformed_splats(gaussians, {}, torch.tensor(rows))


def test_the_twins_gradients_are_those_of_finite_differences():
    gaussians, sizes = make(1, torch.float64)
    rows = torch.tensor([1, 4, 5])
    changes = [torch.randn(3, sizes[name], dtype=torch.float64, requires_grad=True) for name in NAMES]

    def values(*tensors):
        splats = deformed_splats_torch(gaussians, dict(zip(NAMES, tensors, strict=True)), rows)
        return tuple(getattr(splats, name) for name in NAMES)

    assert torch.autograd.gradcheck(values, changes)


def test_a_quaternion_without_length_gives_finite_gradients():
    gaussians, _ = make(0)
    with torch.no_grad():
        gaussians["quats"][3] = 0
    splats = deformed_splats(gaussians, {})
    splats.quats[[0, 5]].sum().backward()
    assert torch.equal(splats.quats[3], torch.zeros(4))
    assert gaussians["quats"].grad.isfinite().all()


def test_gradients_of_raw_values_and_changes_are_tensors_of_their_own():
    gaussians, _ = make(0)
    changes = {"scales": torch.zeros(COUNT, 3, requires_grad=True)}
    deformed_splats(gaussians, changes).scales.sum().backward()
    changes["scales"].grad.zero_()
    assert (gaussians["scales"].grad > 0).all()


def test_a_change_of_something_else_is_refused():
    gaussians, _ = make(0)
    with pytest.raises(ValueError, match="found changes of colours"):
        deformed_splats(gaussians, {"colours": torch.zeros(COUNT, 3)})
