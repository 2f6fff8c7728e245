"""Watches of servers that end them, put them off, or talk nonsense."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.cluster import watch as watching
from bundler.adapters.cluster.connection import connect
from bundler.adapters.cluster.discovery import Discovery
from bundler.adapters.cluster.watch import KubernetesWatcher, latest
from bundler.errors import Unreachable
from bundler.model.objects import ObjectRef
from bundler.ports import Observation
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer

COLOR = ObjectRef("x.io", "Color", "shop", "red")
KINDS = {
    "kind": "APIGroupDiscoveryList",
    "items": [
        {
            "metadata": {"name": "x.io"},
            "versions": [
                {
                    "version": "v1",
                    "resources": [
                        {
                            "resource": "colors",
                            "responseKind": {"kind": "Color"},
                            "scope": "Namespaced",
                            "verbs": ["get"],
                        }
                    ],
                }
            ],
        }
    ],
}


def answer(document: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(document).encode(), headers)


def color(version: int, hue: str) -> dict[str, Any]:
    metadata = {"name": "red", "namespace": "shop", "resourceVersion": str(version)}
    return {"apiVersion": "x.io/v1", "kind": "Color", "metadata": metadata, "hue": hue}


def listed(version: int, *items: Any) -> Answer:
    return answer({"metadata": {"resourceVersion": str(version)}, "items": items})


def events(*lines: Any) -> Answer:
    return Answer(body=b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def refusal(status: int, **headers: str) -> Answer:
    return answer({"kind": "Status", "code": status, "message": "no"}, status, **headers)


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}


class Server:
    """Answers lists and watches one after the other; the last of each again and again."""

    def __init__(self, lists: list[Answer], watches: list[Answer]) -> None:
        self.lists, self.watches = lists, watches
        self.asked: list[tuple[str, float]] = []

    def __call__(self, asked: Asked) -> Answer:
        if asked.path in ("/api", "/apis"):
            return answer(KINDS if asked.path == "/apis" else {**KINDS, "items": []})
        is_watch = "watch=true" in asked.path
        self.asked.append(("watch" if is_watch else "list", time.monotonic()))
        script = self.watches if is_watch else self.lists
        return script.pop(0) if len(script) > 1 else script[0]

    def count(self, word: str) -> int:
        return sum(each == word for each, _ in self.asked)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[[Server, float], Iterator[Observation | None]]]:
    with ScriptedServer(lambda _: Answer(500)) as http:
        path = tmp_path / "kubeconfig"
        cluster = {"name": "c", "cluster": {"server": http.url}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        document = {"clusters": [cluster], "contexts": [context], "current-context": "c"}
        path.write_text(json.dumps({**document, "users": [{"name": "u", "user": {}}]}))

        def watch(server: Server, seconds: float) -> Iterator[Observation | None]:
            http.answer = server
            return KubernetesWatcher(connection, Discovery(connection)).watch([COLOR], seconds)

        with connect(kubeconfig=path) as connection:
            yield watch
            http.hang_up()


def hues(observations: Iterator[Observation | None], count: int) -> list[str]:
    """The next hues that are observed."""
    found: list[str] = []
    for each in observations:
        if each and each.object:
            found.append(each.object["hue"])
        if len(found) == count:
            break
    observations.close()  # type: ignore[attr-defined]
    return found


def test_what_expired_is_listed_again(watched: Any) -> None:
    server = Server(
        [listed(1, color(1, "dark")), listed(9, color(9, "light"))],
        [events(GONE), events({"type": "MODIFIED", "object": color(10, "pale")})],
    )
    assert hues(watched(server, 20), 3) == ["dark", "light", "pale"]


def test_a_refusal_of_the_old_version_is_no_error_either(watched: Any) -> None:
    server = Server(
        [listed(1, color(1, "dark")), listed(9, color(9, "light"))], [refusal(410), events()]
    )
    assert hues(watched(server, 20), 2) == ["dark", "light"]


def test_a_watch_goes_on_from_the_last_bookmark(watched: Any) -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "77"}}}
    paths: list[str] = []
    server = Server(
        [listed(1, color(1, "dark"))],
        [events(bookmark), events({"type": "MODIFIED", "object": color(78, "pale")})],
    )

    def note(asked: Asked) -> Answer:
        paths.append(asked.path)
        return server(asked)

    assert hues(watched(note, 20), 2) == ["dark", "pale"]
    versions = [path.partition("resourceVersion=")[2].partition("&")[0] for path in paths]
    assert [version for version in versions if version][:2] == ["1", "77"]
    assert server.count("list") == 1


def test_a_server_that_is_busy_is_left_alone_as_long_as_it_asks(watched: Any) -> None:
    server = Server(
        [listed(1, color(1, "dark"))],
        [
            refusal(429, **{"Retry-After": "2"}),
            events({"type": "MODIFIED", "object": color(2, "pale")}),
        ],
    )
    assert hues(watched(server, 20), 2) == ["dark", "pale"]
    first, second = [at for word, at in server.asked if word == "watch"][:2]
    assert second - first >= 2
    assert server.count("list") == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_with_a_problem_is_asked_again(watched: Any, status: int) -> None:
    server = Server(
        [listed(1, color(1, "dark"))],
        [refusal(status), events({"type": "MODIFIED", "object": color(2, "pale")})],
    )
    assert hues(watched(server, 20), 2) == ["dark", "pale"]


@pytest.mark.parametrize(
    "watch",
    [events(), events(GONE), refusal(410), refusal(503), Answer(body=b"{not json\n")],
    ids=["ends at once", "expires at once", "is expired", "is away", "is no watch"],
)
def test_no_server_makes_us_ask_without_end(watched: Any, watch: Answer) -> None:
    server = Server([listed(1, color(1, "dark"))], [watch])
    list(watched(server, 3.0))
    assert 2 <= len(server.asked) <= 14, server.asked


def test_a_server_that_talks_nonsense_is_an_error_in_the_end(
    watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_GIVE_UP_SECONDS", 0.5)
    server = Server([answer({"items": [{"metadata": None}]})], [events()])
    with pytest.raises(Unreachable, match="does not answer as a Kubernetes API server"):
        list(watched(server, 20))


def test_what_is_around_many_objects_is_looked_at_later_but_not_much() -> None:
    assert latest(1) < 7
    assert latest(100) < latest(200) < 20
    assert latest(10_000) == 20
