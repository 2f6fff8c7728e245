"""Whom a registry connection trusts, and with which certificate we say who we are.

Private CAs are named by $REQUESTS_CA_BUNDLE or $SSL_CERT_FILE, or lie, with client certificates,
where Docker has them: certs.d/HOST:PORT/{*.crt, NAME.cert with NAME.key}. Source: the Docker
documentation, "Verify repository client with certificates". A damaged file is an error: going on
without it would look like a registry that is not to be trusted.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import certifi
from urllib3.util.ssl_ import create_urllib3_context

from bundler.adapters.registry.urls import DEFAULT_PORTS, Origin
from bundler.errors import CouldNotCheck

_TRUST_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


class Certificates:
    """TLS settings by origin; thread-safe, each file read once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """`folders` have one folder for each host, as Docker's certs.d; they need not exist."""
        self.folders = tuple(folders)
        self._lock = threading.Lock()
        self._usual: ssl.SSLContext | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Certificates:
        """/etc/docker/certs.d, then ~/.docker/certs.d."""
        home = environment.get("HOME")
        own = [Path(home, ".docker/certs.d")] if home else []
        return cls([Path("/etc/docker/certs.d"), *own])

    def settings(self, origin: Origin) -> ssl.SSLContext:
        """What a connection to an origin is made with. Raises CouldNotCheck."""
        files = [file for folder in self._of(origin) for file in _files(folder)]
        if not files:
            return self.usual()
        context = _trust()  # not the shared one: what is added holds for this origin alone
        for file in files:
            if file.suffix == ".crt":
                _add_authority(context, file)
            elif file.suffix == ".cert":
                _add_identity(context, file)
            elif not file.with_suffix(".cert").is_file():
                raise CouldNotCheck(f"{file} needs {file.with_suffix('.cert').name} beside it")
        return context

    def usual(self) -> ssl.SSLContext:
        """What holds for a host without files of its own; read once, as it takes its time."""
        with self._lock:
            if self._usual is None:
                self._usual = _trust()
            return self._usual

    def _of(self, origin: Origin) -> list[Path]:
        scheme, host, port = origin
        host = f"[{host}]" if ":" in host else host
        names = [f"{host}:{port}", *([host] if port == DEFAULT_PORTS[scheme] else [])]
        return [folder / name for folder in self.folders for name in names]


def _files(folder: Path) -> list[Path]:
    try:
        files = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CouldNotCheck(f"{folder}: {(error.strerror or 'unreadable').lower()}") from error
    return [file for file in files if file.suffix in (".crt", ".cert", ".key")]


def _add_authority(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except OSError as error:
        raise CouldNotCheck(f"{file} is no certificate of an authority") from error


def _add_identity(context: ssl.SSLContext, file: Path) -> None:
    key = file.with_suffix(".key")
    if not key.is_file():
        raise CouldNotCheck(f"{file} needs {key.name} beside it")
    try:
        # No password: the library would ask for it on the terminal.
        context.load_cert_chain(file, key, password=lambda: "")
    except OSError as error:
        raise CouldNotCheck(
            f"{file} and {key.name} are no client certificate", hint="its key has no password"
        ) from error


def _trust() -> ssl.SSLContext:
    """Whose certificates are believed: those of a file or folder, or the usual ones."""
    named = ((variable, os.environ.get(variable)) for variable in _TRUST_VARIABLES)
    variable, path = next(((v, p) for v, p in named if p), ("", certifi.where()))
    if not Path(path).exists():
        raise CouldNotCheck(f"{path} is not there, but ${variable} names it")
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    try:
        if Path(path).is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError as error:
        raise CouldNotCheck(f"{path} has no certificates, but ${variable} names it") from error
    return context
