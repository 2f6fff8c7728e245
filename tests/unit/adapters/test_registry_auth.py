"""Challenges, tokens and passwords: what is sent, to whom, and how often."""

from __future__ import annotations

import base64
import inspect
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import oras.provider
import pytest

from bundler.adapters.registry.auth import (
    Challenge,
    merged_scopes,
    parse_challenges,
    scope_of,
)
from bundler.adapters.registry.client import RegistryClient
from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.errors import AccessRefused, CouldNotCheck, Unreachable
from bundler.model.reference import Repository
from tests.fakes.registry import image
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer
from tests.fakes.tls import NAME, certificate, name_here, server_tls

PATIENCE = Patience(connect=2, read=2, attempts=2, first_pause=0.01, given_up=0)
DIGEST = image().digest
USER, PASSWORD = "deployer", "canary-password"
BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


class TokenService:
    """Counts what it gives; tokens name what they are for."""

    def __init__(self) -> None:
        self.given = 0
        self.seconds = 300
        self.asked: list[dict[str, list[str]]] = []
        self._lock = threading.Lock()

    def answer(self, asked: Asked) -> Answer:
        form = asked.body.decode() if asked.method == "POST" else urlsplit(asked.path).query
        with self._lock:
            self.given += 1
            self.asked.append(parse_qs(form))
            token = {"token": f"canary-token-{self.given}", "expires_in": self.seconds}
        return Answer(200, json.dumps(token).encode())


class TokenRegistry:
    """Asks for a token, and takes all that its service has given and that are not revoked."""

    def __init__(self, server: ScriptedServer, realm: str) -> None:
        self.realm = realm
        self.revoked: set[str | None] = {None}
        server.answer = self.answer

    def answer(self, asked: Asked) -> Answer:
        if asked.authorization in self.revoked:
            scope = scope_of(asked.method, asked.path)
            challenge = f'Bearer realm="{self.realm}",service="registry.test",scope="{scope}"'
            return Answer(401, headers={"WWW-Authenticate": challenge})
        return Answer(200, headers={"Docker-Content-Digest": str(DIGEST)})


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: Answer(500)) as server:
        yield server


@pytest.fixture
def token_server() -> Iterator[ScriptedServer]:
    with ScriptedServer(TokenService().answer) as server:
        yield server


@pytest.fixture
def service(token_server: ScriptedServer) -> TokenService:
    service = TokenService()
    token_server.answer = service.answer
    return service


@pytest.fixture
def registry(server: ScriptedServer, token_server: ScriptedServer) -> TokenRegistry:
    return TokenRegistry(server, f"{token_server.url}/token")


@pytest.fixture
def login(tmp_path: Path, server: ScriptedServer) -> Callable[..., OciRegistry]:
    def login(**auth: str) -> OciRegistry:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"auths": {server.host: auth}}))
        return OciRegistry(credentials=DockerCredentials([path]), patience=PATIENCE)

    return login


@pytest.fixture
def repository(server: ScriptedServer) -> Repository:
    return Repository("oci", f"{server.host}/shop/cart")


# --- token services ---


@pytest.mark.requirement("B-86")
def test_a_token_is_fetched_with_the_password_and_the_password_goes_nowhere_else(
    server: ScriptedServer,
    token_server: ScriptedServer,
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
) -> None:
    client = login(username=USER, password=PASSWORD)
    assert client.resolve(repository, "v1") == DIGEST
    assert [asked.authorization for asked in token_server.asked] == [BASIC]
    assert [asked.authorization for asked in server.asked] == [None, "Bearer canary-token-1"]
    assert service.asked[0]["scope"] == ["repository:shop/cart:pull"]
    assert service.asked[0]["service"] == ["registry.test"]


def test_a_token_is_fetched_once_for_all_threads(
    server: ScriptedServer,
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
) -> None:
    client = login()
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda _: client.resolve(repository, "v1"), range(60))) == {DIGEST}
    assert service.given == 1


def test_each_repository_has_a_token_of_its_own_and_is_not_asked_for_the_way_again(
    server: ScriptedServer,
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
) -> None:
    client = login()
    for name in ("a", "b", "c", "a"):
        client.resolve(Repository("oci", f"{server.host}/shop/{name}"), "v1")
    assert [asked["scope"] for asked in service.asked] == [
        [f"repository:shop/{name}:pull"] for name in ("a", "b", "c")
    ]
    assert len(server.asked) == 5


