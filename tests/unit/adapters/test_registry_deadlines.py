"""Who sends a byte now and then is not listened to for ever, wherever in an answer it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.http import RegistryHttp, Request
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Broken, Patience
from bundler.errors import Unreachable
from bundler.model.reference import Repository
from tests.fakes.dripping_server import DrippingServer
from tests.fakes.scripted_server import Answer, ScriptedServer
from tests.fakes.tls import NAME, certificate, name_here, server_tls

PATIENCE = Patience(connect=0.5, read=0.5, answer=0.5, attempts=1)
TOO_LATE = 0.5 + 2
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
DRIPS: dict[str, tuple[bytes, bytes]] = {
    "the status": (b"HTTP/1.1 200 ", b"O"),
    "a header": (OK + b"Warning: ", b"x"),
    "headers": (OK, b"A:b\r\n"),
    "answers before the answer": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the body": (OK + b"Content-Length: 100000\r\n\r\n", b"x"),
    "chunks": (CHUNKED, b"1\r\nx\r\n"),
    "the size of a chunk": (CHUNKED + b"1;", b"x"),
    "what follows the body": (CHUNKED + b"1\r\nx\r\n0\r\n", b"A:b\r\n"),
}


def seconds_of(question: Callable[[], object], words: str = "answers too slowly") -> float:
    """How long a question takes that is given up."""
    asked_at = time.monotonic()
    with pytest.raises(Unreachable, match=words):
        question()
    return time.monotonic() - asked_at


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = certificate(tmp_path, NAME)
    name_here(monkeypatch)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    return file


@pytest.mark.requirement("B-83")
@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS.keys())
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_answer_that_drips_has_its_time(drip: tuple[bytes, bytes], streamed: bool) -> None:
    def question() -> None:
        request = Request("GET", f"{server.url}/v2/", {}, limit=1 << 20, streamed=streamed)
        answer = RegistryHttp(PATIENCE).send(request)
        assert answer.stream
        for _ in answer.stream.pieces():
            pass

    with DrippingServer(*drip) as server:
        assert seconds_of(question) < TOO_LATE
        assert server.asked == 1


@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS.keys())
def test_an_answer_that_drips_through_tls_has_its_time(
    drip: tuple[bytes, bytes], file: Path
) -> None:
    with DrippingServer(*drip, tls=server_tls(file)) as server:
        request = Request("GET", f"https://{NAME}:{server.port}/v2/", {}, limit=1 << 20)
        assert seconds_of(lambda: RegistryHttp(PATIENCE).send(request)) < TOO_LATE


def test_a_question_that_needs_no_body_is_no_exception() -> None:
    with DrippingServer(*DRIPS["headers"]) as server:
        request = Request("HEAD", f"{server.url}/v2/", {})
        assert seconds_of(lambda: RegistryHttp(PATIENCE).send(request)) < TOO_LATE


@pytest.mark.parametrize("name", ["the status", "headers"])
def test_a_proxy_that_drips_has_its_time(
    name: str, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    with DrippingServer(*DRIPS[name]) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        request = Request("GET", "https://registry.example.com/v2/", {})
        assert seconds_of(lambda: RegistryHttp(PATIENCE).send(request), "proxy|slowly") < TOO_LATE


@pytest.mark.requirement("B-86")
def test_a_token_service_that_drips_has_its_time() -> None:
    with DrippingServer(*DRIPS["headers"]) as service:
        challenge = {"WWW-Authenticate": f'Bearer realm="{service.url}/token",service="r"'}
        with ScriptedServer(lambda _: Answer(401, headers=challenge)) as server:
            registry = OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)
            place = Repository("oci", f"{server.host}/shop")
            assert seconds_of(lambda: registry.resolve(place, "v1.0.0")) < TOO_LATE


def test_an_attempt_after_one_that_drips_has_its_own_time() -> None:
    patience = Patience(connect=0.5, read=0.5, answer=0.5, attempts=2, first_pause=0.01)
    with DrippingServer(*DRIPS["headers"]) as server:
        request = Request("GET", f"{server.url}/v2/", {})
        assert 1 <= seconds_of(lambda: RegistryHttp(patience).send(request)) < 2 * TOO_LATE
        assert server.asked == 2


def test_a_body_is_waited_for_as_long_as_each_mib_comes_in_time() -> None:
    """Not so long that a pause of ours between two pieces is the server's fault."""
    content = bytes(5 << 20)
    with ScriptedServer(lambda _: Answer(200, content)) as server:
        request = Request("GET", f"{server.url}/blob", {}, streamed=True)
        answer = RegistryHttp(PATIENCE).send(request)
        assert answer.stream
        received = 0
        for number, piece in enumerate(answer.stream.pieces()):
            received += len(piece)
            if number == 1:
                time.sleep(PATIENCE.answer)  # as a slow disk
        answer.stream.close()
        assert received == len(content)


def test_who_answers_in_time_is_asked_on_over_the_same_connection() -> None:
    with ScriptedServer(lambda _: Answer(200, b"whole")) as server:
        http = RegistryHttp(PATIENCE)
        for _ in range(3):
            assert http.send(Request("GET", f"{server.url}/v2/", {})).content == b"whole"
        assert server.connections == 1


def test_it_is_worth_another_attempt() -> None:
    with DrippingServer(*DRIPS["headers"]) as server, pytest.raises(Broken):
        RegistryHttp(PATIENCE).send(Request("GET", f"{server.url}/v2/", {}))
