"""Results as data, and the worst of several."""

import json

import numpy as np

from moegs_ns.checking.result import CheckResult, Verdict, fine, listed, skipped, worst


def test_the_worst_counts() -> None:
    doubtful = CheckResult("blur", Verdict.DOUBTFUL, "cam01 is soft.", ("cam01",))
    assert worst([]) == 0
    assert worst([fine("a", "b"), doubtful, skipped("c", "one camera")]) == 1
    assert worst([CheckResult("x", Verdict.UNUSABLE, ""), doubtful]) == 2


def test_data_are_plain_json() -> None:
    numbers = {"a": np.float32(1.23456789), "b": [np.nan, np.int64(3)], "c": {"d": np.array([1.0, np.inf])}, "e": "f"}
    data = CheckResult("blur", Verdict.DOUBTFUL, "Soft.", ("cam01",), numbers).as_data()
    assert (
        json.loads(json.dumps(data, allow_nan=False))
        == data
        == {
            "check": "blur",
            "verdict": "doubtful",
            "skipped": False,
            "cameras": ["cam01"],
            "sentence": "Soft.",
            "numbers": {"a": 1.235, "b": [None, 3], "c": {"d": [1.0, None]}, "e": "f"},
        }
    )


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(10)), most=3) == "0, 1, 2 and 7 more"
