"""Who reaches a viewer: this machine's own pages only, unless the command line asks for more."""

import http.client
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest
import viser
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.viewer.viewer import Viewer
from nerfstudio.viewer_legacy.server.viewer_state import ViewerLegacyState
from viser._messages import ShareUrlRequest
from viser.infra import ClientId
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from moegs_ns.viewer.page import ViewerPage
from moegs_ns.viewer.reach import _asked, _kept_local, _tell, is_loopback, keep_viewers_local, request_refusal
from tests.viewer.live import free_port

OTHER_ADDRESS = "127.0.0.2"  # of this machine on Linux, but none that a server on 127.0.0.1 listens on
OUTSIDE = "/" + "../" * 20 + Path(__file__).resolve().as_posix().lstrip("/")


class QuietPage(ViewerPage):
    """A page without panels."""

    def _setup(self, viewer: Any) -> None:
        return None


@contextmanager
def running_viewer(folder: Path, ours: bool = True, **options: Any) -> Iterator[tuple[Viewer, int]]:
    """nerfstudio's viewer as its commands start it, and its port."""
    pipeline: Any = SimpleNamespace(model=SimpleNamespace(), datamanager=SimpleNamespace(includes_time=True))
    if ours:
        pipeline.viewer_page = QuietPage(None, {})
    port = free_port()
    viewer = Viewer(
        ViewerConfig(websocket_port=port, **options),
        log_filename=folder / "viewer.log",
        datapath=folder,
        pipeline=pipeline,
        train_lock=Lock(),
        share=options.get("make_share_url", False),
    )
    try:
        yield viewer, viewer.viser_server.get_port()
    finally:
        viewer.viser_server.stop()


@pytest.fixture(scope="module", autouse=True)
def guarded() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Viewer, "__init__", Viewer.__init__)  # as it was when the tests are over
        patch.setattr(ViewerLegacyState, "__init__", ViewerLegacyState.__init__)
        patch.setattr(sys, "argv", ["ns-viewer", "--load-config", "config.yml"])
        keep_viewers_local()
        keep_viewers_local()
        yield


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Viewer, int]]:
    """Whatever its config says, nobody asked for more on the command line."""
    with running_viewer(tmp_path_factory.mktemp("viewer"), websocket_host="0.0.0.0", make_share_url=True) as both:
        yield both


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def press_share(viewer: Viewer) -> None:
    """What the server does when a window says that its button for sharing was pressed."""
    viewer.viser_server._websock_server._handle_incoming_message(ClientId(0), ShareUrlRequest())


