"""Where a registry leads us: never to less safety, and never with what is meant for it alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bundler.adapters.registry.patience import Patience
from bundler.errors import CouldNotCheck
from bundler.model.artifact import Artifact
from bundler.model.reference import Repository
from tests.fakes.tls import NAME, certificate, name_here, server_tls
from tests.faults.conftest import PASSWORD, USER
from tests.faults.fault_proxy import Answer, Exchange, Fault, FaultProxy, Request
from tests.faults.faults import refusal
from tests.faults.scenarios import (
    Outcome,
    Place,
    every_index,
    pull_from,
    push_to,
)
from tests.faults.token_gate import TokenGate
from tools.registries import Distribution

BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def wants_login(request: Request) -> Answer | None:
    if request.authorization == BASIC:
        return None
    return refusal(401, "UNAUTHORIZED", ("WWW-Authenticate", 'Basic realm="r"'))


@pytest.fixture
def tls_place(
    distribution: Distribution,
    gate: TokenGate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    """A registry with TLS and a password; the other origin has no TLS."""
    file = certificate(tmp_path, NAME)
    name_here(monkeypatch)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    with ExitStack() as running:
        elsewhere = running.enter_context(FaultProxy(distribution.host))
        proxy = running.enter_context(
            FaultProxy(
                distribution.host, tls=server_tls(file), guard=wants_login, elsewhere=elsewhere
            )
        )
        proxy.host = f"{NAME}:{proxy.port}"
        credentials = tmp_path / "config.json"
        pair = BASIC.removeprefix("Basic ")
        credentials.write_text(json.dumps({"auths": {proxy.host: {"auth": pair}}}))
        yield Place(proxy, gate, elsewhere, credentials)


@pytest.fixture
def gate() -> Iterator[TokenGate]:
    with TokenGate(USER, PASSWORD) as running:
        yield running


def _downgrade(exchange: Exchange) -> None:
    assert exchange.proxy.elsewhere
    place = f"http://{exchange.proxy.elsewhere.host}{exchange.request.target}"
    exchange.send(Answer(307, (("Location", place),)))


def _http_session(exchange: Exchange) -> None:
    assert exchange.proxy.elsewhere
    place = f"http://{exchange.proxy.elsewhere.host}{exchange.request.target}x"
    exchange.send(Answer(202, (("Location", place),)))


def _realm(exchange: Exchange) -> None:
    assert exchange.proxy.elsewhere
    realm = f'Bearer realm="http://{exchange.proxy.elsewhere.host}/token"'
    exchange.send(refusal(401, "UNAUTHORIZED", ("WWW-Authenticate", realm)))


DOWNGRADES = (
    Fault("redirect", _downgrade, errors=(CouldNotCheck,)),
    Fault("session", _http_session, lambda request: request.method == "POST", (CouldNotCheck,)),
    Fault("realm", _realm, errors=(CouldNotCheck,)),
)


@pytest.mark.requirement("B-86")
@pytest.mark.parametrize("fault", DOWNGRADES, ids=str)
def test_nobody_leads_us_from_tls_to_none(
    tls_place: Place, artifact: Artifact, fault: Fault
) -> None:
    places: list[Repository] = []

    def run() -> None:
        places.append(tls_place.fresh())
        push_to(tls_place, places[-1], artifact, Patience(settling=0))
        pull_from(tls_place, places[-1], artifact, Patience(settling=0))

    def check(outcome: Outcome) -> None:
        assert outcome.error, str(outcome)
        assert not tls_place.elsewhere.asked, str(outcome)

    assert every_index(tls_place, fault, run, check) >= 1
