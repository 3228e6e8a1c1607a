"""Experts that learn on inside an ensemble, with what it learns itself. The paper's experts stay frozen."""

from torch import nn
from torch.nn import Parameter

from moegs_ns.splats.gaussian_set import GaussianSet

#: Tensors of Gaussians that learn on, each an optimizer group: where a Gaussian is, its shape, its opacity and its
#: colour. How it moves, and networks that say so, stay as they are.
LEARNING_TENSORS = ("means", "scales", "quats", "opacities", "sh_base", "sh_rest", "features")


def learning_tensors(experts: nn.Module) -> dict[str, list[Parameter]]:
    """By name, those of every expert, of each of its clips and of each kind of its Gaussians."""
    groups: dict[str, list[Parameter]] = {}
    for module in experts.modules():
        if isinstance(module, GaussianSet):
            for name in LEARNING_TENSORS:
                if name in module.params:
                    groups.setdefault(name, []).append(module.params[name])
    return groups


def let_learn(experts: nn.Module) -> None:
    """Ask for gradients of what learns on; all else of the experts stays frozen."""
    for parameters in learning_tensors(experts).values():
        for parameter in parameters:
            parameter.requires_grad_(True)


def check_learning(learn_from: int, total_steps: int | None) -> None:
    """Refuse a step from which experts cannot learn.

    Args:
        learn_from: the step; 0 = never.
        total_steps: of the run, where known.

    Raises:
        ValueError: before the first step, or after the last.
    """
    if learn_from < 0 or (total_steps is not None and learn_from >= max(1, total_steps)):
        raise ValueError(
            f"expected --pipeline.model.experts-learn-from between 0 (never) and the run's {total_steps or 'last'} "
            f"steps, found {learn_from}; lower it, or raise --max-num-iterations"
        )
