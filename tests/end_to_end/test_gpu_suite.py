"""benchmarks/gpu_suite.sh as far as a machine without a GPU can run it: the plan, the refusal, and, with an interpreter
that only plays its part, how steps are run, limited and recorded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.splats.mixture_libraries import compile_for_cpu

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_suite.sh"
STEPS = ["environment", "kernels", "gsplat", "tests", "sanitizer", "golden", "benchmark", "training"]

# Says it has a GPU, and does what a step's command leaves behind. $FAILS and $HANGS name commands by a word in them.
FAKE_PYTHON = """#!{python}
import os, sys, time
from pathlib import Path

program = sys.stdin.read() if "-" in sys.argv[1:2] else ""
what = " ".join(sys.argv[1:]) + program
if "-" in sys.argv[1:2] and "ElementTree" in program:
    sys.argv = sys.argv[1:]
    exec(program)
if "is_available" in program:
    print("Imagined GPU, 80 GiB, compute capability 9.0; torch 2, CUDA 13")
    sys.exit()
if "get_device_capability())" in what:
    print("9.0")
    sys.exit()
with open(os.environ["CALLS"], "a") as calls:
    calls.write(what.replace("\\n", " ") + "\\n")
if os.environ.get("HANGS") and os.environ["HANGS"] in what:
    print("hanging", flush=True)
    time.sleep(60)
if os.environ.get("FAILS") and os.environ["FAILS"] in what:
    sys.exit("no such luck")
if "--junitxml" in what:
    junit = sys.argv[sys.argv.index("--junitxml") + 1]
    skipped = os.environ.get("SKIPPED", "2")
    Path(junit).write_text(f'<testsuites><testsuite tests="5" skipped="{{skipped}}"/></testsuites>')
if "--output" in sys.argv:
    output = Path(sys.argv[sys.argv.index("--output") + 1])
    output.mkdir() if "golden" in what else output.write_text("{{}}")
