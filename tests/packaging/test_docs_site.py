"""The documentation as a site: it builds strictly, every link of it leads somewhere, and it needs no network."""

import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import needs_chromium, open_page

ROOT = Path(__file__).resolve().parents[2]
#: What a browser loads by itself, unlike links that a reader follows.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}


def build(site: Path, docs: Path) -> None:
    """``mkdocs build --strict`` of the checkout's configuration with the documents of ``docs``."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(site), docs_dir=str(docs), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build(config)
    finally:
        config.plugins.on_shutdown()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build(folder, ROOT / "docs")
    return folder


class Addresses(HTMLParser):
    """Every address in a page, whether a browser loads it by itself, and the names that anchors may have."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.followed: list[str] = []
        self.names: set[str] = set()
        self.feed(page.read_text("utf8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attributes if value is not None}
        self.names |= {values[name] for name in ("id", "name") if name in values}
        if tag in LOADED and LOADED[tag] in values:
            self.loaded.append(values[LOADED[tag]])
        elif tag == "link" and "href" in values and values.get("rel") != "canonical":
            self.loaded.append(values["href"])
        elif tag == "a" and "href" in values:
            self.followed.append(values["href"])


def pages(site: Path) -> dict[Path, Addresses]:
    """Every page but the one for missing addresses, whose links start at the root of a server."""
    return {page: Addresses(page) for page in site.rglob("*.html") if page.name != "404.html"}


def test_every_internal_link_leads_somewhere(site: Path) -> None:
    found = pages(site)
    broken, checked = [], 0
    for page, addresses in found.items():
        for address in addresses.loaded + addresses.followed:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            named = found[target].names | {""} if target in found else {""}
            checked += 1
            if not target.is_file() or unquote(parts.fragment) not in named:
                broken.append(f"{page.relative_to(site)}: {address}")
    assert checked > 1000
    assert broken == []


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loaded = {address for addresses in pages(site).values() for address in addresses.loaded}
    assert any(address.endswith(".css") for address in loaded)
    assert {address for address in loaded if urlsplit(address).scheme in ("http", "https")} == set()
    styles = "".join(style.read_text("utf8") for style in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", styles) == []


def test_every_document_is_in_the_navigation(site: Path) -> None:
    """Strict building fails otherwise; this holds that it looks, and that those from outside docs/ are there."""
    shown = Addresses(site / "index.html").followed
    written = {f"{path.relative_to(ROOT / 'docs').with_suffix('.html')}" for path in (ROOT / "docs").rglob("*.md")}
    assert written
    assert written | {"changelog.html", "security.html", "examples/mixed.html"} <= set(shown)


def test_a_broken_link_fails_the_build(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from mkdocs.exceptions import Abort

    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "architecture.md").open("a", encoding="utf8") as page:
        page.write("\n[a](results.md#no-such-heading) [b](no_such_page.md)\n")
    with pytest.raises(Abort):
        build(tmp_path / "site", tmp_path / "docs")
    assert "no-such-heading" in caplog.text
    assert "no_such_page.md" in caplog.text


def test_a_link_to_a_missing_file_of_the_checkout_fails() -> None:
    text = "[a](../configs/no_such.toml) `[b](../configs/neither.toml)`"
    with pytest.raises(Exception, match="docs/usage.md links to .*configs/no_such.toml, found none"):
        hooks().outside_targets("docs/usage.md", text)


def hooks() -> Any:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import docs_site
    finally:
        sys.path.remove(str(ROOT / "tools"))
    return docs_site


@pytest.mark.parametrize(
    ("source", "page", "link", "expected"),
    [
        ("README.md", "index.md", "docs/results.md#mixed_demo", "results.md#mixed_demo"),
        ("README.md", "index.md", "docs/images/demo_gates.png", "images/demo_gates.png"),
        ("docs/usage.md", "usage.md", "../README.md", "index.md"),
        ("docs/usage.md", "usage.md", "../configs/presets", "files/configs/presets.md"),
        ("docs/a/b.md", "a/b.md", "../../configs/presets/demo.toml", "../files/configs/presets/demo.toml.md"),
        ("docs/a/b.md", "a/b.md", "../results.md", "../results.md"),
        ("docs/usage.md", "usage.md", "../benchmarks/results/a.png", "files/benchmarks/results/a.png"),
        ("examples/mixed/README.md", "examples/mixed.md", "../../docs/usage.md#a", "../usage.md#a"),
        ("docs/usage.md", "usage.md", "#here", "#here"),
        ("docs/usage.md", "usage.md", "https://docs.nerf.studio/a.md", "https://docs.nerf.studio/a.md"),
    ],
)
def test_links_follow_their_targets(source: str, page: str, link: str, expected: str) -> None:
    text = f"See [it]({link}), not `[it]({link})` nor\n```\n[it]({link})\n```\n"
    assert hooks().relink(text, source, page) == text.replace(f"]({link}), not", f"]({expected}), not")


@needs_chromium
@pytest.mark.slow
def test_the_search_answers_from_disk(site: Path) -> None:
    with open_page() as page:
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto((site / "usage.html").as_uri())
        page.click("input.md-search__input")
        page.wait_for_function("!document.querySelector('.md-search-result__meta').innerText.includes('Initializing')")
        page.keyboard.type("responsibility of Gaussians")
        page.wait_for_selector(".md-search-result__item", state="attached")
        assert "responsib" in page.inner_text(".md-search-result__list").lower()
    assert requests
    assert [url for url in requests if not url.startswith(("file:", "data:", "about:", "blob:"))] == []
