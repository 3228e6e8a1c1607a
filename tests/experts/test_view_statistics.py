"""How the pictures of a step enter the densification statistics."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from moegs_ns.experts.view_statistics import RenderedView, accumulate_views
from moegs_ns.splats.gaussian_set import GaussianSet

SIZE = (20, 10)


def rendered(gradient: list, visible: list[bool], size: tuple[int, int] = SIZE, rows: Any = None) -> RenderedView:
    means2d = torch.zeros(len(visible), 2)
    means2d.grad = torch.tensor(gradient)
    view: Any = SimpleNamespace(means2d=means2d, visible=torch.tensor(visible))
    return RenderedView(view, *size, rows)


def statistics(which: Any, *views: RenderedView) -> tuple[list[float], list[float]]:
    """Sum and count per Gaussian; gradients count in half images, 10 pixels wide and 5 high."""
    sizes = {"means": 3, "scales": 3, "quats": 4}
    tensors = {name: torch.ones(3, size) for name, size in sizes.items()}
    gaussians = GaussianSet({**tensors, "opacities": torch.ones(3)})
    accumulate_views(gaussians, views, which)
    return gaussians.gradient_sum.tolist(), gaussians.gradient_count.tolist()


# The first Gaussian is seen by the first picture only, the second by both, the third by none.
FIRST = rendered([[0.3, 0.0], [0.1, 0.0], [9.0, 9.0]], [True, True, False])
SECOND = rendered([[0.0, 0.0], [0.0, 0.2], [9.0, 9.0]], [False, True, False])


def test_the_last_picture() -> None:
    total, count = statistics("last", FIRST, SECOND)
    assert total == pytest.approx([0, 0.2 * 5 * 2, 0]) and count == [0, 1, 0]  # of the view's own loss: times 2 views


def test_all_pictures_one_by_one() -> None:
    total, count = statistics("all", FIRST, SECOND)
    assert total == pytest.approx([0.3 * 10 * 2, 0.1 * 10 * 2 + 0.2 * 5 * 2, 0]) and count == [1, 2, 0]


def test_their_sum_counts_for_whoever_any_picture_saw() -> None:
    total, count = statistics("sum", FIRST, SECOND)
    assert total == pytest.approx([3, (1 + 1) ** 0.5, 0]) and count == [1, 1, 0]


def test_pictures_of_other_sizes_are_summed_in_half_images() -> None:
    larger = rendered([[0.0, 0.0], [0.0, 0.1], [0.0, 0.0]], [False, True, False], (40, 20))
    total, count = statistics("sum", FIRST, larger)
    assert total == pytest.approx([3, (1 + 1) ** 0.5, 0]) and count == [1, 1, 0]


@pytest.mark.parametrize("which", ["last", "all", "sum"])
def test_gaussians_that_were_left_out_count_as_unseen(which: str) -> None:
    some = rendered([[0.3, 0.0], [0.0, 0.2]], [True, True], rows=torch.tensor([0, 2]))
    total, count = statistics(which, some)
    assert total == pytest.approx([3, 0, 1]) and count == [1, 0, 1]


def test_a_picture_without_gradient_is_none() -> None:
    blind = rendered([[0.0, 0.0]] * 3, [True] * 3)
    blind.view.means2d.grad = None
    assert statistics("sum", blind) == ([0, 0, 0], [0, 0, 0])
