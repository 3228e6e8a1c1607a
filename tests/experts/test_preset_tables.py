"""Types of options as TOML can say them."""

from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest

from moegs_ns.experts.preset_tables import check_names, may_be, type_in_words


@pytest.mark.parametrize(
    ("annotation", "fits", "does_not"),
    [
        (int, [3, -1], [3.0, True, "3", [3], {}]),
        (float, [3, 0.5, float("inf")], [True, "0.5", [0.5]]),
        (bool, [True, False], [0, 1, "True"]),
        (str, ["a", ""], [1, ["a"]]),
        (Path, ["a/b"], [1]),
        (int | None, [3, "None"], [3.5, "none", {}]),
        (Optional[float], [3, "None"], ["x"]),  # noqa: UP045 - what nerfstudio's configs say
        (Literal["sh", "lite"], ["sh"], ["full", 1]),
        (Literal[1, 2], [1], [True, 1.0]),
        (tuple[float, ...], [[], [1, 2.5]], [1.0, ["a"], [[1.0]]]),
        (tuple[int, int] | None, [[1, 2], "None"], [[1], [1, 2, 3], [1.5, 2]]),
        (Annotated[int, "anything"], [1], ["1"]),
        (Any, [1, "a", {}], []),
        (dict[str, float], [], [{"a": 1.0}, 1]),
    ],
    ids=str,
)
def test_what_may_be_given_for_a_type(annotation: Any, fits: list[Any], does_not: list[Any]) -> None:
    assert all(may_be(value, annotation) for value in fits)
    assert not any(may_be(value, annotation) for value in does_not)


def test_types_are_said_in_words() -> None:
    assert type_in_words(int | None) == 'an integer or "None"'
    assert type_in_words(Literal["sh", "lite"]) == '"sh" or "lite"'
    assert type_in_words(tuple[float, float]) == "an array of 2 floats"
    assert type_in_words(tuple[int, ...]) == "an array of ints"
    assert type_in_words(dict[str, float]) == "what a preset cannot hold"


def test_unknown_names_are_all_said_with_what_may_be_meant() -> None:
    with pytest.raises(
        ValueError, match=r"colours in \[a\] of x.toml, found bleu \(did you mean blue\?\), up \(.* \[b\]\)"
    ):
        check_names(["bleu", "red", "up"], ["blue", "red"], "colours", "a", Path("x.toml"), {"up": "b"})
    check_names(["red"], ["blue", "red"], "colours", "a", Path("x.toml"))
