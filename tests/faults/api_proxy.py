"""A proxy on loopback in front of an API server, under its certificate; it streams watches.

What was asked and answered is kept in the order in which it happened, so that a history can be
checked: a Journal may be shared by the proxies of several clients.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.faults.fault_proxy import Answer, Exchange, FaultProxy, Request
from tools.control_plane import ControlPlane, kubeconfig

_READING = ("GET", "HEAD")
_QUESTIONS = ("selfsubject",)
_KEPT = ("content-type", "content-encoding", "retry-after")


def is_watch(request: Request) -> bool:
    return "watch=true" in request.target


def is_write(request: Request) -> bool:
    """Whether it may change something in the cluster."""
    return (
        request.method not in _READING
        and "dryRun=" not in request.target
        and not any(each in request.target for each in _QUESTIONS)
    )


@dataclass(frozen=True)
class Call:
    """A request that the API server has answered."""

    client: str
    request: Request
    sent: int
    """When it was passed on, and when the answer came: numbers of one journal."""
    answered: int
    status: int
    document: dict[str, Any]

    @property
    def version(self) -> int:
        """The cluster's resourceVersion of what it wrote; 0 where the answer has none."""
        return int((self.document.get("metadata") or {}).get("resourceVersion") or 0)

    def __str__(self) -> str:
        return f"{self.client}: {self.request} → {self.status}"


@dataclass
class Journal:
    calls: list[Call] = field(default_factory=list)
    _moments: itertools.count[int] = field(default_factory=itertools.count)

    def now(self) -> int:
        return next(self._moments)

    def writes(self) -> list[Call]:
        """What the server has taken, in the order of its answers."""
        done = [call for call in self.calls if is_write(call.request) and 200 <= call.status < 300]
        return sorted(done, key=lambda call: call.answered)


class ApiProxy(FaultProxy):
    """Runs inside `with`; `kubeconfig` leads a client through it."""

    def __init__(
        self, control_plane: ControlPlane, *, client: str = "client", journal: Journal | None = None
    ) -> None:
        folder = control_plane.directory
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "server.crt", folder / "server.key")
        super().__init__(control_plane.server.removeprefix("https://"), tls=tls)
        self.journal = journal or Journal()
        self._client = client
        self._control_plane = control_plane
        self._trust = ssl.create_default_context(cafile=str(control_plane.ca))
        self._upstream = threading.local()
        self._watches: set[socket.socket] = set()

    @property
    def server(self) -> str:
        return f"https://{self.host}"

    def kubeconfig(self, folder: Path, token: str | None = None) -> Path:
        path = folder / f"kubeconfig-{self.port}"
        plane = self._control_plane
        path.write_text(
            json.dumps(kubeconfig(self.server, plane.ca, "admin", token or plane.token))
        )
        return path

    def forward(self, request: Request) -> Answer:
        """What the server says, over the connection that this client connection has to it."""
        sent = self.journal.now()
        try:
            response = self._asked(request)
            body = response.read()
        except (OSError, http.client.HTTPException):
            self.left()
            raise
        answer = Answer(response.status, _kept(response), body)
        plain = _plain(answer)
        call = Call(self._client, request, sent, self.journal.now(), answer.status, plain)
        self.journal.calls.append(call)
        return answer

    def _asked(self, request: Request) -> http.client.HTTPResponse:
        connection = getattr(self._upstream, "connection", None)
        if connection is None:
            host, _, port = self.backend.partition(":")
            connection = http.client.HTTPSConnection(
                host, int(port), timeout=60, context=self._trust
            )
            self._upstream.connection = connection
        headers = {key: value for key, value in request.headers.items() if key != "Connection"}
        connection.request(request.method, request.target, request.body or None, headers)
        found: http.client.HTTPResponse = connection.getresponse()
        return found

    def left(self) -> None:
        connection = getattr(self._upstream, "connection", None)
        if connection is not None:
            connection.close()
            self._upstream.connection = None

    def pass_on(self, exchange: Exchange) -> None:
        if is_watch(exchange.request):
            self.stream(exchange)
        else:
            super().pass_on(exchange)

    def stream(self, exchange: Exchange) -> None:
        """Pass a watch on as it comes, until one of its ends is closed."""
        exchange.hang_up()
        response = self._asked(exchange.request)
        upstream = self._upstream.connection
        self._upstream.connection = None
        try:
            if response.status != 200:
                exchange.send(Answer(response.status, _kept(response), response.read()))
                return
            exchange.client.sendall(STREAM_HEAD)
            self._watches.add(exchange.client)
            self._watches.add(upstream.sock)
            while piece := response.read1(65536):
                exchange.client.sendall(piece_of(piece))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # one of the ends was closed
        finally:
            self._watches.discard(exchange.client)
            upstream.close()

    def cut_watches(self) -> None:
        """End those that are open, without a word."""
        for end in list(self._watches):
            self._watches.discard(end)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *exception: object) -> None:
        self.cut_watches()
        super().__exit__(*exception)


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def piece_of(content: bytes) -> bytes:
    """As chunked encoding has it."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def _kept(response: http.client.HTTPResponse) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in response.getheaders() if pair[0].lower() in _KEPT)


def _plain(answer: Answer) -> dict[str, Any]:
    import gzip

    body = answer.body
    if any(value == "gzip" for _, value in answer.headers):
        body = gzip.decompress(body)
    with suppress(ValueError):
        found = json.loads(body)
        if isinstance(found, dict):
            return found
    return {}


def query_of(request: Request) -> dict[str, list[str]]:
    return parse_qs(request.target.partition("?")[2])
