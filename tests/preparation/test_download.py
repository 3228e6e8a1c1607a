"""Public scenes: fetched in pieces from a server of our own, checked, unpacked, whole archives and split ones."""

from __future__ import annotations

import io
import shutil
import struct
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from moegs_ns.cli import data_download
from moegs_ns.cli.main import run
from moegs_ns.preparation import public_scenes
from moegs_ns.preparation.archives import unpack
from moegs_ns.preparation.download import check_digest, digest, fetch
from moegs_ns.preparation.public_scenes import PublicScene

CONTENT = bytes(range(256)) * 5000


class Server(BaseHTTPRequestHandler):
    """Serves ``files``; breaks off after ``limit`` bytes, and understands ranges unless told not to. Notes what ranges
    were asked for, and how many bytes it sent."""

    files: ClassVar[dict[str, bytes]] = {}
    limit: int | None = None
    ranges = True
    asked: ClassVar[list[str | None]] = []
    sent: ClassVar[list[int]] = []
    version: str | None = None

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        content = self.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        other = self.headers.get("If-Range") not in (None, self.version)
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges and not other else 0
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        if self.version is not None:
            self.send_header("ETag", self.version)
        self.end_headers()
        sent = content[first:] if self.limit is None else content[first:][: self.limit]
        self.sent.append(len(sent))
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[type[Server]]:
    handler = type("Handler", (Server,), {"files": {"file.bin": CONTENT}, "asked": [], "sent": []})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.address = f"http://127.0.0.1:{listening.server_port}"  # type: ignore[attr-defined]
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield handler
    listening.shutdown()
    listening.server_close()


