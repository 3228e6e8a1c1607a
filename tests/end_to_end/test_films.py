"""``moegs render`` and its films, on trained runs of an expert and of a mixture, against ns-eval and ns-render."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from rich.console import Console

from moegs_ns.cli import filming
from moegs_ns.cli.main import run
from moegs_ns.cli.studio import Studio
from moegs_ns.exporting.film import Film
from moegs_ns.runs.record import read_run_record
from moegs_ns.training.load_run import dataset_of
from tests.end_to_end.camera_paths import held_out_camera, write_camera_path
from tests.end_to_end.conftest import FRAMES
from tests.end_to_end.pictures import distinct, read_pictures
from tests.training.inprocess import evaluate, render_camera_path

SIZE = (60, 80)


def render(*arguments: object) -> int:
    return run(["render", *(str(argument) for argument in arguments)])


def pngs(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.glob("*.png"))]


def studio_of(folder: Path) -> Studio:
    return Studio(read_run_record(folder), None, Console(quiet=True))


def decoded(path: Path) -> tuple[av.VideoStream, np.ndarray]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream, np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


# -- the same pixels as nerfstudio's commands --------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["trained_run", "router_run"])
def test_a_fixed_cameras_frames_are_those_ns_eval_scored(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(which)
    evaluate(folder, tmp_path / "eval.json", tmp_path / "eval")
    assert render("fixed", folder, "--camera", "cam00", "--frames", tmp_path / "frames") == 0
    expected = [file.read_bytes() for file in sorted((tmp_path / "eval").glob("eval_rgb_*.png"))]
    assert len(expected) == FRAMES
    assert pngs(tmp_path / "frames") == expected


def test_a_path_shows_what_ns_render_shows(trained_run: Path, tmp_path: Path) -> None:
    times = [0.9, 0.1, 0.5, 1.2]
    path = write_camera_path(tmp_path / "path.json", held_out_camera(trained_run), times)
    for options, theirs in (((), {}), (("--downscale", 2), {"downscale_factor": 2.0})):
        ours, nerfstudios = tmp_path / f"ours{len(options)}", tmp_path / f"theirs{len(options)}"
        assert render("path", trained_run, "--camera-path", path, "--frames", ours, *options) == 0
        render_camera_path(trained_run, path, nerfstudios, image_format="png", **theirs)
        assert len(pngs(ours)) == len(times)
        assert pngs(ours) == pngs(nerfstudios)


def test_a_paths_times_can_be_held(trained_run: Path, tmp_path: Path) -> None:
    camera = held_out_camera(trained_run)
    path = write_camera_path(tmp_path / "path.json", camera, [0.9, 0.1, 0.5])
    still = write_camera_path(tmp_path / "still.json", camera, [6 / (FRAMES - 1)] * 3)
    assert render("path", trained_run, "--camera-path", path, "--frame", 6, "--frames", tmp_path / "held") == 0
    assert render("path", trained_run, "--camera-path", still, "--frames", tmp_path / "still") == 0
    assert pngs(tmp_path / "held") == pngs(tmp_path / "still")


def test_a_path_without_times_runs_through_the_clip(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_camera_path(tmp_path / "path.json", held_out_camera(trained_run), [None] * 3)
    timed = write_camera_path(tmp_path / "timed.json", held_out_camera(trained_run), [0.0, 0.5, 1.0])
    assert render("path", trained_run, "--camera-path", path, "--frames", tmp_path / "frames") == 0
    assert "time runs through the clip once" in capsys.readouterr().out
    assert render("path", trained_run, "--camera-path", timed, "--frames", tmp_path / "timed") == 0
    assert pngs(tmp_path / "frames") == pngs(tmp_path / "timed")


# -- cameras and times -------------------------------------------------------------------------------------------------


def moves() -> list[tuple[str, Callable[[Studio, np.ndarray], Film]]]:
    return [
        ("interpolate", lambda studio, times: studio.interpolation((), times)),
        ("interpolate named", lambda studio, times: studio.interpolation(("cam03", "cam01"), times)),
        ("spiral", lambda studio, times: studio.spiral(None, None, 2, times)),
        ("orbit", lambda studio, times: studio.orbit("cam05", None, times)),
    ]


@pytest.mark.parametrize(("name", "move"), moves(), ids=[name for name, _ in moves()])
def test_cameras_move_through_the_scene(
    trained_run: Path, name: str, move: Callable[[Studio, np.ndarray], Film]
) -> None:
    """Without leaps, upright, with the lens of a camera of the scene, at the times asked for."""
    studio = studio_of(trained_run)
    times = studio.running(2.0, 4.0)
    film = move(studio, times)
    assert len(film) == 60 and film.size == SIZE[::-1] and film.fps == 30.0
    assert film.cameras.times is not None
    np.testing.assert_allclose(film.cameras.times[:, 0], times, atol=1e-7)
    places = film.cameras.camera_to_worlds[:, :, 3]
    steps = (places[1:] - places[:-1]).norm(dim=1)
    rig = dataset_of(read_run_record(trained_run), "train").cameras
    spread = (rig.camera_to_worlds[:, :, 3] - rig.camera_to_worlds[0, :, 3]).norm(dim=1).max()
    assert 1e-3 * spread < steps.min() and steps.max() < 0.2 * spread
    ups = film.cameras.camera_to_worlds[:, :, 1]
    assert (ups @ rig.camera_to_worlds[:, :, 1].mean(dim=0)).min() > 0.9
    assert float(film.cameras.fx[0]) in rig.fx.flatten().tolist()


def test_named_cameras_are_passed_exactly(trained_run: Path) -> None:
    film = studio_of(trained_run).interpolation(("cam03", "cam01"), np.linspace(0, 1, 5))
    cameras = dataset_of(read_run_record(trained_run), "train").cameras
    for end, camera in ((0, "cam03"), (-1, "cam01")):
        names = ["cam01", "cam02", "cam03", "cam04"]
        expected = cameras.camera_to_worlds[FRAMES * names.index(camera)]
        torch.testing.assert_close(film.cameras.camera_to_worlds[end], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("move", ["interpolate", "spiral", "orbit"])
def test_bullet_time_has_one_time_and_moving_cameras(
    trained_run: Path, tmp_path: Path, move: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[tuple[float, torch.Tensor]] = []
    original = filming.Shooting.frame

    def watched(self: filming.Shooting, number: int) -> np.ndarray:
        camera = self._film.frame(number)
        assert camera.times is not None
        rendered.append((float(camera.times), camera.camera_to_worlds[0]))
        return original(self, number)

    monkeypatch.setattr(filming.Shooting, "frame", watched)
    arguments = ("--frame", 7, "--move", move, "--seconds", 0.5, "--frames", tmp_path / "frames")
    assert render("bullet-time", trained_run, *arguments) == 0
    assert {time for time, _ in rendered} == {float(torch.tensor(7 / (FRAMES - 1)))}
    assert len(torch.unique(torch.stack([pose for _, pose in rendered]), dim=0)) == 15
    assert len(set(pngs(tmp_path / "frames"))) == 15


def test_bullet_time_from_a_camera_shows_its_frame_first(trained_run: Path, tmp_path: Path) -> None:
    """The first frame of the way stands at cam03, at that time."""
    place = ("--cameras", "cam03", "cam01", "--seconds", 0.1)
    assert render("bullet-time", trained_run, "--frame", 7, *place, "--frames", tmp_path / "bullet") == 0
    assert render("fixed", trained_run, "--camera", "cam03", "--frames", tmp_path / "fixed") == 0
    first = read_pictures([tmp_path / "bullet" / "00000.png"])
    np.testing.assert_allclose(first, read_pictures([tmp_path / "fixed" / "00007.png"]), atol=1.5 / 255)


def test_a_fixed_camera_can_be_slowed_down(trained_run: Path, tmp_path: Path) -> None:
    assert render("fixed", trained_run, "--frames", tmp_path / "clip") == 0
    length = (2 * FRAMES - 1) / 30
    assert render("fixed", trained_run, "--seconds", length, "--frames", tmp_path / "slow") == 0
    slow = read_pictures(sorted((tmp_path / "slow").glob("*.png")))
    assert distinct(slow) == len(slow) == 2 * FRAMES - 1
    clip = read_pictures(sorted((tmp_path / "clip").glob("*.png")))
    np.testing.assert_allclose(slow[::2], clip, atol=1.5 / 255)


def test_instants_are_times_or_frames_of_the_clip(trained_run: Path) -> None:
    studio = studio_of(trained_run)
    assert studio.instant(0.3, None) == 0.3
    assert studio.instant(None, FRAMES - 1) == 1.0
    assert studio.instant(None, None) is None
    for time, frame, message in ((0.3, 2, "found both"), (1.5, None, "--time from 0"), (None, FRAMES, "from 0 to 23")):
        with pytest.raises(ValueError, match=message):
            studio.instant(time, frame)


# -- files -------------------------------------------------------------------------------------------------------------


def test_videos_have_the_frames_rate_and_format_asked_for(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--seconds", 0.5, "--fps", 24)
    assert render("spiral", trained_run, *options, "--output", tmp_path / "film.mp4") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "film.mp4")
    stream, frames = decoded(tmp_path / "film.mp4")
    assert (stream.codec_context.name, stream.pix_fmt, float(stream.average_rate)) == ("h264", "yuv420p", 24.0)
    assert frames.shape == (12, *SIZE, 3)
    both = ("--frames", tmp_path / "frames", "--output", tmp_path / "film.mkv")
    assert render("spiral", trained_run, *options, *both) == 0
    stream, exact = decoded(tmp_path / "film.mkv")
    assert (stream.codec_context.name, float(stream.average_rate)) == ("ffv1", 24.0)
    written = read_pictures(sorted((tmp_path / "frames").glob("*.png")))
    np.testing.assert_array_equal(exact, (255 * written).round())
    assert np.abs(frames.astype(int) - exact).mean() < 4


def test_without_a_name_the_video_lies_in_the_run(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    assert render("bullet-time", tmp_path / "run", "--time", 0.5, "--seconds", 0.1) == 0
    assert [path.name for path in (tmp_path / "run" / "renders").iterdir()] == ["bullet-time.mp4"]


def test_a_stopped_render_goes_on_to_the_same_bytes(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    film = ("orbit", trained_run, "--seconds", 0.4, "--show", "rgb", "depth")
    assert render(*film, "--frames", tmp_path / "whole") == 0
    original, calls = filming.Shooting.frame, itertools.count()

    def stopped(self: filming.Shooting, number: int) -> np.ndarray:
        if next(calls) == 5:
            raise KeyboardInterrupt
        return original(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(filming.Shooting, "frame", stopped)
        assert render(*film, "--frames", tmp_path / "frames") == 130
    assert "goes on with the frames in" in capsys.readouterr().err
    assert len(pngs(tmp_path / "frames")) == 5
    kept = (tmp_path / "frames" / "00003.png").stat().st_mtime_ns
    assert render(*film, "--frames", tmp_path / "frames") == 0
    assert "5 of 12 frames are there already" in capsys.readouterr().out
    assert (tmp_path / "frames" / "00003.png").stat().st_mtime_ns == kept
    assert pngs(tmp_path / "frames") == pngs(tmp_path / "whole")


def test_frames_of_another_job_are_not_taken_for_ones_own(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = ("spiral", trained_run, "--seconds", 0.2, "--frames", tmp_path / "frames")
    assert render(*film) == 0
    before = pngs(tmp_path / "frames")
    for options, named in (
        (("--show", "depth"), "other pictures, depths"),
        (("--turns", 1), "other cameras and times"),
        (("--downscale", 2), "(other downscale)"),
    ):
        assert render(*film, *options) == 1
        assert named in " ".join(capsys.readouterr().err.split())
    assert pngs(tmp_path / "frames") == before
    other = tmp_path / "moved" / "run"
    shutil.copytree(trained_run, other)
    assert render("spiral", other, *film[2:]) == 0  # a run that was moved is the same run
    assert "6 of 6 frames are there already" in capsys.readouterr().out
    assert render(*film, "--turns", 1, "--overwrite") == 0
    assert len(pngs(tmp_path / "frames")) == 6 and pngs(tmp_path / "frames") != before


# -- pictures side by side ---------------------------------------------------------------------------------------------


def test_a_mixture_side_by_side(router_run: Path, tmp_path: Path) -> None:
    film = ("fixed", router_run, "--frames")
    assert render(*film, tmp_path / "all", "--side-by-side", "--no-labels") == 0
    assert render(*film, tmp_path / "truth", "--show", "truth") == 0
    assert render(*film, tmp_path / "gate", "--show", "gate_stg") == 0
    whole = (255 * read_pictures(sorted((tmp_path / "all").glob("*.png")))).round()
    height, width = SIZE
    assert whole.shape == (FRAMES, 2 * height + 2, 4 * width + 6, 3)
    for name, (row, column) in {"truth": (0, 0), "gate": (1, 1)}.items():
        alone = (255 * read_pictures(sorted((tmp_path / name).glob("*.png")))).round()
        top, left = row * (height + 2), column * (width + 2)
        np.testing.assert_array_equal(whole[:, top : top + height, left : left + width], alone)
    truth = dataset_of(read_run_record(router_run), "test")
    np.testing.assert_array_equal(whole[5, :height, :width], truth.get_numpy_image(5))


def test_side_by_side_goes_with_moving_cameras_and_smaller_pictures(router_run: Path, tmp_path: Path) -> None:
    options = ("--side-by-side", "--no-labels", "--downscale", 2, "--seconds", 0.1, "--frames", tmp_path / "frames")
    assert render("bullet-time", router_run, "--time", 0.5, *options) == 0
    frame = read_pictures([tmp_path / "frames" / "00000.png"])
    assert frame.shape == (1, 2 * 30 + 2, 3 * 40 + 4, 3)
    options = ("--show", "truth", "rgb", "--no-labels", "--downscale", 2, "--frames", tmp_path / "truth")
    assert render("fixed", router_run, *options) == 0
    assert read_pictures([tmp_path / "truth" / "00000.png"]).shape == (1, 30, 82, 3)


# -- what is refused, and what needs no data ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bullet-time",), "the instant to hold, --time T"),
        (("bullet-time", "--frame", 99), "--frame from 0 to 23, found 99"),
        (("bullet-time", "--time", 0, "--move", "orbit", "--cameras", "cam01"), "--camera NAME to begin the orbit at"),
        (("bullet-time", "--time", 0, "--camera", "cam01"), "--cameras NAME NAME ... to pass"),
        (("fixed", "--camera", "cam77"), "expected a camera of the scene (test: cam00; val: cam05; train: cam01"),
        (("interpolate", "--cameras", "cam01", "cam00"), "expected training cameras among cam01"),
        (("spiral", "--show", "truth"), "photographs go with `moegs render fixed`"),
        (("spiral", "--show", "gates"), "expected the run of a mixture to show gates"),
        (("spiral", "--seconds", 0), "--seconds for two frames at least"),
        (("spiral", "--show", "colour"), "expected outputs to show among truth, rgb"),
        (("spiral", "--show", "rgb", "--side-by-side"), "expected --show or --side-by-side, found both"),
        (("fixed", "--downscale", 0.5), "--downscale of at least 1"),
        (("fixed", "--fps", 0), "frames per second above 0"),
        (("fixed", "--output", "film.gif"), "found film.gif"),
        (("path", "--camera-path", "none.json"), "expected a camera path at none.json, found none"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    trained_run: Path,
    arguments: tuple[object, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert render(arguments[0], trained_run, *arguments[1:]) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and len(error.splitlines()) == 1


def test_a_path_needs_no_data(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_camera_path(tmp_path / "path.json", held_out_camera(trained_run), [0.5])
    shutil.copytree(trained_run, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text("utf8"))
    record["scene"]["data"] = str(tmp_path / "gone")
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert render("path", tmp_path / "run", "--camera-path", path, "--frames", tmp_path / "a") == 0
    assert render("path", trained_run, "--camera-path", path, "--frames", tmp_path / "b") == 0
    assert pngs(tmp_path / "a") == pngs(tmp_path / "b")
    assert render("fixed", tmp_path / "run", "--frames", tmp_path / "c") == 1
    assert "gone" in capsys.readouterr().err


def test_a_run_folder_called_like_a_film_is_given_by_a_path(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spiral").symlink_to(trained_run)
    monkeypatch.chdir(tmp_path)
    assert render("./spiral", "--output", tmp_path / "pictures") == 0
    assert (tmp_path / "pictures" / "comparison-cam00.mp4").is_file()