def status(port: int, path: str, **headers: str) -> int:
    """Of a request as it is written, which no browser would send."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    return connection.getresponse().status


def test_nerfstudio_opens_its_viewer_to_the_network() -> None:
    """What is mended here; when this fails, it is no longer needed."""
    assert ViewerConfig().websocket_host == "0.0.0.0"


def test_a_viewer_is_seen_by_this_machine_only(local: tuple[Viewer, int]) -> None:
    viewer, port = local
    assert answers("127.0.0.1", port)
    assert not answers(OTHER_ADDRESS, port)
    assert (viewer.config.websocket_host, viewer.config.websocket_port) == ("127.0.0.1", port)


def test_only_the_page_is_served_and_only_to_itself(local: tuple[Viewer, int]) -> None:
    _, port = local
    own = f"localhost:{port}"
    assert status(port, "/", Host=own) == 200
    assert status(port, "/", Host=own, Origin=f"http://{own}") == 200
    assert status(port, OUTSIDE, Host=own) == 403
    assert status(port, "/", Host="attacker.example") == 403
    with connect(f"ws://{own}", origin=Origin(f"http://{own}")):
        pass
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://{own}", origin=Origin("https://attacker.example"))


def test_a_window_cannot_publish_it(local: tuple[Viewer, int], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(viser.ViserServer, "request_share_url", lambda self: opened.append(self))
    press_share(local[0])
    assert not opened


def test_it_is_opened_when_asked_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["ns-viewer", "--viewer.websocket-host", "0.0.0.0", "--viewer.make_share_url=True"]
    )
    opened = []
    monkeypatch.setattr(viser.ViserServer, "request_share_url", lambda self: opened.append(self) or "https://x.example")
    with running_viewer(tmp_path, websocket_host="0.0.0.0", make_share_url=True) as (viewer, port):
        assert answers(OTHER_ADDRESS, port)
        assert status(port, "/", Host="x.example") == 200
        assert status(port, OUTSIDE) == 403
        assert len(opened) == 1
        press_share(viewer)
        assert len(opened) == 2
    assert "Everyone who has its public address can watch and steer" in capfd.readouterr().out


def test_the_line_says_who_sees_it(capfd: pytest.CaptureFixture[str]) -> None:
    _tell("127.0.0.1", 7007, shared=False)
    assert "ssh -L 7007:localhost:7007" in capfd.readouterr().out
    _tell("0.0.0.0", 7007, shared=False)
    assert "Everyone who reaches port 7007 of this machine" in capfd.readouterr().out


def test_viewers_of_other_methods_stay_as_they_are(tmp_path: Path) -> None:
    with running_viewer(tmp_path, ours=False) as (viewer, port):
        assert answers(OTHER_ADDRESS, port)
        assert viewer.config.websocket_host == "0.0.0.0"
        assert status(port, OUTSIDE) == 200  # viser's fault; when this fails, that check is no longer needed


def test_nerfstudios_legacy_viewer_is_kept_local_too() -> None:
    """It has no sharing, and its page comes from elsewhere."""
    started = []

    def init(self: object, config: ViewerConfig, pipeline: object) -> None:
        started.append(config.websocket_host)

    _kept_local(init)(None, ViewerConfig(), pipeline=SimpleNamespace(viewer_page=QuietPage(None, {})))
    _kept_local(init)(None, ViewerConfig(), pipeline=SimpleNamespace())
    assert started == ["127.0.0.1", "0.0.0.0"]
    assert hasattr(ViewerLegacyState.__init__, "__wrapped__")


def test_what_counts_as_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in ("--viewer.websocket-host", "--viewer.websocket_host=0.0.0.0"):
        monkeypatch.setattr(sys, "argv", ["ns-viewer", option, "0.0.0.0"])
        assert _asked("--viewer.websocket-host")
    monkeypatch.setattr(sys, "argv", ["ns-viewer", "--viewer.websocket-port", "7007"])
    assert not _asked("--viewer.websocket-host")


@pytest.mark.parametrize(
    ("path", "hosts", "origins"),
    [
        ("/..", ["localhost"], []),
        ("/assets/../../x?y", ["localhost"], []),
        ("\\..\\x", ["localhost"], []),
        ("/", [], []),
        ("/", ["localhost", "localhost"], []),
        ("/", ["localhost.attacker.example"], []),
        ("/", ["192.168.0.7:7007"], []),
        ("/", ["[::1"], []),
        ("/", ["localhost:7007"], ["null"]),
        ("/", ["localhost:7007"], ["http://localhost:8888"]),
        ("/", ["localhost:7007"], ["http://localhost:7007", "http://attacker.example"]),
    ],
)
def test_requests_that_are_refused(path: str, hosts: list[str], origins: list[str]) -> None:
    assert "expected" in str(request_refusal(path, hosts, origins, local=True))


@pytest.mark.parametrize("host", ["localhost:7007", "127.0.0.1:7007", "[::1]:7007", "localhost"])
def test_requests_that_are_answered(host: str) -> None:
    assert request_refusal("/assets/a..b.js?x=/..", [host], [f"http://{host}"], local=True) is None


def test_names_of_this_machine() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "localhost.example", "", None))


def test_our_methods_say_so_in_their_configs() -> None:
    from moegs_ns import method_configs

    methods = [one for name, one in vars(method_configs).items() if name.startswith("moegs_")]
    assert methods
    assert {one.config.viewer.websocket_host for one in methods} == {"127.0.0.1"}