def test_a_token_that_is_refused_is_replaced(
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
) -> None:
    client = login()
    client.resolve(repository, "v1")
    registry.revoked.add("Bearer canary-token-1")
    assert client.resolve(repository, "v1") == DIGEST
    assert service.given == 2


def test_a_token_is_fetched_once_for_each_scope_whatever_the_threads(
    server: ScriptedServer,
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
) -> None:
    client = login(username=USER, password=PASSWORD)
    names = [Repository("oci", f"{server.host}/shop/{number % 10}") for number in range(500)]

    def ask_all() -> None:
        with ThreadPoolExecutor(32) as pool:
            digests = set(pool.map(lambda name: client.resolve(name, "v1"), names))
        assert digests == {DIGEST}

    ask_all()
    assert service.given == 10
    registry.revoked |= {f"Bearer canary-token-{number}" for number in range(1, 11)}
    ask_all()
    assert service.given == 20
    ask_all()
    assert service.given == 20


def test_expired_tokens_are_renewed_once(
    server: ScriptedServer,
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = login()
    client.resolve(repository, "v1")
    now = time.monotonic()
    monkeypatch.setattr("bundler.adapters.registry.auth.time.monotonic", lambda: now + 290)
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda _: client.resolve(repository, "v1"), range(100))) == {DIGEST}
    assert service.given == 2


def test_a_registry_that_asks_for_more_than_we_need_gives_one_token_for_both(
    server: ScriptedServer,
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
) -> None:
    def answer(asked: Asked) -> Answer:
        permitted = registry.answer(asked)
        challenge = permitted.headers.get("WWW-Authenticate", "").replace(":pull", ":pull,push")
        return Answer(
            permitted.status, headers={**permitted.headers, "WWW-Authenticate": challenge}
        )

    server.answer = answer
    client = login()
    for _ in range(3):
        assert client.resolve(repository, "v1") == DIGEST
    assert [asked["scope"] for asked in service.asked] == [["repository:shop/cart:pull,push"]]


def test_a_password_that_the_token_service_refuses_is_not_tried_for_every_repository(
    server: ScriptedServer,
    token_server: ScriptedServer,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
) -> None:
    token_server.answer = lambda _: Answer(401)
    client = login(username=USER, password=PASSWORD)
    for number in range(10):
        with pytest.raises(AccessRefused, match="gives no token") as caught:
            client.resolve(Repository("oci", f"{server.host}/shop/{number}"), "v1")
        assert f"docker login {server.host}" in (caught.value.hint or "")
    assert len(token_server.asked) == 1


@pytest.mark.parametrize(("status", "expected"), [(401, True), (403, True), (400, False)])
def test_a_token_service_that_refuses_is_told_from_one_that_fails(
    token_server: ScriptedServer,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
    status: int,
    expected: bool,
) -> None:
    token_server.answer = lambda _: Answer(status)
    with pytest.raises(CouldNotCheck) as caught:
        login().resolve(repository, "v1")
    assert isinstance(caught.value, AccessRefused) is expected


def test_a_token_that_is_about_to_expire_is_not_used(
    server: ScriptedServer,
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service.seconds = 100
    client = login()
    client.resolve(repository, "v1")
    now = time.monotonic()
    monkeypatch.setattr("bundler.adapters.registry.auth.time.monotonic", lambda: now + 90)
    client.resolve(repository, "v1")
    assert server.asked[-1].authorization == "Bearer canary-token-2"


def test_an_identity_token_is_sent_in_a_form(
    token_server: ScriptedServer,
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
) -> None:
    client = login(identitytoken="canary-identity")
    assert client.resolve(repository, "v1") == DIGEST
    assert token_server.asked[0].method == "POST"
    assert token_server.asked[0].path == "/token"
    assert service.asked[0]["grant_type"] == ["refresh_token"]
    assert service.asked[0]["refresh_token"] == ["canary-identity"]


def test_a_registry_token_is_used_as_it_is(
    server: ScriptedServer,
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
) -> None:
    client = login(registrytoken="canary-registry")
    assert client.resolve(repository, "v1") == DIGEST
    assert server.asked[-1].authorization == "Bearer canary-registry"
    assert service.given == 0


def test_pushing_asks_for_the_right_to_push(
    server: ScriptedServer,
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
) -> None:
    def answer(asked: Asked) -> Answer:
        permitted = registry.answer(asked)
        return (
            Answer(404 if asked.method == "HEAD" else 418) if permitted.status == 200 else permitted
        )

    server.answer = answer
    with pytest.raises(CouldNotCheck, match="HTTP 418"):
        login().push(repository, image())
    assert [asked["scope"] for asked in service.asked] == [
        ["repository:shop/cart:pull"],
        ["repository:shop/cart:pull,push"],
    ]


@pytest.mark.requirement("B-55")
@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, b'{"details":"canary-password"}'),
        Answer(403),
        Answer(302, headers={"Location": "/login?canary"}),
        Answer(200, b"<html>canary"),
        Answer(200, b"[]"),
        Answer(200, b'{"token":""}'),
        Answer(200, b'{"token":"canary\\r\\nX: 1"}'),
        Answer(503),
    ],
)
def test_a_token_service_that_gives_none_is_could_not_check(
    token_server: ScriptedServer,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
    answer: Answer,
) -> None:
    token_server.answer = lambda _: answer
    client = login(username=USER, password=PASSWORD)
    with pytest.raises(CouldNotCheck, match="token service") as caught:
        client.resolve(repository, "v1")
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"
    assert "/login" not in {asked.path for asked in token_server.asked}


