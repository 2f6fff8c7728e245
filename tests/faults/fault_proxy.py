"""A proxy on loopback in front of a server: it remembers the requests, and spoils some of them.

A fault meets the requests that it can spoil; of those, the one with a given index is spoilt, or all
from there on. Everything else is passed on as it is.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol, Self

from bundler.errors import BundlerError

_HOP_BY_HOP = ("Connection", "Authorization", "Proxy-Authorization")
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes closing a reset."""


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    """Path and query."""
    headers: Mapping[str, str]
    """By title-cased names."""
    body: bytes

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")

    @property
    def name(self) -> str:
        """The same for a request that is repeated; upload sessions of a repository are one."""
        path = self.target.partition("?")[0]
        before, uploads, _ = path.partition("/blobs/uploads/")
        return f"{self.method} {before}{uploads}"

    @property
    def is_upload(self) -> bool:
        """Whether it sends to an upload session."""
        return "/blobs/uploads/" in self.target and self.method in ("PUT", "PATCH")

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def with_header(self, name: str, value: str) -> Answer:
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return replace(self, headers=(*kept, (name, value)))

    def with_body(self, body: bytes) -> Answer:
        return replace(self, body=body).with_header("Content-Length", str(len(body)))


class Exchange:
    """One request, and the means to answer it, well or badly."""

    def __init__(self, proxy: FaultProxy, request: Request, client: socket.socket) -> None:
        self.proxy = proxy
        self.request = request
        self.client = client
        self.is_over = False
        """Whether the connection is of no more use."""

    def forward(self) -> Answer:
        """What the server says."""
        return self.proxy.forward(self.request)

    def send(self, answer: Answer, *, pieces: Callable[[bytes], None] | None = None) -> None:
        """Answer; `pieces` writes the body in its own way."""
        self.client.sendall(self.head(answer))
        if self.request.method != "HEAD":
            (pieces or self.client.sendall)(answer.body)

    def head(self, answer: Answer) -> bytes:
        reason = http.client.responses.get(answer.status, "Unknown")
        lines = [f"HTTP/1.1 {answer.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        if not any(name.lower() == "content-length" for name, _ in answer.headers):
            lines.append(f"Content-Length: {len(answer.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def reset(self) -> None:
        """End the connection as a crash or a firewall does."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.hang_up()

    def hang_up(self) -> None:
        self.is_over = True


@dataclass(frozen=True)
class Fault:
    name: str
    act: Callable[[Exchange], None]
    meets: Callable[[Request], bool] = lambda _: True
    errors: tuple[type[BundlerError], ...] = ()
    """What a command may end with if this happens once; nothing: it always succeeds."""

    def __str__(self) -> str:
        return self.name


class Spoiler(Protocol):
    """Decides what happens to each request of a run."""

    def fault_for(self, request: Request) -> Fault | None:
        """None: it is passed on. Called under a lock, in the order in which requests come."""


@dataclass
class Injection:
    """One fault, once or from there on."""

    fault: Fault
    at: int
    """An index among the requests that the fault meets."""
    forever: bool = False
    met: int = 0
    spoilt: int = 0

    def fault_for(self, request: Request) -> Fault | None:
        if not self.fault.meets(request):
            return None
        self.met += 1
        is_spoilt = self.met - 1 == self.at or (self.forever and self.met > self.at)
        self.spoilt += is_spoilt
        return self.fault if is_spoilt else None


class FaultProxy:
    """Runs inside `with`; `guard` may answer a request instead of the registry (with a 401)."""

    def __init__(
        self,
        backend: str,
        *,
        tls: ssl.SSLContext | None = None,
        guard: Callable[[Request], Answer | None] | None = None,
        elsewhere: FaultProxy | None = None,
    ) -> None:
        self.backend = backend
        self.guard = guard
        self.elsewhere = elsewhere
        """Another origin, where faults lead to."""
        self.asked: list[Request] = []
        self._spoiler: Spoiler | None = None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if tls:
            # Each connection shakes hands in its own thread: one that stalls holds up no other.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_port
        self.host = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def inject(self, fault: Fault, at: int, *, forever: bool = False) -> Injection:
        """Forget what was asked, and spoil what will be."""
        injection = Injection(fault, at, forever)
        self.spoil(injection)
        return injection

    def spoil(self, spoiler: Spoiler | None) -> None:
        """Forget what was asked, and ask the spoiler about what will be."""
        with self._lock:
            self.asked = []
            self._spoiler = spoiler

    def clear(self) -> None:
        self.spoil(None)

    def forward(self, request: Request) -> Answer:
        return forwarded(self.backend, request)

    def answer(self, request: Request, client: socket.socket) -> bool:
        """Answer a request; whether the connection can be used on."""
        exchange = Exchange(self, request, client)
        with self._lock:
            self.asked.append(request)
            fault = self._spoiler.fault_for(request) if self._spoiler else None
        if fault:
            fault.act(exchange)
        else:
            self.pass_on(exchange)
        return not exchange.is_over

    def pass_on(self, exchange: Exchange) -> None:
        refusal = self.guard(exchange.request) if self.guard else None
        exchange.send(refusal or exchange.forward())

    def left(self) -> None:
        """A client connection is over; in its thread."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


_UNSAID = ("connection", "transfer-encoding", "date", "docker-distribution-api-version")
"""The last names a registry as such: without it there are more questions that can go wrong."""


def forwarded(backend: str, request: Request) -> Answer:
    connection = http.client.HTTPConnection(backend, timeout=30)
    try:
        headers = {key: value for key, value in request.headers.items() if key not in _HOP_BY_HOP}
        connection.request(request.method, request.target, request.body or None, headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    kept = tuple(
        (name, value) for name, value in answer.getheaders() if name.lower() not in _UNSAID
    )
    return Answer(answer.status, kept, body)


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def respond(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {key.title(): value for key, value in self.headers.items()}
            # a client that takes us for its own proxy names the whole URL
            target = self.path[self.path.find("/", len("http://")) :]
            target = target if self.path.startswith("http://") else self.path
            request = Request(self.command, target, headers, self.rfile.read(length))
            self.close_connection = not proxy.answer(request, self.connection)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = respond  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing."""

        def handle(self) -> None:
            with suppress(OSError):  # clients hang up, above all those that were killed
                super().handle()
            proxy.left()

    return Handler
