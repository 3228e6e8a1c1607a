"""What `make env` puts into the environment besides packages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


DEFAULTS = {"OMP_WAIT_POLICY": "passive", "THP_MEM_ALLOC_ENABLE": "1"}


def value_of(variable: str, **preset: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in DEFAULTS} | preset
    code = f"import os; print(os.environ.get({variable!r}))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="not the environment that `make env` creates")
@pytest.mark.parametrize("variable", DEFAULTS)
def test_what_processors_profit_from_is_the_default_unless_the_user_says_otherwise(variable: str) -> None:
    assert value_of(variable) == DEFAULTS[variable]
    assert value_of(variable, **{variable: "other"}) == "other"
