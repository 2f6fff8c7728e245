"""An ArtifactRegistry in memory: complete, small, and it counts what it is asked."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict

from bundler.errors import BundlerError, NotFound, VerificationFailed, VersionExists
from bundler.model.artifact import MANIFEST, Artifact, Blob, Descriptor
from bundler.model.reference import Digest, Repository

IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"


def image(content: str = "", labels: dict[str, str] | None = None) -> Artifact:
    """A small image without layers; other content or labels, other digest."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "author": content,
        "config": {"Labels": labels or {}},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    config = Blob.of(IMAGE_CONFIG, json.dumps(document).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor.as_dict(),
        "layers": [],
    }
    return Artifact(Blob.of(MANIFEST, json.dumps(manifest).encode()), config, ())


class InMemoryRegistry:
    """Implements `bundler.ports.ArtifactRegistry`.

    `requests` counts calls by method name; `failures` maps a repository to the error that every
    question about it raises.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.failures: dict[Repository, BundlerError] = {}
        self.blobs: dict[tuple[Repository, Digest], bytes] = {}
        self._manifests: set[tuple[Repository, Digest]] = set()
        self._tags: defaultdict[Repository, dict[str, Digest]] = defaultdict(dict)
        self._lock = threading.Lock()

    def put_image(
        self,
        repository: Repository,
        tag: str,
        content: str = "",
        labels: dict[str, str] | None = None,
    ) -> Digest:
        """Store a small image under a tag, even over another one, uncounted."""
        artifact = image(content, labels)
        self._store(repository, artifact)
        self._tags[repository][tag] = artifact.digest
        return artifact.digest

    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        self._count("resolve", repository)
        if isinstance(reference, str):
            return self._tags[repository].get(reference)
        if (repository, reference) not in self._manifests:
            return None
        self._read(repository, reference)
        return reference

    def tags(self, repository: Repository) -> tuple[str, ...]:
        self._count("tags", repository)
        return tuple(self._tags[repository])

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        self._count("manifest", repository)
        return self._read(repository, digest)

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        self._count("blob", repository)
        content = self._read(repository, descriptor.digest)
        if len(content) != descriptor.size:
            raise VerificationFailed(f"{repository}@{descriptor.digest} has another size")
        return content

    def push(self, repository: Repository, artifact: Artifact) -> None:
        self._count("push", repository)
        self._store(repository, artifact)

    def tag(self, repository: Repository, artifact: Artifact, tag: str) -> None:
        self._count("tag", repository)
        if (repository, artifact.digest) not in self.blobs:
            raise NotFound(f"{repository}@{artifact.digest} was not pushed")
        with self._lock:
            if self._tags[repository].setdefault(tag, artifact.digest) != artifact.digest:
                raise VersionExists(f"{repository}:{tag} is published with other content")

    def _count(self, method: str, repository: Repository) -> None:
        with self._lock:
            self.requests[method] += 1
        if failure := self.failures.get(repository):
            raise failure

    def _store(self, repository: Repository, artifact: Artifact) -> None:
        self._manifests.add((repository, artifact.digest))
        for blob in (*artifact.blobs, artifact.manifest):
            self.blobs[repository, blob.descriptor.digest] = blob.content

    def _read(self, repository: Repository, digest: Digest) -> bytes:
        content = self.blobs.get((repository, digest))
        if content is None:
            raise NotFound(f"{repository}@{digest} is not there")
        if Digest.of(content) != digest:
            raise VerificationFailed(f"{repository}@{digest} has other content")
        return content
