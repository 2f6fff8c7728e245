"""What registries, proxies and networks do wrong, and what comes of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import CONNECTIONS, Patience
from bundler.errors import (
    AccessRefused,
    BundlerError,
    CouldNotCheck,
    NotFound,
    Unreachable,
    VerificationFailed,
    VersionExists,
)
from bundler.model.artifact import INDEX, MANIFEST, Artifact, Descriptor
from bundler.model.reference import Digest, Repository
from tests.fakes.registry import image
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer

PATIENCE = Patience(
    connect=2, read=1, attempts=3, first_pause=0.01, retrying=5, settling=0.01, given_up=0
)
IMAGE = image("cart")
MISSING = Answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}')
HTML = b"<html>Welcome to nginx</html>"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: MISSING) as server:
        yield server


@pytest.fixture
def other() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: MISSING) as server:
        yield server


@pytest.fixture
def registry() -> OciRegistry:
    return OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)


@pytest.fixture
def repository(server: ScriptedServer) -> Repository:
    return Repository("oci", f"{server.host}/shop/cart")


def in_turn(*answers: Answer) -> Callable[[Asked], Answer]:
    """The answers one after the other, the last one for ever."""
    remaining = list(answers)
    return lambda _: remaining.pop(0) if len(remaining) > 1 else remaining[0]


def manifest_of(artifact: Artifact) -> Answer:
    digest = str(artifact.digest)
    headers = {"Content-Type": MANIFEST, "Docker-Content-Digest": digest}
    return Answer(200, artifact.manifest.content, headers)


def failure(ask: Callable[[], object]) -> BundlerError:
    with pytest.raises(BundlerError) as caught:
        ask()
    return caught.value


# --- statuses ---


@pytest.mark.requirement("B-55")
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_waited_out(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, status: int
) -> None:
    server.answer = in_turn(Answer(status), Answer(status), manifest_of(IMAGE))
    assert registry.resolve(repository, "v1") == IMAGE.digest


@pytest.mark.requirement("B-55")
@pytest.mark.parametrize("status", [400, 401, 403, 418, 429, 500, 503])
def test_a_lasting_refusal_is_could_not_check(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, status: int
) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"because"}]}'
    server.answer = lambda _: Answer(status, body)
    error = failure(lambda: registry.tags(repository))
    assert isinstance(error, CouldNotCheck)
    assert f"HTTP {status} DENIED" in error.message
    assert f"{server.host}/shop/cart" in error.message
    assert isinstance(error, AccessRefused) is (status in (401, 403))


@pytest.mark.requirement("B-55")
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_how_to_log_in_and_that_the_name_may_be_wrong(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, status: int
) -> None:
    """Several registries refuse what does not exist, rather than to say so."""
    body = b'{"errors":[{"code":"DENIED","message":"requested access is denied"}]}'
    server.answer = lambda _: Answer(status, body)
    for ask in (
        lambda: registry.resolve(repository, "v1"),
        lambda: registry.resolve(repository, IMAGE.digest),
        lambda: registry.tags(repository),
        lambda: registry.manifest(repository, IMAGE.digest),
        lambda: registry.blob(repository, IMAGE.config.descriptor),
    ):
        error = failure(ask)
        assert (error.code, error.exit_code) == ("access-refused", 6)
        assert f"docker login {server.host}" in (error.hint or "")
        assert "check the name" in (error.hint or "")


def test_storage_that_refuses_is_not_the_registry_that_does(
    server: ScriptedServer, other: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    server.answer = lambda _: Answer(307, headers={"Location": f"{other.url}/storage"})
    other.answer = lambda _: Answer(403)
    error = failure(lambda: registry.blob(repository, IMAGE.config.descriptor))
    assert error.code == "could-not-check"


def test_retry_after_is_respected(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    server.answer = in_turn(Answer(429, headers={"Retry-After": "1"}), manifest_of(IMAGE))
    start = time.monotonic()
    assert registry.resolve(repository, "v1") == IMAGE.digest
    assert time.monotonic() - start >= 1


def test_a_wait_beyond_our_patience_is_not_begun(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    server.answer = lambda _: Answer(429, headers={"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"})
    start = time.monotonic()
    error = failure(lambda: registry.resolve(repository, "v1"))
    assert "asked too often" in error.message
    assert time.monotonic() - start < 5


@pytest.mark.requirement("B-55")
@pytest.mark.parametrize("answer", [Answer(404, HTML), Answer(404), Answer(200, HTML), Answer(200)])
def test_a_web_server_that_is_no_registry_does_not_look_like_a_missing_image(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, answer: Answer
) -> None:
    server.answer = lambda _: answer
    assert isinstance(failure(lambda: registry.tags(repository)), CouldNotCheck)
    assert isinstance(failure(lambda: registry.resolve(repository, "v1")), CouldNotCheck)


def test_a_registry_is_asked_only_once_whether_it_is_one(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    for _ in range(5):
        assert registry.resolve(repository, "v1") is None
    assert [asked.method for asked in server.asked] == ["HEAD", "GET", *["HEAD"] * 4]


@pytest.mark.parametrize(
    "head",
    [Answer(200), Answer(405), Answer(200, headers={"Docker-Content-Digest": "sha512:abc"})],
)
def test_without_a_digest_in_head_the_manifest_itself_is_hashed(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, head: Answer
) -> None:
    whole = Answer(200, IMAGE.manifest.content, {"Content-Type": MANIFEST})
    server.answer = lambda asked: head if asked.method == "HEAD" else whole
    assert registry.resolve(repository, "v1") == IMAGE.digest


# --- content ---


def test_a_digest_that_is_a_lie_is_found_out(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    lie = Digest.of(b"other")
    server.answer = lambda asked: Answer(
        200,
        IMAGE.manifest.content,
        {} if asked.method == "HEAD" else {"Docker-Content-Digest": str(lie)},
    )
    for ask in (
        lambda: registry.resolve(repository, "v1"),
        lambda: registry.manifest(repository, lie),
    ):
        assert isinstance(failure(ask), VerificationFailed)


def test_a_head_that_lies_is_found_out_when_the_content_is_read(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    lie = Digest.of(b"other")
    head = Answer(200, headers={"Docker-Content-Digest": str(lie)})
    for get, expected in ((MISSING, NotFound), (manifest_of(IMAGE), VerificationFailed)):
        server.answer = lambda asked, get=get: head if asked.method == "HEAD" else get  # type: ignore[misc]
        digest = registry.resolve(repository, "v1")
        assert digest == lie
        assert isinstance(failure(lambda: registry.manifest(repository, lie)), expected)


@pytest.mark.parametrize("head", [manifest_of(IMAGE), Answer(200), Answer(405)])
def test_a_digest_that_is_answered_with_another_is_found_out(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, head: Answer
) -> None:
    server.answer = lambda asked: head if asked.method == "HEAD" else manifest_of(IMAGE)
    assert registry.resolve(repository, IMAGE.digest) == IMAGE.digest
    asked_for = image("another").digest
    error = failure(lambda: registry.resolve(repository, asked_for))
    assert isinstance(error, VerificationFailed)
    assert str(asked_for) in error.message


def test_an_index_has_the_digest_of_its_own_bytes(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [IMAGE.manifest.descriptor.as_dict()],
    }
    content = json.dumps(index).encode()
    server.answer = lambda asked: Answer(
        200, b"" if asked.method == "HEAD" else content, {"Content-Type": INDEX}
    )
    assert registry.resolve(repository, "v1") == Digest.of(content)
    assert registry.resolve(repository, Digest.of(content)) == Digest.of(content)
    assert INDEX in server.asked[0].headers["Accept"]


def test_what_came_damaged_is_asked_for_once_more(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    content = b"content"
    descriptor = Descriptor("text/plain", Digest.of(content), len(content))
    server.answer = in_turn(Answer(200, b"CONTENT"), Answer(200, content))
    assert registry.blob(repository, descriptor) == content
    server.answer = lambda _: Answer(200, b"CONTENT")
    server.asked.clear()
    error = failure(lambda: registry.blob(repository, descriptor))
    assert isinstance(error, VerificationFailed)
    assert len(server.asked) == 2


def test_a_body_that_is_cut_off_is_fetched_again(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    content = b"content" * 1000
    descriptor = Descriptor("text/plain", Digest.of(content), len(content))
    cut = Answer(200, content[:500], promised=len(content))
    server.answer = in_turn(cut, Answer(200, content))
    assert registry.blob(repository, descriptor) == content
    server.answer = lambda _: cut
    assert isinstance(failure(lambda: registry.blob(repository, descriptor)), Unreachable)


def test_a_body_without_an_end_is_not_read_to_the_end(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    endless = Answer(200, b"x" * 1_000_000, promised=10**12)
    server.answer = lambda _: endless
    descriptor = Descriptor("text/plain", Digest.of(b"content"), 7)
    error = failure(lambda: registry.blob(repository, descriptor))
    assert isinstance(error, VerificationFailed)
    assert "more than the expected 7 bytes" in error.message


def test_a_server_that_falls_silent_is_unreachable(
    server: ScriptedServer, repository: Repository
) -> None:
    released = threading.Event()

    def wait(_: Asked) -> Answer:
        released.wait(30)
        return MISSING

    server.answer = wait
    patience = Patience(read=0.2, attempts=2, first_pause=0.01)
    registry = OciRegistry(credentials=DockerCredentials([]), patience=patience)
    error = failure(lambda: registry.resolve(repository, "v1"))
    released.set()
    assert isinstance(error, Unreachable)
    assert "does not answer in time" in error.message


def test_a_compressed_answer_is_not_unpacked(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    server.answer = lambda _: Answer(200, b"\x1f\x8b bomb", {"Content-Encoding": "gzip"})
    assert isinstance(failure(lambda: registry.tags(repository)), CouldNotCheck)
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


def test_a_host_that_is_down_is_not_waited_for_by_every_image(server: ScriptedServer) -> None:
    patience = Patience(attempts=2, first_pause=0.01, given_up=60)
    registry = OciRegistry(credentials=DockerCredentials([]), patience=patience)
    with ScriptedServer(lambda _: MISSING) as down:
        repository = Repository("oci", f"{down.host}/shop/cart")
    first = failure(lambda: registry.resolve(repository, "v1"))
    start = time.monotonic()
    for _ in range(100):
        assert failure(lambda: registry.resolve(repository, "v1")).message == first.message
    assert time.monotonic() - start < 1


# --- tag lists ---


def test_pages_of_tags_are_put_together(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    def page(asked: Asked) -> Answer:
        if "last=" in asked.path:
            return Answer(200, b'{"tags":["v2","v3"]}')
        link = {"Link": '</v2/shop/cart/tags/list?last=v2&n=2>; rel="next"'}
        return Answer(200, b'{"tags":["v1","v2"]}', link)

    server.answer = page
    assert registry.tags(repository) == ("v1", "v2", "v3")


def test_pages_without_an_end_are_refused(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    link = {"Link": '</v2/shop/cart/tags/list?n=1>; rel="next"'}
    server.answer = lambda _: Answer(200, b'{"tags":["v1"]}', link)
    assert "without an end" in failure(lambda: registry.tags(repository)).message
    assert len(server.asked) == 2


def test_pages_are_not_followed_to_another_host(
    server: ScriptedServer, other: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    link = {"Link": f'<{other.url}/v2/shop/cart/tags/list>; rel="next"'}
    server.answer = lambda _: Answer(200, b'{"tags":["v1"]}', link)
    assert "another host" in failure(lambda: registry.tags(repository)).message
    assert not other.asked


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"name":"shop","version":"1.0"}',
        b'{"name":"shop/cart","errors":null}',
        b'{"tags":"v1"}',
        b'{"tags":[1]}',
        b'{"tags":{}}',
        b'{"tags":false}',
        b'"x"',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_tag_list_that_is_none_is_could_not_check(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, body: bytes
) -> None:
    server.answer = lambda _: Answer(200, body)
    assert isinstance(failure(lambda: registry.tags(repository)), CouldNotCheck)


@pytest.mark.parametrize("tags", [b"null", b"[]"])
def test_a_repository_that_has_lost_all_its_tags_has_none(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, tags: bytes
) -> None:
    server.answer = lambda _: Answer(200, b'{"name":"shop/cart","tags":%s}' % tags)
    assert registry.tags(repository) == ()


# --- redirects ---


def test_a_redirect_to_storage_is_followed(
    server: ScriptedServer, other: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    content = b"content"
    server.answer = lambda _: Answer(307, headers={"Location": f"{other.url}/storage?sig=canary"})
    other.answer = lambda _: Answer(200, content)
    descriptor = Descriptor("text/plain", Digest.of(content), len(content))
    assert registry.blob(repository, descriptor) == content


def test_a_signed_address_stays_out_of_errors(
    server: ScriptedServer, other: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    server.answer = lambda _: Answer(307, headers={"Location": f"{other.url}/storage?sig=canary"})
    descriptor = Descriptor("text/plain", Digest.of(b""), 0)
    for answer in (Answer(403), Answer(503), Answer(200, b"x"), Answer(200, b"x", promised=9)):
        other.answer = lambda _, answer=answer: answer  # type: ignore[misc]
        error = failure(lambda: registry.blob(repository, descriptor))
        assert "canary" not in f"{error.message} {error.hint}"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_redirect_of_a_question_is_followed_without_our_password(
    server: ScriptedServer,
    other: ScriptedServer,
    repository: Repository,
    tmp_path: Path,
    elsewhere: bool,
) -> None:
    host = other.url if elsewhere else ""

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/moved"):
            return manifest_of(IMAGE)
        if asked.authorization is None:
            return Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return Answer(301, headers={"Location": f"{host}/moved{asked.path}"})

    server.answer = other.answer = answer
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {server.host: {"username": "u", "password": "p"}}}))
    registry = OciRegistry(credentials=DockerCredentials([config]), patience=PATIENCE)
    assert registry.resolve(repository, "v1") == IMAGE.digest
    assert {asked.authorization for asked in other.asked} == ({None} if elsewhere else set())


def test_a_redirect_in_a_circle_is_could_not_check(
    server: ScriptedServer, other: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    server.answer = lambda asked: Answer(307, headers={"Location": f"{other.url}{asked.path}"})
    other.answer = lambda asked: Answer(307, headers={"Location": f"{server.url}{asked.path}"})
    error = failure(lambda: registry.resolve(repository, "v1"))
    assert isinstance(error, CouldNotCheck)
    assert "without an end" in error.message
    assert len(server.asked) + len(other.asked) == 6


@pytest.mark.parametrize("location", ["/v2/shop/cart/tags/list", "ftp://host/x", "http://[", ""])
def test_a_redirect_that_leads_nowhere_is_could_not_check(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, location: str
) -> None:
    server.answer = lambda _: Answer(302, headers={"Location": location})
    assert isinstance(failure(lambda: registry.tags(repository)), CouldNotCheck)
    assert len(server.asked) <= 6


# --- writing ---


class WritableRegistry:
    """Takes uploads; its faults are switched on by a test."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.blobs: set[str] = set()
        self.tags: dict[str, Digest] = {}
        self.broken_uploads = 0
        self.tag_refusal: int | None = None
        self.rival: Digest | None = None
        server.answer = self.answer

    def answer(self, asked: Asked) -> Answer:
        last = asked.path.rpartition("/")[2]
        if asked.method == "POST":
            return Answer(
                202, headers={"Location": f"uploads/{len(self.server.asked)}?state=a%2Fb"}
            )
        if asked.method == "PUT" and "/blobs/" in asked.path:
            return self.put_blob(asked)
        if asked.method == "PUT":
            return self.put_manifest(asked, last)
        if "/blobs/" in asked.path:
            return Answer(200) if last in self.blobs else MISSING
        if last in self.tags:
            return Answer(200, headers={"Docker-Content-Digest": str(self.tags[last])})
        return MISSING

    def put_blob(self, asked: Asked) -> Answer:
        if self.broken_uploads:
            self.broken_uploads -= 1
            return Answer(503)
        digest = asked.path.rpartition("digest=")[2]
        assert "state=a%2Fb" in asked.path
        assert str(Digest.of(asked.body)) == digest
        self.blobs.add(digest)
        return Answer(201)

    def put_manifest(self, asked: Asked, reference: str) -> Answer:
        if self.rival and not reference.startswith("sha256:"):
            self.tags[reference] = self.rival
            return Answer(self.tag_refusal or 201)
        self.tags[reference] = Digest.of(asked.body)
        assert asked.headers["Content-Type"] == MANIFEST
        return Answer(201)


