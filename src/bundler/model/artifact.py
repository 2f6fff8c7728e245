"""A bundle in its OCI form, and the media types and annotation keys that it uses.

Sources: OCI image-spec 1.1 (manifest.md, annotations.md) and docs/bundle-format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bundler.model.reference import Digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
RELEASE_ARTIFACT = "application/vnd.release-bundler.release.v1"
RELEASE_CONFIG = "application/vnd.release-bundler.release.config.v1+json"
RELEASE_DOCUMENT = "application/vnd.release-bundler.release.document.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
CONTENT_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
VERSION = "org.opencontainers.image.version"
REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
ARTIFACT_TYPE = "release-bundler/artifact-type"
"""An annotation that says in the compat profile what `artifactType` says otherwise."""
REF_NAME = "org.opencontainers.image.ref.name"
"""In an image layout's index: the tag of a manifest."""

Profile = Literal["oci", "compat"]
"""The form of an artifact: OCI 1.1, or the types that every registry has always taken."""

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
MAX_LAYER_BYTES = 64 * 1024 * 1024
MAX_CONTENT_BYTES = 256 * 1024 * 1024
MAX_CONTENT_FILES = 10_000


@dataclass(frozen=True)
class Descriptor:
    """Media type, digest and size (bytes) of a blob or manifest."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        described: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        return described | ({"annotations": dict(self.annotations)} if self.annotations else {})


@dataclass(frozen=True)
class Blob:
    """Bytes with their descriptor; the bytes are what is hashed, and are never made again."""

    descriptor: Descriptor
    content: bytes

    @classmethod
    def of(cls, media_type: str, content: bytes, title: str | None = None) -> Blob:
        annotations = {TITLE: title} if title else {}
        return cls(Descriptor(media_type, Digest.of(content), len(content), annotations), content)


@dataclass(frozen=True)
class Artifact:
    """One image manifest with its config blob and layers."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def digest(self) -> Digest:
        return self.manifest.descriptor.digest

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """All blobs that the manifest names, each once."""
        unique = {blob.descriptor.digest: blob for blob in (self.config, *self.layers)}
        return tuple(unique.values())
