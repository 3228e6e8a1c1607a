"""Images by name, camera, frame and slice; who trains, validates and tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from moegs_ns.scene.image_splits import ImageLabels, Role, split_images

#: Two cameras, frames 10 to 13, taking turns: left at even frames.
NAMES = ["left_10", "left_12", "right_11", "right_13", "000003"]
CAPTURE = ImageLabels(
    names=NAMES,
    cameras=["left", "left", "right", "right", "left"],
    frames=[10, 12, 11, 13, 12],
    camera_names=["left", "right"],
    numbers="frame",
)
RIG = replace(CAPTURE, numbers="camera")
EVERY = set(range(5))


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("right_11", {2}),
        ("000003", {4}),  # a name first, whatever number it reads as
        ("right", {2, 3}),
        ("12", {1, 4}),
        ("1:3", {2, 4}),  # in the order of time: left_10, right_11, 000003, left_12, right_13
        ("::2", {0, 4, 3}),
        ("-1:", {3}),
        (":", EVERY),
    ],
)
def test_what_images_can_be_called(item: str, expected: set[int]) -> None:
    assert CAPTURE.choose([item], "--x", EVERY) == expected


def test_numbers_of_cameras() -> None:
    assert RIG.choose(["1"], "--x", EVERY) == RIG.choose(["-1"], "--x", EVERY) == {2, 3}
    with pytest.raises(ValueError, match=r"a camera's number 0 to 1, .* found '2'"):
        RIG.choose(["2"], "--x", EVERY)


@pytest.mark.parametrize("item", ["14", "middle", "", "::0", "1:2:3:4", "5:5", "1.5"])
def test_what_names_no_image(item: str) -> None:
    with pytest.raises(
        ValueError, match=r"such as left_10\), a camera's \(left, right\), a frame number 10 to 13, .*--x"
    ):
        CAPTURE.choose([item], "--x", EVERY)


def test_cameras_numbers_and_slices_choose_among_what_there_is() -> None:
    assert CAPTURE.choose(["left"], "--x", {0, 2}) == {0}
    assert CAPTURE.choose(["12"], "--x", {4}) == {4}
    assert CAPTURE.choose(["::2"], "--x", {0, 2, 3}) == {0, 3}
    assert CAPTURE.choose(["left_12"], "--x", {0}) == {1}  # a name is a name
    with pytest.raises(ValueError, match="none that may be chosen here"):
        CAPTURE.choose(["right"], "--x", {0, 1})


TRAIN_LEFT: list[Role | None] = ["train", "train", "test", "val", None]


@pytest.mark.parametrize(
    ("test", "val", "exclude", "expected"),
    [
        (None, [], [], ([0, 1], [3], [2])),
        (None, ["12"], [], ([0], [1], [2])),  # its own val image is left out; the unused one is not drawn in
        (["right_13"], [], [], ([0, 1], [], [3])),  # its own test image is left out, never trained on
        (["left_12", "000003"], ["left"], ["left_10"], None),
        (["right"], [], [], ([0, 1], [], [2, 3])),
        (["000003"], ["::2"], [], ([1], [0], [4])),
        (None, [], ["left_12"], ([0], [3], [2])),
    ],
)
def test_splits(
    test: list[str] | None, val: list[str], exclude: list[str], expected: tuple[list[int], ...] | None
) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="for --val-cams"):
            split_images(CAPTURE, TRAIN_LEFT, test, val, exclude)
        return
    splits = split_images(CAPTURE, TRAIN_LEFT, test, val, exclude)
    assert (splits["train"], splits["val"], splits["test"]) == expected


@pytest.mark.parametrize(
    ("test", "val", "exclude", "message"),
    [
        (["left_12"], ["left_12"], [], "--test-cams and --val-cams to share no image, found left_12"),
        (None, ["right_11"], [], "--test-cams and --val-cams to share no image, found right_11"),
        (["right_11"], [], ["right_11"], "--exclude-cams and the other two"),
        (None, [], ["right_11"], "at least one test image, found none of the 4"),
        (None, ["left"], [], "at least one train image"),
        ([], [], [], "at least one test image"),
    ],
)
def test_impossible_splits(test: Sequence[str] | None, val: list[str], exclude: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_images(CAPTURE, TRAIN_LEFT, test, val, exclude)
