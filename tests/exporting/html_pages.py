"""What a page refers to, by Python's own parser."""

from html.parser import HTMLParser

_EMPTY = {"meta", "img", "input", "br", "line", "circle", "polyline", "link"}


class PageReader(HTMLParser):
    """Feed it a page; it raises where elements are not closed in the order they were opened."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.references: list[str] = []
        self.images: list[str] = []
        self.text: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]
        self.references += found
        self.images += found if tag == "img" else []
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _EMPTY:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            raise ValueError(f"</{tag}> closes nothing that is open")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read_page(text: str) -> PageReader:
    """The page's references and text, all elements closed.

    Raises:
        ValueError: it is not well-formed.
    """
    reader = PageReader()
    reader.feed(text)
    reader.close()
    if reader._open:
        raise ValueError(f"never closed: {reader._open}")
    return reader
