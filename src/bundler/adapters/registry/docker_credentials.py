"""Credentials for registries, as `docker login`, podman and credential helpers keep them.

Sources: the Docker CLI's config.json (auths, credHelpers, credsStore), containers-auth.json(5) for
keys with a path, and the docker-credential-helpers protocol. Nothing is ever written. A damaged
file or a failing helper is an error: going on without credentials would look like a missing image.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundler.adapters import programs
from bundler.errors import CouldNotCheck

DOCKER_HUB = "docker.io"
DOCKER_HUB_HOSTS = frozenset([DOCKER_HUB, "index.docker.io", "registry-1.docker.io"])
DOCKER_HUB_SERVER = "https://index.docker.io/v1/"
"""The name under which Docker keeps credentials for Docker Hub."""
HELPER_SECONDS = 30.0
MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_ANSWER_BYTES = 1024 * 1024
"""Of a credential helper."""
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TOKEN_USER = "<token>"  # noqa: S105  a helper's user name that marks an identity token
_NOT_FOUND = "credentials not found"
"""What a helper prints, on any stream, where it has nothing for a server."""


@dataclass(frozen=True)
class Credential:
    """A user with password, or one of two kinds of token; `source` says where it was found."""

    source: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header; empty without user and password."""
        if not self.username:
            return ""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


class DockerCredentials:
    """Finds credentials by host and repository name; thread-safe, each file read once."""

    def __init__(self, files: Sequence[Path], helper_seconds: float = HELPER_SECONDS) -> None:
        """`files` are asked in their order; those that do not exist have no credentials."""
        self.files = tuple(files)
        self._helper_seconds = helper_seconds
        self._lock = threading.Lock()
        self._configurations: dict[Path, Mapping[str, Any]] = {}
        self._answers: dict[tuple[str, str], Credential | None] = {}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> DockerCredentials:
        """$REGISTRY_AUTH_FILE, Docker's config.json, then the auth.json of podman and others."""
        home = environment.get("HOME")
        running = environment.get("XDG_RUNTIME_DIR")
        settings = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else None)
        docker = environment.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else None)
        files = (
            environment.get("REGISTRY_AUTH_FILE"),
            f"{docker}/config.json" if docker else None,
            f"{running}/containers/auth.json" if running else None,
            f"{settings}/containers/auth.json" if settings else None,
        )
        return cls([Path(file) for file in files if file])

    def find(self, host: str, name: str) -> Credential | None:
        """The credentials for a repository. Raises CouldNotCheck."""
        host = DOCKER_HUB if host in DOCKER_HUB_HOSTS else host
        with self._lock:
            for path in self.files:
                if credential := self._find_in(path, host, name):
                    return credential
        return None

    def _find_in(self, path: Path, host: str, name: str) -> Credential | None:
        if path not in self._configurations:
            self._configurations[path] = _read_configuration(path)
        configuration = self._configurations[path]
        if helper := _section(path, configuration, "credHelpers").get(host):
            return self._ask(path, helper, host)
        auths = _by_place(_section(path, configuration, "auths"))
        for place in _places(host, name):
            if credential := _parse_auth(path, place, auths.get(place)):
                return credential
        if store := configuration.get("credsStore"):
            return self._ask(path, store, host)
        return None

    def _ask(self, path: Path, helper: object, host: str) -> Credential | None:
        if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
            raise CouldNotCheck(f"{path}: {helper!r} is no name of a credential helper")
        if (helper, host) not in self._answers:
            server = DOCKER_HUB_SERVER if host == DOCKER_HUB else host
            self._answers[helper, host] = _ask_helper(helper, server, self._helper_seconds)
        return self._answers[helper, host]


# --- files ---


def _read_configuration(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CouldNotCheck(f"{path}: {(error.strerror or 'unreadable').lower()}") from error
    try:
        configuration = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        # from None: a parser's error carries the text, and that holds secrets
        raise CouldNotCheck(f"{path} is damaged: not JSON") from None
    if not isinstance(configuration, dict):
        raise CouldNotCheck(f"{path} is damaged: not a JSON object")
    return configuration


def _section(path: Path, configuration: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = configuration.get(key) or {}
    if not isinstance(section, dict):
        raise CouldNotCheck(f"{path} is damaged: {key} is not an object")
    return section


def _by_place(auths: Mapping[str, Any]) -> dict[str, Any]:
    """The entries by host or host/path, however their keys are written."""
    places: dict[str, Any] = {}
    for key, auth in auths.items():
        scheme, separator, rest = key.rpartition("://")
        place = rest.partition("/")[0] if separator and scheme else key.rstrip("/")
        host, slash, path = place.partition("/")
        host = DOCKER_HUB if host in DOCKER_HUB_HOSTS else host
        places.setdefault(host + slash + path, auth)
    return places


def _places(host: str, name: str) -> Iterator[str]:
    """Where to look, the most specific first: host/a/b, host/a, host."""
    place = f"{host}/{name}" if name else host
    while place != host:
        yield place
        place = place.rpartition("/")[0]
    yield host


def _parse_auth(path: Path, place: str, auth: object) -> Credential | None:
    if not auth:
        return None
    damaged = CouldNotCheck(f"{path} is damaged: auths of {place}")
    if not isinstance(auth, dict):
        raise damaged
    fields = {
        key: auth.get(key) or ""
        for key in ("auth", "username", "password", "identitytoken", "registrytoken")
    }
    if not all(isinstance(value, str) for value in fields.values()):
        raise damaged
    username, password = fields["username"], fields["password"]
    if fields["auth"]:
        try:
            pair = base64.b64decode(fields["auth"], validate=True).decode()
        except ValueError:
            raise damaged from None
        username, colon, password = pair.partition(":")
        if not colon:
            raise damaged
    if not (username or fields["identitytoken"] or fields["registrytoken"]):
        return None
    source = f"{path} ({place})"
    identity, registry = fields["identitytoken"], fields["registrytoken"]
    return Credential(source, username, password.strip("\0"), identity, registry)


# --- helpers ---


def _ask_helper(helper: str, server: str, seconds: float) -> Credential | None:
    program = f"docker-credential-{helper}"
    status, output, words = _run(program, server, seconds)
    if status != 0:
        if _NOT_FOUND in output.decode(errors="replace").lower() or _NOT_FOUND in words.lower():
            return None
        raise CouldNotCheck(
            f"{program} failed with exit code {status} for {server}",
            hint=f"log in again with `docker login {server}`",
        )
    try:
        answer = json.loads(output)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise CouldNotCheck(f"{program} answers no credentials for {server}") from None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise CouldNotCheck(f"{program} answers no credentials for {server}")
    if username == _TOKEN_USER:
        return Credential(program, identity_token=secret)
    return Credential(program, username, secret) if username else None


def _run(program: str, server: str, seconds: float) -> programs.Completed:
    try:
        return programs.run(
            [program, "get"],
            environment=os.environ,
            folder=Path(),
            seconds=seconds,
            max_output=MAX_ANSWER_BYTES,
            words_in=server.encode(),
        )
    except OSError as error:
        raise CouldNotCheck(
            f"{program} cannot be started: {(error.strerror or 'failed').lower()}",
            hint="install it, or take it out of the Docker configuration",
        ) from error
    except programs.TimeLimit:
        raise CouldNotCheck(f"{program} did not answer in {seconds:.0f} s") from None
    except programs.OutputLimit:
        raise CouldNotCheck(f"{program} answers without an end for {server}") from None
