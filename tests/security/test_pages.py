"""Pages that commands write, and the viewer, show names from data as text: no name becomes an element or a script."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from moegs_ns.exporting.charts import Chart, Curve, svg
from moegs_ns.exporting.gate_page import GatePage, Instant, gate_page
from moegs_ns.exporting.splat_page import PageScene, write_splat_page
from moegs_ns.reporting.tables import Table
from moegs_ns.viewer.markdown import as_words
from moegs_ns.viewer.pictures import legend
from moegs_ns.viewer.statistics_panel import as_table
from tests.browser import needs_chromium, open_page
from tests.exporting.splat_pages import make_frames, make_scene
from tests.viewer.test_reach import running_viewer
from tests.viewer.window import HARMLESS

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style></script><b>",
    "' onclick='alert(1)",
    "{{viewer}}",
    "]]>--><!--",
)


class Skeleton(HTMLParser):
    """Elements of a page and names of their attributes, in order; and the attributes' values, and texts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.shown: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.shown += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def gates(name: str) -> str:
    """``moegs report gates`` of an expert, in a scene, with a camera of that name."""
    panels = [f"{kind}_{name}" for kind in ("expert", "gate", "error")]
    files = {panel: f"pictures/{panel}.png" for panel in ("truth", "rgb", "entropy", "winner", "best", "error_rgb")}
    files |= {panel: f"pictures/{panel}.png" for panel in panels}
    page = GatePage(
        title=name,
        facts=name,
        summary=[name],
        experts=[name],
        error_top=0.1,
        instants=[Instant(name, 0.0, files, {"rgb": name, panels[0]: name})],
        charts=[svg(Chart(name, name, name, [0, 1], [Curve(name, [1.0, 2.0], "#000")]))],
        tables=[Table(name, [name, "PSNR"], [[name, name]], [name])],
        definitions={name: name},
    )
    return gate_page(page)


def splats(name: str, folder: Path) -> str:
    """``moegs export --html`` of a run of that name."""
    view = make_scene().view
    scene = PageScene(title=name, facts=name, rows={name: name}, view=view, fps=10.0)
    write_splat_page(folder / "page.html", make_frames(20, 1, 0), scene)
    return (folder / "page.html").read_text("utf8")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_text_in_reports(name: str) -> None:
    plain, hostile = Skeleton(gates("stg")), Skeleton(gates(name))
    assert hostile.elements == plain.elements
    assert any(name in text for text in hostile.shown)


def test_names_stay_text_in_exported_pages(tmp_path: Path) -> None:
    plain = Skeleton(splats("stg", tmp_path))
    for name in HOSTILE:
        hostile = Skeleton(splats(name, tmp_path))
        assert hostile.elements == plain.elements
        assert any(name in text for text in hostile.shown)


def test_the_viewers_words_are_no_program() -> None:
    for name in (*HOSTILE, "{alert(1)}", "a|b", "`x`", "[x](javascript:alert(1))", "import x", "**a**"):
        made = as_words(name)
        assert not set("{}<>|`[]()*=\"'/:;") & set(made.replace("&#", "").replace(";", ""))
        assert made in as_table({"Error": name}) and made in legend([name])
    assert as_words("cam 03, frame 12.5 %") == "cam 03, frame 12.5 %"


@needs_chromium
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # there is no model to draw
def test_a_browser_shows_them_and_runs_nothing(tmp_path: Path) -> None:
    """The first line is the fault that is mended: the viewer's Markdown runs what stands in braces."""
    name = "cam{window.second = 1}<b>"
    with running_viewer(tmp_path) as (viewer, port):
        viewer.viser_server.gui.add_markdown("unescaped {window.first = 1}")
        viewer.viser_server.gui.add_markdown(as_table({"Error": name}))
        viewer.viser_server.gui.add_markdown(legend([name]))
        with open_page(700, 500, tolerated=HARMLESS) as page:
            page.goto(f"http://localhost:{port}")
            page.wait_for_function(f"document.body.innerText.split({name!r}).length == 3")
            page.wait_for_function("document.body.innerText.includes('unescaped 1')")
            assert page.evaluate("[window.first, window.second]") == [1, None]
