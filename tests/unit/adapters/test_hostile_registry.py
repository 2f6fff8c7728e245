"""A registry that answers with other things than what was published: nothing of it is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.deploy.pull import pull
from bundler.deploy.verify import verify
from bundler.errors import CouldNotCheck, VerificationFailed
from bundler.model.artifact import INDEX, MANIFEST, MAX_MANIFEST_BYTES, Artifact
from bundler.model.reference import ArtifactReference, Digest, Repository
from bundler.publish.pack import pack
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer
from tests.unit.test_bundle_bytes import FILES, PROJECT, bundle

PATIENCE = Patience(connect=2, read=2, attempts=2, first_pause=0.01, given_up=0)
Spoil = Callable[[Answer], Answer]


@pytest.fixture
def artifact() -> Artifact:
    return pack(PROJECT, bundle())


@pytest.fixture
def server(artifact: Artifact) -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda asked: answer(artifact, asked)) as running:
        yield running


def answer(artifact: Artifact, asked: Asked) -> Answer:
    """What an honest registry says."""
    if "/manifests/" in asked.path:
        return of(artifact.manifest.content, MANIFEST)
    name = asked.path.rpartition("/")[2]
    found = [blob for blob in artifact.blobs if str(blob.descriptor.digest) == name]
    return of(found[0].content, "application/octet-stream") if found else Answer(404)


def of(content: bytes, media_type: str) -> Answer:
    digest = str(Digest.of(content))
    return Answer(200, content, {"Content-Type": media_type, "Docker-Content-Digest": digest})


def spoilt(server: ScriptedServer, part: str, spoil: Spoil) -> None:
    honest = server.answer
    server.answer = lambda asked: (
        spoil(honest(asked)) if part in asked.path and asked.method == "GET" else honest(asked)
    )


def read(server: ScriptedServer, *, by_digest: Digest | None = None) -> None:
    registry = OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)
    place = Repository("oci", f"{server.host}/shop")
    reference = ArtifactReference(place, None if by_digest else "v1.0.0", by_digest)
    assert verify(pull(registry, reference, DocumentSchemas())).files == FILES


def with_header(name: str, value: str) -> Spoil:
    return lambda answer: replace(answer, headers={**answer.headers, name: value})


def padded(answer: Answer) -> Answer:
    """The same manifest with spaces, and the digest of all that."""
    content = answer.body[:-1] + b" " * (5 << 20) + b"}"
    assert len(content) > MAX_MANIFEST_BYTES
    return of(content, MANIFEST)


MANIFESTS: dict[str, Spoil] = {
    "other content": lambda answer: replace(answer, body=answer.body.replace(b"shop", b"sh0p", 1)),
    "another kind": with_header("Content-Type", INDEX),
    "5 MiB": padded,
    "nothing": lambda answer: replace(answer, body=b""),
}
BLOBS: dict[str, Spoil] = {
    "other content": lambda answer: replace(answer, body=answer.body[:-1] + b"x"),
    "less than its size": lambda answer: replace(answer, body=answer.body[:-1]),
    "more than its size": lambda answer: replace(answer, body=answer.body + b"x"),
    "nothing": lambda answer: replace(answer, body=b""),
}


@pytest.mark.requirement("B-83")
@pytest.mark.parametrize("spoil", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_is_not_what_was_asked_for_is_refused(
    server: ScriptedServer, artifact: Artifact, spoil: Spoil
) -> None:
    read(server)
    spoilt(server, "/manifests/", spoil)
    for digest in (None, artifact.digest):
        with pytest.raises(VerificationFailed) as caught:
            read(server, by_digest=digest)
        assert caught.value.exit_code == 4


def test_a_digest_that_is_not_the_content_s_is_refused(
    server: ScriptedServer, artifact: Artifact
) -> None:
    lie = with_header("Docker-Content-Digest", str(Digest.of(b"other")))
    spoilt(server, "/manifests/", lie)
    with pytest.raises(VerificationFailed):
        read(server)
    read(server, by_digest=artifact.digest)  # the content itself is right


@pytest.mark.parametrize("digest", ["sha512:" + "a" * 128, "sha256:../../etc/passwd", "x"])
def test_a_digest_that_makes_no_sense_is_not_believed(server: ScriptedServer, digest: str) -> None:
    spoilt(server, "/manifests/", with_header("Docker-Content-Digest", digest))
    read(server)


@pytest.mark.requirement("B-83")
@pytest.mark.parametrize("spoil", BLOBS.values(), ids=BLOBS.keys())
def test_a_blob_that_is_not_what_was_asked_for_is_refused(
    server: ScriptedServer, artifact: Artifact, spoil: Spoil
) -> None:
    for blob in (artifact.config, artifact.layers[0]):
        honest = server.answer
        spoilt(server, str(blob.descriptor.digest), spoil)
        with pytest.raises((VerificationFailed, CouldNotCheck)) as caught:
            read(server)
        assert caught.value.exit_code == 4
        server.answer = honest
