"""Which images train, which validate, which test, where they are chosen one by one.

Captures by a camera that moves have no camera to hold out as a whole: frames are held out instead. Rigs may have both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from moegs_ns.scene.splits import SPLITS

Role = Literal["train", "val", "test"]


@dataclass(frozen=True)
class ImageLabels:
    """What N images can be called by.

    Attributes:
        names: of each image, all different.
        cameras: of each image, the camera's name.
        frames: of each image, its number in the recording.
        camera_names: in the order numbers count them.
        numbers: whether a plain number on the command line means a frame or a camera.
    """

    names: Sequence[str]
    cameras: Sequence[str]
    frames: Sequence[int]
    camera_names: Sequence[str]
    numbers: Literal["frame", "camera"]

    def choose(self, wanted: Sequence[str], option: str, among: set[int]) -> set[int]:
        """Images a user named: by an image's name, a camera's name, a number, or a slice of the images in the order of
        time (``4::8``).

        Args:
            wanted: what was given.
            option: of which option, for messages.
            among: the images cameras, numbers and slices may choose from. A name may be that of any image.

        Raises:
            ValueError: something that names no image.
        """
        chosen: set[int] = set()
        for item in wanted:
            found = self._find(item, among)
            if not found:
                raise ValueError(
                    f"expected {self._expected()} for {option}, found {item!r}, which is none that may be chosen here"
                )
            chosen |= found
        return chosen

    def _find(self, item: str, among: set[int]) -> set[int]:
        if item in self.names:
            return {self.names.index(item)}
        if item in self.camera_names:
            return {image for image in among if self.cameras[image] == item}
        parts = item.split(":")
        try:
            numbers = [int(part) if part else None for part in parts]
        except ValueError:
            return set()
        if 2 <= len(parts) <= 3 and 0 not in numbers[2:]:
            in_time = sorted(among, key=lambda image: (self.frames[image], self.names[image]))
            return set(in_time[slice(*numbers)])
        if len(parts) != 1 or numbers[0] is None:
            return set()
        if self.numbers == "frame":
            return {image for image in among if self.frames[image] == numbers[0]}
        if not -len(self.camera_names) <= numbers[0] < len(self.camera_names):
            return set()
        return {image for image in among if self.cameras[image] == self.camera_names[numbers[0]]}

    def _expected(self) -> str:
        number = (
            f"a frame number {min(self.frames)} to {max(self.frames)}"
            if self.numbers == "frame"
            else f"a camera's number 0 to {len(self.camera_names) - 1}"
        )
        return (
            f"an image's name (such as {self.names[0]}), a camera's ({', '.join(self.camera_names)}), {number}, or a "
            "slice of the images in the order of time (4::8)"
        )


def split_images(
    images: ImageLabels,
    roles: Sequence[Role | None],
    test: Sequence[str] | None,
    val: Sequence[str],
    exclude: Sequence[str],
) -> dict[str, list[int]]:
    """Positions of the images for each of `SPLITS`, ascending.

    What a user names replaces what the data set says: without ``test`` and ``val`` its own roles hold, with them its
    own test or validation images that are not named are left out. Nothing the data set holds out is ever trained on.

    Args:
        images: N images.
        roles: what the data set uses each for; None for nothing.
        test, val, exclude: what was given for --test-cams, --val-cams and --exclude-cams. Cameras, numbers and slices
            choose for ``val`` among what would otherwise train; for ``test`` among all that is not excluded.

    Raises:
        ValueError: names of no image, images in two splits, no test image or no training image.
    """
    every = set(range(len(roles)))
    remaining = every - images.choose(exclude, "--exclude-cams", every)
    own = {role: {image for image in remaining if roles[image] == role} for role in SPLITS}
    tests = own["test"] if test is None else images.choose(test, "--test-cams", remaining)
    trains = own["train"] - tests
    vals = images.choose(val, "--val-cams", trains) if val else own["val"] - tests
    for one, other, options in (
        (vals, tests, "--test-cams and --val-cams"),
        (tests | vals, every - remaining, "--exclude-cams and the other two"),
    ):
        if one & other:
            shared = ", ".join(images.names[image] for image in sorted(one & other)[:5])
            raise ValueError(f"expected {options} to share no image, found {shared} in both; name each image once")
    splits = {"train": sorted(trains - vals), "val": sorted(vals), "test": sorted(tests)}
    for split in ("train", "test"):
        if not splits[split]:
            raise ValueError(
                f"expected at least one {split} image, found none of the {len(remaining)} images left for it; change "
                "--test-cams, --val-cams or --exclude-cams"
            )
    return splits
