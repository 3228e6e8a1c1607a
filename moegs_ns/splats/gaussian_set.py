"""The learnable Gaussians of an expert: raw parameters, running statistics, and operations that change their number.

Raw means before activation: log scales, logit opacities, unnormalised quaternions. That is what optimizers and
checkpoints hold. Every per-Gaussian tensor is registered once, here, and every operation treats all alike, so a new
attribute cannot be forgotten when Gaussians are cloned, split, removed or loaded.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from moegs_ns.splats.native_statistics import add_gradients_native
from moegs_ns.splats.optimizer_rows import kept_rows
from moegs_ns.splats.rasterize import takes_native

_REQUIRED = ("means", "scales", "quats", "opacities")
_GRADIENT_STATISTICS = ("gradient_sum", "gradient_count")


class GaussianSet(nn.Module):
    """N Gaussians: parameters ``params[name]`` with N rows each, and density-control statistics as buffers.

    Args:
        tensors: raw initial values, first dimension N. ``means [N,3]``, ``scales [N,3]`` (log), ``quats [N,4]`` (wxyz)
            and ``opacities [N]`` (logit) must be among them; gsplat's strategy operations know them by these names.
        statistics: further running statistics to keep per Gaussian beside its gradients, by name, each with the value
            it starts from. Copies of a Gaussian inherit them.

    Raises:
        ValueError: a required tensor is missing or the numbers of rows differ.
    """

    gradient_sum: Tensor
    gradient_count: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], statistics: Mapping[str, float] | None = None) -> None:
        super().__init__()
        missing = [name for name in _REQUIRED if name not in tensors]
        if missing:
            raise ValueError(f"a Gaussian set needs the tensors {_REQUIRED}, missing: {missing}")
        rows = {name: value.shape[0] for name, value in tensors.items()}
        if len(set(rows.values())) != 1:
            raise ValueError(f"expected the same number of rows in every tensor, found {rows}")
        self.params = nn.ParameterDict({name: nn.Parameter(value.clone()) for name, value in tensors.items()})
        count = rows["means"]
        self._start_values = {**dict.fromkeys(_GRADIENT_STATISTICS, 0.0), **(statistics or {})}
        for name, value in self._start_values.items():
            self.register_buffer(name, torch.full((count,), value))
        self.register_load_state_dict_pre_hook(_resize_to_checkpoint)

    def __len__(self) -> int:
        return self.params["means"].shape[0]

    def __getitem__(self, name: str) -> nn.Parameter:
        return self.params[name]

    # -- statistics ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def accumulate_gradients(
        self, means2d_gradient: Tensor, visible: Tensor, width: int, height: int, rows: Tensor | None = None
    ) -> None:
        """Add one view's screen-space position gradients, in half-image (NDC) units as in 3D Gaussian Splatting.

        Args:
            means2d_gradient: ``[n,2]`` d loss / d pixel position of this view's own loss (not divided by the number
                of views of the step).
            visible: ``[n]`` bool.
            width, height: image size in pixels.
            rows: ``[n]`` positions, ascending, of the Gaussians these are of; None for all.
        """
        sums = self.gradient_sum, self.gradient_count
        add = add_gradients_native if takes_native(means2d_gradient, *sums) else add_gradients_torch
        add(*sums, means2d_gradient, visible, width, height, rows)

    def mean_gradient(self) -> Tensor:
        """``[N]`` mean gradient norm over the views that saw each Gaussian; 0 where none did."""
        return self.gradient_sum / self.gradient_count.clamp_min(1)

    def statistic(self, name: str) -> Tensor:
        """``[N]`` running statistic of that name; its values may be changed in place."""
        return self.get_buffer(name)

    @torch.no_grad()
    def reset_statistics(self, names: Sequence[str] = _GRADIENT_STATISTICS) -> None:
        """Start these statistics afresh (by default the gradients), for the present number of Gaussians."""
        for name in names:
            setattr(self, name, torch.full((len(self),), self._start_values[name], device=self.params["means"].device))

    # -- operations that change N (gsplat's strategy operations move the optimizer state along) --------------------

    def _run(self, operation: Callable, optimizers: Mapping[str, Optimizer], mask: Tensor) -> None:
        state = {name: self.statistic(name) for name in self._start_values}
        operation(params=self.params, optimizers=optimizers, state=state, mask=mask)
        for name, value in state.items():
            setattr(self, name, value)

    def clone(self, mask: Tensor, optimizers: Mapping[str, Optimizer]) -> int:
        """Duplicate the Gaussians of ``mask [N]``; the copies are the last rows. Returns their number."""
        from gsplat.strategy import ops

        self._run(ops.duplicate, optimizers, mask)
        return int(mask.sum())

    def split(self, mask: Tensor, optimizers: Mapping[str, Optimizer]) -> int:
        """Replace each Gaussian of ``mask [N]`` by two drawn from it, scales divided by 1.6 (3D Gaussian Splatting
        §5.2). The children are the last rows. Returns their number. Draws from the global random generator."""
        from gsplat.strategy import ops

        self._run(ops.split, optimizers, mask)
        return 2 * int(mask.sum())

    def remove(self, mask: Tensor, optimizers: Mapping[str, Optimizer]) -> int:
        """Remove the Gaussians of ``mask [N]``. Returns their number."""
        removed = int(mask.sum())
        if removed:
            from gsplat.strategy import ops

            self._run(ops.remove, optimizers, mask)
        return removed

    @torch.no_grad()
    def keep(self, kept: Tensor, optimizers: Iterable[Optimizer] = ()) -> None:
        """Leave only the Gaussians of ``kept [N]`` bool, in their order; for experts in an ensemble, where a tensor
        is one of several in its optimizer, if any holds it.

        The parameters are new ones: a graph that still lives keeps the shapes of the old.
        """
        holders = [*optimizers]
        for name, old in list(self.params.items()):
            self.params[name] = kept_rows(old, kept, holders)
        for name in self._start_values:
            setattr(self, name, self.statistic(name)[kept])

    @torch.no_grad()
    def append(
        self,
        rows: Mapping[str, Tensor],
        optimizers: Mapping[str, Optimizer],
        statistics: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Add Gaussians as the last rows, with fresh optimizer moments.

        Args:
            rows: raw values ``[n, ...]`` of every tensor.
            optimizers: by tensor name.
            statistics: ``[n]`` values of running statistics that do not start afresh.

        Raises:
            ValueError: a tensor is missing or has rows of another shape.
        """
        expected = {name: parameter.shape[1:] for name, parameter in self.params.items()}
        found = {name: value.shape[1:] for name, value in rows.items()}
        if found != expected:
            raise ValueError(f"expected rows of {expected} to append, found {found}")
        count = rows["means"].shape[0]
        for name, value in rows.items():
            old, optimizer = self.params[name], optimizers[name]
            new = nn.Parameter(torch.cat([old.data, value.to(old)]))
            state = optimizer.state.pop(old, {})
            for key, moment in state.items():
                if torch.is_tensor(moment) and moment.shape == old.shape:
                    state[key] = torch.cat([moment, moment.new_zeros(count, *moment.shape[1:])])
            optimizer.param_groups[0]["params"] = [new]
            optimizer.state[new] = state
            self.params[name] = new
        for name, start in self._start_values.items():
            kept = self.statistic(name)
            added = (statistics or {}).get(name, kept.new_full((count,), start))
            setattr(self, name, torch.cat([kept, added]))

    @torch.no_grad()
    def cap_scale(self, maximum: float) -> None:
        """Clamp all scales to at most ``maximum``, world units."""
        self.params["scales"].clamp_(max=math.log(maximum))

    @torch.no_grad()
    def cap_opacity(self, maximum: float, optimizers: Mapping[str, Optimizer]) -> None:
        """Clamp all opacities to at most ``maximum`` and clear their optimizer moments (the "opacity reset")."""
        from gsplat.strategy import ops

        ops.reset_opa(params=self.params, optimizers=optimizers, state={}, value=maximum)


