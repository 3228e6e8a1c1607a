"""Which cameras train, which validate, which test."""

from __future__ import annotations

from collections.abc import Sequence

SPLITS = ("train", "val", "test")


def find_named_cameras(names: Sequence[str], wanted: Sequence[str], option: str) -> list[int]:
    """Indices into ``names`` of cameras given by name (``cam03``) or by index in the sorted names (``3``, ``-1``).

    Raises:
        ValueError: a name or index that does not exist, or one camera twice; the message names ``option``.
    """
    indices: list[int] = []
    for item in wanted:
        if item in names:
            index = names.index(item)
        else:
            try:
                index = range(len(names))[int(item)]
            except (ValueError, IndexError):
                raise ValueError(
                    f"expected cameras for {option} out of {', '.join(names)} (or indices 0 to {len(names) - 1}), "
                    f"found {item!r}"
                ) from None
        if index in indices:
            raise ValueError(f"expected each camera once in {option}, found {names[index]} twice")
        indices.append(index)
    return indices


def split_cameras(
    names: Sequence[str],
    test: Sequence[str] | None,
    val: Sequence[str],
    exclude: Sequence[str],
) -> dict[str, list[int]]:
    """Indices into ``names`` for each of `SPLITS`, in the order of ``names``.

    ``test=None`` means the first camera that is not excluded. Training gets what is left; ``val`` may be empty.

    Raises:
        ValueError: unknown or repeated cameras, a camera in two roles, no test camera or no training camera.
    """
    excluded = set(find_named_cameras(names, exclude, "--exclude-cams"))
    remaining = [index for index in range(len(names)) if index not in excluded]
    if test is None:
        tests = set(remaining[:1])
    else:
        tests = set(find_named_cameras(names, test, "--test-cams"))
    vals = set(find_named_cameras(names, val, "--val-cams"))
    for one, other, options in (
        (tests, vals, "--test-cams and --val-cams"),
        (tests, excluded, "--test-cams and --exclude-cams"),
        (vals, excluded, "--val-cams and --exclude-cams"),
    ):
        if one & other:
            shared = ", ".join(names[index] for index in sorted(one & other))
            default = "; without --test-cams the first camera is the test camera" if test is None else ""
            raise ValueError(f"expected {options} to share no camera, found {shared} in both{default}")
    splits = {
        "train": [index for index in remaining if index not in tests | vals],
        "val": sorted(vals),
        "test": sorted(tests),
    }
    for split in ("train", "test"):
        if not splits[split]:
            raise ValueError(
                f"expected at least one {split} camera, found none of the {len(names)} cameras left for it; change "
                "--test-cams, --val-cams or --exclude-cams"
            )
    return splits
