"""A proxy on the loopback interface that spoils chosen requests on their way to an object server.

It looks at whole requests and answers: `rules` are asked in order, and the first that gives a `Spoiled` decides.
Without `upstream` every request must be spoiled by an `Answered`. All requests are kept in `requests`.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class Deaf:
    """The request is read and never answered."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The server does its work; of its answer's body `kept` bytes arrive, then the connection breaks.

    None: no byte of the answer at all arrives.
    """

    kept: int | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """This answer instead of the server's, which is asked first where `after_effect` says so."""

    status: int
    body: str = ""
    after_effect: bool = False
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


Spoiled = Deaf | Cut | Answered
Rule = Callable[[Request], Spoiled | None]


def s3_error(code: str, *, secret: str = "") -> str:
    """An answer's body as S3 words it, with a text that must never be shown."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{secret}</Message></Error>'


def then(act: Callable[[], object], *, after: str) -> Rule:
    """Does something once, before the first request that follows one of the method `after`."""
    seen: list[str] = []

    def rule(request: Request) -> Spoiled | None:
        if seen == [after]:
            seen.append("done")
            act()
        elif not seen and request.method == after:
            seen.append(after)
        return None

    return rule


def on(method: str, spoiled: Spoiled, *, times: int = 1, having: str = "", after: int = 0) -> Rule:
    """Spoils, `after` some, the first `times` requests of a method whose path holds `having`."""
    left, before = [times], [after]

    def rule(request: Request) -> Spoiled | None:
        if request.method != method or having not in request.path or left[0] < 1:
            return None
        if before[0]:
            before[0] -= 1
            return None
        left[0] -= 1
        return spoiled

    return rule


class Proxy:
    """Listens at `address` until its context ends."""

    def __init__(self, upstream: str | None) -> None:
        self.rules: list[Rule] = []
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.upstream = urlsplit(upstream).netloc if upstream else None
        self.path = urlsplit(upstream).path if upstream else ""
        self.address = ""

    def spoiled(self, request: Request) -> Spoiled | None:
        """What happens to a request."""
        self.requests.append(request)
        return next((found for rule in self.rules if (found := rule(request))), None)


@contextlib.contextmanager
def proxying(upstream: str | None, *rules: Rule) -> Generator[Proxy]:
    """A proxy in front of the server at `upstream`."""
    proxy = Proxy(upstream)
    proxy.rules.extend(rules)
    server = _Server(("127.0.0.1", 0), _handler(proxy))
    proxy.address = f"http://127.0.0.1:{server.server_port}{proxy.path}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are what this is for."""


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        served = proxy

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Proxy

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._answer(Request(method=self.command, path=self.path, headers=headers, body=body))

    def _answer(self, request: Request) -> None:
        match self.served.spoiled(request):
            case Deaf():
                self.served.closing.wait(60)
                self._break()
            case Answered(status, body, after_effect, headers):
                if after_effect:
                    _forward(self.served, request)
                self._send(status, headers, body.encode())
            case Cut(None):
                _forward(self.served, request)
                self._break()
            case Cut(kept):
                self._send(*_forward(self.served, request), kept=kept)
                self._break()
            case None:
                self._send(*_forward(self.served, request))

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, *, kept: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if kept is None else body[:kept])

    def _break(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _forward(proxy: Proxy, request: Request) -> tuple[int, dict[str, str], bytes]:
    assert proxy.upstream is not None, f"nobody answers {request.method} {request.path}"
    connection = http.client.HTTPConnection(proxy.upstream, timeout=30)
    try:
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders(request.body)
        answer = connection.getresponse()
        body = answer.read()
        dropped = {"transfer-encoding", "connection", *(() if request.method == "HEAD" else ("content-length",))}
        return answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in dropped}, body
    finally:
        connection.close()