def add_gradients_torch(
    sums: Tensor,
    counts: Tensor,
    means2d_gradient: Tensor,
    visible: Tensor,
    width: int,
    height: int,
    rows: Tensor | None,
) -> None:
    """The twin of the compiled kernel, see `add_gradients_native`. Takes every floating dtype and device."""
    scale_squared = means2d_gradient.new_tensor([width**2 / 4, height**2 / 4])
    # A product with a matrix of two columns is several times as fast as torch's norm of rows.
    norms = torch.mv(means2d_gradient.square(), scale_squared).sqrt_().masked_fill_(~visible, 0)
    if rows is None:
        sums += norms
        counts += visible
    else:
        sums.index_add_(0, rows, norms)
        counts.index_add_(0, rows, visible.to(counts.dtype))


def _resize_to_checkpoint(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    """Give parameters and buffers the checkpoint's number of rows *in place*, so that optimizers built before loading
    stay wired to them. A pre-hook, because nested modules' ``load_state_dict`` overrides are never called."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    rows = {
        name: len(state_dict[prefix + name]) for name, _ in module.named_parameters() if prefix + name in state_dict
    }
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise ValueError(f"expected a row per Gaussian in each tensor of '{prefix}', found {counts}: it was altered")
    for name, tensor in tensors.items():
        stored = state_dict.get(prefix + name)
        if stored is None:
            # nerfstudio retries a failed strict load with strict=False, which would leave this tensor untouched.
            raise ValueError(
                f"the checkpoint has no tensor '{prefix}{name}': it was written by another model or version"
            )
        if stored.shape[1:] != tensor.shape[1:]:
            raise ValueError(
                f"checkpoint tensor '{prefix}{name}' has row shape {tuple(stored.shape[1:])}, this model expects "
                f"{tuple(tensor.shape[1:])}: use the configuration the run was trained with"
            )
        if stored.shape != tensor.shape:
            tensor.data = tensor.data.new_empty(stored.shape)
            tensor.grad = None