def test_a_broken_upload_starts_anew(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    storage = WritableRegistry(server)
    storage.broken_uploads = 2
    registry.push(repository, IMAGE)
    assert storage.blobs == {str(IMAGE.config.descriptor.digest)}
    sessions = [asked.path for asked in server.asked if "state=" in asked.path]
    assert len(set(sessions)) == 3


def test_what_is_there_is_not_sent_again(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    WritableRegistry(server)
    registry.push(repository, IMAGE)
    server.asked.clear()
    registry.push(repository, IMAGE)
    assert {asked.method for asked in server.asked} == {"HEAD"}


def test_an_upload_elsewhere_is_not_told_our_password(
    server: ScriptedServer, other: ScriptedServer, repository: Repository, tmp_path: Path
) -> None:
    storage = WritableRegistry(server)

    def answer(asked: Asked) -> Answer:
        if not asked.authorization:
            return Answer(401, headers={"WWW-Authenticate": 'Basic realm="registry"'})
        if asked.method == "POST":
            return Answer(202, headers={"Location": f"{other.url}/storage?sig=1"})
        return storage.answer(asked)

    server.answer = answer
    other.answer = lambda _: Answer(201)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {server.host: {"username": "u", "password": "p"}}}))
    registry = OciRegistry(credentials=DockerCredentials([config]), patience=PATIENCE)
    registry.push(repository, IMAGE)
    assert [asked.authorization for asked in other.asked] == [None]


