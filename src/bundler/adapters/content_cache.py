"""Manifests and configs by digest, kept in a folder: what is immutable is asked for once.

A file has the name of its digest and is checked whenever it is read, so nothing here has to be
trusted or synced: what is damaged counts as absent. The cache is never in the way: a folder that
cannot be written, or a full disk, only means that more is asked.
"""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from bundler.model.artifact import Descriptor
from bundler.model.reference import Digest, Repository
from bundler.ports import ArtifactReader

MAX_ENTRY_BYTES = 4 * 1024 * 1024
MAX_CACHE_BYTES = 256 * 1024 * 1024
SHARES = 16
"""Subfolders by the digest's first digit, each with its share of the bytes: counted one by one."""
_KEPT = 0.75
"""What is left of a share that was full."""


class ContentCache:
    """Bytes by digest; thread-safe, and any number of processes may share a folder."""

    def __init__(self, folder: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
        """`folder` is made when there is something to keep, for nobody else to look into."""
        self._folder = str(folder)
        self._is_writable = True
        self._share = max_bytes // SHARES
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    def get(self, digest: Digest) -> bytes | None:
        """The content that has this digest, if it is kept."""
        try:
            number = os.open(self._path(digest), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            content = _read(number)
        except OSError:
            return None
        finally:
            os.close(number)
        return content if sha256(content).hexdigest() == digest.hex else None

    def put(self, digest: Digest, content: bytes) -> None:
        """Keep a content, if it has the digest, is not too large and there is room for it."""
        is_small = len(content) <= min(MAX_ENTRY_BYTES, self._share)
        if not (self._is_writable and is_small and Digest.of(content) == digest):
            return
        path = self._path(digest)
        folder = os.path.dirname(path)  # noqa: PTH120  a thousand paths: pathlib is too slow
        try:
            self._write(folder, path, content)
        except OSError:
            self._is_writable = False

    def _path(self, digest: Digest) -> str:
        return f"{self._folder}/{digest.hex[0]}/{digest.hex}"

    def _write(self, folder: str, path: str, content: bytes) -> None:
        with self._lock:
            if folder not in self._sizes:
                os.makedirs(self._folder, mode=0o700, exist_ok=True)  # noqa: PTH103
                with suppress(FileExistsError):
                    os.mkdir(folder, mode=0o700)  # noqa: PTH102
                self._sizes[folder] = _size(folder)
        temporary = f"{folder}/.{secrets.token_hex(8)}"
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            os.replace(temporary, path)  # noqa: PTH105
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise
        with self._lock:
            self._sizes[folder] += len(content)
            if self._sizes[folder] > self._share:
                self._sizes[folder] = _shrink(folder, int(self._share * _KEPT))


def _read(number: int) -> bytes:
    """A file's bytes; of one that is too large, as many as show that."""
    content = os.read(number, 64 * 1024)
    while piece := os.read(number, 1024 * 1024) if len(content) >= 64 * 1024 else b"":
        content += piece
        if len(content) > MAX_ENTRY_BYTES:
            break
    return content


def _size(folder: str) -> int:
    return sum(size for _, size, _ in _entries(folder))


def _entries(folder: str) -> list[tuple[int, int, str]]:
    """(Time, size, path) of everything in a folder: what a killed process left there too."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # another process has dropped it
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime_ns, status.st_size, entry.path))
    return found


def _shrink(folder: str, limit: int) -> int:
    """Drop the oldest until no more than the limit is left; how much that is."""
    entries = sorted(_entries(folder))
    size = sum(size for _, size, _ in entries)
    for _, bytes_, path in entries:
        if size <= limit:
            break
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108
        size -= bytes_
    return size


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

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        content = self._cache.get(descriptor.digest)
        if content is None or len(content) != descriptor.size:
            content = self._images.blob(repository, descriptor)
            self._cache.put(descriptor.digest, content)
        return content
