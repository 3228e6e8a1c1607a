"""Optimizers in one pass against torch's own in float64, and their state against theirs."""

import copy
from typing import Any

import pytest
import torch

from moegs_ns.splats import native_backend
from moegs_ns.training import adam
from moegs_ns.training.optimizers import AdamConfig, RAdamConfig

if not native_backend.available():
    pytest.skip(f"no native kernels: {native_backend.unavailable_reason()}", allow_module_level=True)

#: Steps enough for RAdam to change its rule, which it does after the fifth.
STEPS = 9
SHAPES = ((20000, 3), (37,), (0, 4), (5, 2, 3))


def gradients(step: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def train(optimizer_class: type, dtype: torch.dtype, steps: range, start: Any = None, **options: Any) -> Any:
    """Values and state after some steps; the second tensor has a gradient in every other one only."""
    values = [one.to(dtype).requires_grad_() for one in gradients(1000)]
    optimizer = optimizer_class(values, lr=0.01, **options)
    if start is not None:
        for value, other in zip(values, start[0], strict=True):
            value.data.copy_(other)
        optimizer.load_state_dict(start[1])
    for step in steps:
        for number, (value, gradient) in enumerate(zip(values, gradients(step), strict=True)):
            value.grad = None if number == 1 and step % 2 else gradient.to(dtype)
        optimizer.step()
    return [value.detach() for value in values], copy.deepcopy(optimizer.state_dict())


@pytest.mark.parametrize("name", ["Adam", "RAdam"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_single_pass_equals_torch(name: str, decay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"eps": 1e-15, "betas": (0.8, 0.995), "weight_decay": decay}
    calls = []
    function = adam.adam_step_native
    monkeypatch.setattr(adam, "adam_step_native", lambda *args: (calls.append(1), function(*args)))
    values, state = train(getattr(adam, name), torch.float32, range(STEPS), **options)
    assert len(calls) == STEPS
    expected, expected_state = train(getattr(torch.optim, name), torch.float64, range(STEPS), **options)
    assert len(calls) == STEPS
    for value, other in zip(values, expected, strict=True):
        torch.testing.assert_close(value.double(), other, rtol=1e-5, atol=1e-5)
    assert state["param_groups"][0].keys() == expected_state["param_groups"][0].keys()
    for number, moments in state["state"].items():
        others = expected_state["state"][number]
        assert moments.keys() == others.keys() and moments["step"] == others["step"]
        for moment in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(moments[moment].double(), others[moment], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["Adam", "RAdam"])
def test_either_goes_on_from_the_others_state(name: str) -> None:
    ours, torchs = getattr(adam, name), getattr(torch.optim, name)
    expected, _ = train(torchs, torch.float32, range(STEPS))
    for first, second in ((ours, torchs), (torchs, ours)):
        half = train(first, torch.float32, range(4))
        values, _ = train(second, torch.float32, range(4, STEPS), half)
        for value, other in zip(values, expected, strict=True):
            torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-5)


def test_moments_of_another_size_are_torchs_to_refuse() -> None:
    def stepped(size: int, state: dict | None = None) -> torch.optim.Optimizer:
        value = torch.ones(size, requires_grad=True)
        optimizer = adam.Adam([value], lr=0.1)
        if state is not None:
            optimizer.load_state_dict(state)
        value.grad = torch.ones(size)
        optimizer.step()
        return optimizer

    smaller = stepped(10).state_dict()
    with pytest.raises(RuntimeError, match="size"):
        stepped(20, smaller)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    results = []
    for threads in (1, 3, 50):
        torch.set_num_threads(threads)
        results.append(train(adam.RAdam, torch.float32, range(STEPS))[0])
    torch.set_num_threads(1)
    for other in results[1:]:
        assert all(torch.equal(value, same) for value, same in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    ("options", "dtype", "contiguous"),
    [({"maximize": True}, torch.float32, True), ({}, torch.float64, True), ({}, torch.float32, False)],
)
def test_torch_takes_what_the_kernel_does_not(options: dict, dtype: torch.dtype, contiguous: bool) -> None:
    def moved(optimizer_class: type) -> torch.Tensor:
        value = torch.ones(4, 3, dtype=dtype)
        value = (value if contiguous else value.T).requires_grad_()
        value.grad = torch.arange(12, dtype=dtype).reshape(value.shape)
        optimizer_class([value], lr=0.1, **options).step()
        return value.detach()

    assert torch.equal(moved(adam.Adam), moved(torch.optim.Adam))
    assert torch.equal(moved(adam.RAdam), moved(torch.optim.RAdam))


def test_the_users_choice_of_a_backend_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_RASTER", "torch")
    monkeypatch.setattr(adam, "adam_step_native", lambda *args: pytest.fail("compiled kernel called"))
    train(adam.RAdam, torch.float32, range(2))


@pytest.mark.parametrize("name", ["Adam", "RAdam"])
def test_hooks_and_profilers_are_told_of_a_step(name: str) -> None:
    value = torch.nn.Parameter(torch.ones(3))
    value.grad = torch.ones(3)
    optimizer, told = getattr(adam, name)([value]), []
    before = optimizer.register_step_pre_hook(lambda *_: told.append(value[0].item()))
    after = optimizer.register_step_post_hook(lambda *_: told.append(value[0].item()))
    optimizer.step()
    before.remove(), after.remove()
    optimizer.step()
    assert told[0] == 1 and told[1] != 1 and len(told) == 2 and value[0].item() != told[1]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        optimizer.step()
    assert f"Optimizer.step#{name}.step" in {event.name for event in profiler.events()}


def test_steps_together_are_the_steps_one_by_one() -> None:
    """Also those that only torch takes, and those of optimizers that are watched."""

    def optimizers() -> tuple[list[torch.Tensor], list[torch.optim.Optimizer]]:
        values = [one.requires_grad_() for one in gradients(1000)] + [torch.ones(3, requires_grad=True)]
        made = [
            adam.Adam(values[:1], lr=0.1, eps=1e-15),
            adam.RAdam(values[1:2], lr=0.2, weight_decay=0.1),
            adam.Adam(values[2:4], lr=0.3, betas=(0.8, 0.995)),
            torch.optim.Adam(values[4:], lr=0.1),
        ]
        return values, made

    def stepped(together: bool) -> list[torch.Tensor]:
        values, made = optimizers()
        made[1].register_step_post_hook(lambda *_: told.append(together))
        for step in range(STEPS):
            for value, gradient in zip(values, [*gradients(step), torch.ones(3)], strict=True):
                value.grad = gradient
            if together:
                adam.step_together(made)
            else:
                for one in made:
                    one.step()
        states = [state for one in made for state in one.state_dict()["state"].values()]
        return [*values, *(tensor for state in states for tensor in state.values())]

    told: list[bool] = []
    alone, together = stepped(False), stepped(True)
    assert told == [False] * STEPS + [True] * STEPS
    assert len(alone) == 5 + 3 * 5
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_configs_make_them_and_torchs_own_on_request() -> None:
    value = torch.nn.Parameter(torch.zeros(1))
    assert type(AdamConfig().setup([value])) is adam.Adam
    assert type(RAdamConfig().setup([value])) is adam.RAdam
    assert type(AdamConfig(fused=False).setup([value])) is torch.optim.Adam
    assert type(RAdamConfig(fused=False).setup([value])) is torch.optim.RAdam


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_are_forgotten_or_zeroed_as_torch_does(to_none: bool) -> None:
    value = torch.nn.Parameter(torch.ones(3))
    value.grad = torch.ones(3)
    adam.Adam([value]).zero_grad(set_to_none=to_none)
    assert (value.grad is None) if to_none else torch.equal(value.grad, torch.zeros(3))
