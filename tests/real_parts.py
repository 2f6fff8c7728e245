"""Fixtures that are the real thing: a Kubernetes control plane, OCI registries, kustomize.

The programs come from `python3 tools/build.py test`; a test that lacks one fails, never skips.
All workers of a run share one control plane, started when the first test asks for it and stopped by
the process that started the workers. A registry takes no time to start: each worker has its own.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import pytest

from tools.build import binary_path
from tools.control_plane import ControlPlane
from tools.registries import Distribution, DockerRegistry, ReferrersRegistry
from tools.server_process import ServerError, wait_until

START, STOP = "start", "stop"


class SharedControlPlane:
    """The control plane of a test run: a thread that starts it at the first request for it.

    One thread does it all, as servers end with the thread that started them.
    """

    def __init__(self) -> None:
        self.key = secrets.token_bytes(16)
        self._listener = Listener(("127.0.0.1", 0), authkey=self.key)
        self._thread = threading.Thread(target=self._answer_requests, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.address[1])

    def stop(self) -> None:
        ask(STOP, self.port, self.key)
        self._thread.join()
        self._listener.close()

    def _answer_requests(self) -> None:
        answer: tuple[str, str] | None = None
        with ExitStack() as running:
            while True:
                try:
                    with self._listener.accept() as connection:
                        if connection.recv() == STOP:
                            connection.send(("", ""))
                            return
                        answer = answer or start(running)
                        connection.send(answer)
                except (EOFError, OSError, AuthenticationError):
                    continue  # whoever asked has gone


def start(running: ExitStack) -> tuple[str, str]:
    """The control plane's directory and an empty string; or an empty string and what is wrong."""
    try:
        return str(running.enter_context(ControlPlane()).directory), ""
    except Exception as error:  # whatever it is, it has to reach the tests
        return "", str(error)


def ask(request: str, port: int, key: bytes) -> tuple[str, str]:
    with Client(("127.0.0.1", port), authkey=key) as connection:
        connection.send(request)
        directory, problem = connection.recv()
        return directory, problem


SHARED = pytest.StashKey[SharedControlPlane]()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[SHARED] = SharedControlPlane()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where to ask for the control plane."""
    shared = node.config.stash[SHARED]
    node.workerinput["control_plane"] = (shared.port, shared.key)


def pytest_unconfigure(config: pytest.Config) -> None:
    if shared := config.stash.get(SHARED, None):
        shared.stop()


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> ControlPlane:
    """The run's control plane; give each test a namespace of its own."""
    if shared := request.config.stash.get(SHARED, None):
        port, key = shared.port, shared.key
    else:
        port, key = request.config.workerinput["control_plane"]  # type: ignore[attr-defined]
    directory, problem = ask(START, port, key)
    if problem:
        raise ServerError(problem)
    return ControlPlane.running_in(Path(directory))


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A new namespace, deleted (without waiting for that) after the test."""
    name = f"test-{secrets.token_hex(4)}"
    path = f"/api/v1/namespaces/{name}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    control_plane.request("POST", "/api/v1/namespaces", body)
    # Before it is there, the API server refuses pods.
    account = f"{path}/serviceaccounts/default"
    wait_until(lambda: control_plane.has(account), f"the service account of {name}", [])
    yield name
    control_plane.request("DELETE", path)


@pytest.fixture(scope="session")
def distribution() -> Iterator[Distribution]:
    """A registry without the referrers API, open to everybody; its repositories are shared."""
    with Distribution() as registry:
        yield registry


@pytest.fixture(scope="session")
def docker_registry() -> Iterator[DockerRegistry]:
    """Docker's registry 2.8, open to everybody; its repositories are shared."""
    with DockerRegistry() as registry:
        yield registry


@pytest.fixture(scope="session")
def referrers_registry() -> Iterator[ReferrersRegistry]:
    """A registry with the referrers API; its repositories are shared."""
    with ReferrersRegistry() as registry:
        yield registry


@pytest.fixture(scope="session")
def kustomize_path() -> Path:
    return binary_path("kustomize")
