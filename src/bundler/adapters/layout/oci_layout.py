"""A registry in a folder: OCI image layout v1 (`ocidir://`), shared by any number of processes.

Source: OCI image-spec 1.1, image-layout.md. The index is changed by one process at a time, under a
lock on a file beside it. So a process that is killed leaves a valid layout, with at most an unused
blob or temporary file more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from bundler.adapters.layout.folder import LayoutFolder, writing
from bundler.adapters.layout.index import LayoutIndex
from bundler.adapters.layout.reader import (
    LayoutReader,
    blob_name,
    entry_digests,
    parts_of,
    read_manifest,
    tagged_digest,
)
from bundler.adapters.registry.version_conflicts import other_content
from bundler.errors import CouldNotCheck, UsageError, VerificationFailed
from bundler.model.artifact import (
    MAX_MANIFEST_BYTES,
    REF_NAME,
    Artifact,
    Blob,
    Descriptor,
)
from bundler.model.manifest_parts import MANIFESTS, ManifestParts
from bundler.model.reference import Digest, Repository, is_tag


class OciLayout(LayoutReader):
    """Implements `bundler.ports.ArtifactRegistry`, `ContentReader` and `ContentWriter`."""

    def __init__(self, base: Path, durable: bool = True) -> None:
        """`base` is the folder that relative paths start from; `durable` as of a LayoutFolder."""
        super().__init__()
        self._base = base
        self._durable = durable
        self._turn = threading.Lock()
        """Threads take turns before processes do: to be woken is faster than to ask again."""

    def _files(self, repository: Repository) -> LayoutFolder:
        if repository.scheme != "ocidir":
            raise UsageError(f"{repository} is not a folder (ocidir://PATH)")
        return LayoutFolder(self._base / repository.path, self._durable)

    # --- artifacts of ours ---

    def push(self, repository: Repository, artifact: Artifact) -> None:
        folder = self._files(repository)
        folder.initialise()
        for blob in (*artifact.blobs, artifact.manifest):
            _put(folder, blob)
        descriptor = artifact.manifest.descriptor
        parts = parts_of(folder, descriptor.digest, artifact.manifest.content)
        if parts.subject:
            self._list(repository, folder, descriptor, parts, None)

    def tag(
        self, repository: Repository, artifact: Artifact, tag: str, replaces: Digest | None = None
    ) -> None:
        _check_tag(tag)
        folder = self._files(repository)
        content = read_manifest(folder, artifact.digest)
        parts = parts_of(folder, artifact.digest, content)
        self._list(repository, folder, artifact.manifest.descriptor, parts, tag, replaces)

    # --- content of any kind ---

    def has(self, repository: Repository, descriptor: Descriptor) -> bool:
        folder = self._files(repository)
        if not folder.is_sound(descriptor):
            return False
        return descriptor.media_type not in MANIFESTS or self._is_listed(folder, descriptor.digest)

    def put_blob(
        self,
        repository: Repository,
        descriptor: Descriptor,
        pieces: Callable[[], Iterator[bytes]],
        near: Repository | None = None,
        *,
        is_absent: bool = False,  # noqa: ARG002  to look is no trouble
    ) -> None:
        folder = self._files(repository)
        folder.initialise()
        if folder.is_sound(descriptor):
            return
        if near and near.scheme == "ocidir" and near != repository:
            with writing(folder.root):
                if folder.link(descriptor, self._files(near)):
                    return
        folder.put(descriptor, pieces)

    def put_manifest(self, repository: Repository, manifest: Blob, tag: str | None = None) -> None:
        if tag is not None:
            _check_tag(tag)
        folder = self._files(repository)
        folder.initialise()
        descriptor = manifest.descriptor
        if descriptor.size > MAX_MANIFEST_BYTES:
            raise VerificationFailed(f"{repository}@{descriptor.digest} is too large a manifest")
        parts = parts_of(folder, descriptor.digest, manifest.content, descriptor.media_type)
        _check_complete(folder, descriptor.digest, parts)
        _put(folder, manifest)
        self._list(repository, folder, descriptor, parts, tag)

    # --- the index ---

    def _list(
        self,
        repository: Repository,
        folder: LayoutFolder,
        descriptor: Descriptor,
        parts: ManifestParts,
        tag: str | None,
        replaces: Digest | None = None,
    ) -> None:
        """Name a manifest in the index; one that is named in another index is not named again."""
        with self._turn, folder.locked():
            index = self._index(folder)
            if tag is None and index.named(descriptor.digest):
                return
            if tag is not None:
                present = tagged_digest(folder, index, tag)
                if present == descriptor.digest:
                    return
                if present != replaces:
                    raise other_content(f"{repository}:{tag}", present, replaces)
                index = index.without_tag(tag)
            changed = index.with_entry(_entry(descriptor, parts, tag))
            inside = self._descendants(folder, [descriptor.digest])
            self._write(folder, changed.without_plain(inside))

    def _write(self, folder: LayoutFolder, index: LayoutIndex) -> None:
        content = index.as_bytes()
        folder.write_index(content)
        self._remember(folder, content, index)

    def _is_listed(self, folder: LayoutFolder, digest: Digest) -> bool:
        index = self._index(folder)
        return index.named(digest) is not None or digest in self._inside(folder, index)

    def settled_index(self, repository: Repository) -> LayoutIndex:
        """The index in a form that does not depend on who wrote first."""
        folder = self._files(repository)
        index = self._index(folder)
        return index.without_plain(self._inside(folder, index)).in_order()

    def _inside(self, folder: LayoutFolder, index: LayoutIndex) -> set[Digest]:
        """The manifests that stand in an index which stands in the layout's."""
        return self._descendants(folder, entry_digests(index.entries))


def _put(folder: LayoutFolder, blob: Blob) -> None:
    folder.put(blob.descriptor, lambda: [blob.content])


def _entry(descriptor: Descriptor, parts: ManifestParts, tag: str | None) -> dict[str, object]:
    """As tools for referrers expect it: with the type of the artifact."""
    entry: dict[str, object] = {
        "mediaType": parts.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if parts.subject and parts.artifact_type:
        entry["artifactType"] = parts.artifact_type
    return entry | ({"annotations": {REF_NAME: tag}} if tag else {})


def _check_tag(tag: str) -> None:
    if not is_tag(tag):
        raise UsageError(f"{tag!r} is not a tag of an OCI image")


def _check_complete(folder: LayoutFolder, digest: Digest, parts: ManifestParts) -> None:
    """A manifest that is there has all its parts: raises CouldNotCheck for one that is not."""
    for part in (*parts.blobs, *parts.children):
        if not folder.has_size(part):
            raise CouldNotCheck(
                f"{folder.where(blob_name(part.digest))} is not there, or not {part.size} bytes "
                f"long; {digest} names it"
            )
