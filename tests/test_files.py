"""Files are there whole or not at all, and a disk that refuses is explained."""

import ast
import errno
import json
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from moegs_ns.files import (
    SPARE_BYTES,
    readable_size,
    refusal,
    remove_leftovers,
    require_room,
    reserve,
    write_bytes,
    write_json,
    write_text,
    written_whole,
)

PACKAGE = Path(__file__).resolve().parents[1] / "moegs_ns"
#: Functions of the package that may open a file for writing, each with the reason.
_WRITES_ITSELF = {
    "files.py": "is how files are written",
    "preparation/archives.py": "unpacks into a scratch folder that is renamed when all is there",
    "preparation/download.py": "a part that the next call goes on with",
    "preparation/structure_from_motion.py": "a list for a program that is run right then, in a scratch folder",
    "scene/frame_cache.py": "the place that `written_whole` gives",
    "scene/points.py": "the place that `written_whole` gives",
    "exporting/gaussian_ply.py": "the place that `written_whole` gives",
    "runs/checkpoints.py": "the place that `written_whole` gives",
    "splats/native_build.py": "a probe for the compiler, in a scratch folder",
    "splats/kernel_cache.py": "a scratch folder, from which the finished library is renamed",
    "training/processes.py": "logs, which grow",
}


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "picture.png"
    with written_whole(path) as scratch:
        assert scratch.suffix == ".png" and scratch.parent == path.parent
        scratch.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("durable", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "kept.json"
    write_text(path, "old")

    def fail_midway() -> None:
        with written_whole(path, durable) as scratch:
            scratch.write_text("half")
            raise KeyError("midway")

    with pytest.raises(KeyError, match="midway"):
        fail_midway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_contents_come_back(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"\x00\xff")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    write_text(tmp_path / "b.txt", "größer\n")
    assert (tmp_path / "b.txt").read_text("utf8") == "größer\n"
    write_json(tmp_path / "c.json", {"a": [1, None]})
    assert json.loads((tmp_path / "c.json").read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "c.json", math.nan)
    assert json.loads((tmp_path / "c.json").read_text()) == {"a": [1, None]}


def test_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    for name in ("a" * 248 + ".md", "ß" * 120 + ".md"):
        write_text(tmp_path / name, "text")
        assert (tmp_path / name).read_text() == "text"


def test_a_killed_process_leaves_no_half_file_and_its_rest_goes(tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"
    script = f"""
import os, signal
from pathlib import Path
from moegs_ns.files import written_whole
with written_whole(Path({str(path)!r})) as scratch:
    scratch.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    (rest,) = tmp_path.iterdir()
    assert rest != path
    others = tmp_path / rest.name.replace("cloud", "other")
    others.touch()
    write_text(path, "whole")
    assert set(tmp_path.iterdir()) == {path, others}
    remove_leftovers(tmp_path, suffix=".ply")
    assert set(tmp_path.iterdir()) == {path}


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    long = [list(range(2000)), list(range(3000))]
    write_json(path, long[0])
    done = threading.Event()

    def rewrite() -> None:
        for turn in range(60):
            write_json(path, long[turn % 2])
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    reads = 0
    while not done.is_set():
        assert json.loads(path.read_text()) in long
        reads += 1
    writer.join()
    assert reads


def test_a_full_disk_is_explained_whoever_noticed(tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"

    def fill_the_disk() -> None:
        with written_whole(path) as scratch:
            try:
                scratch.write_text("half")
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError as error:
                raise RuntimeError("a library's own words") from error

    with pytest.raises(OSError, match=r"room for .*cloud\.ply, found the disk or a quota full") as caught:
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert refusal(ValueError("something else")) is None
    assert "allowed to use /x" in str(refusal(PermissionError(errno.EACCES, "Permission denied", "/x")))


def test_room_is_reserved_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "frames.bin"
    reserve(file, 5_000_000)
    assert file.stat().st_size == 5_000_000
    assert file.stat().st_blocks * 512 >= 5_000_000  # no holes, which a full disk could not fill
    reserve(file, 10)
    assert file.read_bytes() == bytes(10)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"room for .*other\.bin"):
        reserve(tmp_path / "other.bin", 10)
    assert not (tmp_path / "other.bin").exists()


def test_every_writer_of_the_package_writes_whole_files() -> None:
    """Calls that write into a file by its name, outside of what is listed above, are faults."""
    found = set()
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _writes(node):
                found.add(str(module.relative_to(PACKAGE)))
    assert found - set(_WRITES_ITSELF) == set(), "write these through moegs_ns.files"
    assert set(_WRITES_ITSELF) - found == set(), "these do no longer write themselves; take them out of the list"


def _writes(call: ast.Call) -> bool:
    assert isinstance(call.func, ast.Attribute)
    name = call.func.attr
    if name in ("write_text", "write_bytes"):
        return not (isinstance(call.func.value, ast.Name) and call.func.value.id == "scratch")
    if name in ("save", "savefig", "savez", "savetxt", "imwrite"):
        # Behind torch.save's state comes the file; an open one is what `open` below finds.
        given = {one.id for one in call.args if isinstance(one, ast.Name)}
        return not given & {"scratch", "file", "sink"}
    modes = [one.value for given in call.args for one in ast.walk(given) if isinstance(one, ast.Constant)]
    if name != "open" or not set(modes) & {"w", "wb", "a", "ab", "a+", "x", "xb", "r+b"}:
        return False
    return not any("scratch" in ast.unparse(one) for one in call.args)  # av.open(str(scratch), "w")


def test_too_little_room_is_told_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_room(tmp_path / "not" / "there" / "yet", 1, "a frame", "delete something")
    free = shutil.disk_usage(tmp_path)._replace(free=SPARE_BYTES + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    require_room(tmp_path, 1000, "a frame", "delete something")
    with pytest.raises(OSError, match=r"expected 2 kB of room for a frame in .* to spare, .*; delete something"):
        require_room(tmp_path, 2000, "a frame", "delete something")


@pytest.mark.parametrize(("size", "words"), [(0, "0 kB"), (850_000, "850 kB"), (1.2e6, "1.2 MB"), (3.4e9, "3.40 GB")])
def test_sizes_as_people_say_them(size: float, words: str) -> None:
    assert readable_size(size) == words
