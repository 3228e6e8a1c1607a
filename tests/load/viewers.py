"""A running viewer with several people in it."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moegs_ns.viewer.page import ViewerPage
from moegs_ns.viewer.render_thread import RenderThread
from tests.load.growth import Sample, Watch
from tests.router.building import make_expert, make_mixture, randomise_router, save_run
from tests.viewer.live import live_page

ROOT = Path(__file__).resolve().parents[2]
_REST_SECONDS = 20.0  # within which threads notice that their window is closed


@dataclass
class Visited:
    """What a viewer went through.

    Attributes:
        samples: of its process while nobody looked, by how many pictures it had rendered.
        received: pictures, by visitor.
        left_behind: names of the threads that still render after everyone has left.
    """

    samples: list[Sample]
    received: list[int]
    left_behind: list[str]

    @property
    def rendered(self) -> int:
        """Pictures in all."""
        return self.samples[-1].at


def visit_viewer(
    folder: Path, visitors: int, visits: int, moves: int, warm_up: int = 1, longest_side: int | None = None
) -> Visited:
    """Show a small mixture to several visitors at once, each a program of its own, again and again, and look at this
    process after each of their visits.

    Args:
        folder: for runs and logs.
        visitors: at once.
        visits: how often they open and close the viewer after the warm-up.
        moves: of each in a visit; each is answered by at least one picture.
        warm_up: visits before the first sample.
        longest_side: of pictures at rest, in pixels; by default the viewer's own.

    Raises:
        RuntimeError: a visitor was not served.
    """
    experts = [
        save_run(folder / family, make_expert(family, seed=seed, count=60), family)
        for seed, family in enumerate(("stg", "ex4dgs"))
    ]
    model = make_mixture(experts, background="black")
    randomise_router(model)
    with (
        live_page(model, folder) as (page, port),
        _counted(page) as pictures,
        _visitors(port, visitors, moves) as people,
    ):
        if longest_side is not None:
            page.viewer.control_panel._max_res.value = longest_side
        for _ in range(warm_up):
            _visit(people)
        received = [0] * visitors
        with Watch() as watch:
            watch.sample(pictures[0])
            for _ in range(visits):
                received = [sum(both) for both in zip(received, _visit(people), strict=True)]
                watch.sample(pictures[0])
        return Visited(watch.samples, received, rendering_threads())


@contextmanager
def _visitors(port: int, count: int, moves: int) -> Iterator[list["subprocess.Popen[str]"]]:
    command = [sys.executable, "-m", "tests.load.visitor", str(port), str(moves)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    people = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    try:
        yield people
    finally:
        for one in people:
            one.kill()
            one.communicate()


def _visit(people: Sequence["subprocess.Popen[str]"]) -> list[int]:
    """One visit of all at once, until they have left; how many pictures each saw."""
    for one in people:
        assert one.stdin is not None
        one.stdin.write("again\n")
        one.stdin.flush()
    answers = [one.stdout.readline() if one.stdout is not None else "" for one in people]
    if not all(answers):
        raise RuntimeError(
            f"expected every visitor to be served, found {answers.count('')} of {len(people)} that were not; what "
            "they said is above"
        )
    deadline = time.monotonic() + _REST_SECONDS
    while rendering_threads() and time.monotonic() < deadline:
        time.sleep(0.05)
    return [int(answer) for answer in answers]


@contextmanager
def _counted(page: ViewerPage) -> Iterator[list[int]]:
    """A list of one number: how many pictures were shown meanwhile."""
    count, lock, note = [0], threading.Lock(), page.note_picture

    def note_picture(thread: RenderThread) -> None:
        with lock:
            count[0] += 1
        note(thread)

    page.note_picture = note_picture  # type: ignore[method-assign]
    try:
        yield count
    finally:
        page.note_picture = note  # type: ignore[method-assign]


def rendering_threads() -> list[str]:
    """Names of the threads that render for windows, nerfstudio's own among them."""
    from nerfstudio.viewer.render_state_machine import RenderStateMachine

    return [one.name for one in threading.enumerate() if isinstance(one, RenderStateMachine)]
