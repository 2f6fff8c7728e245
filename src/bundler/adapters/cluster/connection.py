"""Requests to one Kubernetes API server: JSON in and out, retries, fresh credentials.

The pool only sends; `kubernetes_credentials` says where and as whom.
"""

from __future__ import annotations

import json
import random
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from bundler.adapters.cluster.credentials import (
    SERVICE_ACCOUNT,
    Credentials,
    Endpoint,
    load_in_cluster,
    load_kubeconfig,
)
from bundler.adapters.cluster.pools import CONNECTIONS, Pools, checked
from bundler.errors import NoConnection, PermissionRefused, Unreachable

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
_ATTEMPTS = 6
_MAX_DELAY = 10.0
_RETRIED = frozenset({429, 502, 503, 504})
_JSON = "application/json"
OBJECT_IS_BAD = re.compile(
    r"webhook|^failed to (create typed patch object|convert new object) |request is too large"
)
"""What is answered with 500 and is about the object: it would be answered again."""
_NOT_IN_YAML = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class Answer(NamedTuple):
    status: int
    document: Mapping[str, Any]
    """What the server answered: an object, a list, or a Status."""

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300


def connect(
    *,
    context: str | None = None,
    kubeconfig: str | Path | None = None,
    in_cluster: bool = False,
    service_account: Path = SERVICE_ACCOUNT,
    size: int = CONNECTIONS,
) -> KubernetesConnection:
    """A connection as a kubeconfig ($KUBECONFIG, merged, if none is named) or a pod describes it.

    `size` is how many requests at once keep their connections. Nothing is sent yet.
    Raises NoConnection.
    """
    if in_cluster:
        in_pod = Credentials(partial(load_in_cluster, service_account))
        return KubernetesConnection(in_pod, size)
    files = str(kubeconfig) if kubeconfig else None
    return KubernetesConnection(Credentials(partial(load_kubeconfig, files, context)), size)


def path_of(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)


class KubernetesConnection:
    """Keep-alive connections to one API server, shared by threads; watches have their own."""

    def __init__(self, credentials: Credentials, size: int = CONNECTIONS) -> None:
        self._credentials = credentials
        self._generation, endpoint, _, _ = credentials.current()
        self._size = size
        self._pools = Pools(endpoint, size)
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._under_way: Counter[Callable[[], None] | None] = Counter()
        self.server = endpoint.server
        """Scheme, host and path, as messages may show them."""

    def __enter__(self) -> KubernetesConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._pools.clear()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        before: Callable[[], None] | None = None,
        attempts: int = _ATTEMPTS,
        seconds: float = READ_SECONDS,
    ) -> Answer:
        """Send until there is an answer that is not "later".

        Callers only send what may be sent twice. `before` runs ahead of every attempt, and again
        when a connection is at hand and nothing is left but to send: a thread may wait long for
        either. What it raises ends the request. Raises Unreachable, and PermissionRefused where
        the server does not accept our credentials, fresh ones neither.
        """
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        content = None
        if body is not None:
            headers["Content-Type"] = content_type
            content = _encode(body)
        timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds)

        for attempt in range(1, attempts + 1):
            if before:
                before()
            try:
                with self._counted(before), checked(before):
                    response = self._send(method, path, query, headers, content, timeout)
            except HTTPError as error:
                if attempt == attempts or not _is_passing(error):
                    raise self._unreachable(error) from error
                _pause(attempt, "")
                continue
            if attempt == attempts or not _means_later(response):
                break
            _pause(attempt, response.headers.get("Retry-After", ""))
        return self._answer(response)

    def text(self, path: str, *, query: Mapping[str, str], seconds: float) -> str:
        """What is no JSON, such as a log, asked for once; empty where the server refuses it.

        Raises as `request`.
        """
        timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds)
        try:
            response = self._send("GET", path, query, {"Accept": "*/*"}, None, timeout)
        except HTTPError as error:
            raise self._unreachable(error) from error
        return response.data.decode(errors="replace") if response.status == 200 else ""

    @contextmanager
    def _counted(self, before: Callable[[], None] | None) -> Iterator[None]:
        with self._lock:
            self._under_way[before] += 1
        try:
            yield
        finally:
            with self._answered:
                self._under_way[before] -= 1
                self._answered.notify_all()

    def is_answered(self, before: Callable[[], None], within: float) -> bool:
        """Whether all that was sent of this `before` has its answer within so many seconds.

        What has none may be late.
        """
        with self._answered:
            return self._answered.wait_for(lambda: self._under_way[before] <= 0, within)

    @contextmanager
    def stream(self, path: str, query: Mapping[str, str]) -> Iterator[WatchStream]:
        """The events of a watch, on a connection of its own. Raises as `request`."""
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        try:
            response = self._send(
                "GET", path, query, {"Accept": _JSON}, None, timeout, is_stream=True
            )
        except HTTPError as error:
            raise self._unreachable(error) from error
        try:
            yield WatchStream(response, self._answer)
        finally:
            with suppress(Exception):  # the other end, or another thread, may have closed it
                response.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str],
        content: bytes | None,
        timeout: urllib3.Timeout,
        *,
        is_stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """One request; with fresh credentials once more if the first are not accepted."""
        target = path + (f"?{urlencode(query)}" if query else "")
        for is_last in (False, True):
            generation, endpoint, authorization, impersonation = self._credentials.current()
            sent = urllib3.HTTPHeaderDict({**headers, **authorization})
            for name, value in impersonation:
                sent.add(name, value)
            pools = self._pools_of(generation, endpoint)
            response = (pools.watches if is_stream else pools.requests).request(
                method,
                endpoint.host + target,
                headers=sent,
                body=content,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=not is_stream,
            )
            if response.status != 401:
                return response
            response.close()
            if not is_last:
                try:
                    self._credentials.reload(generation)
                except NoConnection as error:
                    raise self._not_accepted() from error
        raise self._not_accepted()

    def _not_accepted(self) -> PermissionRefused:
        return PermissionRefused(
            f"{self.server}: the cluster does not accept our credentials",
            hint="log in again, or name another context",
        )

    def _pools_of(self, generation: int, endpoint: Endpoint) -> Pools:
        """New ones for new credentials: certificates may change in files whose names do not."""
        with self._lock:
            if generation > self._generation:
                self._pools.clear()
                self._pools, self._generation = Pools(endpoint, self._size), generation
            return self._pools

    def _answer(self, response: urllib3.BaseHTTPResponse) -> Answer:
        content = response.data
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if isinstance(document, dict):
            return Answer(response.status, document)
        if response.status < 400:
            raise Unreachable(
                f"{self.server} does not answer as a Kubernetes API server does",
                hint="look at the server's address and at proxies on the way",
            )
        return Answer(response.status, {"message": content.decode(errors="replace").strip()[:300]})

    def _unreachable(self, error: HTTPError) -> Unreachable:
        return Unreachable(
            f"{self.server} cannot be reached: {_reason(error)}",
            hint="look at the server's address, the network and the proxy",
        )


