"""Events that are posted to a real HTTP server, and to some that are broken."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bundler.adapters import webhooks as adapter
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.adapters.webhooks import SIGNATURE, Webhooks
from bundler.deploy.events import Event
from bundler.model.webhook import Webhook
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer

CANARY = "T0CANARY"


def event(kind: Any, **rest: Any) -> dict[str, Any]:
    digest = f"sha256:{'0' * 64}"
    return Event(
        kind, "2026-01-01T00:00:00Z", "shop", "prod", "eu", "v1.4.0", digest, **rest
    ).as_dict()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: Answer(200)) as running:
        yield running


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def hook(server: ScriptedServer) -> Webhook:
    return Webhook(f"{server.url}/hooks/{CANARY}?token={CANARY}", "hooks.example.com")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_PAUSES", (0.01, 0.01))


def post(hooks: list[Webhook], told: list[str], *kinds: str, seconds: float = 10) -> None:
    posting = Webhooks(hooks, told.append, "bundler/test")
    for kind in kinds:
        posting(event(kind))
    posting.close(seconds)


@pytest.mark.requirement("E-09")
def test_events_arrive_in_order_as_their_schema_says(
    server: ScriptedServer, hook: Webhook, told: list[str]
) -> None:
    post([hook], told, "start", "wave", "unchanged", "wave", "rollback", "failure")
    bodies = [json.loads(asked.body) for asked in server.asked]
    assert [body["event"] for body in bodies] == ["start", "wave", "wave", "rollback", "failure"]
    assert [asked.headers["X-Bundler-Event"] for asked in server.asked] == [
        body["event"] for body in bodies
    ]
    assert [each for body in bodies for each in DocumentSchemas().check("event", body)] == []
    assert server.asked[0].headers["Content-Type"] == "application/json"
    assert told == []


def test_only_the_chosen_events_are_posted(
    server: ScriptedServer, hook: Webhook, told: list[str]
) -> None:
    chosen = Webhook(hook.url, hook.host, events=frozenset({"failure", "unchanged"}))
    post([chosen], told, "start", "unchanged", "failure", "success")
    assert [json.loads(a.body)["event"] for a in server.asked] == ["unchanged", "failure"]


def test_headers_are_sent_and_the_body_is_signed(
    server: ScriptedServer, hook: Webhook, told: list[str]
) -> None:
    headers = {"Authorization": f"Bearer {CANARY}"}
    post([Webhook(hook.url, hook.host, headers, b"key")], told, "start")
    [asked] = server.asked
    assert asked.authorization == f"Bearer {CANARY}"
    signature = hmac.new(b"key", asked.body, hashlib.sha256).hexdigest()
    assert asked.headers[SIGNATURE] == f"sha256={signature}"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_with_a_problem_is_asked_again_with_the_same_delivery(
    server: ScriptedServer, hook: Webhook, told: list[str], status: int
) -> None:
    server.answer = lambda _: Answer(status if len(server.asked) < 3 else 200)
    post([hook], told, "start", "success")
    kinds = [json.loads(asked.body)["event"] for asked in server.asked]
    assert kinds == ["start", "start", "start", "success"]
    assert len({asked.headers["X-Bundler-Delivery"] for asked in server.asked}) == 2
    assert told == []


@pytest.mark.parametrize(("status", "attempts"), [(500, 3), (404, 1), (400, 1)])
def test_what_does_not_arrive_is_told_without_the_address(
    server: ScriptedServer, hook: Webhook, told: list[str], status: int, attempts: int
) -> None:
    server.answer = lambda _: Answer(status)
    post([hook], told, "start")
    assert len(server.asked) == attempts
    assert told == [f"webhook hooks.example.com: 1 event was not delivered: it answers {status}"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(
    server: ScriptedServer, hook: Webhook, told: list[str], status: int
) -> None:
    with ScriptedServer(lambda _: Answer(200)) as elsewhere:
        headers = {"Location": f"{elsewhere.url}/stolen"}
        server.answer = lambda _: Answer(status, headers=headers)
        post([Webhook(hook.url, hook.host, {"Authorization": CANARY})], told, "start")
        assert elsewhere.asked == []
    assert "redirects are not followed" in told[0]


def test_a_server_that_is_away_is_told_by_its_host(told: list[str]) -> None:
    with ScriptedServer(lambda _: Answer(200)) as gone:
        url = f"{gone.url}/hooks/{CANARY}"
    post([Webhook(url, "hooks.example.com")], told, "start", "success")
    assert told == [
        "webhook hooks.example.com: 2 events were not delivered: no connection (connection refused)"
    ]


def test_a_server_that_keeps_us_waiting_is_left_in_the_end(
    server: ScriptedServer, hook: Webhook, told: list[str]
) -> None:
    over = threading.Event()

    def never(_: Asked) -> Answer:
        over.wait(30)
        return Answer(200)

    server.answer = never
    began = time.monotonic()
    with ScriptedServer(lambda _: Answer(200)) as other:
        post([hook, Webhook(other.url, "other")], told, "start", "success", seconds=0.5)
        assert len(other.asked) == 2, "one webhook does not wait for the other"
    assert time.monotonic() - began < 5
    over.set()
    assert told == ["webhook hooks.example.com: 2 events were not delivered: no answer in time"]


def test_http_to_another_machine_is_told(told: list[str]) -> None:
    Webhooks([Webhook("http://hooks.example.com/x", "hooks.example.com")], told.append, "b").close(
        1
    )
    assert len(told) == 1
    assert "http lets everybody" in told[0]


@pytest.mark.parametrize("promised", [10_000, None])
def test_no_secret_of_a_webhook_is_ever_told(
    server: ScriptedServer, hook: Webhook, told: list[str], promised: int | None
) -> None:
    server.answer = lambda _: Answer(500, CANARY.encode(), promised=promised)
    secret = Webhook(hook.url, hook.host, {"X-Token": CANARY}, CANARY.encode())
    post([secret], told, "start")
    assert told
    assert CANARY not in f"{told}{secret!r}"
