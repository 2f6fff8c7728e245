"""A registry in memory, with all that registries hold: complete, small, and it counts."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bundler.errors import (
    BundlerError,
    CouldNotCheck,
    NotFound,
    Refused,
    VerificationFailed,
    VersionExists,
)
from bundler.model.artifact import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    Artifact,
    Blob,
    Descriptor,
)
from bundler.model.reference import Digest, Repository

IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFESTS = frozenset([MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX])
EMPTY = Blob.of("application/vnd.oci.empty.v1+json", b"{}")
PIECE = 1024 * 1024


def image(
    content: str = "", labels: dict[str, str] | None = None, layers: Sequence[bytes] = ()
) -> Artifact:
    """A small image; other content, labels or layers, other digest."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "author": content,
        "config": {"Labels": labels or {}},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    config = Blob.of(IMAGE_CONFIG, json.dumps(document).encode())
    return artifact(config, tuple(Blob.of(IMAGE_LAYER, layer) for layer in layers))


def artifact(config: Blob, layers: tuple[Blob, ...], **fields: object) -> Artifact:
    """One image manifest with any further fields."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor.as_dict(),
        "layers": [layer.descriptor.as_dict() for layer in layers],
        **fields,
    }
    return Artifact(Blob.of(MANIFEST, json.dumps(manifest).encode()), config, layers)


def index(manifests: Sequence[Descriptor], **fields: object) -> Blob:
    """An image index, such as a multi-platform image."""
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [manifest.as_dict() for manifest in manifests],
        **fields,
    }
    return Blob.of(INDEX, json.dumps(document).encode())


def referrer(
    subject: Descriptor,
    content: bytes,
    artifact_type: str = "application/vnd.test.signature",
    annotations: Mapping[str, str] | None = None,
) -> Artifact:
    """An artifact about another one, such as a signature."""
    return artifact(
        EMPTY,
        (Blob.of(artifact_type, content),),
        artifactType=artifact_type,
        subject=subject.as_dict(),
        annotations=dict(annotations or {}),
    )


class InMemoryRegistry:
    """Implements the registry ports: `ArtifactRegistry`, `ContentReader`, `ContentWriter`.

    `requests` counts calls by method name, blobs that were mounted as `mount`, and those that were
    sent as `upload`; `failures` maps a repository to the error that every question about it
    raises. Its tags are immutable, and it refuses a manifest whose parts are not there.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.failures: dict[Repository, BundlerError] = {}
        self.blobs: dict[tuple[Repository, Digest], bytes] = {}
        """Manifests too."""
        self._manifests: dict[tuple[Repository, Digest], str] = {}
        """Their media types."""
        self._tags: defaultdict[Repository, dict[str, Digest]] = defaultdict(dict)
        self._lock = threading.RLock()

    # --- what a test prepares, uncounted ---

    def put_image(
        self,
        repository: Repository,
        tag: str,
        content: str = "",
        labels: dict[str, str] | None = None,
    ) -> Digest:
        """Store a small image under a tag, even over another one."""
        return self.put(repository, image(content, labels), tag)

    def put(self, repository: Repository, artifact: Artifact, tag: str | None = None) -> Digest:
        """Store an artifact of any kind, and a tag, even over another one."""
        self._store(repository, artifact)
        if tag is not None:
            self._tags[repository][tag] = artifact.digest
        return artifact.digest

    def put_index(self, repository: Repository, manifest: Blob, tag: str | None = None) -> Digest:
        """Store an index (or any manifest by itself), and a tag, even over another one."""
        digest = manifest.descriptor.digest
        self._keep(repository, manifest)
        if tag is not None:
            self._tags[repository][tag] = digest
        return digest

    # --- reading ---

    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        self._count("resolve", repository)
        return self._resolved(repository, reference)

    def tags(self, repository: Repository) -> tuple[str, ...]:
        self._count("tags", repository)
        return tuple(self._tags[repository])

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        self._count("manifest", repository)
        return self._read(repository, digest)

    def tagged(self, repository: Repository, tag: str) -> tuple[Digest, bytes] | None:
        self._count("tagged", repository)
        digest = self._resolved(repository, tag)
        return (digest, self._read(repository, digest)) if digest else None

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        self._count("blob", repository)
        return self._described(repository, descriptor)

    def descriptor(self, repository: Repository, reference: str | Digest) -> Descriptor | None:
        self._count("descriptor", repository)
        digest = self._resolved(repository, reference)
        return self._descriptor(repository, digest) if digest else None

    def blob_pieces(self, repository: Repository, descriptor: Descriptor) -> Iterator[bytes]:
        self._count("blob_pieces", repository)
        content = self._described(repository, descriptor)
        for start in range(0, len(content), PIECE):
            yield content[start : start + PIECE]

    def referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        self._count("referrers", repository)
        with self._lock:
            present = [found for place, found in self._manifests if place == repository]
        return tuple(
            self._descriptor(repository, found)
            for found in present
            if self._subject(repository, found) == str(digest)
        )

    # --- writing ---

    def push(self, repository: Repository, artifact: Artifact) -> None:
        self._count("push", repository)
        self._store(repository, artifact)

    def tag(
        self, repository: Repository, artifact: Artifact, tag: str, replaces: Digest | None = None
    ) -> None:
        self._count("tag", repository)
        if (repository, artifact.digest) not in self.blobs:
            raise NotFound(f"{repository}@{artifact.digest} was not pushed")
        self._set_tag(repository, tag, artifact.digest, replaces)

    def has(self, repository: Repository, descriptor: Descriptor) -> bool:
        self._count("has", repository)
        place = (repository, descriptor.digest)
        return place in (self._manifests if descriptor.media_type in MANIFESTS else self.blobs)

    def put_blob(
        self,
        repository: Repository,
        descriptor: Descriptor,
        pieces: Callable[[], Iterator[bytes]],
        near: Repository | None = None,
        *,
        is_absent: bool = False,  # noqa: ARG002  it looks anyway
    ) -> None:
        self._count("put_blob", repository)
        if (repository, descriptor.digest) in self.blobs:
            return
        if near and (content := self.blobs.get((near, descriptor.digest))) is not None:
            self._count("mount", repository)
        else:
            self._count("upload", repository)
            content = b"".join(pieces())
            if (Digest.of(content), len(content)) != (descriptor.digest, descriptor.size):
                raise VerificationFailed(f"{repository}@{descriptor.digest}: other content came")
        with self._lock:
            self.blobs[repository, descriptor.digest] = content

    def put_manifest(self, repository: Repository, manifest: Blob, tag: str | None = None) -> None:
        self._count("put_manifest", repository)
        digest = manifest.descriptor.digest
        if Digest.of(manifest.content) != digest:
            raise VerificationFailed(f"{repository}@{digest}: other content came")
        for part in _parts(json.loads(manifest.content)):
            if (repository, Digest.parse(part["digest"])) not in self.blobs:
                raise CouldNotCheck(
                    f"{repository}@{digest} needs {part['digest']}, which is absent"
                )
        self._keep(repository, manifest)
        if tag is not None:
            self._set_tag(repository, tag, digest)

    # --- what is kept ---

    def _count(self, method: str, repository: Repository) -> None:
        with self._lock:
            self.requests[method] += 1
        if failure := self.failures.get(repository):
            raise failure

    def _store(self, repository: Repository, artifact: Artifact) -> None:
        with self._lock:
            for blob in artifact.blobs:
                self.blobs[repository, blob.descriptor.digest] = blob.content
        self._keep(repository, artifact.manifest)

    def _keep(self, repository: Repository, manifest: Blob) -> None:
        digest = manifest.descriptor.digest
        with self._lock:
            self.blobs[repository, digest] = manifest.content
            self._manifests[repository, digest] = manifest.descriptor.media_type

    def _set_tag(
        self, repository: Repository, tag: str, digest: Digest, replaces: Digest | None = None
    ) -> None:
        with self._lock:
            present = self._tags[repository].get(tag)
            if present is None and replaces is not None:
                raise Refused(f"{repository}:{tag} is not there any more")
            if present not in (digest, replaces):
                raise VersionExists(f"{repository}:{tag} is published with other content")
            self._tags[repository][tag] = digest

    def _resolved(self, repository: Repository, reference: str | Digest) -> Digest | None:
        if isinstance(reference, str):
            return self._tags[repository].get(reference)
        if (repository, reference) not in self._manifests:
            return None
        self._read(repository, reference)
        return reference

    def _descriptor(self, repository: Repository, digest: Digest) -> Descriptor:
        size = len(self.blobs[repository, digest])
        return Descriptor(self._manifests[repository, digest], digest, size)

    def _subject(self, repository: Repository, digest: Digest) -> str | None:
        document = json.loads(self.blobs[repository, digest])
        subject: str | None = document.get("subject", {}).get("digest")
        return subject

    def _described(self, repository: Repository, descriptor: Descriptor) -> bytes:
        content = self._read(repository, descriptor.digest)
        if len(content) != descriptor.size:
            raise VerificationFailed(f"{repository}@{descriptor.digest} has another size")
        return content

    def _read(self, repository: Repository, digest: Digest) -> bytes:
        content = self.blobs.get((repository, digest))
        if content is None:
            raise NotFound(f"{repository}@{digest} is not there")
        if Digest.of(content) != digest:
            raise VerificationFailed(f"{repository}@{digest} has other content")
        return content


def _parts(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a manifest needs; layers that are elsewhere (`urls`) need not be there."""
    parts = [*document.get("layers", ()), *document.get("manifests", ())]
    if config := document.get("config"):
        parts.append(config)
    return (part for part in parts if not part.get("urls"))