def test_what_was_cut_off_goes_on(server: type[Server], tmp_path: Path) -> None:
    target, seen = tmp_path / "file.bin", []
    server.limit = 400_000
    for attempt in (1, 2, 3):
        with pytest.raises(OSError, match="run the same command again"):
            fetch(f"{server.address}/file.bin", target)
        assert not target.exists()
        assert (tmp_path / "file.bin.part").stat().st_size == attempt * 400_000
    server.limit = None
    fetch(f"{server.address}/file.bin", target, lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT and seen[-1] == (len(CONTENT), len(CONTENT))
    assert server.asked == [None, "bytes=400000-", "bytes=800000-", "bytes=1200000-"]
    check_digest(target)
    fetch(f"{server.address}/file.bin", target)
    assert len(server.asked) == 4


def test_a_server_without_ranges_sends_all_again(server: type[Server], tmp_path: Path) -> None:
    server.ranges, target = False, tmp_path / "file.bin"
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(f"{server.address}/file.bin", target).read_bytes() == CONTENT


def test_all_there_but_not_renamed_is_taken(server: type[Server], tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    server.limit = 0  # not a byte comes
    assert fetch(f"{server.address}/file.bin", tmp_path / "file.bin").read_bytes() == CONTENT
    check_digest(tmp_path / "file.bin")


def test_halves_of_two_versions_are_not_joined(server: type[Server], tmp_path: Path) -> None:
    server.limit, server.version = 400_000, '"first"'
    with pytest.raises(OSError, match="run the same command again"):
        fetch(f"{server.address}/file.bin", tmp_path / "file.bin")
    changed = CONTENT[::-1]
    server.limit, server.version, server.files = None, '"second"', {"file.bin": changed}
    assert fetch(f"{server.address}/file.bin", tmp_path / "file.bin").read_bytes() == changed
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["file.bin", "file.bin.sha256"]


def test_what_cannot_be_fetched_is_said(server: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"expected to fetch .*nothing\.zip, found: HTTP Error 404.*check the address"):
        fetch(f"{server.address}/nothing.zip", tmp_path / "nothing.zip")
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    with pytest.raises(ValueError, match=r"expected at most 1,280,000 bytes .* found 1,280,004; delete it"):
        fetch(f"{server.address}/file.bin", tmp_path / "file.bin")
    with pytest.raises(ValueError, match="expected an http or https address, found ftp://example.org/file"):
        fetch("ftp://example.org/file", tmp_path / "other")
    (tmp_path / "file.bin.part").unlink()
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(OSError, match=r"expected 1\.3 MB of room for the rest of .* found 1 kB free; choose"):
        fetch(f"{server.address}/file.bin", tmp_path / "file.bin")


def test_a_file_that_changed_since_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(CONTENT)
    check_digest(file)  # nothing was noted
    (tmp_path / "file.bin.sha256").write_text(f"{digest(file)}  file.bin\n")
    check_digest(file)
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match="as it was fetched, found .* fetch it again"):
        check_digest(file)


def archive_of(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def split(archive: bytes, size: int) -> list[bytes]:
    """The archive in parts as zip programs split it: entries say in which part, and where in it, they begin."""
    marked = b"PK\x07\x08" + archive  # what a split archive begins with
    end = marked.rindex(b"PK\x05\x06")
    count, directory_size, directory = struct.unpack_from("<HII", marked, end + 10)
    directory += 4
    content, position = bytearray(marked), directory
    for _ in range(count):
        name, extra, comment = struct.unpack_from("<HHH", content, position + 28)
        (offset,) = struct.unpack_from("<I", content, position + 42)
        struct.pack_into("<H", content, position + 34, (offset + 4) // size)
        struct.pack_into("<I", content, position + 42, (offset + 4) % size)
        position += 46 + name + extra + comment
    last = (len(content) - 1) // size
    assert directory // size == last, "the directory has to lie in the last part here"
    struct.pack_into("<HHHHII", content, end + 4, last, last, count, count, directory_size, directory - last * size)
    return [bytes(content[first : first + size]) for first in range(0, len(content), size)]


FILES = {f"scene/cam{n:02d}.mp4": bytes([n]) * 1000 + CONTENT[n : n + 20_000] for n in range(6)}


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_whole_and_split_archives_are_unpacked(tmp_path: Path, parts: int) -> None:
    archive = archive_of(FILES)
    pieces = [archive] if parts == 1 else split(archive, len(archive) // parts + 100)
    assert len(pieces) == parts
    files = [tmp_path / f"archive.{number}" for number in range(parts)]
    for file, piece in zip(files, pieces, strict=True):
        file.write_bytes(piece)
    seen: list[int] = []
    unpack(files, tmp_path / "out", lambda done, total: seen.append(total - done))
    assert {str(f.relative_to(tmp_path / "out")): f.read_bytes() for f in (tmp_path / "out").rglob("*.mp4")} == FILES
    assert seen[-1] == 0


def test_damaged_and_hostile_archives_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    whole = archive_of(FILES)
    for position in range(60, len(whole), len(whole) // 60):  # in data, headers and directory
        damaged = bytearray(whole)
        damaged[position : position + 4] = bytes(255 - byte for byte in whole[position : position + 4])
        archive.write_bytes(damaged)
        try:
            unpack([archive], tmp_path / "out")
        except ValueError as error:
            assert "expected" in str(error)  # noqa: PT017
        else:  # what nothing depends on, such as a date
            assert {f.name: f.read_bytes() for f in (tmp_path / "out").rglob("*.mp4")}.items() >= {
                Path(name).name: data for name, data in FILES.items()
            }.items()
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    archive.write_bytes(whole[:-300])
    with pytest.raises(ValueError, match="expected a whole zip archive"):
        unpack([archive], tmp_path / "out")
    for name in (".", "../outside.txt", "/etc/outside.txt", "scene/../../outside.txt"):
        archive.write_bytes(archive_of({"scene/fine.txt": b"fine", name: b"hostile"}))
        with pytest.raises(ValueError, match="do not trust this archive"):
            unpack([archive], tmp_path / "hostile")
        assert not (tmp_path / "hostile").exists() and not (tmp_path / "outside.txt").exists()


def test_the_command_fetches_unpacks_and_tidies_up(
    server: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = archive_of(FILES)
    pieces = split(archive, len(archive) // 2 + 100)
    server.files = {f"scene.z{number}": piece for number, piece in enumerate(pieces)}
    urls = tuple(f"{server.address}/{name}" for name in server.files)
    monkeypatch.setitem(public_scenes.SCENES, "scene", PublicScene("set", "scene", urls, "ours", "n3v-data"))
    command = ["data", "download", "scene", "technicolor", "--output-dir", str(tmp_path)]
    assert run(command) == 0
    assert {f.name for f in (tmp_path / "set" / "scene").iterdir()} == {Path(name).name for name in FILES}
    assert [f.name for f in (tmp_path / "set").iterdir()] == ["scene"]
    said = capsys.readouterr().out
    assert "moegs data check" in said and "technicolor: get the undistorted PNG frames" in said.replace("\n", " ")
    asked = len(server.asked)
    assert run(command) == 0 and len(server.asked) == asked
    assert run(["data", "download", "nothing"]) != 0
    assert "expected names among coffee_martini" in capsys.readouterr().err.replace("\n", " ")
    assert run(["data", "download"]) == 0 and "CC BY-NC 4.0" in capsys.readouterr().out


def test_every_set_says_where_it_goes() -> None:
    from moegs_ns.scene.dataparsers.layouts import LAYOUTS

    parsers = {layout.parser for layout in LAYOUTS.values()}
    for one in [*public_scenes.SCENES.values(), *public_scenes.ELSEWHERE.values()]:
        assert one.parser in parsers
    assert data_download.Download().output_dir == Path("data")
