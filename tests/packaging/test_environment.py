"""What `make env` puts into the environment besides packages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def wait_policy(**preset: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | preset
    code = "import os; print(os.environ.get('OMP_WAIT_POLICY'))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="not the environment that `make env` creates")
def test_waiting_threads_sleep_unless_the_user_says_otherwise() -> None:
    assert wait_policy() == "passive"
    assert wait_policy(OMP_WAIT_POLICY="active") == "active"
