"""Parameters that lose rows, in the optimizers that hold them."""

from collections.abc import Iterable

from torch import Tensor, is_tensor
from torch.nn import Parameter
from torch.optim import Optimizer


def kept_rows(old: Parameter, kept: Tensor, optimizers: Iterable[Optimizer] = ()) -> Parameter:
    """A new leaf of the rows ``kept [N]`` bool of ``old [N, ...]``, in their order, that takes its place in every
    optimizer that holds it, moments and all. A tensor cut out of the old one would learn nothing.

    Whoever keeps lists of parameters beside the optimizers has to renew them.
    """
    new = Parameter(old.data[kept], requires_grad=old.requires_grad)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"] = [new if one is old else one for one in group["params"]]
        state = optimizer.state.pop(old, None)
        if state is not None:
            optimizer.state[new] = {
                key: value[kept] if is_tensor(value) and value.shape == old.shape else value
                for key, value in state.items()
            }
    return new
