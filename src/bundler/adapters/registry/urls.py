"""URLs of registries: who is spoken to, how a host is named in messages, where a server leads."""

from __future__ import annotations

import ipaddress
from urllib.parse import urljoin, urlsplit

from bundler.errors import CouldNotCheck

DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int | None]
"""Scheme, host and port."""


def origin_of(url: str) -> Origin:
    """Who gets what is meant for this URL. Raises CouldNotCheck."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        raise CouldNotCheck("a registry names a URL that is none") from None


def host_of(url: str) -> str:
    """The host with its port where it is not the usual one, without anything secret."""
    return host_name(origin_of(url))


def host_name(origin: Origin) -> str:
    scheme, host, port = origin
    host = f"[{host}]" if ":" in host else host
    return host if port == DEFAULT_PORTS.get(scheme) else f"{host}:{port}"


def joined(base: str, location: str) -> str:
    """Where a server sends us from a URL. Raises CouldNotCheck where that is less safe."""
    try:
        url = urljoin(base, location)
    except ValueError:
        raise CouldNotCheck(f"{host_of(base)} names a URL that is none") from None
    scheme, host, _ = origin_of(url)
    if scheme not in DEFAULT_PORTS or not host:
        raise CouldNotCheck(f"{host_of(base)} names a URL that is none")
    if scheme == "http" and origin_of(base)[0] == "https":
        raise CouldNotCheck(f"{host_of(base)} sends us from https to http ({host})")
    return url


def is_loopback(host: str) -> bool:
    """Whether a registry host, with or without port, can only be this machine."""
    try:
        name = origin_of(f"//{host}")[1]
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except (CouldNotCheck, ValueError):
        return False
