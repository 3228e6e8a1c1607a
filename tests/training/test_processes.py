"""Child processes: logs, locks, stopping, and never outliving who started them."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moegs_ns.training import processes
from moegs_ns.training.processes import InterruptedStageError, Processes, StageFailedError, last_words

PATIENCE = 30.0


def python(code: str) -> Processes:
    """Processes that run ``code`` in place of nerfstudio; ``sys.argv`` is ``-c PARENT COMMAND ...``."""
    return Processes([sys.executable, "-c", textwrap.dedent(code)])


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    child = python("import sys; print('out', *sys.argv[2:]); print('err', file=sys.stderr)")
    log = tmp_path / "run" / "train.log"
    child.run(["ns-train", "moegs-stg"], log)
    assert sorted(log.read_text().split("\n")) == ["", "err", "out ns-train moegs-stg"]
    child.run(["ns-train"], log, append=True)
    assert log.read_text().count("out") == 2
    child.run(["ns-train"], log)
    assert log.read_text().count("out") == 1


@pytest.mark.parametrize(("device", "seen"), [("3", "3"), ("cpu", ""), (None, "0,1")])
def test_the_child_sees_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str | None, seen: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    python("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])").run(["ns-train"], tmp_path / "log", device)
    assert (tmp_path / "log").read_text().strip() == seen


def test_the_child_computes_with_its_part_of_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = python("import os; print(os.environ.get('OMP_NUM_THREADS'))")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    said = []
    for threads in (None, 3):
        child.threads = threads
        child.run(["ns-train"], tmp_path / "log")
        said.append((tmp_path / "log").read_text().strip())
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    child.run(["ns-train"], tmp_path / "log")
    assert [*said, (tmp_path / "log").read_text().strip()] == ["None", "3", "5"]


def test_a_failure_is_told_with_its_reason_and_log(tmp_path: Path) -> None:
    child = python("print('first'); raise ValueError('expected this, found that')")
    log = tmp_path / "train.log"
    with pytest.raises(
        StageFailedError, match=r"exit status 1\): ValueError: expected this, found that; see .*train.log"
    ):
        child.run(["ns-train"], log)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it printed nothing"),
        ("loading\n╭─ Training ─╮\n│  halfway   │\n╰────────────╯\n", "halfway"),
        ("torch.OutOfMemoryError: no memory\nwriting nothing\n", "torch.OutOfMemoryError: no memory"),
    ],
)
def test_last_words(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "log").write_text(text)
    assert last_words(tmp_path / "log") == words


def test_a_run_folder_at_work_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_SECONDS_FOR_THE_LOCK", 0.3)
    first = python("print('here', flush=True); import time; time.sleep(60)")
    log = tmp_path / "train.log"

    def work() -> None:
        with pytest.raises(InterruptedStageError):
            first.run(["ns-train"], log)

    thread = threading.Thread(target=work)
    thread.start()
    wait_for(lambda: log.is_file() and log.read_text())
    with pytest.raises(StageFailedError, match=f"nobody at work in {tmp_path}, found another process"):
        python("").run(["ns-train"], log)
    assert log.read_text() == "here\n", "the refused call must not touch the log of the one at work"
    first.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    python("").run(["ns-train"], log)
    with pytest.raises(InterruptedStageError, match="not started"):
        first.run(["ns-train"], log)


def test_a_process_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_SECONDS_TO_STOP", 0.3)
    deaf = python(
        """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("here", flush=True)
        time.sleep(60)
        """
    )
    outcome: list[type[Exception]] = []

    def work() -> None:
        try:
            deaf.run(["ns-train"], tmp_path / "log")
        except InterruptedStageError as error:
            outcome.append(type(error))

    thread = threading.Thread(target=work)
    thread.start()
    wait_for(lambda: (tmp_path / "log").is_file() and (tmp_path / "log").read_text())
    deaf.stop()
    thread.join(PATIENCE)
    assert outcome == [InterruptedStageError]


# What child.py does, with a module of the test's own in the place of nerfstudio's.
CHILD = """
import sys, types
from moegs_ns.training import child

def entrypoint():
    import time
    try:
        print("working", *sys.argv, flush=True)
        time.sleep(60)
    except KeyboardInterrupt:  # as nerfstudio does
        print("interrupted", flush=True)

sys.modules["stand_in"] = types.SimpleNamespace(entrypoint=entrypoint)
child.COMMANDS = {"ns-train": ("stand_in", "entrypoint")}
sys.exit(child.main())
"""


def test_sigterm_reaches_the_trainer_as_a_keyboard_interrupt() -> None:
    command = [sys.executable, "-c", CHILD, str(os.getpid()), "ns-train", "moegs-stg"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "working ns-train moegs-stg\n"
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE) == 128 + signal.SIGTERM
        assert child.stdout.read() == "interrupted\n"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent_code = f"""
    import sys
    from pathlib import Path
    from moegs_ns.training.processes import Processes
    Processes([sys.executable, "-c", {CHILD!r}]).run(["ns-train"], Path({str(tmp_path / "log")!r}))
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(parent_code)]) as parent:
        log = tmp_path / "log"
        wait_for(lambda: log.is_file() and "working" in log.read_text())
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) == 1 and is_alive(int(children[0]))
        parent.kill()
    wait_for(lambda: not is_alive(int(children[0])))
    assert log.read_text().endswith("interrupted\n")
    python("").run(["ns-train"], tmp_path / "log")  # the lock went with the child


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_a_child_whose_parent_died_before_it_looked_ends_at_once() -> None:
    no_parent = str(os.getpid() + 1)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, no_parent, "ns-train"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert "working" not in done.stdout
