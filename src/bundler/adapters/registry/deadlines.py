"""Answers that have to come in time: their headers as a whole, and each MiB of their bodies.

A socket's own timeout holds for each piece: who sends a byte of a header, or of the size of a
chunk, now and then could keep us for ever. So could who sends headers without an end. Only waiting
counts: what we do between two pieces takes nothing from the server's time.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_MIB = 1024 * 1024
MAX_HEADER_BYTES = 256 * 1024
"""Of an answer and of those before it (100 Continue), and of what follows its body."""
_PATIENT = 3600.0
"""For sockets without a timeout; ours have one."""


class TooSlow(TimeoutError):
    """Bytes came, but too few."""

    words = "answers too slowly"


class TooLong(OSError):
    """Headers came, and no end of them."""

    words = "sends headers without an end"


def timed_pools(body_seconds: float) -> dict[str, type[HTTPConnectionPool]]:
    """What `PoolManager.pool_classes_by_scheme` may be; `body_seconds` are for each MiB of a body.

    Headers, a proxy's too, have the connection's own timeout.
    """

    class Answer(_TimedAnswer):
        seconds = body_seconds

    class Plain(HTTPConnection):
        response_class = Answer

    class Secret(HTTPSConnection):
        response_class = Answer

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecretPool(HTTPSConnectionPool):
        ConnectionCls = Secret

    return {"http": PlainPool, "https": SecretPool}


class _TimedAnswer(http.client.HTTPResponse):
    seconds: float

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp.close()  # nothing was read from it
        self._received = _TimedBytes(sock)
        self.fp = io.BufferedReader(self._received)

    def begin(self) -> None:
        super().begin()
        self._received.expect_body(self.seconds)

    def _read_and_discard_trailer(self) -> None:
        self._received.expect_headers(self.seconds)
        super()._read_and_discard_trailer()  # type: ignore[misc]  # not public


class _TimedBytes(io.RawIOBase):
    """What comes from a socket, within a time that begins anew with each MiB of a body."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._raw = sock.makefile("rb", buffering=0)
        self.expect_headers(sock.gettimeout() or _PATIENT)

    def expect_headers(self, seconds: float) -> None:
        """From now on so much waiting is allowed, and not many bytes."""
        self._is_body = False
        self._allow(seconds)

    def expect_body(self, seconds: float) -> None:
        """From now on so much waiting is allowed for each MiB."""
        self._is_body = True
        self._allow(seconds)

    def _allow(self, seconds: float) -> None:
        self._seconds = self._left = seconds
        self._received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        asked_at = time.monotonic()
        count = self._received_into(buffer)
        self._left -= time.monotonic() - asked_at
        self._received += count or 0
        if not self._is_body and self._received > MAX_HEADER_BYTES:
            raise TooLong
        if self._received >= _MIB:
            self._allow(self._seconds)
        return count

    def _received_into(self, buffer: Any) -> int | None:
        usual = self._socket.gettimeout()
        if usual is not None and self._left >= usual:
            return self._raw.readinto(buffer)
        if self._left <= 0:
            raise TooSlow
        self._socket.settimeout(self._left)
        try:
            return self._raw.readinto(buffer)
        except TimeoutError as error:
            raise TooSlow from error
        finally:
            self._socket.settimeout(usual)

    def close(self) -> None:
        self._raw.close()
        super().close()
