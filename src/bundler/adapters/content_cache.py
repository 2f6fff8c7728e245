"""Manifests and configs by digest, kept in a folder: what is immutable is asked for once.

A file has the name of its digest and is checked whenever it is read: what is damaged counts as
absent.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from bundler.adapters.cache_folder import CacheFolder
from bundler.model.artifact import Descriptor
from bundler.model.reference import Digest, Repository
from bundler.ports import ArtifactReader

MAX_ENTRY_BYTES = 4 * 1024 * 1024
MAX_CACHE_BYTES = 256 * 1024 * 1024


class ContentCache:
    """Bytes by digest; thread-safe, and any number of processes may share a folder."""

    def __init__(self, folder: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._folder = CacheFolder(str(folder), max_bytes, MAX_ENTRY_BYTES)

    def get(self, digest: Digest) -> bytes | None:
        """The content that has this digest, if it is kept."""
        content = self._folder.read(digest.hex)
        return content if content is not None and _has(digest, content) else None

    def put(self, digest: Digest, content: bytes) -> None:
        """Keep a content, if it has the digest, is not too large and there is room for it."""
        if self._folder.has_room_for(len(content)) and _has(digest, content):
            self._folder.write(digest.hex, content)


def _has(digest: Digest, content: bytes) -> bool:
    return sha256(content).hexdigest() == digest.hex


class CachedImages:
    """Implements `bundler.ports.ArtifactReader`: tags are asked for, contents only once."""

    def __init__(self, images: ArtifactReader, cache: ContentCache) -> None:
        self._images = images
        self._cache = cache

    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        return self._images.resolve(repository, reference)

    def tags(self, repository: Repository) -> tuple[str, ...]:
        return self._images.tags(repository)

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        content = self._cache.get(digest)
        if content is None:
            content = self._images.manifest(repository, digest)
            self._cache.put(digest, content)
        return content

    def tagged(self, repository: Repository, tag: str) -> tuple[Digest, bytes] | None:
        return self._images.tagged(repository, tag)

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        content = self._cache.get(descriptor.digest)
        if content is None or len(content) != descriptor.size:
            content = self._images.blob(repository, descriptor)
            self._cache.put(descriptor.digest, content)
        return content
