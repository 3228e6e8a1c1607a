"""ns-train, ns-eval and ns-render one after the other, as a user types them, on the sample scene."""

from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.camera_paths import held_out_camera, write_camera_path
from tests.end_to_end.conftest import FRAMES, SHORT_LIVED, stg_arguments
from tests.end_to_end.pictures import distinct, psnr, read_pictures
from tests.training.inprocess import evaluate, render_camera_path, render_dataset, train


@pytest.fixture(scope="module")
def test_pictures(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """``ns-render dataset`` of the test camera: its renders, the camera's images and the renders of depth."""
    folder = tmp_path_factory.mktemp("dataset")
    render_dataset(trained_run, folder, outputs=("rgb", "gt-rgb", "depth"), image_format="png")
    return {name: read_pictures(sorted((folder / "test" / name).glob("*.png"))) for name in ("rgb", "gt-rgb", "depth")}


def test_training_learns(project_root: Path, outputs: Path, trained_run: Path) -> None:
    untrained = train(stg_arguments(project_root, outputs, "untrained", "--max-num-iterations", 1, *SHORT_LIVED))
    before, after = (evaluate(run)["results"]["psnr"] for run in (untrained, trained_run))
    assert after > before + 5


def test_rendered_pictures_score_what_ns_eval_says(
    trained_run: Path, test_pictures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """The scores again from the PNG files of ns-render, by numpy alone: same images, same order, same time."""
    results = evaluate(trained_run, tmp_path / "eval.json")["results"]
    scores = [psnr(*pair) for pair in zip(test_pictures["rgb"], test_pictures["gt-rgb"], strict=True)]
    rows = results["per_image"]
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    assert {row["camera"] for row in rows} == {"cam00"}
    assert scores == pytest.approx([row["psnr"] for row in rows], abs=0.02)  # PNGs are rounded to 8 bits
    assert results["psnr"] == pytest.approx(np.mean(scores), abs=0.02)
    assert results["protocol"]["resolution"] == [80, 60]
    assert results["protocol"]["step"] == 149
    assert results["fps"] > 0


def test_every_frame_of_the_test_camera_differs(test_pictures: dict[str, np.ndarray]) -> None:
    counts = {name: distinct(pictures) for name, pictures in test_pictures.items()}
    assert counts == dict.fromkeys(test_pictures, FRAMES)


def test_camera_path_shows_the_times_it_names(
    trained_run: Path, test_pictures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """A path standing at the test camera must show the test frames, in the order asked for."""
    frames = [23, 11, 0, 5, 6]
    path = write_camera_path(
        tmp_path / "path.json", held_out_camera(trained_run), [frame / (FRAMES - 1) for frame in frames]
    )
    shown = read_pictures(render_camera_path(trained_run, path, tmp_path / "frames", image_format="png"))
    np.testing.assert_allclose(shown, test_pictures["rgb"][frames], atol=1.5 / 255)


def test_camera_path_times_beyond_the_clip_show_its_ends(
    trained_run: Path, test_pictures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Splines through key frames overshoot."""
    path = write_camera_path(tmp_path / "path.json", held_out_camera(trained_run), [-0.2, 1.3])
    shown = read_pictures(render_camera_path(trained_run, path, tmp_path / "frames", image_format="png"))
    np.testing.assert_allclose(shown, test_pictures["rgb"][[0, -1]], atol=1.5 / 255)


def test_camera_path_without_times_shows_the_first_frame(
    trained_run: Path, test_pictures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """nerfstudio drops all times of a path if one entry has none."""
    path = write_camera_path(tmp_path / "path.json", held_out_camera(trained_run), [0.5, None])
    shown = read_pictures(render_camera_path(trained_run, path, tmp_path / "frames", image_format="png"))
    np.testing.assert_allclose(shown, test_pictures["rgb"][[0, 0]], atol=1.5 / 255)


def test_the_train_split_renders_camera_by_camera(trained_run: Path, tmp_path: Path) -> None:
    files = render_dataset(trained_run, tmp_path, split="train", image_format="png")
    names = [file.relative_to(tmp_path / "train" / "rgb") for file in files]
    assert len(files) == 10 * FRAMES  # cam00 is tested, cam05 chosen on
    assert sorted({str(name.parent) for name in names}) == [
        f"cam{index:02d}" for index in (1, 2, 3, 4, 6, 7, 8, 9, 10, 11)
    ]
    assert distinct(read_pictures(files)) == len(files)


def test_ns_eval_and_ns_render_write_the_same_files(trained_run: Path, tmp_path: Path) -> None:
    """One rule turns floats into bytes everywhere: the pictures of one camera and time are equal, byte by byte."""
    evaluate(trained_run, tmp_path / "eval.json", tmp_path / "eval")
    evaluated = sorted((tmp_path / "eval").glob("eval_rgb_*.png"))
    rendered = render_dataset(trained_run, tmp_path / "dataset", image_format="png")
    assert len(evaluated) == FRAMES
    assert [file.read_bytes() for file in evaluated] == [file.read_bytes() for file in rendered]
    both = read_pictures(sorted((tmp_path / "eval").glob("eval_img_*.png")))  # truth, then rendering
    np.testing.assert_array_equal(both[:, :, both.shape[2] // 2 :], read_pictures(rendered))


def test_ns_render_interpolate_shows_time(
    trained_run: Path, test_pictures: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """1.1.5 drops times; `compat` mends that. One step per image: every image but the last, at its own time."""
    from nerfstudio.scripts.render import RenderInterpolated

    RenderInterpolated(
        load_config=trained_run / "config.yml",
        output_path=tmp_path / "interpolated",
        interpolation_steps=1,
        output_format="images",
        image_format="png",
    ).main()
    shown = read_pictures(sorted((tmp_path / "interpolated").glob("*.png")))
    assert distinct(shown) == FRAMES - 1
    np.testing.assert_allclose(shown, test_pictures["rgb"][:-1], atol=1.5 / 255)


def test_ns_render_spiral_shows_time(trained_run: Path, test_pictures: dict[str, np.ndarray], tmp_path: Path) -> None:
    """1.1.5 refuses whole-image methods; `compat` mends that. A spiral of no radius stands at the test camera."""
    from nerfstudio.scripts.render import SpiralRender

    SpiralRender(
        load_config=trained_run / "config.yml",
        output_path=tmp_path / "spiral",
        seconds=1.0,
        frame_rate=FRAMES,
        radius=1e-6,
        output_format="images",
        image_format="png",
    ).main()
    shown = read_pictures(sorted((tmp_path / "spiral").glob("*.png")))
    np.testing.assert_allclose(shown, test_pictures["rgb"], atol=1.5 / 255)
