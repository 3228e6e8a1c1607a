"""Cameras by name and by index; who trains, validates and tests."""

import pytest

from moegs_ns.scene.splits import find_named_cameras, split_cameras

NAMES = ["cam00", "cam01", "cam02", "cam04"]


def test_by_name_and_by_index() -> None:
    assert find_named_cameras(NAMES, ["cam04", "1", "-4"], "--x") == [3, 1, 0]
    with pytest.raises(ValueError, match=r"--x out of cam00, .*found 'cam03'"):
        find_named_cameras(NAMES, ["cam03"], "--x")
    with pytest.raises(ValueError, match="found '4'"):
        find_named_cameras(NAMES, ["4"], "--x")
    with pytest.raises(ValueError, match="found cam01 twice"):
        find_named_cameras(NAMES, ["1", "cam01"], "--x")


@pytest.mark.parametrize(
    ("test", "val", "exclude", "expected"),
    [
        (None, [], [], ([1, 2, 3], [], [0])),
        (None, [], ["cam00"], ([2, 3], [], [1])),
        (["cam04", "0"], ["cam02"], [], ([1], [2], [0, 3])),
        (["3"], [], ["1"], ([0, 2], [], [3])),
    ],
)
def test_splits(test: list[str] | None, val: list[str], exclude: list[str], expected: tuple[list[int], ...]) -> None:
    splits = split_cameras(NAMES, test, val, exclude)
    assert (splits["train"], splits["val"], splits["test"]) == expected


@pytest.mark.parametrize(
    ("test", "val", "exclude", "message"),
    [
        (["cam01"], ["cam01"], [], "--test-cams and --val-cams to share no camera, found cam01"),
        (None, ["cam00"], [], "without --test-cams the first camera is the test camera"),
        (["cam01"], [], ["cam01"], "--test-cams and --exclude-cams"),
        (["cam01"], ["cam02"], ["cam02"], "--val-cams and --exclude-cams"),
        ([], [], [], "at least one test camera"),
        (None, ["1", "2", "3"], [], "at least one train camera"),
        (None, [], ["0", "1", "2"], "at least one train camera"),
        (None, [], ["0", "1", "2", "3"], "at least one train camera"),
    ],
)
def test_impossible_splits(test: list[str] | None, val: list[str], exclude: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_cameras(NAMES, test, val, exclude)
