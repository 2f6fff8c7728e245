"""Blobs on their way to a registry: mounted, whole and in chunks, and what goes wrong."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.errors import CouldNotCheck, Unreachable, VerificationFailed
from bundler.model.artifact import Blob, Descriptor
from bundler.model.reference import Digest, Repository
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer
from tests.memory import MEBIBYTE, peak_of

PATIENCE = Patience(
    connect=2, read=2, attempts=4, first_pause=0.01, retrying=5, settling=0.01, given_up=0
)
CHUNK = 1000
LARGE = Blob.of("application/octet-stream", b"0123456789" * 350)
SMALL = Blob.of("application/octet-stream", b"small")
SESSION = re.compile(r"/v2/shop/cart/blobs/uploads/(\d+)")


class UploadServer:
    """Takes blobs as the specification says; a test may answer some requests in its place."""

    def __init__(self, server: ScriptedServer) -> None:
        self.blobs: dict[str, bytes] = {}
        self.elsewhere: dict[str, bytes] = {}
        """What can be mounted from shop/base."""
        self.sessions: dict[str, bytes] = {}
        self.before: Callable[[Asked], Answer | None] = lambda _: None
        self.headers: dict[str, str] = {}
        self.server = server
        self._lock = threading.Lock()
        server.answer = self.answer

    def answer(self, asked: Asked) -> Answer:
        if (answer := self.before(asked)) is not None:
            return answer
        parts = urlsplit(asked.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if asked.method == "POST":
            return self._begin(query)
        session = SESSION.fullmatch(parts.path)
        if session is None:
            digest = parts.path.rpartition("/")[2]
            return Answer(200 if digest in self.blobs else 404)
        if session[1] not in self.sessions:
            return Answer(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        if asked.method == "GET":
            return self._state(session[1], 204)
        return self._append(session[1], asked, query)

    def _begin(self, query: dict[str, str]) -> Answer:
        if query.get("from") == "shop/base" and query["mount"] in self.elsewhere:
            self.blobs[query["mount"]] = self.elsewhere[query["mount"]]
            return Answer(201)
        with self._lock:
            name = str(len(self.sessions) + 1)
            self.sessions[name] = b""
        return self._state(name, 202)

    def _append(self, name: str, asked: Asked, query: dict[str, str]) -> Answer:
        place = asked.headers.get("Content-Range")
        if place and int(place.partition("-")[0]) != len(self.sessions[name]):
            return self._state(name, 416)
        self.sessions[name] += asked.body
        if asked.method == "PATCH":
            return self._state(name, 202)
        content = self.sessions.pop(name)
        if str(Digest.of(content)) != query["digest"]:
            return Answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        self.blobs[query["digest"]] = content
        return Answer(201)

    def _state(self, name: str, status: int) -> Answer:
        last = max(len(self.sessions[name]) - 1, 0)
        place = {"Location": f"/v2/shop/cart/blobs/uploads/{name}", "Range": f"0-{last}"}
        return Answer(status, headers={**place, **self.headers})

    def methods(self) -> list[str]:
        return [asked.method for asked in self.server.asked]


@pytest.fixture
def storage() -> Iterator[UploadServer]:
    with ScriptedServer(lambda _: Answer(500)) as server:
        yield UploadServer(server)


@pytest.fixture
def registry() -> OciRegistry:
    return OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE, chunk_bytes=CHUNK)


@pytest.fixture
def repository(storage: UploadServer) -> Repository:
    return Repository("oci", f"{storage.server.host}/shop/cart")


@pytest.fixture
def base(storage: UploadServer) -> Repository:
    return Repository("oci", f"{storage.server.host}/shop/base")


def pieces(blob: Blob, size: int = 333) -> Callable[[], Iterator[bytes]]:
    content = blob.content
    return lambda: (content[start : start + size] for start in range(0, len(content), size))


def first(matches: Callable[[Asked], bool], answer: Answer) -> Callable[[Asked], Answer | None]:
    """The answer to the first request that matches."""
    answers = [answer]
    return lambda asked: answers.pop() if answers and matches(asked) else None


def test_a_small_blob_is_sent_at_once(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    registry.put_blob(repository, SMALL.descriptor, pieces(SMALL))
    assert storage.methods() == ["HEAD", "POST", "PUT"]
    assert storage.server.asked[2].headers["Content-Length"] == str(SMALL.descriptor.size)
    assert storage.blobs[str(SMALL.descriptor.digest)] == SMALL.content


def test_an_empty_blob_can_be_sent(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    empty = Blob.of("text/plain", b"")
    registry.put_blob(repository, empty.descriptor, pieces(empty))
    assert storage.blobs == {str(empty.descriptor.digest): b""}
    for wrong in (Blob.of("", b"x"), Blob(Descriptor("", Digest.of(b"x"), 0), b"")):
        descriptor = Descriptor("", wrong.descriptor.digest, 0)
        with pytest.raises(VerificationFailed):
            registry.put_blob(repository, descriptor, pieces(wrong))


@pytest.mark.requirement("B-84")
def test_a_large_blob_is_sent_in_chunks(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    registry.put_blob(repository, LARGE.descriptor, pieces(LARGE))
    patches = [asked for asked in storage.server.asked if asked.method == "PATCH"]
    assert [asked.headers["Content-Range"] for asked in patches] == [
        "0-999", "1000-1999", "2000-2999", "3000-3499",
    ]  # fmt: skip
    assert storage.blobs[str(LARGE.descriptor.digest)] == LARGE.content


def test_a_registry_can_ask_for_larger_chunks(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    storage.headers = {"OCI-Chunk-Min-Length": "2000"}
    registry.put_blob(repository, LARGE.descriptor, pieces(LARGE))
    assert storage.methods().count("PATCH") == 2


@pytest.mark.requirement("B-84")
@pytest.mark.parametrize("kept", [0, 400, 1000])
def test_a_broken_chunk_goes_on_from_what_the_registry_has(
    storage: UploadServer, registry: OciRegistry, repository: Repository, kept: int
) -> None:
    def break_off(asked: Asked) -> Answer | None:
        if asked.headers.get("Content-Range") == "1000-1999":
            storage.before = lambda _: None
            storage.sessions["1"] += asked.body[:kept]
            return Answer(503)
        return None

    storage.before = break_off
    registry.put_blob(repository, LARGE.descriptor, pieces(LARGE))
    patches = [asked for asked in storage.server.asked if asked.method == "PATCH"]
    assert patches[2].headers["Content-Range"].startswith(f"{1000 + kept}-")
    assert storage.methods().count("POST") == 1
    assert storage.blobs[str(LARGE.descriptor.digest)] == LARGE.content


@pytest.mark.requirement("B-84")
@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}'),
        Answer(416),
        Answer(202, headers={"Range": "0-17"}),
        Answer(400, b'{"errors":[{"code":"BLOB_UPLOAD_INVALID"}]}'),
    ],
)
def test_a_lost_session_starts_anew(
    storage: UploadServer, registry: OciRegistry, repository: Repository, answer: Answer
) -> None:
    storage.before = first(
        lambda asked: asked.headers.get("Content-Range", "").startswith("2000-"), answer
    )
    registry.put_blob(repository, LARGE.descriptor, pieces(LARGE))
    assert storage.methods().count("POST") == 2
    assert storage.blobs[str(LARGE.descriptor.digest)] == LARGE.content


def test_content_that_the_registry_mixed_up_is_sent_anew(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    """Docker's registry 2.8 appends a chunk that comes twice."""
    damaged = Answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
    storage.before = first(lambda asked: "digest=" in asked.path, damaged)
    registry.put_blob(repository, LARGE.descriptor, pieces(LARGE))
    assert storage.blobs[str(LARGE.descriptor.digest)] == LARGE.content


