"""Options out of range end in a sentence that names them, whatever the family."""

import dataclasses
from typing import Any

import pytest

from moegs_ns.experts.option_ranges import AT_LEAST_ONE, check_ranges
from moegs_ns.experts.registry import EXPERTS
from tests.experts import test_ed3dgs, test_four_d_gaussians

CONFIGS = {name: family.config for name, family in EXPERTS.items()}
CASES = [
    (expert, field.name)
    for expert, config in CONFIGS.items()
    for field in dataclasses.fields(config)
    if field.name in AT_LEAST_ONE
]


@pytest.mark.parametrize("expert", CONFIGS)
def test_the_defaults_are_in_range(expert: str) -> None:
    check_ranges(CONFIGS[expert]())


@pytest.mark.parametrize(("expert", "name"), CASES)
def test_nothing_and_less_are_refused(expert: str, name: str) -> None:
    for value in (0, -3):
        with pytest.raises(
            ValueError, match=rf"expected --pipeline.model.{name.replace('_', '-')} of 1 or more, found"
        ):
            check_ranges(CONFIGS[expert](**{name: value}))


def test_every_option_is_one_of_some_family() -> None:
    assert {name for _, name in CASES} == set(AT_LEAST_ONE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sh_degree": 4}, "sh-degree from 0 to 3, found 4"),
        ({"max_scale": 0.0}, "max-scale above 0, found 0.0; leave it out"),
        ({"max_seeds": -3}, "max-seeds of 1 or more, found -3"),
    ],
)
@pytest.mark.parametrize("family", [test_four_d_gaussians, test_ed3dgs])
def test_models_are_not_built_with_them(family: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        family.build(**options)
