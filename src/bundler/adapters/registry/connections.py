"""Connections to registries: kept alive, by origin, direct or through the environment's proxy.

`urllib3` alone, without the layers above it: no redirects, no retries, no netrc, no cookies, and
nothing unpacked. Proxies and certificate bundles come from the usual environment variables.
"""

from __future__ import annotations

import io
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)
from urllib3.util import Retry, Timeout, make_headers

from bundler import __version__
from bundler.adapters.registry.certificates import Certificates
from bundler.adapters.registry.deadlines import TooLong, TooSlow, timed_pools
from bundler.adapters.registry.patience import Broken, Patience, Unconnected
from bundler.adapters.registry.urls import DEFAULT_PORTS, Origin, host_name
from bundler.errors import BundlerError, CouldNotCheck, Unreachable

AGENT = {"User-Agent": f"release-bundler/{__version__}", "Accept-Encoding": "identity"}
_ONCE = Retry(False)
_UPLOAD_PIECE = 64 * 1024
"""The time limit of writing holds for a piece, not for the whole body."""


class Body(NamedTuple):
    """What is sent without having it whole in memory."""

    size: int
    pieces: Callable[[], Iterator[bytes | memoryview]]
    """Begins anew with each call."""


class _Way(NamedTuple):
    """How an origin is reached; a proxy is told whole URLs."""

    pool: urllib3.HTTPConnectionPool | urllib3.PoolManager
    takes_urls: bool


class Connections:
    """Sends one request over one connection; thread-safe."""

    def __init__(
        self, patience: Patience, connections: int, certificates: Certificates | None = None
    ) -> None:
        """`connections` are kept for each origin."""
        self._timeout = Timeout(connect=patience.connect, read=patience.read)
        self._connections = connections
        self._pools = timed_pools(patience.answer)
        self._ways: dict[Origin, _Way] = {}
        self._lock = threading.Lock()
        self._certificates = certificates or Certificates.from_environment()

    def open(
        self,
        origin: Origin,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Body | None,
    ) -> urllib3.BaseHTTPResponse:
        """The answer, its body not read yet. Raises Unreachable, CouldNotCheck.

        It has to be read within `translated`, and given back with `give_back`.
        """
        way = self._ways.get(origin) or self._find_way(origin)
        fields = {**AGENT, **headers}
        if body is not None:
            fields["Content-Length"] = str(body.size if isinstance(body, Body) else len(body))
        with translated(origin):
            return way.pool.urlopen(
                method,
                url if way.takes_urls else _target(url),
                headers=fields,
                body=_sent(body),
                retries=_ONCE,
                redirect=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )

    def _find_way(self, origin: Origin) -> _Way:
        with self._lock:
            if origin not in self._ways:
                self._ways[origin] = self._way(origin)
            return self._ways[origin]

    def _way(self, origin: Origin) -> _Way:
        scheme, host, port = origin
        trust = self._certificates.settings(origin) if scheme == "https" else None
        proxy = _proxy_for(origin)
        with translated(origin):
            if proxy is None:
                direct = urllib3.PoolManager(
                    maxsize=self._connections, blocksize=_UPLOAD_PIECE, ssl_context=trust
                )
                direct.pool_classes_by_scheme = self._pools
                return _Way(direct.connection_from_host(host, port, scheme), takes_urls=False)
            headers = make_headers(proxy_basic_auth=proxy.userinfo) if proxy.userinfo else None
            is_secret = proxy.url.startswith("https:")
            through = urllib3.ProxyManager(
                proxy.url,
                proxy_headers=headers,
                proxy_ssl_context=self._certificates.usual() if is_secret else None,
                maxsize=self._connections,
                blocksize=_UPLOAD_PIECE,
                ssl_context=trust,
            )
            through.pool_classes_by_scheme = self._pools
            return _Way(through, takes_urls=True)


def give_back(answer: urllib3.BaseHTTPResponse, *, is_read: bool) -> None:
    """Make the connection available again; what was not read to its end is of no use."""
    if not is_read:
        answer.close()
    answer.release_conn()


def _sent(body: bytes | Body | None) -> Any:
    """A body in a form that is sent in small pieces."""
    if isinstance(body, Body):
        return _small_pieces(body.pieces()) if body.size else b""
    return io.BytesIO(body) if body else body


def _small_pieces(pieces: Iterator[bytes | memoryview]) -> Iterator[memoryview]:
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), _UPLOAD_PIECE):
            yield view[start : start + _UPLOAD_PIECE]


def _target(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


# --- the environment ---


class _Proxy(NamedTuple):
    url: str
    userinfo: str


def _proxy_for(origin: Origin) -> _Proxy | None:
    scheme, host, _ = origin
    proxies = getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    if not url or _is_in_networks(host, proxies.get("no", "")) or proxy_bypass(host_name(origin)):
        return None
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in DEFAULT_PORTS and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise CouldNotCheck(
            f"{host} cannot be asked through the proxy that the environment names",
            hint="a proxy is http://HOST:PORT or https://HOST:PORT: correct $HTTPS_PROXY",
        )
    userinfo, _, place = parts.netloc.rpartition("@")
    return _Proxy(f"{parts.scheme}://{place}", unquote(userinfo))


def _is_in_networks(host: str, no_proxy: str) -> bool:
    """Whether $NO_PROXY names a network, such as 10.0.0.0/8, that an address is in."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in no_proxy.split(","):
        with suppress(ValueError):
            if "/" in entry and address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
    return False


# --- failures ---


@contextmanager
def translated(origin: Origin) -> Iterator[None]:
    """Turns what goes wrong with an origin into Unreachable or CouldNotCheck."""
    try:
        yield
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        raise _translation(host_name(origin), error) from error


def _translation(host: str, error: Exception) -> BundlerError:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return Unreachable(
                f"{host}: no TLS connection ({_words(cause)})",
                hint="name a private CA's certificate in $SSL_CERT_FILE; a registry without TLS "
                "needs --plain-http",
            )
    if isinstance(error, ValueError):
        return CouldNotCheck(f"{host} cannot be asked: {type(error).__name__}")
    return _broken(host, error, causes)


def _broken(host: str, error: Exception, causes: list[BaseException]) -> Broken:
    if isinstance(error, ProxyError):
        return Broken(host, "is behind a proxy that does not let us through", "check $HTTPS_PROXY")
    if ours := next((cause for cause in causes if isinstance(cause, (TooSlow, TooLong))), None):
        return Broken(host, ours.words)
    words = next((words for cause in causes if (words := _words(cause))), "connection broken")
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return Unconnected(host, "does not answer: no connection in time")
    if isinstance(error, NewConnectionError):
        return Unconnected(host, f"does not answer: {words}")
    if any(isinstance(cause, (ReadTimeoutError, TimeoutError)) for cause in causes):
        return Broken(host, "does not answer in time")
    return Broken(host, f"does not answer: {words}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(error: BaseException) -> str:
    """The system's words; never a library's, which hold URLs."""
    return (error.strerror or "").lower() if isinstance(error, OSError) else ""
