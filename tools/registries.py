#!/usr/bin/env python3
"""Real OCI registries on 127.0.0.1, each with a storage of its own that goes when it ends.

    python3 tools/registries.py distribution --port 5000   run one until ctrl-c
    python3 tools/registries.py referrers-registry

The programs come from `python3 tools/build.py distribution referrers-registry docker-registry`.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import http.client
import json
import shutil
import signal
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

if not __package__:  # run as a command
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.build import MissingProgramError, binary_path
from tools.server_process import (
    ServerError,
    ServerProcess,
    end_on_sigterm,
    free_port,
    wait_until,
)


class Registry(ABC):
    """A registry that runs inside `with`."""

    program: str

    def __init__(self, port: int | None = None) -> None:
        self.host = f"127.0.0.1:{port or free_port()}"
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.program}-"))
        self._servers: list[ServerProcess] = []

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @abstractmethod
    def arguments(self) -> list[str]:
        """The program's command line; also writes the files that it names."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [str(binary_path(self.program)), *self.arguments()]
        log = self.directory / f"{self.program}.log"
        self._servers.append(ServerProcess(self.program, command, log))
        wait_until(self._is_answering, f"{self.program} on {self.host}", self._servers)

    def stop(self) -> None:
        for server in self._servers:
            server.stop()
        self._servers.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _is_answering(self) -> bool:
        connection = http.client.HTTPConnection(self.host, timeout=5)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in (200, 401)
        finally:
            connection.close()


class TokenAccess(NamedTuple):
    """Whose tokens a registry takes, in the words of its configuration."""

    realm: str
    service: str
    issuer: str
    rootcertbundle: str


class Distribution(Registry):
    """CNCF distribution: deletes, and authentication if asked; has no referrers API."""

    program = "distribution"

    def __init__(
        self,
        port: int | None = None,
        htpasswd: tuple[str, str] | None = None,
        tokens: TokenAccess | None = None,
    ) -> None:
        super().__init__(port)
        self.htpasswd = htpasswd
        """The only user and password; without it and without tokens everybody may do all."""
        self.tokens = tokens

    def arguments(self) -> list[str]:
        configuration: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.directory / "storage")},
                "delete": {"enabled": True},
            },
            # relative: right behind a proxy that ends TLS too
            "http": {"addr": self.host, "relativeurls": True},
        }
        if self.htpasswd:
            user, password = self.htpasswd
            users = self.directory / "htpasswd"
            users.write_text(f"{user}:{bcrypt(password)}\n")
            configuration["auth"] = {"htpasswd": {"realm": "registry", "path": str(users)}}
        if self.tokens:
            configuration["auth"] = {"token": self.tokens._asdict()}
        path = self.directory / "config.yml"
        path.write_text(json.dumps(configuration))  # JSON is YAML
        return ["serve", str(path)]


class DockerRegistry(Distribution):
    """Docker's registry 2.8, the ancestor of distribution, as Linux distributions still have it."""

    program = "docker-registry"


class ReferrersRegistry(Registry):
    """An in-memory registry with the referrers API; takes manifests whose blobs are not there."""

    program = "referrers-registry"

    def arguments(self) -> list[str]:
        return ["-address", self.host]


def bcrypt(password: str) -> str:
    """Distribution takes no other hash, and Python has none: ask the C library's crypt(3)."""
    library = ctypes.util.find_library("crypt")
    if library is None:
        raise MissingProgramError("libcrypt: install it (Debian: libcrypt1)")
    crypt = ctypes.CDLL(library).crypt
    crypt.restype = ctypes.c_char_p
    hashed: bytes | None = crypt(password.encode(), b"$2b$04$" + b"abcdefghijklmnopqrstuu")
    if hashed is None or not hashed.startswith(b"$2b$"):
        raise MissingProgramError("libcrypt: this one does not know bcrypt")
    return hashed.decode()


REGISTRIES: dict[str, type[Registry]] = {
    registry.program: registry for registry in (Distribution, DockerRegistry, ReferrersRegistry)
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("registry", choices=REGISTRIES)
    parser.add_argument("--port", type=int)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, end_on_sigterm)
    try:
        with REGISTRIES[options.registry](options.port) as registry:
            print(registry.host, flush=True)
            signal.pause()
    except (MissingProgramError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
