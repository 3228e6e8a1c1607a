"""What someone switches in a window reaches neither training nor evaluation."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from moegs_ns.router.mixture import MixtureModel
from moegs_ns.viewer.page import ViewerPage
from tests.router.building import make_camera, make_expert, make_mixture, randomise_router, save_run
from tests.viewer.fake_viewer import fake_running
from tests.viewer.live import Photographs

Outcome = dict[str, Tensor]


@pytest.fixture
def mixture(tmp_path: Path) -> MixtureModel:
    stg = save_run(tmp_path / "stg", make_expert("stg", seed=1, count=20), "stg")
    ex4dgs = save_run(tmp_path / "ex4dgs", make_expert("ex4dgs", seed=2, count=30), "ex4dgs")
    model = make_mixture([stg, ex4dgs])
    randomise_router(model)
    return model.train()


def look_with_everything_switched(model: MixtureModel) -> None:
    """Open a page on the model, switch all there is, and draw."""
    running, gui, _ = fake_running(model)
    photographs = Photographs()
    page = ViewerPage(photographs, photographs.metadata)
    page._setup(running.viewer)
    gui.elements["Score Gaussians"].press()
    gui.elements["Hide lowest %"].value = 50
    gui.elements["stg"].value = False
    gui.elements["Gate tint"].value = 0.5
    with page.running.looking_at_model() as seen:
        assert not any(module.training for module in seen.modules())
        assert not torch.is_grad_enabled()
        plain = model.get_outputs_for_camera(make_camera(0.5))["rgb"]
        for output in ("rgb", "winner", "error"):
            running.control_panel.output_render = output
            drawn = page.outputs(seen, make_camera(0.5))
            assert not torch.equal(drawn["rgb"], plain)  # it is switched, indeed


def trained(model: MixtureModel, watched: bool) -> Outcome:
    """Some steps of training, with someone looking in between or not; the state and a picture afterwards."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.router.parameters(), lr=1e-2)
    for step in range(3):
        if watched:
            modes = [module.training for module in model.modules()]
            look_with_everything_switched(model)
            assert [module.training for module in model.modules()] == modes
        optimizer.zero_grad()
        noise = 1e-3 * torch.randn(())  # whoever looks draws no random numbers
        (model.get_outputs(make_camera(step / 4))["rgb"].square().mean() + noise).backward()
        optimizer.step()
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    return {**state, **model.eval().get_outputs_for_camera(make_camera(0.2)), "random": torch.rand(3)}


def test_training_and_evaluation_never_notice(mixture: MixtureModel) -> None:
    unseen, seen = trained(deepcopy(mixture), watched=False), trained(mixture, watched=True)
    assert unseen.keys() == seen.keys()
    for name, value in unseen.items():
        assert torch.equal(value, seen[name]), name


def test_the_page_keeps_nothing_in_the_model(mixture: MixtureModel) -> None:
    before = {name: [*vars(module)] for name, module in mixture.named_modules()}
    look_with_everything_switched(mixture)
    assert {name: [*vars(module)] for name, module in mixture.named_modules()} == before
