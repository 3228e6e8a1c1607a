"""Who can reach the viewer of a run of ours: this machine's own pages, unless the command line asks for more.

nerfstudio 1.1.5 has its viewers listen on every address of the machine by default (nerfstudio issue #2740 is of that
address), which ``ns-viewer`` decides before it knows whose run it shows. viser 0.2.7, which serves them, gives any file
its user may read to whoever asks for ``/../../...``, takes orders from every web page that a browser on this machine
shows, and opens a tunnel to a public address when a window asks for one.
"""

import contextlib
import dataclasses
import functools
import inspect
import ipaddress
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import websockets.legacy.server as legacy_server
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.viewer.viewer import Viewer
from nerfstudio.viewer_legacy.server.viewer_state import ViewerLegacyState
from viser._messages import ShareUrlRequest

from moegs_ns.viewer.page import ViewerPage

LOCAL = "127.0.0.1"
_Answer = tuple[HTTPStatus, dict[str, str], bytes] | None


def keep_viewers_local() -> None:
    """From now on viewers of pipelines with a page of ours listen on 127.0.0.1 and serve nothing but their page.

    ``--viewer.websocket-host`` and ``--viewer.make-share-url`` on the command line open them, and a line says to whom.
    What a ``config.yml`` says does not: it may be old, or somebody else's. Other pipelines' viewers stay as they are.
    Safe to call again.
    """
    for kind in (Viewer, ViewerLegacyState):
        if not hasattr(kind.__init__, "__wrapped__"):
            kind.__init__ = _kept_local(kind.__init__)


def is_loopback(host: str | None) -> bool:
    """Whether an address, or ``localhost``, is reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _asked(option: str) -> bool:
    """Whether the command line of this process has the option; tyro takes underscores for dashes."""
    return any(word.partition("=")[0].replace("_", "-") == option for word in sys.argv[1:])


def _kept_local(init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def start(self: Any, *args: Any, **kwargs: Any) -> None:
        call = signature.bind(self, *args, **kwargs)
        call.apply_defaults()
        options = call.arguments
        if not isinstance(getattr(options["pipeline"], "viewer_page", None), ViewerPage):
            init(*call.args, **call.kwargs)
            return
        host = options["config"].websocket_host
        if not is_loopback(host) and not _asked("--viewer.websocket-host"):
            host = LOCAL
            options["config"] = dataclasses.replace(options["config"], websocket_host=host)
        shared = options["share"] = bool(options.get("share")) and _asked("--viewer.make-share-url")
        if "share" not in signature.parameters:  # the legacy viewer's
            del options["share"]
        with _checked_requests(local=is_loopback(host) and not shared):
            init(*call.args, **call.kwargs)
        if isinstance(self, Viewer):
            if not shared:
                self.viser_server._websock_server.unregister_handler(ShareUrlRequest)
            _tell(host, self.viser_server.get_port(), shared)

    return start


def _tell(host: str, port: int, shared: bool) -> None:
    """Who may watch now, and how others may."""
    if is_loopback(host) and not shared:
        text = (
            f"Only this machine can see the viewer; from another one: ssh -L {port}:localhost:{port} USER@THIS_MACHINE"
        )
    else:
        who = "has its public address" if shared else f"reaches port {port} of this machine (it listens on {host})"
        text = f"[bold yellow]Everyone who {who} can watch and steer the viewer, without a password"
    CONSOLE.print(text, soft_wrap=True, highlight=False)


@contextlib.contextmanager
def _checked_requests(local: bool) -> Iterator[None]:
    """Have the servers that viser starts meanwhile look at each request before they answer it."""
    serve = legacy_server.serve

    def checked(*args: Any, **options: Any) -> Any:
        if options.get("process_request") is not None:
            options["process_request"] = _checked(options["process_request"], local)
        return serve(*args, **options)

    legacy_server.serve = checked  # type: ignore[assignment,misc]  # which websockets.server, that viser calls, refers to
    try:
        yield
    finally:
        legacy_server.serve = serve  # type: ignore[misc]


def _checked(answer: Callable[[str, Any], Awaitable[_Answer]], local: bool) -> Callable[[str, Any], Awaitable[_Answer]]:
    async def checked(path: str, headers: Any) -> _Answer:
        refusal = request_refusal(path, headers.get_all("Host"), headers.get_all("Origin"), local)
        if refusal is not None:
            return HTTPStatus.FORBIDDEN, {"Content-Type": "text/plain"}, f"{refusal}\n".encode()
        return await answer(path, headers)

    return checked


def request_refusal(path: str, hosts: list[str], origins: list[str], local: bool) -> str | None:
    """Why a request is not answered; None where it is.

    Args:
        path: what is asked for.
        hosts: values of its header ``Host``: where a browser believes to be.
        origins: values of its header ``Origin``: whose page asks. Programs that are no browsers send none.
        local: whether only pages that this server gave to this machine may ask. Names that a page's owner has lead to
            127.0.0.1 are refused as well.
    """
    if ".." in re.split(r"[/\\]", path.partition("?")[0]):
        return "expected a file of the viewer's page, found a path that leaves its folder"
    if not local:
        return None
    if len(hosts) != 1 or not is_loopback(_name(hosts[0])):
        return f"expected to be addressed as localhost, found {hosts}"
    if any(origin.partition("://")[2] != hosts[0] for origin in origins):
        return f"expected a request of the viewer's own page at {hosts[0]}, found one of {origins}"
    return None


def _name(host: str) -> str | None:
    """A ``Host`` without its port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
