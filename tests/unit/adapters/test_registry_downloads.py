"""Large blobs on their way from a registry, and what happens to them there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.errors import CouldNotCheck, NotFound, Unreachable, VerificationFailed
from bundler.model.artifact import INDEX, MANIFEST, Blob, Descriptor
from bundler.model.reference import Digest, Repository
from tests.fakes.registry import image
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer

PATIENCE = Patience(
    connect=2, read=2, attempts=3, first_pause=0.01, retrying=5, settling=0.01, given_up=0
)
MIB = 1024 * 1024
LARGE = Blob.of("application/octet-stream", bytes(range(256)) * 4096 * 3 + b"the end")
SMALL = Blob.of("application/octet-stream", b"0123456789" * 100)


class Storage:
    """Serves one blob, by ranges if it can; each answer may be cut off after some bytes."""

    def __init__(self, blob: Blob, *, has_ranges: bool = True, cuts: tuple[int, ...] = ()) -> None:
        self.content = blob.content
        self.has_ranges = has_ranges
        self.cuts = list(cuts)

    def __call__(self, asked: Asked) -> Answer:
        wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and self.has_ranges else 0
        rest = self.content[start:]
        headers = {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        sent = rest[: self.cuts.pop(0)] if self.cuts else rest
        return Answer(206 if start else 200, sent, headers, promised=len(rest))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: Answer(500)) as server:
        yield server


@pytest.fixture
def registry() -> OciRegistry:
    return OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)


@pytest.fixture
def repository(server: ScriptedServer) -> Repository:
    return Repository("oci", f"{server.host}/shop/cart")


@pytest.fixture
def fetch(registry: OciRegistry, repository: Repository) -> Callable[[Blob], list[bytes]]:
    return lambda blob: list(registry.blob_pieces(repository, blob.descriptor))


def test_a_large_blob_comes_in_pieces_of_one_mebibyte(
    server: ScriptedServer, fetch: Callable[[Blob], list[bytes]]
) -> None:
    server.answer = Storage(LARGE)
    pieces = fetch(LARGE)
    assert [len(piece) for piece in pieces] == [MIB, MIB, MIB, len(b"the end")]
    assert b"".join(pieces) == LARGE.content


@pytest.mark.requirement("B-81")
@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_broken_download_goes_on_and_no_byte_comes_twice(
    server: ScriptedServer, fetch: Callable[[Blob], list[bytes]], has_ranges: bool
) -> None:
    server.answer = Storage(LARGE, has_ranges=has_ranges, cuts=(MIB + 5, 2 * MIB - 1))
    assert b"".join(fetch(LARGE)) == LARGE.content
    assert "Range" not in server.asked[0].headers
    assert server.asked[1].headers["Range"] == f"bytes={MIB + 5}-"


def test_a_range_that_is_another_than_asked_for_is_not_believed(
    server: ScriptedServer, fetch: Callable[[Blob], list[bytes]]
) -> None:
    storage = Storage(LARGE, cuts=(MIB,))

    def answer(asked: Asked) -> Answer:
        if "Range" in asked.headers:
            return Answer(206, LARGE.content, {"Content-Range": "bytes 7-9/10"})
        return storage(asked)

    server.answer = answer
    assert b"".join(fetch(LARGE)) == LARGE.content


@pytest.mark.parametrize("status", [400, 416])
def test_a_registry_that_refuses_ranges_is_asked_for_all(
    server: ScriptedServer, fetch: Callable[[Blob], list[bytes]], status: int
) -> None:
    storage = Storage(LARGE, cuts=(MIB,))
    server.answer = lambda asked: Answer(status) if "Range" in asked.headers else storage(asked)
    assert b"".join(fetch(LARGE)) == LARGE.content


def test_who_gives_a_little_each_time_is_not_asked_for_ever(
    server: ScriptedServer, fetch: Callable[[Blob], list[bytes]]
) -> None:
    server.answer = Storage(LARGE, cuts=(10,) * 1000)
    with pytest.raises(Unreachable):
        fetch(LARGE)
    assert len(server.asked) == PATIENCE.attempts


@pytest.mark.requirement("B-81")
def test_what_came_damaged_is_asked_for_once_more(
    server: ScriptedServer, fetch: Callable[[Blob], list[bytes]]
) -> None:
    storages = [Storage(Blob.of("", SMALL.content[:-1] + b"x")), Storage(SMALL)]

    def answer(asked: Asked) -> Answer:
        return storages.pop(0)(asked)

    server.answer = answer
    assert b"".join(fetch(SMALL)) == SMALL.content


@pytest.mark.requirement("B-81")
@pytest.mark.parametrize(
    "content", [LARGE.content[:-1] + b"x", LARGE.content[:-1], LARGE.content + b"x"]
)
def test_the_last_piece_of_a_damaged_blob_is_never_given(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, content: bytes
) -> None:
    server.answer = Storage(Blob.of("", content))
    pieces = registry.blob_pieces(repository, LARGE.descriptor)
    received = b""
    with pytest.raises(VerificationFailed, match=LARGE.descriptor.digest.hex):
        for piece in pieces:
            received += piece
    assert len(received) < len(LARGE.content)


def test_a_blob_that_is_not_there_is_not_found(
    server: ScriptedServer, fetch: Callable[[Blob], list[bytes]]
) -> None:
    server.answer = lambda _: Answer(404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}')
    with pytest.raises(NotFound):
        fetch(SMALL)


@pytest.mark.parametrize("status", [204, 206, 400])
def test_an_answer_that_makes_no_sense_is_could_not_check(
    server: ScriptedServer, fetch: Callable[[Blob], list[bytes]], status: int
) -> None:
    server.answer = lambda _: Answer(status)
    with pytest.raises(CouldNotCheck):
        fetch(SMALL)


@pytest.mark.requirement("B-86")
def test_storage_elsewhere_is_not_told_our_password(
    server: ScriptedServer, repository: Repository, tmp_path: Path
) -> None:
    with ScriptedServer(Storage(LARGE, cuts=(MIB,))) as storage:

        def answer(asked: Asked) -> Answer:
            if not asked.authorization:
                return Answer(401, headers={"WWW-Authenticate": 'Basic realm="registry"'})
            return Answer(307, headers={"Location": f"{storage.url}/blob?sig=1"})

        server.answer = answer
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"auths": {server.host: {"username": "u", "password": "p"}}}))
        registry = OciRegistry(credentials=DockerCredentials([config]), patience=PATIENCE)
        pieces = registry.blob_pieces(repository, LARGE.descriptor)
        assert b"".join(pieces) == LARGE.content
        assert [asked.authorization for asked in storage.asked] == [None, None]
        assert storage.asked[1].headers["Range"] == f"bytes={MIB}-"


def test_a_download_that_is_given_up_leaves_no_connection_in_use(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    server.answer = Storage(LARGE)
    for _ in range(40):  # more than a host has places
        pieces = registry.blob_pieces(repository, LARGE.descriptor)
        assert len(next(pieces)) == MIB
        pieces.close()  # type: ignore[attr-defined]


# --- descriptors ---


IMAGE = image("cart")


def test_a_descriptor_is_what_a_head_says(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    headers = {"Content-Type": MANIFEST, "Docker-Content-Digest": str(IMAGE.digest)}
    server.answer = lambda _: Answer(200, IMAGE.manifest.content, headers)
    assert registry.descriptor(repository, "v1") == IMAGE.manifest.descriptor
    assert [asked.method for asked in server.asked] == ["HEAD"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json", "Docker-Content-Digest": str(IMAGE.digest)},
        {"Content-Type": MANIFEST},
        {},
    ],
)
def test_where_a_head_says_too_little_the_manifest_itself_is_read(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, headers: dict[str, str]
) -> None:
    server.answer = lambda _: Answer(200, IMAGE.manifest.content, headers)
    assert registry.descriptor(repository, "v1") == IMAGE.manifest.descriptor


@pytest.mark.requirement("B-81")
def test_a_manifest_that_is_sent_as_another_kind_is_refused(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    server.answer = lambda _: Answer(200, IMAGE.manifest.content, {"Content-Type": INDEX})
    with pytest.raises(VerificationFailed, match="says that it is"):
        registry.descriptor(repository, "v1")


def test_a_descriptor_of_another_digest_is_refused(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    headers = {"Content-Type": MANIFEST, "Docker-Content-Digest": str(IMAGE.digest)}
    server.answer = lambda _: Answer(200, IMAGE.manifest.content, headers)
    with pytest.raises(VerificationFailed):
        registry.descriptor(repository, Digest.of(b"other"))


def test_what_is_described_by_nobody_is_none(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    server.answer = lambda _: Answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
    assert registry.descriptor(repository, "v1") is None
    assert not registry.has(repository, IMAGE.manifest.descriptor)
    assert not registry.has(repository, Descriptor("text/plain", Digest.of(b""), 0))