@pytest.mark.parametrize("status", [400, 405, 413, 501])
def test_a_registry_without_chunks_gets_it_whole(
    storage: UploadServer, registry: OciRegistry, repository: Repository, status: int
) -> None:
    storage.before = lambda asked: Answer(status) if asked.method == "PATCH" else None
    registry.put_blob(repository, LARGE.descriptor, pieces(LARGE))
    assert storage.methods().count("PATCH") == 1
    assert storage.blobs[str(LARGE.descriptor.digest)] == LARGE.content


def test_an_upload_whose_answer_was_lost_is_found_to_be_there(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    def lose(asked: Asked) -> Answer | None:
        if asked.method != "PUT":
            return None
        storage.before = lambda _: None
        storage.answer(asked)
        return Answer(502)

    storage.before = lose
    registry.put_blob(repository, SMALL.descriptor, pieces(SMALL))
    assert storage.methods() == ["HEAD", "POST", "PUT", "HEAD"]


def test_a_registry_that_goes_on_losing_sessions_is_could_not_check(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    storage.before = lambda asked: (
        Answer(404) if "uploads/" in asked.path and (asked.method in ("PUT", "PATCH")) else None
    )
    with pytest.raises(CouldNotCheck):
        registry.put_blob(repository, LARGE.descriptor, pieces(LARGE))
    assert storage.methods().count("POST") == PATIENCE.attempts


# --- mounts ---


@pytest.mark.requirement("B-84")
def test_a_blob_of_the_same_registry_is_mounted(
    storage: UploadServer, registry: OciRegistry, repository: Repository, base: Repository
) -> None:
    storage.elsewhere[str(SMALL.descriptor.digest)] = SMALL.content

    def unwanted() -> Iterator[bytes]:
        raise AssertionError("read")

    registry.put_blob(repository, SMALL.descriptor, unwanted, base)
    assert storage.methods() == ["POST"]


def test_a_blob_that_is_not_mounted_is_sent_in_the_session_that_comes_instead(
    storage: UploadServer, registry: OciRegistry, repository: Repository, base: Repository
) -> None:
    registry.put_blob(repository, SMALL.descriptor, pieces(SMALL), base)
    assert storage.methods() == ["POST", "HEAD", "PUT"]


def test_a_blob_that_is_there_is_not_sent_where_the_registry_does_not_mount(
    storage: UploadServer, registry: OciRegistry, repository: Repository, base: Repository
) -> None:
    storage.blobs[str(SMALL.descriptor.digest)] = SMALL.content

    def unwanted() -> Iterator[bytes]:
        raise AssertionError("read")

    registry.put_blob(repository, SMALL.descriptor, unwanted, base)
    assert storage.methods() == ["POST", "HEAD", "DELETE"]


def test_a_blob_that_is_known_to_be_absent_is_not_asked_for_again(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    registry.put_blob(repository, SMALL.descriptor, pieces(SMALL), is_absent=True)
    assert storage.methods() == ["POST", "PUT"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_registry_that_does_not_mount_is_sent_the_blob(
    storage: UploadServer,
    registry: OciRegistry,
    repository: Repository,
    base: Repository,
    status: int,
) -> None:
    storage.before = lambda asked: Answer(status) if "mount=" in asked.path else None
    registry.put_blob(repository, SMALL.descriptor, pieces(SMALL), base)
    assert storage.blobs[str(SMALL.descriptor.digest)] == SMALL.content


def test_a_blob_of_another_registry_is_not_mounted(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    for near in (Repository("oci", "other.test/shop/base"), Repository("ocidir", "x"), repository):
        storage.blobs.clear()
        registry.put_blob(repository, SMALL.descriptor, pieces(SMALL), near)
    assert not any("mount" in asked.path for asked in storage.server.asked)


# --- what is read to be sent ---


@pytest.mark.requirement("B-81")
@pytest.mark.parametrize("blob", [SMALL, LARGE])
def test_what_is_not_as_described_is_never_stored(
    storage: UploadServer, registry: OciRegistry, repository: Repository, blob: Blob
) -> None:
    content = blob.content
    for wrong in (content[:-1], content + b"x", content[:-1] + b"x", b"x" + content[1:], b""):
        with pytest.raises(VerificationFailed, match=blob.descriptor.digest.hex):
            registry.put_blob(repository, blob.descriptor, pieces(Blob.of("", wrong)))
    assert storage.blobs == {}


def test_what_was_read_damaged_is_read_once_more(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    readings = [pieces(Blob.of("", LARGE.content[:-1] + b"x")), pieces(LARGE)]

    def read() -> Iterator[bytes]:
        return readings.pop(0)()

    registry.put_blob(repository, LARGE.descriptor, read)
    assert storage.blobs[str(LARGE.descriptor.digest)] == LARGE.content


def test_a_source_that_fails_is_not_the_registry_that_does(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    failure = Unreachable("source.test does not answer")

    def failing() -> Iterator[bytes]:
        yield b"some"
        raise failure

    with pytest.raises(Unreachable) as caught:
        registry.put_blob(repository, LARGE.descriptor, failing)
    assert caught.value is failure
    assert storage.methods().count("POST") == 1


def test_a_source_is_closed_when_it_is_not_needed_any_more(
    storage: UploadServer, registry: OciRegistry, repository: Repository
) -> None:
    closed = 0

    def source() -> Iterator[bytes]:
        nonlocal closed
        try:
            yield from pieces(LARGE)()
        finally:
            closed += 1

    storage.before = lambda asked: Answer(403) if asked.method == "PATCH" else None
    with pytest.raises(CouldNotCheck):
        registry.put_blob(repository, LARGE.descriptor, source)
    assert closed == 1


@pytest.mark.requirement("B-84")
def test_a_blob_of_any_size_takes_a_little_memory_only(
    storage: UploadServer, repository: Repository
) -> None:
    size, piece = 256 * 1024 * 1024, b"\0" * 1024 * 1024
    received = 0

    def swallow(asked: Asked) -> Answer | None:
        nonlocal received
        if asked.method not in ("PATCH", "PUT"):
            return None
        received += len(asked.body)
        storage.server.asked.clear()  # they hold the chunks
        if asked.method == "PUT":
            return Answer(201)
        place = {"Location": asked.path, "Range": f"0-{received - 1}"}
        return Answer(202, headers=place)

    storage.before = swallow
    registry = OciRegistry(
        credentials=DockerCredentials([]), patience=PATIENCE, chunk_bytes=8 * 1024 * 1024
    )
    zeros = Digest("sha256:a6d72ac7690f53be6ae46ba88506bd97302a093f7108472bd9efc3cefda06484")
    content = Descriptor("application/octet-stream", zeros, size)
    # The server beside us has each chunk in memory, which is most of it.
    assert (
        peak_of(lambda: registry.put_blob(repository, content, lambda: (piece for _ in range(256))))
        < 64 * MEBIBYTE
    )
    assert received == size
