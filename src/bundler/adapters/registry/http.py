"""HTTP for registries: bounded in time, size and number, and careful with whom it tells what.

Redirects are followed here: at most five, never from https to http, and what authorises us stays
with the origin that it was made for. Answers are read whole, up to a limit, or as a stream. What
passes is tried again, and a host that wants a rest gets it from all threads. No message names a
URL's path or query, which may be signed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count

import urllib3

from bundler.adapters.registry.certificates import Certificates
from bundler.adapters.registry.connections import Body, Connections, give_back, translated
from bundler.adapters.registry.patience import CONNECTIONS, AskedHost, Broken, Patience
from bundler.adapters.registry.urls import Origin, host_name, host_of, joined, origin_of
from bundler.errors import CouldNotCheck, VerificationFailed

MAX_REDIRECTS = 5
MAX_ERROR_BYTES = 64 * 1024
TRANSIENT = frozenset([408, 429, 500, 502, 503, 504])
RESTING = frozenset([429, 503])
"""With Retry-After, these speak for the whole host."""
REDIRECTS = frozenset([301, 302, 303, 307, 308])
_PIECE = 64 * 1024
_STREAM_PIECE = 1024 * 1024


@dataclass(frozen=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | Body | None = None
    limit: int = MAX_ERROR_BYTES
    """The largest answer that is acceptable, in bytes."""
    redirects: int = MAX_REDIRECTS
    repeatable: bool = True
    """Whether it may be sent again where it is not known if it arrived."""
    streamed: bool = False
    """Whether a success is wanted as a stream, without a limit."""


@dataclass(frozen=True)
class Response:
    request: Request
    """The last one, after redirects."""
    status: int
    headers: Mapping[str, str]
    """Found in any case."""
    content: bytes
    """As it came: nothing is unpacked."""
    stream: Stream | None = None
    """Instead of the content, where a stream was wanted."""


class Stream:
    """The rest of an answer, read as it is wanted; closed by whoever asked for it.

    It takes none of its host's places: who copies within one host waits for itself otherwise.
    """

    def __init__(self, answer: urllib3.BaseHTTPResponse, origin: Origin) -> None:
        self._answer = answer
        self._origin = origin
        self._is_read = False

    def pieces(self) -> Iterator[bytes]:
        """Pieces of any size. Raises Broken, also for less than 1 MiB in `patience.answer`."""
        while piece := self._piece():
            yield piece
        self._is_read = True

    def _piece(self) -> bytes:
        with translated(self._origin):
            return self._answer.read1(_STREAM_PIECE, decode_content=False)

    def close(self) -> None:
        give_back(self._answer, is_read=self._is_read)


class RegistryHttp:
    """Sends requests to any number of hosts; thread-safe, keeps connections alive."""

    def __init__(
        self,
        patience: Patience | None = None,
        connections: int = CONNECTIONS,
        certificates: Certificates | None = None,
    ) -> None:
        """At most `connections` requests are under way to one host."""
        self.patience = patience or Patience()
        self._limit = connections
        self._connections = Connections(self.patience, connections, certificates)
        self._hosts: dict[str, AskedHost] = {}
        self._lock = threading.Lock()

    def send(self, request: Request) -> Response:
        """The answer, read whole, after redirects and retries; whatever its status is.

        Raises Unreachable, CouldNotCheck, and VerificationFailed for an answer above the limit.
        """
        started = time.monotonic()
        for attempt in count(1):
            answer = self._attempt(request)
            if isinstance(answer, Response) and answer.status not in TRANSIENT:
                return answer
            host = self._where(answer)
            pause = self.patience.pause(attempt - 1, _retry_after(answer))
            is_late = time.monotonic() + pause > started + self.patience.retrying
            is_in_vain = is_late or attempt >= host.attempts(started)
            if is_in_vain:
                host.was_in_vain(answer if isinstance(answer, Broken) else None)
            if is_in_vain or not request.repeatable:
                break
            time.sleep(pause)
        if isinstance(answer, Broken):
            raise answer
        return answer

    def _where(self, answer: Response | Broken) -> AskedHost:
        """Who gave an answer or none: the storage or proxy that a registry led to, for example."""
        name = answer.host if isinstance(answer, Broken) else host_of(answer.request.url)
        return self._named(name)

    def _named(self, name: str) -> AskedHost:
        with self._lock:
            if name not in self._hosts:
                self._hosts[name] = AskedHost(name, self.patience, self._limit)
            return self._hosts[name]

    def _attempt(self, request: Request) -> Response | Broken:
        try:
            return self._follow(request)
        except Broken as error:
            return error

    def _follow(self, request: Request) -> Response:
        for _ in range(request.redirects + 1):
            response = self._exchange(request)
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or not (location and request.redirects):
                return response
            request = _redirected(request, response.status, location)
        raise CouldNotCheck(f"{host_of(request.url)} redirects without an end")

    def _exchange(self, request: Request) -> Response:
        origin = origin_of(request.url)
        host = self._named(host_name(origin))
        with host.place():
            asked_at = time.monotonic()
            try:
                response = self._read(request, origin)
            except Broken as error:
                host.was_useless(asked_at, error.words)
                raise
        if response.status not in TRANSIENT:
            host.was_useful()
            return response
        host.was_useless(asked_at, f"HTTP {response.status}")
        rest = _retry_after(response)
        if rest is not None and response.status in RESTING:
            host.wants_rest(self.patience.pause(0, rest))
        return response

    def _read(self, request: Request, origin: Origin) -> Response:
        answer = self._connections.open(
            origin, request.method, request.url, request.headers, request.body
        )
        if request.method != "HEAD" and not _is_framed(answer):
            give_back(answer, is_read=False)
            raise Broken(host_name(origin), "does not end its answer's headers")
        if request.streamed and answer.status < 300:
            stream = Stream(answer, origin)
            return Response(request, answer.status, answer.headers, b"", stream)
        is_read = False
        try:
            with translated(origin):
                content, is_read = self._content(request, answer)
        finally:
            give_back(answer, is_read=is_read)
        return Response(request, answer.status, answer.headers, content)

    def _content(self, request: Request, answer: urllib3.BaseHTTPResponse) -> tuple[bytes, bool]:
        """What the answer holds, up to a limit, and whether that is all of it."""
        if request.method == "HEAD":
            return b"", True
        is_error = answer.status >= 300
        limit = MAX_ERROR_BYTES if is_error else request.limit
        deadline = time.monotonic() + self.patience.answer
        content = bytearray()
        while piece := answer.read1(_PIECE, decode_content=False):
            content += piece
            if len(content) > limit and is_error:
                return bytes(content), False
            if len(content) > limit:
                raise VerificationFailed(
                    f"{host_of(request.url)} answers with more than the expected {limit} bytes"
                )
            if time.monotonic() > deadline:
                raise Broken(host_of(request.url), "answers too slowly")
        return bytes(content), True


def _is_framed(answer: urllib3.BaseHTTPResponse) -> bool:
    """Whether an answer says where it ends: `http.client` takes cut-off headers for whole ones."""
    headers = answer.headers
    return (
        answer.status in (204, 304)
        or answer.version < 11
        or headers.get("Content-Length", "").isdecimal()
        or "Transfer-Encoding" in headers
        or headers.get("Connection", "").lower() == "close"
    )


def _redirected(request: Request, status: int, location: str) -> Request:
    if status in (301, 302, 303) and request.method not in ("GET", "HEAD"):
        raise CouldNotCheck(f"{host_of(request.url)} redirects a {request.method} (HTTP {status})")
    url = joined(request.url, location)
    headers = request.headers
    if origin_of(url) != origin_of(request.url):
        headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}
    return replace(request, url=url, headers=headers)


def _retry_after(answer: Response | Broken) -> float | None:
    """Seconds, from either form of the header."""
    text = answer.headers.get("Retry-After", "") if isinstance(answer, Response) else ""
    if not text:
        return None
    if text.isdecimal() and text.isascii():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
