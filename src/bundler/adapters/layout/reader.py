"""Reading an OCI image layout, wherever its files are: in a folder or in a tar.

Every byte is checked against its digest whenever it is read; nothing of a layout is trusted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bundler.adapters.checked_pieces import checked
from bundler.adapters.layout.index import LAYOUT_VERSION, AmbiguousTag, Entry, LayoutIndex
from bundler.errors import BundlerError, NotFound, VerificationFailed
from bundler.manifests import read_json
from bundler.model.artifact import MAX_LAYER_BYTES, MAX_MANIFEST_BYTES, Descriptor
from bundler.model.manifest_parts import ManifestParts, manifest_parts
from bundler.model.reference import Digest, InvalidReference, Repository

MAX_REFERRERS = 1000


class LayoutFiles(Protocol):
    """The files of one layout."""

    @property
    def damage(self) -> type[BundlerError]:
        """What it means where `index.json` or `oci-layout` make no sense."""
        ...

    def where(self, name: str) -> str:
        """What to call a file in an error."""
        ...

    def document(self, name: str) -> bytes | None:
        """`index.json` or `oci-layout`; None where it is not there."""
        ...

    def size(self, digest: Digest) -> int:
        """Raises NotFound, VerificationFailed (no regular file)."""
        ...

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """A blob's bytes, unchecked, at most 1 MiB at once. Raises as `size`, when iterated."""
        ...


class _Links(NamedTuple):
    subject: Digest | None
    children: tuple[Digest, ...]


@dataclass(frozen=True)
class _Parsed:
    """An index as it was read."""

    content: bytes
    index: LayoutIndex


class LayoutReader(ABC):
    """Implements `bundler.ports.ContentReader`; thread-safe."""

    def __init__(self) -> None:
        self._links: dict[Digest, _Links] = {}
        """What never changes, of manifests that were found sound."""
        self._parsed: dict[str, _Parsed] = {}
        """The last index of each place: it is read each time, but not understood anew."""
        self._referrers: dict[str, tuple[LayoutIndex, Mapping[Digest, list[Digest]]]] = {}
        """Of the last index of each place that was asked for them: who refers to what."""

    @abstractmethod
    def _files(self, repository: Repository) -> LayoutFiles: ...

    def _index(self, files: LayoutFiles) -> LayoutIndex:
        """Without entries where there is no layout yet. Raises what damage means here."""
        content = files.document("index.json")
        if content is None:
            return LayoutIndex.empty()
        _check_version(files)
        return self._understood(files, content)

    def _understood(self, files: LayoutFiles, content: bytes) -> LayoutIndex:
        place = files.where("index.json")
        known = self._parsed.get(place)
        if known is not None and known.content == content:
            return known.index
        try:
            return self._remember(files, content, LayoutIndex.parse(content))
        except ValueError as error:
            raise files.damage(f"{place} is damaged: {error}") from error

    def _remember(self, files: LayoutFiles, content: bytes, index: LayoutIndex) -> LayoutIndex:
        self._parsed[files.where("index.json")] = _Parsed(content, index)
        return index

    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        files = self._files(repository)
        if isinstance(reference, Digest):
            return reference if _has_manifest(files, reference) else None
        return tagged_digest(files, self._index(files), reference)

    def descriptor(self, repository: Repository, reference: str | Digest) -> Descriptor | None:
        files = self._files(repository)
        index = self._index(files)
        if isinstance(reference, Digest):
            if not _has_manifest(files, reference):
                return None
            digest, entry = reference, index.named(reference)
        else:
            entry = _tagged(files, index, reference)
            if entry is None:
                return None
            digest = _digest_of(files, entry)
        content = read_manifest(files, digest)
        media_type = entry.get("mediaType") if entry else None
        parts = parts_of(
            files, digest, content, media_type if isinstance(media_type, str) else None
        )
        if entry and entry.get("size") not in (None, len(content)):
            raise VerificationFailed(
                f"{files.where('index.json')} says {entry.get('size')!r} bytes of {digest}, "
                f"which has {len(content)}"
            )
        return Descriptor(parts.media_type, digest, len(content))

    def tags(self, repository: Repository) -> tuple[str, ...]:
        return self._index(self._files(repository)).tags

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        return read_manifest(self._files(repository), digest)

    def tagged(self, repository: Repository, tag: str) -> tuple[Digest, bytes] | None:
        digest = self.resolve(repository, tag)
        return (digest, self.manifest(repository, digest)) if digest else None

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_LAYER_BYTES:
            raise VerificationFailed(
                f"{repository}@{descriptor.digest} is said to have {descriptor.size} bytes: "
                "too large"
            )
        return b"".join(self.blob_pieces(repository, descriptor))

    def blob_pieces(self, repository: Repository, descriptor: Descriptor) -> Iterator[bytes]:
        files = self._files(repository)
        return checked(
            files.pieces(descriptor.digest), descriptor, files.where(blob_name(descriptor.digest))
        )

    def referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        files = self._files(repository)
        found: dict[Digest, Descriptor] = {}
        for candidate in (*self._listed_referrers(files, digest), *self._fallback(files, digest)):
            if candidate in found or self._linked(files, candidate).subject != digest:
                continue
            content = read_manifest(files, candidate)
            parts = parts_of(files, candidate, content)
            found[candidate] = Descriptor(
                parts.media_type, candidate, len(content), parts.annotations
            )
            if len(found) == MAX_REFERRERS:
                break
        return tuple(found.values())

    def _listed_referrers(self, files: LayoutFiles, subject: Digest) -> list[Digest]:
        """The manifests in the index that say they refer to it."""
        index, place = self._index(files), files.where("index.json")
        known = self._referrers.get(place)
        if known is None or known[0] is not index:
            known = self._referrers[place] = index, self._by_subject(files, index)
        return known[1].get(subject, [])

    def _by_subject(self, files: LayoutFiles, index: LayoutIndex) -> Mapping[Digest, list[Digest]]:
        found: dict[Digest, list[Digest]] = {}
        for digest in dict.fromkeys(entry_digests(index.entries)):
            subject = self._linked(files, digest).subject
            if subject is not None:
                found.setdefault(subject, []).append(digest)
        return found

    def _fallback(self, files: LayoutFiles, subject: Digest) -> list[Digest]:
        """What the fallback tag of the distribution-spec lists."""
        with suppress(AmbiguousTag, NotFound, VerificationFailed, ValueError):
            entry = self._index(files).tagged(f"sha256-{subject.hex}")
            if entry is not None:
                content = read_manifest(files, Digest.parse(str(entry.get("digest"))))
                return list(entry_digests(LayoutIndex.parse(content).entries))
        return []

    def _descendants(self, files: LayoutFiles, manifests: Iterable[Digest]) -> set[Digest]:
        """The manifests that stand in these indexes, and in those that stand in them."""
        found: set[Digest] = set()
        waiting = list(manifests)
        while waiting:
            children = set(self._linked(files, waiting.pop()).children) - found
            found |= children
            waiting += children
        return found

    def _linked(self, files: LayoutFiles, digest: Digest) -> _Links:
        """What a manifest links to: nothing where it is not there or no manifest."""
        known = self._links.get(digest)
        if known is not None:
            return known
        try:
            parts = parts_of(files, digest, read_manifest(files, digest))
        except (NotFound, VerificationFailed):
            return _Links(None, ())
        links = _Links(parts.subject, tuple(child.digest for child in parts.children))
        self._links[digest] = links
        return links


