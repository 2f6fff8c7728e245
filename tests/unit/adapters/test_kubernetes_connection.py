"""Requests to a server that is busy, away or no API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from bundler.adapters.cluster import connection as kubernetes_connection
from bundler.adapters.cluster.connection import KubernetesConnection, connect
from bundler.adapters.cluster.state import find_states
from bundler.errors import Locked, Unreachable, VerificationFailed
from tests.fakes.scripted_server import Answer, ScriptedServer

OK = Answer(200, b'{"kind": "Fine"}')


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: OK) as server:
        yield server


@pytest.fixture
def connection(server: ScriptedServer, tmp_path: Path) -> Iterator[KubernetesConnection]:
    path = tmp_path / "kubeconfig"
    document = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server.url}}],
    }
    path.write_text(json.dumps(document))
    with connect(kubeconfig=path) as connection:
        yield connection


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(kubernetes_connection, "sleep", waited.append)
    return waited


def script(server: ScriptedServer, *answers: Answer) -> None:
    answered = chain(answers, repeat(answers[-1]))
    server.answer = lambda _: next(answered)


def test_a_busy_server_is_asked_again_when_it_says_so(
    server: ScriptedServer, connection: KubernetesConnection, pauses: list[float]
) -> None:
    script(server, Answer(429, headers={"Retry-After": "3"}), Answer(503), OK)
    assert connection.request("GET", "/api").document == {"kind": "Fine"}
    assert 3.0 <= pauses[0] <= 4.5
    assert 0.4 <= pauses[1] <= 0.6


def test_a_server_that_stays_busy_is_not_asked_for_ever(
    server: ScriptedServer, connection: KubernetesConnection, pauses: list[float]
) -> None:
    script(server, Answer(429, b'{"message": "later"}', {"Retry-After": "100000"}))
    assert connection.request("GET", "/api").status == 429
    assert len(server.asked) == 6
    assert max(pauses) <= 15.0


def test_a_connection_that_breaks_off_is_made_again(
    server: ScriptedServer, connection: KubernetesConnection, pauses: list[float]
) -> None:
    script(server, Answer(200, b'{"kind"', promised=1000), OK)
    assert connection.request("GET", "/api").is_ok


def test_a_server_that_is_away_is_unreachable(
    server: ScriptedServer, connection: KubernetesConnection, pauses: list[float]
) -> None:
    script(server, Answer(200, b"", promised=10))
    with pytest.raises(Unreachable, match=f"{server.url} cannot be reached: the connection broke"):
        connection.request("GET", "/api")


def test_what_is_no_api_server_is_told(
    server: ScriptedServer, connection: KubernetesConnection
) -> None:
    script(server, Answer(200, b"<html>please log in</html>"))
    with pytest.raises(Unreachable, match="does not answer as a Kubernetes API server"):
        connection.request("GET", "/api")
    script(server, Answer(404, b"404 page not found"))
    assert connection.request("GET", "/api").document == {"message": "404 page not found"}


def test_nothing_is_sent_when_the_lock_is_lost_between_two_attempts(
    server: ScriptedServer, connection: KubernetesConnection, pauses: list[float]
) -> None:
    script(server, Answer(503))

    def check() -> None:
        if server.asked:
            raise Locked("lost the lock")

    with pytest.raises(Locked):
        connection.request("PUT", "/api", body={}, before=check)
    assert len(server.asked) == 1


def test_nothing_is_sent_when_the_lock_is_lost_while_a_request_waits_for_its_turn(
    server: ScriptedServer, connection: KubernetesConnection
) -> None:
    """Checked again when nothing is left to do but to send."""
    is_lost = iter([False, True])

    def check() -> None:
        if next(is_lost):
            raise Locked("lost the lock")

    with pytest.raises(Locked):
        connection.request("PUT", "/api", body={}, before=check)
    assert not server.asked


def test_an_error_of_the_server_is_asked_again_and_one_of_the_object_is_not(
    server: ScriptedServer, connection: KubernetesConnection, pauses: list[float]
) -> None:
    script(server, Answer(500, b'{"message": "etcdserver: leader changed"}'), OK)
    assert connection.request("PUT", "/api", body={}).is_ok
    server.asked.clear()
    script(server, Answer(500, b'{"message": "failed calling webhook \\"x\\": timeout"}'), OK)
    assert connection.request("PUT", "/api", body={}).status == 500
    assert len(server.asked) == 1


@pytest.mark.parametrize("cut", [b"", b'{"kind": "Fi'])
def test_a_success_without_its_object_is_asked_again(
    server: ScriptedServer, connection: KubernetesConnection, pauses: list[float], cut: bytes
) -> None:
    script(server, Answer(200, cut), OK)
    assert connection.request("GET", "/api").document == {"kind": "Fine"}


def config_map(name: str, state: str, **content: str) -> dict[str, object]:
    labels = {
        "app.kubernetes.io/part-of": "shop",
        "release-bundler/environment": "stage",
        "release-bundler/target": "default",
        "release-bundler/state": state,
    }
    return {"metadata": {"name": name, "namespace": "ns", "labels": labels}, "data": content}


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (config_map("head.v1", "revision", revision="{}"), "head.v1: it is not a revision"),
        (config_map("head.v1", "revision", revision="{"), "head.v1: it is not a revision"),
        (config_map("head", "inventory"), "head: it is not an inventory"),
        (config_map("head", "inventory", inventory='{"objects": [{}]}'), "not an inventory"),
        (
            config_map("head", "inventory", generation="3", chunks="2"),
            "ConfigMap head.inventory-3-1 is missing",
        ),
    ],
)
def test_state_that_somebody_has_broken_is_told(
    server: ScriptedServer,
    connection: KubernetesConnection,
    broken: dict[str, object],
    words: str,
) -> None:
    script(server, Answer(200, json.dumps({"items": [broken]}).encode()))
    with pytest.raises(VerificationFailed) as error:
        find_states(connection, "ns")
    assert words in str(error.value)
