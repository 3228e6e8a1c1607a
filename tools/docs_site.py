"""Hooks of `mkdocs build`: the pages read alike on a code host and as a site.

Markdown files link to each other and to files of the checkout by relative paths, wherever they lie. The site is made
of `docs/` only, so this brings in what lies outside of it:

- documents (README, CHANGELOG, those of examples) become pages of the site (`PAGES`);
- other files and folders that documents link to (presets, scripts, the licence) become pages that show them, or are
  copied where they are pictures;
- links follow.

A site thus shows the files of its own version, needs no address of a repository, and is checked by
``mkdocs build --strict`` down to the last link.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs"
#: Documents outside docs/, by their path in the checkout, and the page each becomes.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "examples/mixed/README.md": "examples/mixed.md",
}
#: Folder of the site for pages that show a file of the checkout.
SHOWN = "files"
PICTURES = {".png", ".jpg", ".svg", ".gif", ".mp4", ".webp"}
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".sh": "bash", ".yml": "yaml", ".cpp": "cpp"}
LARGEST = 200_000  # bytes of a file that is shown in full

#: A link or picture: what stands before the address, the address, its anchor, what follows (a title).
LINK = re.compile(r"(\]\()([^)#\s]*)((?:#[^)\s]*)?)([^)]*\))")
CODE = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.M | re.S)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add documents that lie outside `docs/`, and whatever any document links to."""
    documents = {f"{DOCS}/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    for source, page in PAGES.items():
        documents[source] = (ROOT / source).read_text("utf8")
        files.append(File.generated(config, page, content=documents[source]))
    waiting = [target for source, text in documents.items() for target in outside_targets(source, text)]
    while waiting:
        target = waiting.pop()
        page = site_path(target)
        if files.get_file_from_path(page) is not None:
            continue
        path = ROOT / target
        if path.suffix in PICTURES:
            files.append(File.generated(config, page, abs_src_path=str(path)))
            continue
        if path.is_dir():
            waiting += [posixpath.join(target, name) for name in _listed(path)]
        files.append(File.generated(config, page, content=_shown(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to where their targets are on the site."""
    pages = {name: source for source, name in PAGES.items()}
    source = pages.get(page.file.src_uri, f"{DOCS}/{page.file.src_uri}")
    if page.file.src_uri.startswith(f"{SHOWN}/"):
        return markdown
    return relink(markdown, source, page.file.src_uri)


def relink(markdown: str, source: str, page: str) -> str:
    """The text of a document with its relative links as they are on the site.

    Args:
        markdown: text of the document.
        source: its path in the checkout.
        page: its path on the site.
    """

    def replaced(match: re.Match[str]) -> str:
        before, address, anchor, after = match.groups()
        target = checkout_path(source, address)
        if target is None:
            return match.group()
        return before + posixpath.relpath(site_path(target), posixpath.dirname(page) or ".") + anchor + after

    parts, end = [], 0
    for code in CODE.finditer(markdown):
        parts += [LINK.sub(replaced, markdown[end : code.start()]), code.group()]
        end = code.end()
    return "".join([*parts, LINK.sub(replaced, markdown[end:])])


def checkout_path(source: str, address: str) -> str | None:
    """Path in the checkout that a link of the document ``source`` names; None for other addresses and mere anchors."""
    if not address or ":" in address or address.startswith("/"):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), address))


def site_path(target: str) -> str:
    """Source path on the site of a file or folder of the checkout, by its path there."""
    if target in PAGES:
        return PAGES[target]
    if target.startswith(f"{DOCS}/"):
        return target.removeprefix(f"{DOCS}/")
    if Path(target).suffix in PICTURES:
        return f"{SHOWN}/{target}"
    return f"{SHOWN}/{target}.md"


def outside_targets(source: str, text: str) -> list[str]:
    """Files and folders outside `docs/` that a document links to and that are no pages yet."""
    found = []
    for _, address, _, _ in LINK.findall(CODE.sub("", text)):
        target = checkout_path(source, address)
        if target is None or target in PAGES or target.startswith(f"{DOCS}/"):
            continue
        if target.startswith("..") or not (ROOT / target).exists():
            raise PluginError(f"{source} links to {address}, expected a file of the checkout at {target}, found none")
        found.append(target)
    return found


def _listed(folder: Path) -> list[str]:
    """Names of a folder's text files; what is large, hidden or binary is not shown."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [name for name in names if _text(folder / name) is not None]


def _text(path: Path) -> str | None:
    """Content of a text file that is small enough to show; None otherwise."""
    if path.stat().st_size > LARGEST:
        return None
    content = path.read_bytes()
    return None if b"\0" in content[:8192] else content.decode("utf8")


def _shown(target: str) -> str:
    """Markdown of the page that shows a file, or lists a folder, of the checkout. The search passes it over."""
    path = ROOT / target
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {target}\n\n"
    if path.is_dir():
        folder = posixpath.basename(target)
        return head + "".join(f"- [{name}]({folder}/{name}.md)\n" for name in _listed(path))
    text = _text(path)
    if text is None:
        return f"{head}{path.stat().st_size / 1e3:.0f} kB, in the checkout.\n"
    fence = "~" * max([3, *(len(run) + 1 for run in re.findall(r"^~+", text, re.M))])
    language = LANGUAGES.get(path.suffix, "text")
    return f"{head}{fence}{language}\n{text.rstrip()}\n{fence}\n"
