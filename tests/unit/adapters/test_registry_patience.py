"""Hosts that want a rest, fail or hang: what all threads together make of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from bundler.adapters.registry.http import RegistryHttp, Request, Response
from bundler.adapters.registry.patience import AskedHost, Broken, Patience
from bundler.errors import BundlerError, Unreachable
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer

PATIENCE = Patience(connect=2, read=2, attempts=3, first_pause=0.01, retrying=5)
OK = Answer(200)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: OK) as server:
        yield server


def asked_by(http: RegistryHttp, server: ScriptedServer) -> Callable[[object], int | BundlerError]:
    """Asks one question: its status, or what went wrong."""

    def ask(name: object) -> int | BundlerError:
        try:
            return http.send(Request("GET", f"{server.url}/v2/{name}", {})).status
        except BundlerError as error:
            return error

    return ask


def refused_once(server: ScriptedServer, answer: Answer) -> list[float]:
    """The first question is answered so; the times at which questions came."""
    times: list[float] = []

    def respond(_: Asked) -> Answer:
        times.append(time.monotonic())
        return answer if len(times) == 1 else OK

    server.answer = respond
    return times


# --- Retry-After ---


@pytest.mark.requirement("B-55")
@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_a_host_asks_for_is_kept_by_all_threads(
    server: ScriptedServer, status: int
) -> None:
    times = refused_once(server, Answer(status, headers={"Retry-After": "1"}))
    ask = asked_by(RegistryHttp(PATIENCE), server)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, "first")
        while not times:
            time.sleep(0.001)
        time.sleep(0.2)  # the answer is on its way
        assert set(pool.map(ask, range(7))) == {200}
    assert first.result() == 200
    assert min(times[1:]) - times[0] >= 1


def test_a_pause_is_the_concern_of_its_host_alone(server: ScriptedServer) -> None:
    refused_once(server, Answer(429, headers={"Retry-After": "30"}))
    http = RegistryHttp(replace(PATIENCE, retrying=0.1))
    assert asked_by(http, server)("x") == 429
    with ScriptedServer(lambda _: OK) as other:
        start = time.monotonic()
        assert asked_by(http, other)("x") == 200
        assert time.monotonic() - start < 5


def test_a_pause_has_a_limit_that_is_ours(server: ScriptedServer) -> None:
    times = refused_once(server, Answer(429, headers={"Retry-After": "86400"}))
    http = RegistryHttp(replace(PATIENCE, longest_asked_pause=0.3))
    assert asked_by(http, server)("x") == 200
    assert 0.3 <= times[1] - times[0] < 5
    assert Patience().longest_asked_pause == 60


def test_a_pause_may_end_at_a_date(server: ScriptedServer) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=2)
    times = refused_once(
        server, Answer(429, headers={"Retry-After": format_datetime(moment, usegmt=True)})
    )
    assert asked_by(RegistryHttp(PATIENCE), server)("x") == 200
    assert 0.5 < times[1] - times[0] < 5


@pytest.mark.parametrize(
    "text", ["soon", "-1", "", "1.5", "\u0661", "Wed, 99 Oct 2015 07:28:00 GMT"]
)
def test_a_pause_that_is_none_is_not_kept(server: ScriptedServer, text: str) -> None:
    times = refused_once(
        server, Answer(429, headers={"Retry-After": text.encode().decode("latin-1")})
    )
    assert asked_by(RegistryHttp(PATIENCE), server)("x") == 200
    assert times[1] - times[0] < 0.9


# --- hosts that fail ---


@pytest.mark.requirement("B-55")
def test_after_a_question_in_vain_others_are_asked_once(server: ScriptedServer) -> None:
    server.answer = lambda _: Answer(500)
    ask = asked_by(RegistryHttp(PATIENCE), server)
    assert ask("first") == 500
    assert len(server.asked) == 3
    assert [ask(number) for number in range(10)] == [500] * 10
    assert len(server.asked) == 13


def test_what_may_be_sent_only_once_is_no_question_in_vain(server: ScriptedServer) -> None:
    times = refused_once(server, Answer(503))
    http = RegistryHttp(PATIENCE)
    request = Request("PUT", f"{server.url}/v2/", {}, b"content", repeatable=False)
    assert http.send(request).status == 503
    times.clear()
    assert asked_by(http, server)("x") == 200
    assert len(times) == 2


def test_after_a_while_a_question_gets_all_its_attempts_again(server: ScriptedServer) -> None:
    server.answer = lambda _: Answer(500)
    ask = asked_by(RegistryHttp(replace(PATIENCE, given_up=0)), server)
    for _ in range(3):
        assert ask("x") == 500
    assert len(server.asked) == 9


def test_storage_that_fails_does_not_discredit_the_registry(server: ScriptedServer) -> None:
    with ScriptedServer(lambda _: Answer(500)) as storage:
        server.answer = lambda asked: (
            Answer(307, headers={"Location": storage.url}) if "blob" in asked.path else OK
        )
        http = RegistryHttp(PATIENCE)
        ask = asked_by(http, server)
        assert ask("blob") == 500
        refused_once(server, Answer(500))
        assert ask("manifest") == 200


@pytest.mark.requirement("B-55")
def test_a_host_that_hangs_is_not_waited_for_by_every_service(server: ScriptedServer) -> None:
    released = threading.Event()

    def hang(_: Asked) -> Answer:
        released.wait(30)
        return OK

    server.answer = hang
    patience = replace(PATIENCE, read=0.2, retrying=0.5, silence=0.5)
    ask = asked_by(RegistryHttp(patience, connections=4), server)
    start = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        errors = list(pool.map(ask, range(300)))
    elapsed = time.monotonic() - start
    released.set()
    assert all(isinstance(error, Unreachable) for error in errors)
    assert elapsed < 5
    assert len(server.asked) < 60
    last = errors[-1]
    assert isinstance(last, Unreachable)
    assert "has given no useful answer for" in last.message
    assert "does not answer in time" in last.message
    assert server.host in last.message


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "1"}])
def test_a_host_that_only_says_it_is_busy_is_not_asked_for_ever(
    server: ScriptedServer, headers: dict[str, str]
) -> None:
    server.answer = lambda _: Answer(429, headers=headers)
    patience = replace(PATIENCE, longest_asked_pause=0.3, silence=0.5, retrying=0.5)
    ask = asked_by(RegistryHttp(patience), server)
    start = time.monotonic()
    while not isinstance(outcome := ask("x"), Unreachable):
        assert outcome == 429
        assert time.monotonic() - start < 10
    assert "HTTP 429" in outcome.message
    count = len(server.asked)
    assert isinstance(ask("y"), Unreachable)
    assert len(server.asked) == count


# --- one host ---


def test_a_useful_answer_ends_the_silence() -> None:
    host = AskedHost("registry.test", Patience(silence=0), 16)
    host.was_useless(time.monotonic() - 10, "HTTP 503")
    with pytest.raises(Unreachable, match=r"no useful answer for 10 s: HTTP 503"), host.place():
        pass
    host.was_useful()
    with host.place():
        pass


def test_a_time_without_questions_is_no_silence() -> None:
    host = AskedHost("registry.test", Patience(silence=90, given_up=0.01), 16)
    host.was_useless(time.monotonic() - 1000, "HTTP 503")
    host.was_useless(time.monotonic() + 1, "HTTP 503")
    with host.place():
        pass


def test_the_first_of_several_failures_is_when_the_silence_began() -> None:
    host = AskedHost("registry.test", Patience(), 16)
    now = time.monotonic()
    for ago in (60, 100, 80):
        host.was_useless(now - ago, "HTTP 503")
    with pytest.raises(Unreachable, match="no useful answer for 100 s"), host.place():
        pass


def test_a_failure_names_its_host_and_words() -> None:
    error = Broken("registry.test", "answers too slowly", "be patient")
    assert (error.message, error.hint) == ("registry.test answers too slowly", "be patient")


def test_an_answer_has_headers_in_any_case(server: ScriptedServer) -> None:
    server.answer = lambda _: Answer(200, headers={"X-Some": "1"})
    response: Response = RegistryHttp(PATIENCE).send(Request("GET", server.url, {}))
    assert response.headers.get("x-some") == response.headers["X-SOME"] == "1"
