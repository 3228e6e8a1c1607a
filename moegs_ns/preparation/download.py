"""Files from the web that go on where they were cut off, and are as long as their server says."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from moegs_ns.files import require_room, write_text

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60.0

Progress = Callable[[int, int], None]
"""``progress(bytes_there, bytes_in_all)``"""


def fetch(url: str, target: Path, progress: Progress = lambda done, total: None) -> Path:
    """Fetch a file, or what is missing of it.

    The file grows as ``<name>.part`` and is renamed when it is as long as the server says; one that changed on the
    server since its first half came is fetched anew. Beside it a ``<name>.sha256`` of what came is left, by which
    `check_digest` tells whether it changed on this disk since.

    Args:
        url: http or https.
        target: where the file is to lie; one that is there is left alone.
        progress: called after every chunk.

    Returns:
        ``target``.

    Raises:
        OSError: the server cannot be reached, refuses, or ended early, or the disk is too full; what has come stays for
            the next attempt.
        ValueError: what is there is longer than the file on the server.
    """
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    version = target.with_name(target.name + ".version")  # the server's name for what the part is a part of
    there = part.stat().st_size if part.is_file() else 0
    try:
        with _open(url, there, version.read_text("utf8") if version.is_file() else "") as response:
            total = _total(response, url)
            if there > total:
                raise ValueError(
                    f"expected at most {total:,} bytes in {part}, as {url} has, found {there:,}; delete it and begin "
                    "anew"
                )
            require_room(part.parent, total - there, f"the rest of {url}", "choose another folder")
            if there < total:
                if response.status != 206:  # the server sends the whole file whatever was asked for
                    there = 0
                write_text(version, response.headers.get("ETag") or response.headers.get("Last-Modified") or "")
                with part.open("ab" if there else "wb") as output:
                    while chunk := response.read(_CHUNK):
                        output.write(chunk)
                        there += len(chunk)
                        progress(there, total)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        retry = "check the address" if _refused(error) else "run the same command again to go on"
        raise OSError(f"expected to fetch {url}, found: {error}; {retry}") from error
    if there != total:
        raise OSError(f"expected {total:,} bytes from {url}, found the end after {there:,}; run the same command again")
    write_text(target.with_name(target.name + ".sha256"), f"{digest(part)}  {target.name}\n")
    part.replace(target)
    version.unlink(missing_ok=True)
    return target


def check_digest(file: Path) -> None:
    """Compare a fetched file with the digest that was noted when it came.

    Raises:
        ValueError: it has changed since; nothing is raised where no digest was noted.
    """
    noted = file.with_name(file.name + ".sha256")
    if not noted.is_file():
        return
    expected, found = noted.read_text("utf8").split()[0], digest(file)
    if found != expected:
        raise ValueError(
            f"expected {file} with SHA-256 {expected}, as it was fetched, found {found}; delete it and fetch it again"
        )


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _refused(error: Exception) -> bool:
    return isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500


def _open(url: str, there: int, version: str) -> HTTPResponse:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"expected an http or https address, found {url}")
    request = urllib.request.Request(url, headers={"User-Agent": "moegs_ns", "Accept-Encoding": "identity"})
    if there:
        request.add_header("Range", f"bytes={there}-")
        if version and not version.startswith("W/"):
            request.add_header("If-Range", version)
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # what is there is all there is, or more
            raise
        error.close()
        return _open(url, 0, "")


def _total(response: HTTPResponse, url: str) -> int:
    """Bytes of the whole file."""
    if response.status == 206:
        said = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        said = response.headers.get("Content-Length", "")
    if not said.isdigit():
        raise OSError(f"expected {url} to say how long it is, found neither a length nor a range in its answer")
    return int(said)
