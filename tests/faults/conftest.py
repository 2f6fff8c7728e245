"""What the faults happen to."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bundler.model.artifact import Artifact
from tests.faults.fault_proxy import FaultProxy
from tests.faults.scenarios import Place, bundle
from tests.faults.token_gate import TokenGate
from tools.registries import Distribution

USER, PASSWORD = "ci", "a-password"


@pytest.fixture(scope="session")
def place(distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as running:
        gate = running.enter_context(TokenGate(USER, PASSWORD))
        elsewhere = running.enter_context(FaultProxy(distribution.host))
        proxy = running.enter_context(
            FaultProxy(distribution.host, guard=gate.guard, elsewhere=elsewhere)
        )
        credentials = tmp_path_factory.mktemp("login") / "config.json"
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        place = Place(proxy, gate, elsewhere, credentials)
        login = {"auth": pair}
        credentials.write_text(json.dumps({"auths": {proxy.host: login, place.alias: login}}))
        yield place


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def other_artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same version with other content."""
    return bundle(tmp_path_factory.mktemp("other"), "2")