def blob_name(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _check_version(files: LayoutFiles) -> None:
    place = files.where("oci-layout")
    content = files.document("oci-layout")
    if content is None:
        raise files.damage(f"{place} is missing: no OCI image layout")
    try:
        marker = read_json(content)
    except ValueError as error:
        raise files.damage(f"{place} is damaged: {error}") from error
    if not isinstance(marker, dict) or marker.get("imageLayoutVersion") != LAYOUT_VERSION:
        raise files.damage(f"{place} is not of an OCI image layout of version {LAYOUT_VERSION}")


def read_manifest(files: LayoutFiles, digest: Digest) -> bytes:
    """A manifest's bytes, checked. Raises NotFound, VerificationFailed."""
    place = files.where(blob_name(digest))
    size = files.size(digest)
    if size > MAX_MANIFEST_BYTES:
        raise VerificationFailed(f"{place} has more than the expected {MAX_MANIFEST_BYTES} bytes")
    return b"".join(checked(files.pieces(digest), Descriptor("", digest, size), place))


def parts_of(
    files: LayoutFiles, digest: Digest, content: bytes, media_type: str | None = None
) -> ManifestParts:
    """Raises VerificationFailed for what is no manifest."""
    try:
        return manifest_parts(read_json(content), media_type)
    except ValueError as error:
        raise VerificationFailed(f"{files.where(blob_name(digest))} is refused: {error}") from error


def _has_manifest(files: LayoutFiles, digest: Digest) -> bool:
    """Whether there is a manifest or index, one inside of another too. Raises as `manifest`."""
    try:
        content = read_manifest(files, digest)
    except NotFound:
        return False
    try:
        document = read_json(content)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("schemaVersion") == 2


def tagged_digest(files: LayoutFiles, index: LayoutIndex, tag: str) -> Digest | None:
    """Raises what damage means of these files, also for a tag of several manifests."""
    entry = _tagged(files, index, tag)
    return _digest_of(files, entry) if entry else None


def _tagged(files: LayoutFiles, index: LayoutIndex, tag: str) -> Entry | None:
    try:
        return index.tagged(tag)
    except AmbiguousTag as error:
        raise files.damage(
            f"{files.where('index.json')}: {error}",
            hint="keep one image per layout, or give each its own tag",
        ) from error


def _digest_of(files: LayoutFiles, entry: Entry) -> Digest:
    try:
        return Digest.parse(str(entry.get("digest")))
    except InvalidReference as error:
        raise files.damage(f"{files.where('index.json')}: {error}") from error


def entry_digests(entries: Iterable[Entry]) -> Iterator[Digest]:
    """The digests of entries, without those that we do not read."""
    for entry in entries:
        with suppress(InvalidReference):
            yield Digest.parse(str(entry.get("digest")))