def test_a_token_service_that_is_down_is_unreachable(
    server: ScriptedServer, login: Callable[..., OciRegistry], repository: Repository
) -> None:
    with ScriptedServer(lambda _: Answer()) as down:
        TokenRegistry(server, f"{down.url}/token")
    with pytest.raises(Unreachable, match=down.host):
        login().resolve(repository, "v1")


def test_a_token_that_does_not_help_is_could_not_check(
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
) -> None:
    registry.revoked |= {f"Bearer canary-token-{number}" for number in range(10)}
    with pytest.raises(CouldNotCheck, match="refuses access"):
        login().resolve(repository, "v1")
    assert service.given == 2  # one more, for one that was withdrawn meanwhile


@pytest.mark.parametrize(
    "realm",
    ["http://auth.test/token", "ftp://auth.test", "", "//auth.test", "https://u:p@auth.test/"],
)
def test_a_registry_with_tls_has_no_token_service_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, realm: str
) -> None:
    tls_file = certificate(tmp_path, NAME)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_file))
    name_here(monkeypatch)
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'}
    with ScriptedServer(lambda _: Answer(401, headers=challenge), server_tls(tls_file)) as server:
        host = f"{NAME}:{server.port}"
        config = tmp_path / "config.json"
        auth = {"username": USER, "password": PASSWORD}
        config.write_text(json.dumps({"auths": {host: auth}}))
        client = OciRegistry(credentials=DockerCredentials([config]), patience=PATIENCE)
        with pytest.raises(CouldNotCheck, match="not trusted"):
            client.resolve(Repository("oci", f"{host}/shop"), "v1")
        assert [asked.authorization for asked in server.asked] == [None]


# --- passwords ---


def test_a_password_is_sent_only_when_it_is_asked_for(
    server: ScriptedServer, login: Callable[..., OciRegistry], repository: Repository
) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.authorization == BASIC:
            return Answer(200, headers={"Docker-Content-Digest": str(DIGEST)})
        return Answer(401, headers={"WWW-Authenticate": 'Basic realm="registry"'})

    server.answer = answer
    client = login(username=USER, password=PASSWORD)
    for _ in range(3):
        assert client.resolve(repository, "v1") == DIGEST
    assert [asked.authorization for asked in server.asked] == [None, BASIC, BASIC, BASIC]


def test_a_wrong_password_is_sent_once(
    server: ScriptedServer, login: Callable[..., OciRegistry], repository: Repository
) -> None:
    server.answer = lambda asked: Answer(
        401,
        json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": asked.authorization}]}).encode(),
        {"WWW-Authenticate": 'Basic realm="registry"'},
    )
    with pytest.raises(CouldNotCheck) as caught:
        login(username=USER, password=PASSWORD).resolve(repository, "v1")
    assert len(server.asked) == 2
    text = f"{caught.value.message} {caught.value.hint}"
    assert BASIC.split()[1] not in text
    assert PASSWORD not in text


@pytest.mark.parametrize("challenge", ['Basic realm="storage"', 'Bearer realm="{realm}"'])
def test_another_origin_that_asks_for_the_password_does_not_get_it(
    server: ScriptedServer,
    token_server: ScriptedServer,
    login: Callable[..., OciRegistry],
    repository: Repository,
    challenge: str,
) -> None:
    header = challenge.format(realm=f"{token_server.url}/token")
    with ScriptedServer(lambda _: Answer(401, headers={"WWW-Authenticate": header})) as other:
        server.answer = lambda _: Answer(307, headers={"Location": f"{other.url}/v2/storage"})
        with pytest.raises(CouldNotCheck):
            login(username=USER, password=PASSWORD).resolve(repository, "v1")
        assert {asked.authorization for asked in other.asked} == {None}
    assert not token_server.asked


