"""Names, colours and maps of what is shown."""

import math

import numpy as np
import torch

from moegs_ns.exporting.palette import EXPERT_COLORS
from moegs_ns.viewer import pictures

EXPERTS = ["stg", "ex4dgs"]


def gates() -> torch.Tensor:
    """Two experts over a row of three pixels."""
    first = torch.tensor([[1.0, 0.25, 0.6]])
    return torch.stack([first, 1 - first])


def test_titles_tell_what_is_shown() -> None:
    assert pictures.title("rgb") == "Picture" and pictures.title("rgb", mixture=True) == "Mixture"
    assert pictures.title("expert_stg_2") == "Expert: stg_2"
    assert pictures.title("gate_stg") == "Gate: stg"
    assert pictures.title("something") == "something"


def test_the_menu_begins_with_pictures() -> None:
    outputs = ["accumulation", "depth", "gate_stg", "winner", "expert_stg", "rgb", "gate_ex4dgs", "error"]
    assert pictures.in_order(outputs) == [
        "rgb",
        "expert_stg",
        "gate_stg",
        "gate_ex4dgs",
        "winner",
        "error",
        "accumulation",
        "depth",
    ]


def test_gates_are_found_in_outputs_and_so_are_shares() -> None:
    images = {f"gate_{name}": gate[..., None] for name, gate in zip(EXPERTS, gates(), strict=True)}
    assert torch.equal(pictures.gates_of(images, EXPERTS), gates())
    shares = {name.replace("gate", "share"): image for name, image in images.items()}
    assert torch.equal(pictures.gates_of(shares, EXPERTS), gates())
    assert pictures.gates_of({"rgb": gates()}, EXPERTS) is None
    assert pictures.gates_of(images, []) is None


def test_winners_have_their_colour() -> None:
    expected = EXPERT_COLORS[[0, 1, 0]][None] / 255
    np.testing.assert_allclose(pictures.winner_picture(gates()).numpy(), expected, atol=1e-6)


def test_the_tint_mixes_colours_by_gates() -> None:
    rgb = torch.full((1, 3, 3), 0.5)
    assert torch.equal(pictures.tinted(rgb, gates(), 0.0), rgb)
    full = pictures.tinted(rgb, gates(), 1.0)
    np.testing.assert_allclose(full[0, 0], EXPERT_COLORS[0] / 255, atol=1e-6)
    np.testing.assert_allclose(full[0, 1], (0.25 * EXPERT_COLORS[0] + 0.75 * EXPERT_COLORS[1]) / 255, atol=1e-6)
    torch.testing.assert_close(pictures.tinted(rgb, gates(), 0.5), (rgb + full) / 2)


def test_errors_run_from_black_to_white() -> None:
    truth = torch.zeros(1, 2, 3)
    image = torch.stack([torch.zeros(3), torch.full((3,), pictures.ERROR_TOP)])[None]
    drawn = pictures.error_picture(image, truth)
    assert drawn[0, 0].max() == 0 and drawn[0, 1].min() > 0.9
    assert math.isclose(pictures.psnr(image, truth), -10 * math.log10(pictures.ERROR_TOP**2 / 2), rel_tol=1e-5)
    assert pictures.psnr(truth, truth) == 120


def test_the_legend_names_colours() -> None:
    line = pictures.legend(EXPERTS)
    assert '<span style={{color: "#0072B2"}}>■</span> stg' in line and "#E69F00" in line
