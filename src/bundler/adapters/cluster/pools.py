"""Connections to an API server, kept open; what is checked right before anything goes out."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, InsecureRequestWarning, LocationValueError

from bundler.adapters.cluster.credentials import Endpoint
from bundler.errors import NoConnection

CONNECTIONS = 16


class Pools:
    """Watches stay open, and so must not take the connections that requests wait for."""

    def __init__(self, endpoint: Endpoint, size: int) -> None:
        self.requests = _pool(endpoint, size)
        self.watches = _pool(endpoint, 1)

    def clear(self) -> None:
        self.requests.clear()
        self.watches.clear()


_CHECK = threading.local()
"""What a thread has to ask before it sends."""


@contextmanager
def checked(before: Callable[[], None] | None) -> Iterator[None]:
    """What this thread sends inside, it sends after `before`; what that raises ends the request."""
    _CHECK.before = before
    try:
        yield
    finally:
        _CHECK.before = None


class _Checked(HTTPConnection):
    def send(self, data: Any) -> None:
        if before := getattr(_CHECK, "before", None):
            before()
        super().send(data)


class _CheckedTls(_Checked, HTTPSConnection):
    """The same under TLS."""


class _Plain(HTTPConnectionPool):
    ConnectionCls = _Checked


class _Tls(HTTPSConnectionPool):
    ConnectionCls = _CheckedTls


def _pool(endpoint: Endpoint, size: int) -> urllib3.PoolManager:
    pool = _unchecked_pool(endpoint, size)
    if not (endpoint.proxy or "").startswith("socks"):
        pool.pool_classes_by_scheme = {"http": _Plain, "https": _Tls}
    return pool


def _unchecked_pool(endpoint: Endpoint, size: int) -> urllib3.PoolManager:
    options: dict[str, Any] = {"maxsize": size}
    if endpoint.host.startswith("https"):
        options |= {
            "cert_reqs": ssl.CERT_REQUIRED if endpoint.is_verified else ssl.CERT_NONE,
            "ca_certs": endpoint.ca_file,
            "ca_cert_data": endpoint.ca_data,
            "cert_file": endpoint.cert_file,
            "key_file": endpoint.key_file,
        }
        if endpoint.tls_server_name:
            options |= {"server_hostname": endpoint.tls_server_name}
        if not endpoint.is_verified:
            urllib3.disable_warnings(InsecureRequestWarning)  # it was asked for
    if not endpoint.proxy:
        return urllib3.PoolManager(**options)
    return _proxy_pool(endpoint.proxy, options)


def _proxy_pool(proxy: str, options: Mapping[str, Any]) -> urllib3.PoolManager:
    try:
        parts = urlsplit(proxy)
        if parts.scheme.startswith("socks"):
            from urllib3.contrib.socks import SOCKSProxyManager

            return SOCKSProxyManager(proxy, **options)
        headers = {}
        if parts.username:
            user, password = unquote(parts.username), unquote(parts.password or "")
            headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}")
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return urllib3.ProxyManager(bare, proxy_headers=headers, **options)
    except ImportError as error:
        raise NoConnection(
            "a SOCKS proxy needs the package PySocks", hint="install it beside bundler"
        ) from error
    except (ValueError, LocationValueError, HTTPError) as error:
        raise NoConnection(
            "the proxy of the cluster is not a proxy's URL", hint="such as http://proxy:3128"
        ) from error