# --- words ---


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a b"', [("basic", {"realm": "a b"})]),
        (
            'Bearer realm="https://x/t",service="s",scope="repository:a:pull,push"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://x/t",
                        "service": "s",
                        "scope": "repository:a:pull,push",
                    },
                )
            ],
        ),
        (
            'BASIC realm="x", Bearer Realm="y" , service = z',
            [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "service": "z"})],
        ),
        ("Negotiate YWJj==, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        (r'Basic realm="a \"quoted\" \\ word"', [("basic", {"realm": r'a "quoted" \ word'})]),
        ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Basic realm="never closed', [("basic", {})]),
        ("=,,,;", []),
    ],
)
def test_challenges_are_read_as_the_standard_writes_them(
    header: str, expected: list[tuple[str, dict[str, str]]]
) -> None:
    found = parse_challenges(header)[: max(1, len(expected))]
    assert found == tuple(Challenge(scheme, parameters) for scheme, parameters in expected)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("HEAD", "/v2/a/b/manifests/v1", "repository:a/b:pull"),
        ("GET", "/v2/a/blobs/sha256:1", "repository:a:pull"),
        ("POST", "/v2/a/blobs/uploads/", "repository:a:pull,push"),
        ("PUT", "/v2/a/blobs/uploads/1?digest=x", "repository:a:pull,push"),
        ("GET", "/v2/a/tags/list", "repository:a:pull"),
        ("GET", "/v2/", ""),
        ("GET", "/token", ""),
    ],
)
def test_a_request_says_what_it_needs(method: str, path: str, expected: str) -> None:
    assert scope_of(method, f"https://registry.test{path}") == expected


def test_scopes_are_merged_by_resource() -> None:
    assert merged_scopes("repository:a:pull", "repository:a:push,pull registry:catalog:*") == (
        "registry:catalog:*",
        "repository:a:pull,push",
    )
    assert merged_scopes("", "") == ()


def test_oras_has_what_we_build_on() -> None:
    """It calls these two itself, with these arguments."""
    for ours, theirs in (
        (RegistryClient.do_request, oras.provider.Registry.do_request),
        (RegistryClient._do_paginated_request, oras.provider.Registry._do_paginated_request),
    ):
        names = list(inspect.signature(inspect.unwrap(theirs)).parameters)
        assert list(inspect.signature(ours).parameters) == names


# --- mounts ---


@pytest.mark.requirement("B-86")
def test_a_mount_asks_for_both_repositories(
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
    server: ScriptedServer,
) -> None:
    blob = image().config
    answer = registry.answer

    def mount(asked: Asked) -> Answer:
        given = answer(asked)
        if given.status == 200:
            return Answer(201) if asked.method == "POST" else Answer(404)
        return given

    server.answer = mount
    base = Repository("oci", f"{server.host}/shop/base")
    client = login(username=USER, password=PASSWORD)
    client.put_blob(repository, blob.descriptor, lambda: iter([blob.content]), base)
    assert service.asked[-1]["scope"] == [
        "repository:shop/base:pull",
        "repository:shop/cart:pull,push",
    ]


@pytest.mark.requirement("B-86")
def test_a_token_service_that_denies_a_mount_denies_nothing_else(
    token_server: ScriptedServer,
    service: TokenService,
    registry: TokenRegistry,
    login: Callable[..., OciRegistry],
    repository: Repository,
    server: ScriptedServer,
) -> None:
    blob = image().config
    answer = registry.answer
    token_server.answer = lambda asked: (
        Answer(401) if "base" in asked.path else service.answer(asked)
    )

    def store(asked: Asked) -> Answer:
        given = answer(asked)
        if given.status != 200:
            return given
        sessions = {"POST": Answer(202, headers={"Location": "x"}), "PUT": Answer(201)}
        return sessions.get(asked.method, Answer(404))

    server.answer = store
    base = Repository("oci", f"{server.host}/shop/base")
    client = login(username=USER, password=PASSWORD)
    client.put_blob(repository, blob.descriptor, lambda: iter([blob.content]), base)
    assert server.asked[-1].method == "PUT"
    assert server.asked[-1].body == blob.content