"""


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


# Notes its options and runs the command behind them, as compute-sanitizer does; the tool in $FINDS reports an error.
FAKE_SANITIZER = """#!/usr/bin/env bash
echo "compute-sanitizer $* caching=$PYTORCH_NO_CUDA_MEMORY_CACHING" >>"$CALLS"
[[ "$*" == *"--tool ${FINDS:-nothing} --error-exitcode 1 "* ]] && { echo "Invalid read of size 4"; exit 1; }
while [[ $1 == --* ]]; do shift 2; done
exec "$@"
"""


@pytest.fixture
def imagined(tmp_path: Path) -> dict[str, str]:
    """Variables of a machine with a GPU that does not exist."""
    python, sanitizer = tmp_path / "python", tmp_path / "cuda" / "bin" / "compute-sanitizer"
    sanitizer.parent.mkdir(parents=True)
    python.write_text(FAKE_PYTHON.format(python=sys.executable))
    sanitizer.write_text(FAKE_SANITIZER)
    for program in (python, sanitizer):
        program.chmod(0o755)
    return {
        "PYTHON": str(python),
        "CALLS": str(tmp_path / "calls"),
        "WHEELS": str(tmp_path / "no-wheels"),
        "CUDA_HOME": str(tmp_path / "cuda"),
        "PATH": "/usr/bin:/bin",
    }


def results(folder: Path) -> dict[str, str]:
    lines = (folder / "results.txt").read_text().splitlines()
    return {line.split()[1]: line.split()[0] for line in lines if line.startswith(("passed", "skipped", "FAILED"))}


def test_bash_reads_it() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


def test_the_plan_lists_every_step_and_does_nothing(tmp_path: Path) -> None:
    planned = run("--plan")
    assert planned.returncode == 0, planned.stderr
    assert re.findall(r"^(\w+) +\d+s ", planned.stdout, re.MULTILINE) == STEPS
    assert "at most 600 s in all" in planned.stdout
    defined = re.findall(r"^step_(\w+)\(\)", SCRIPT.read_text(), re.MULTILINE)
    assert defined == STEPS


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(option: str) -> None:
    assert "benchmarks/gpu_suite.sh [FOLDER]" in run(option).stdout


def test_an_unknown_option_is_refused() -> None:
    refused = run("--fast")
    assert refused.returncode == 2
    assert "expected a folder for the results, or --plan, found '--fast'" in refused.stderr


def test_without_a_gpu_it_says_so_and_begins_nothing(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    refused = run(tmp_path / "out", PYTHON=sys.executable)
    assert refused.returncode == 2
    assert "expected an NVIDIA GPU, found none: torch" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_without_torch_it_says_so(tmp_path: Path) -> None:
    refused = run(tmp_path / "out", PYTHON=str(tmp_path / "no-python"))
    assert refused.returncode == 2
    assert "No such file" in refused.stderr


def test_every_step_runs_and_is_recorded(imagined: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(out, **imagined)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(out) == dict.fromkeys(STEPS, "passed")
    assert "device: Imagined GPU, 80 GiB" in (out / "results.txt").read_text()
    assert all((out / f"{name}.log").is_file() for name in STEPS)
    assert (out / "golden.tar.gz").is_file() and (out / "benchmark.json").is_file()
    calls = Path(imagined["CALLS"]).read_text()
    for part in ("tests/splats/test_gsplat_live.py", "benchmarks/golden_files.py", "examples/mixed", "_backend"):
        assert part in calls
    assert "none of 8 steps failed" in done.stdout


def test_the_sanitizer_sees_the_projects_kernels_twice(imagined: dict[str, str], tmp_path: Path) -> None:
    run(tmp_path / "out", **imagined)
    calls = Path(imagined["CALLS"]).read_text().splitlines()
    for tool in ("memcheck", "racecheck"):
        index = next(
            number for number, line in enumerate(calls) if line.startswith(f"compute-sanitizer --tool {tool} ")
        )
        assert calls[index].endswith(" - caching=1"), "every array an allocation of its own"
        assert "fuzzed_case" in calls[index + 1] and "mixture_library" in calls[index + 1]


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_what_the_sanitizer_finds_fails_its_step(tool: str, imagined: dict[str, str], tmp_path: Path) -> None:
    done = run(tmp_path / "out", **imagined, FINDS=tool)
    assert done.returncode == 1
    assert results(tmp_path / "out") == {**dict.fromkeys(STEPS, "passed"), "sanitizer": "FAILED"}
    assert "Invalid read of size 4" in done.stdout


def test_without_the_sanitizer_its_step_is_skipped(imagined: dict[str, str], tmp_path: Path) -> None:
    done = run(tmp_path / "out", **{**imagined, "CUDA_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(tmp_path / "out") == {**dict.fromkeys(STEPS, "passed"), "sanitizer": "skipped"}
    assert re.search(r"skipped sanitizer +no compute-sanitizer on the path or beside nvcc", done.stdout)


def test_what_the_sanitizer_runs_draws_every_scene(tmp_path: Path) -> None:
    """The step's own program, with the host's twin of the kernels in place of a GPU."""
    program = re.search(
        r"^step_sanitizer\(\) \{.*?<<'END'[^\n]*\n(.*?)^END$", SCRIPT.read_text(), re.MULTILINE | re.DOTALL
    )
    assert program is not None
    on_cpu = program[1].replace('"cuda"', '"cpu"').replace("torch.cuda.synchronize()\n", "")
    library = compile_for_cpu("host", tmp_path / "host.so")
    environment = {**os.environ, "MOEGS_MIXTURE_LIBRARY": str(library), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-"]
    done = subprocess.run(command, input=on_cpu, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d\d scenes drawn\n", done.stdout)


def test_all_files_with_cuda_tests_are_run(
    imagined: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("out", **imagined)
    assert (tmp_path / "out" / "results.txt").is_file(), "a relative folder is the caller's"
    mark = "mark." + "cuda"
    marked = {str(path.relative_to(ROOT)) for path in ROOT.glob("tests/**/test_*.py") if mark in path.read_text()}
    assert marked <= set(Path(imagined["CALLS"]).read_text().split())


@pytest.mark.parametrize(
    ("command", "step"),
    [
        ("gsplat.cuda._backend", "gsplat"),
        ("-m cuda", "tests"),
        ("golden_files", "golden"),
        ("moegs_ns.cli", "training"),
    ],
)
def test_a_failing_step_does_not_stop_the_others(
    command: str, step: str, imagined: dict[str, str], tmp_path: Path
) -> None:
    done = run(tmp_path / "out", **imagined, FAILS=command)
    assert done.returncode == 1
    assert results(tmp_path / "out") == {**dict.fromkeys(STEPS, "passed"), step: "FAILED"}
    assert "no such luck" in (tmp_path / "out" / f"{step}.log").read_text()
    assert "no such luck" in done.stdout and "1 of 8 steps failed" in done.stdout


def test_cuda_tests_that_are_all_skipped_fail(imagined: dict[str, str], tmp_path: Path) -> None:
    done = run(tmp_path / "out", **imagined, SKIPPED="5")
    assert done.returncode == 1
    assert results(tmp_path / "out")["tests"] == "FAILED"
    assert "found all skipped" in done.stdout


def test_a_step_without_end_is_stopped_and_the_rest_is_not_begun(imagined: dict[str, str], tmp_path: Path) -> None:
    done = run(tmp_path / "out", **imagined, HANGS="gsplat.cuda._backend", LIMIT="4")
    assert done.returncode == 1
    outcome = results(tmp_path / "out")
    assert outcome["kernels"] == "passed" and outcome["gsplat"] == "FAILED" and outcome["training"] == "FAILED"
    assert re.search(r"gsplat +stopped after \d s", done.stdout)
    assert "training     not begun: the 4 s for everything are over" in done.stdout


def test_carried_wheels_are_installed_in_an_environment_of_their_own(tmp_path: Path) -> None:
    """The step itself, with a real interpreter; a broken wheel fails it and nothing else is touched."""
    wheels, out = tmp_path / "wheels", tmp_path / "out"
    wheels.mkdir()
    out.mkdir()
    (wheels / "nothing-1.0-py3-none-any.whl").write_bytes(b"no wheel")
    body = re.search(r"^step_environment\(\) \{.*?^\}", SCRIPT.read_text(), re.MULTILINE | re.DOTALL)
    assert body is not None
    variables = {**os.environ, "WHEELS": str(wheels), "OUT": str(out), "PYTHON": sys.executable}
    command = ["bash", "-c", f"{body[0]}\nstep_environment"]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=ROOT, check=False)
    assert done.returncode != 0
    assert "nothing" in done.stdout + done.stderr
    probe = [str(out / "environment" / "bin" / "python"), "-c", "import torch, sys; print(sys.prefix)"]
    assert str(out) in subprocess.run(probe, capture_output=True, text=True, check=True).stdout


def test_the_wheels_are_those_of_the_project() -> None:
    """gsplat, nerfstudio and nerfacc as pinned for every environment."""
    listed = {
        line.split("#")[0].strip() for line in (ROOT / "benchmarks" / "gpu_suite_wheels.txt").read_text().splitlines()
    }
    pinned = (ROOT / "requirements" / "nodeps.txt").read_text().splitlines()
    assert {line for line in pinned if line and not line.startswith("#")} <= listed