@pytest.mark.parametrize("refusal", [None, 400, 403, 409, 412])
def test_a_tag_that_somebody_else_took_meanwhile_is_refused(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, refusal: int | None
) -> None:
    storage = WritableRegistry(server)
    storage.rival, storage.tag_refusal = Digest.of(b"rival"), refusal
    registry.push(repository, IMAGE)
    with pytest.raises(VersionExists, match=storage.rival.hex):
        registry.tag(repository, IMAGE, "v1.0.0")


def test_an_immutable_tag_that_is_ours_already_is_success(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    storage = WritableRegistry(server)
    storage.rival, storage.tag_refusal = IMAGE.digest, 409
    registry.push(repository, IMAGE)
    registry.tag(repository, IMAGE, "v1.0.0")


def test_a_manifest_that_was_stored_otherwise_is_found_out(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    storage = WritableRegistry(server)
    other = {"Docker-Content-Digest": str(Digest.of(b"converted"))}
    server.answer = lambda asked: (
        Answer(201, headers=other)
        if asked.method == "PUT" and "/manifests/" in asked.path
        else storage.answer(asked)
    )
    assert isinstance(failure(lambda: registry.push(repository, IMAGE)), VerificationFailed)


def test_a_registry_that_refuses_the_artifact_says_why(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    storage = WritableRegistry(server)
    refusal = Answer(400, b'{"errors":[{"code":"MANIFEST_INVALID","message":"no"}]}')
    server.answer = lambda asked: (
        refusal if asked.method == "PUT" and "/manifests/" in asked.path else storage.answer(asked)
    )
    for ask in (
        lambda: registry.push(repository, IMAGE),
        lambda: registry.tag(repository, IMAGE, "v1"),
    ):
        assert "HTTP 400 MANIFEST_INVALID" in failure(ask).message


# --- many at once ---


@pytest.mark.parametrize("limit", [CONNECTIONS, 3])
def test_a_host_gets_no_more_requests_at_once_than_it_can_bear(
    server: ScriptedServer, limit: int
) -> None:
    lock = threading.Lock()
    running = most = 0
    full = threading.Event()

    def answer(_: Asked) -> Answer:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == limit:
                full.set()
        full.wait(5)
        with lock:
            running -= 1
        return manifest_of(IMAGE)

    server.answer = answer
    anonymous = DockerCredentials([])
    registry = (
        OciRegistry(credentials=anonymous, patience=PATIENCE)
        if limit == CONNECTIONS
        else OciRegistry(credentials=anonymous, patience=PATIENCE, connections=limit)
    )
    names = [Repository("oci", f"{server.host}/shop/{number}") for number in range(64)]
    with ThreadPoolExecutor(64) as pool:
        digests = set(pool.map(lambda name: registry.resolve(name, "v1"), names))
    assert digests == {IMAGE.digest}
    assert most == limit


def test_a_missing_manifest_is_not_found(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    assert isinstance(failure(lambda: registry.manifest(repository, IMAGE.digest)), NotFound)
