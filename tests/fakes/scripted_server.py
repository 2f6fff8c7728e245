"""An HTTP server on loopback that answers as a test tells it to, and remembers the questions."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    """With the query."""
    headers: Mapping[str, str]
    body: bytes

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    promised: int | None = None
    """A Content-Length that is not the body's: the connection is cut after the body."""


class ScriptedServer:
    """Runs inside `with`; `answer` may be replaced at any time."""

    def __init__(
        self, answer: Callable[[Asked], Answer], tls: ssl.SSLContext | None = None
    ) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.connections = 0
        self._open: set[socket.socket] = set()
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def respond(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                headers = {key.title(): value for key, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, self.rfile.read(length))
                script.asked.append(asked)
                answer = script.answer(asked)
                self.send_response(answer.status)
                for key, value in answer.headers.items():
                    self.send_header(key, value)
                size = len(answer.body) if answer.promised is None else answer.promised
                self.send_header("Content-Length", str(size))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)
                    self.close_connection = answer.promised is not None

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = respond  # noqa: N815
            do_DELETE = do_CONNECT = respond  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing."""

            def handle(self) -> None:
                script.connections += 1
                script._open.add(self.connection)
                with suppress(OSError):  # the client may hang up, as some tests want it to
                    super().handle()
                script._open.discard(self.connection)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.host = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def hang_up(self) -> None:
        """Close every connection, as a server does with those that are idle for long."""
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