class WatchStream:
    """An open watch; `stop` ends it from any thread."""

    def __init__(
        self,
        response: urllib3.BaseHTTPResponse,
        answer: Callable[[urllib3.BaseHTTPResponse], Answer],
    ) -> None:
        self._response = response
        self._parse = answer

    @property
    def refusal(self) -> Answer | None:
        """The server's answer where it is not a watch."""
        return None if self._response.status == 200 else self._parse(self._response)

    @property
    def retry_after(self) -> float:
        """How many seconds the server asks us to stay away."""
        asked = self._response.headers.get("Retry-After", "")
        return float(asked) if asked.isdecimal() else 0.0

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Until the stream ends or breaks; either way the watch can be resumed."""
        rest = b""
        with suppress(HTTPError, OSError, ValueError, AttributeError):
            # ValueError and AttributeError: the socket was shut down while it was read
            for chunk in self._response.stream(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield json.loads(line)

    def stop(self) -> None:
        with suppress(OSError, ValueError, RuntimeError):  # it is over already
            self._response.shutdown()


def _encode(body: object) -> bytes:
    """JSON that is YAML too, as apply patches are read: no escapes of surrogate pairs."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()


def _is_passing(error: HTTPError) -> bool:
    """Whether it may go well the next time; a read timeout has cost enough already."""
    inner = getattr(error, "original_error", None) or error
    if isinstance(inner, SSLError):  # a connection that broke off, or a certificate
        return isinstance(inner.args[0] if inner.args else None, ssl.SSLEOFError)
    return not isinstance(error, ReadTimeoutError)


def _means_later(response: urllib3.BaseHTTPResponse) -> bool:
    """Whether the same request may get another answer: a server that is busy, or an etcd."""
    if response.status < 300:
        return _is_cut(response.data)
    if response.status != 500:
        return response.status in _RETRIED
    return not OBJECT_IS_BAD.search(_message_of(response.data))


def _is_cut(content: bytes) -> bool:
    """Whether it is a part of an object, which every success is answered with.

    An answer that ends within its headers is one without content.
    """
    return not content.rstrip().endswith(b"}") and content[:1] in (b"", b"{")


def _message_of(content: bytes) -> str:
    with suppress(ValueError):
        document = json.loads(content)
        if isinstance(document, dict):
            return str(document.get("message"))
    return content.decode(errors="replace")


def _pause(attempt: int, retry_after: str) -> None:
    asked = float(retry_after) if retry_after.isdecimal() else 0.0
    backoff = 0.2 * 2 ** (attempt - 1)
    # Jitter: sixteen threads that were refused together shall not come back together.
    delay = min(max(asked, backoff), _MAX_DELAY) * random.uniform(1.0, 1.5)  # noqa: S311
    sleep(delay)


_REASONS: tuple[tuple[type[HTTPError], str], ...] = (
    (ProxyError, "its proxy does not let us through"),
    (NameResolutionError, "its name cannot be resolved"),
    (NewConnectionError, "no connection"),
    (ConnectTimeoutError, "no connection in time"),
    (ReadTimeoutError, "no answer in time"),
    (HTTPError, "the connection broke off"),
)


def _reason(error: HTTPError) -> str:
    """In our words: an exception's own text may hold a proxy's password."""
    inner = getattr(error, "original_error", None) or error
    if isinstance(inner, SSLError):
        verify = inner.args[0] if inner.args else None
        told = getattr(verify, "verify_message", None) or getattr(verify, "reason", None)
        return f"TLS failed{f' ({told})' if told else ''}"
    reason = next(words for kind, words in _REASONS if isinstance(error, kind))
    cause = error.__cause__ or error.__context__
    system = cause.strerror if isinstance(cause, OSError) else None
    return f"{reason} ({system.lower()})" if system else reason
