"""Which stage of a training step time goes to, forward and backward, without a line in the code that is measured.

Functions are wrapped from outside. A wrapped function's time counts for its stage, that of wrapped functions it calls
for theirs. Its results, and the tensors it is given, also pass through an autograd node that does nothing but tell the
clock that the backward pass enters or leaves the stage: on CPU autograd walks through the nodes in the reverse of
their order, so all of a stage's nodes lie between the two.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.splats import Splats

#: Where time goes that belongs to no stage.
ELSEWHERE = "elsewhere"
FORWARD, BACKWARD = "forward", "backward"


class StageClock:
    """Adds up the seconds of each stage.

    Args:
        now: seconds since some moment; ``time.perf_counter``, or ``time.process_time`` on a machine that is busy with
            other work.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._undo: list[Callable[[], None]] = []
        self.start()

    def start(self) -> None:
        """Begin anew."""
        self._spent: dict[tuple[str, str], float] = {}
        self._stage, self._direction = ELSEWHERE, FORWARD
        self._since = self._now()

    def stop(self) -> dict[tuple[str, str], float]:
        """Seconds per stage and direction since the start."""
        self.enter(ELSEWHERE, FORWARD)
        return self._spent

    def enter(self, stage: str, direction: str) -> None:
        """From now on time counts for this stage."""
        now = self._now()
        before = self._stage, self._direction
        self._spent[before] = self._spent.get(before, 0.0) + now - self._since
        self._stage, self._direction, self._since = stage, direction, now

    def wrap(self, owner: Any, name: str, stage: str, only: tuple[str, ...] | None = None) -> None:
        """Let calls of ``owner.name`` count for a stage, until `unwrap`.

        Args:
            owner: object or module.
            name: of the function.
            stage: it counts for.
            only: if the result is a dataclass, the fields through whose gradients backward enters the stage; None for
                all of the result. Tensors whose own gradient is asked for must be left as they are.
        """
        function = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            outer = self._stage
            args, kwargs = self._marked((args, kwargs), outer)
            self.enter(stage, FORWARD)
            result = function(*args, **kwargs)
            if only is None:
                result = self._marked(result, stage)
            else:
                fields = {field: getattr(result, field) for field in only}
                result = dataclasses.replace(result, **self._marked(fields, stage))
            self.enter(outer, FORWARD)
            return result

        is_own = name in vars(owner)
        setattr(owner, name, wrapped)
        self._undo.append(lambda: setattr(owner, name, function) if is_own else delattr(owner, name))

    def unwrap(self) -> None:
        """Undo every `wrap`."""
        while self._undo:
            self._undo.pop()()

    def _marked(self, value: Any, stage: str) -> Any:
        """``value`` with all its tensors that want a gradient behind one node: backward through it enters ``stage``."""
        tensors: list[Tensor] = []
        _map(value, lambda tensor: (tensors.append(tensor), tensor)[1])
        wanting = [tensor for tensor in tensors if tensor.requires_grad]
        if not wanting or not torch.is_grad_enabled():
            return value
        marked = dict(zip(map(id, wanting), _Mark.apply(self, stage, *wanting), strict=True))
        return _map(value, lambda tensor: marked.get(id(tensor), tensor))


class _Mark(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, clock: StageClock, stage: str, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.clock, ctx.stage = clock, stage
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.clock.enter(ctx.stage, BACKWARD)
        return None, None, *gradients


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """``value`` with every tensor in it, down through tuples, lists, dicts and `Splats`, replaced."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple | list):
        return type(value)(_map(one, function) for one in value)
    if isinstance(value, dict):
        return {key: _map(one, function) for key, one in value.items()}
    if isinstance(value, Splats):
        fields = {field.name: _map(getattr(value, field.name), function) for field in dataclasses.fields(value)}
        return Splats(**fields)
    return value
