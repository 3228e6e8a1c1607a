"""A mixture's frames by fused inference: drawn by the host's twin of the kernels they equal the ordinary ones; where it
cannot draw, it says so and nothing changes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from moegs_ns.router import fused_inference
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.splats import mixture_library
from moegs_ns.splats.kernel_cache import NativeBuildError
from tests.router.building import make_camera, make_expert, make_mixture, randomise_router, save_run
from tests.splats.comparisons import compare_images
from tests.splats.mixture_libraries import compile_for_cpu

FAMILIES = ("stg", "ex4dgs", "4dgaussians", "ed3dgs")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing told and nothing loaded yet."""
    monkeypatch.setattr(fused_inference, "_reasons_told", set())
    monkeypatch.setattr(mixture_library._Loaded, "found", {})
    monkeypatch.delenv("MOEGS_MIXTURE_LIBRARY", raising=False)


@pytest.fixture(scope="session")
def host_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_for_cpu("host", tmp_path_factory.mktemp("mixture") / "host.so")


@pytest.fixture
def on_host(host_library: Path, native: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames are drawn by the host's library; the result has an entry for each."""
    monkeypatch.setenv("MOEGS_MIXTURE_LIBRARY", str(host_library))
    drawn: list[int] = []
    draw = fused_inference.draw_mixture
    monkeypatch.setattr(fused_inference, "draw_mixture", lambda *given: drawn.append(1) or draw(*given))
    return drawn


def runs_of(folder: Path, families: Sequence[str], **config: Any) -> list[Path]:
    return [
        save_run(folder / f"run{index}", make_expert(family, index, 30 + 10 * index, **config), family)
        for index, family in enumerate(families)
    ]


def both(runs: Sequence[Path], time: float = 0.3, **config: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs of a mixture with the option, and without."""
    outputs = []
    for fused in (True, False):
        model = make_mixture(runs, fused_inference=fused, **config).eval()
        randomise_router(model)
        outputs.append(model.get_outputs_for_camera(make_camera(time)))
    return outputs[0], outputs[1]


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 4e-6) -> None:
    assert actual.keys() == expected.keys()
    covered = (expected["accumulation"] > 0.05)[None]
    for name, image in expected.items():
        one, other = actual[name][None], image[None]
        if name == "depth":  # in world units, and where nothing is seen of anything
            one, other = torch.where(covered, one, 0.0) / 10, torch.where(covered, other, 0.0) / 10
        compare_images(one, other, tolerance=tolerance, what=name)


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


@pytest.mark.parametrize("experts", [1, 2, 3, 4])
def test_it_draws_what_the_ordinary_path_draws(experts: int, tmp_path: Path, on_host: list[int]) -> None:
    # Ex4DGS has the mip filter: different groups of projection.
    actual, expected = both(runs_of(tmp_path, FAMILIES[:experts]))
    assert_close(actual, expected)
    assert len(on_host) == 1
    assert expected["rgb"].std() > 0.05
    if experts > 1:
        assert expected["gate_stg"].std() > 0.05


@pytest.mark.parametrize(
    "config",
    [
        {"eval_temperature": 0.2},
        {"top_k": 2, "eval_temperature": 3.0},
        {"ray_input": "direction"},
        {"ray_input": "none", "initial_weight": 0.5},
        {"hidden": (16, 8, 4)},
        {"weight_background": 1.0},
        {"background": "white"},
        {"default_time": 0.5, "time": None},
    ],
    ids=lambda config: "-".join(config),
)
def test_options_of_the_mixture(config: dict[str, Any], tmp_path: Path, on_host: list[int]) -> None:
    actual, expected = both(runs_of(tmp_path, FAMILIES[:3]), **config)
    assert_close(actual, expected, 4e-6 / min(1.0, config.get("eval_temperature", 1.0)))
    assert len(on_host) == 1


def test_only_one_expert_of_equal_ones_is_kept(tmp_path: Path, on_host: list[int]) -> None:
    """Where nothing is all logits are equal, and rounding decides in the ordinary path: compared is what shows."""
    actual, expected = both(runs_of(tmp_path, ("stg", "4dgaussians")), top_k=1)
    shown = expected["accumulation"][..., 0] > 0.05
    assert shown.any()
    torch.testing.assert_close(actual["rgb"][shown], expected["rgb"][shown], atol=4e-6, rtol=0)
    gates = actual["gate_stg"]
    assert set(gates.unique().tolist()) == {0.0, 1.0}


def test_experts_of_several_clips(tmp_path: Path, on_host: list[int]) -> None:
    runs = runs_of(tmp_path, ("stg", "stg"), clip_frames=2)
    for time in (0.0, 0.6, 1.0):
        assert_close(*both(runs, time))
    assert len(on_host) == 3


def test_the_lite_head_composites_colours(tmp_path: Path, on_host: list[int]) -> None:
    assert_close(*both(runs_of(tmp_path, ("stg", "stg"), head="lite")))
    assert len(on_host) == 1


def test_training_and_gradients_take_the_ordinary_path(tmp_path: Path, on_host: list[int]) -> None:
    model = make_mixture(runs_of(tmp_path, FAMILIES[:2]), fused_inference=True)
    camera = make_camera(0.3)
    model.train().get_outputs(camera)["rgb"].sum().backward()
    with torch.no_grad():
        assert set(model.get_outputs(camera)) == {"rgb"}
    assert model.eval().get_outputs(camera)["rgb"].requires_grad
    assert on_host == []
    model.get_outputs_for_camera(camera)
    assert on_host == [1]


UNKNOWN = {
    "pixel router": ({"router": "pixel"}, "volume-aware router only, this is the pixel router"),
    "volume router": ({"router": "volume"}, "volume-aware router only, this is the volume router"),
    "comparisons": ({"compare": ("alpha", "depth")}, "does not compare experts, this one does (alpha, depth)"),
    "distrust": ({"distrust": 0.5}, "knows no distrust"),
    "kernel size": ({"kernel_size": 3}, "this one has kernel size 3"),
    "large network": ({"hidden": (64,)}, "networks of at most 4 layers with 32 inputs each, this one has [8, 64]"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_it_does_not_know_is_drawn_as_ever_and_said_once(
    kind: str, tmp_path: Path, on_host: list[int], capsys: pytest.CaptureFixture
) -> None:
    config, reason = UNKNOWN[kind]
    runs = runs_of(tmp_path, FAMILIES[:2])
    assert_same(*both(runs, **config))
    assert_same(*both(runs, **config))
    assert on_host == []
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("Frames are drawn the ordinary way, not by fused inference: ") == 1
    assert reason in said


def test_an_expert_that_decodes_features(tmp_path: Path, on_host: list[int], capsys: pytest.CaptureFixture) -> None:
    assert_same(*both(runs_of(tmp_path, ("stg", "stg"), head="full")))
    assert on_host == []
    assert "'stg' decodes features" in capsys.readouterr().out


def test_too_many_experts(tmp_path: Path, on_host: list[int], capsys: pytest.CaptureFixture) -> None:
    runs = runs_of(tmp_path, ("stg",)) * 9
    assert_same(*both(runs))
    assert on_host == []
    assert "at most 8 experts, these are 9" in capsys.readouterr().out


@pytest.mark.usefixtures("native")
def test_on_the_cpu_the_option_changes_nothing_but_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert_same(*both(runs_of(tmp_path, FAMILIES[:2])))
    assert "not by fused inference: it runs on CUDA, and this is on 'cpu'" in capsys.readouterr().out


@pytest.mark.usefixtures("native")
def test_without_its_library_frames_are_drawn_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def missing(device: torch.device) -> None:
        raise NativeBuildError("expected the CUDA compiler, found none")

    monkeypatch.setattr(fused_inference, "mixture_library", missing)
    assert_same(*both(runs_of(tmp_path, FAMILIES[:2])))
    assert "not by fused inference: expected the CUDA compiler, found none" in capsys.readouterr().out


def test_what_cannot_be_rendered_is_refused_as_ever(tmp_path: Path, on_host: list[int]) -> None:
    with pytest.raises(ValueError, match="has no experts: pass --experts"):
        make_mixture([], fused_inference=True).eval().get_outputs_for_camera(make_camera())


def test_it_is_off_by_default(tmp_path: Path, on_host: list[int]) -> None:
    model: MixtureModel = make_mixture(runs_of(tmp_path, FAMILIES[:2]))
    assert not model.config.fused_inference
    model.eval().get_outputs_for_camera(make_camera())
    assert on_host == []


@pytest.mark.cuda
@pytest.mark.parametrize("config", [{}, {"top_k": 2}, {"eval_temperature": 0.5}, {"weight_background": 1.0}])
def test_on_a_gpu_it_draws_what_gsplat_draws(config: dict[str, Any], tmp_path: Path) -> None:
    runs = runs_of(tmp_path, FAMILIES)
    outputs = []
    for fused in (True, False):
        model = make_mixture(runs, fused_inference=fused, **config).to("cuda").eval()
        randomise_router_on(model)
        outputs.append(model.get_outputs_for_camera(make_camera(0.4)))
    assert fused_inference._reasons_told == set()
    assert_close(outputs[0], outputs[1], 5e-5)


def randomise_router_on(model: MixtureModel) -> None:
    """As `randomise_router`, whose generator is the CPU's."""
    device = model.device
    randomise_router(model.cpu())
    model.to(device)
