"""A manifest and all that belongs to it, read by digest: what there is to copy.

Nothing in a manifest is believed but what its digest covers; whatever a source answers is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

from bundler.errors import NotFound, VerificationFailed
from bundler.manifests import read_json
from bundler.model.artifact import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Blob,
    Descriptor,
)
from bundler.model.reference import Digest, InvalidReference, Repository
from bundler.ports import ContentReader

MAX_MANIFESTS = 20_000
MAX_MANIFESTS_BYTES = 64 * 1024 * 1024
"""Of one copy: they are in memory all at once, the blobs are not."""
MAX_DEPTH = 32
"""Of indexes in indexes, and of what refers to what refers to a manifest."""
_INDEXES = frozenset({INDEX, DOCKER_INDEX})
_IMAGES = frozenset({MANIFEST, DOCKER_MANIFEST})


@dataclass(frozen=True)
class Node:
    """A manifest, its blobs, and what it names among manifests."""

    manifest: Blob
    blobs: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...] = ()
    """Have to be there before it."""
    subject: Digest | None = None
    """What it refers to."""
    platforms: tuple[str, ...] = ()
    """Of an index's children, as far as it says."""

    @property
    def digest(self) -> Digest:
        return self.manifest.descriptor.digest


@dataclass(frozen=True)
class Graph:
    """A root and all manifests that belong to it."""

    root: Digest
    nodes: Mapping[Digest, Node]
    referrers: frozenset[Digest]
    """Those that were found by what they refer to."""

    def levels(self) -> Iterator[tuple[Digest, ...]]:
        """All manifests, children before parents, subjects before what refers to them."""
        order = TopologicalSorter({node.digest: self._needs(node) for node in self.nodes.values()})
        order.prepare()
        while ready := order.get_ready():
            yield tuple(sorted(ready))
            order.done(*ready)

    def _needs(self, node: Node) -> set[Digest]:
        subject = {node.subject} if node.subject in self.nodes else set()
        return {child.digest for child in node.children} | {each for each in subject if each}

    def below(self, top: Digest) -> frozenset[Digest]:
        """A manifest and everything that has to be there before it, but not its subject."""
        found: set[Digest] = set()
        left = [top]
        while left:
            digest = left.pop()
            if digest not in found:
                found.add(digest)
                left.extend(child.digest for child in self.nodes[digest].children)
        return frozenset(found)


def read_graphs(
    source: ContentReader,
    roots: Iterable[tuple[Repository, Digest]],
    pool: ThreadPoolExecutor,
    *,
    referrers: bool = False,
) -> list[Graph]:
    """What belongs to each root, in their order; with the `referrers` of every manifest.

    A referrer that is listed and is not there, or refers to something else, is left out.
    Raises NotFound (naming what is missing), VerificationFailed, and as the source does.
    """
    reads = [_Reading(source, place, digest, referrers) for place, digest in roots]
    waiting = list(reads)
    read_bytes = 0
    while waiting:
        # All roots go down together, a level at a time: no thread waits for another.
        visits = [
            (reading, pool.submit(reading.visit, asked))
            for reading in waiting
            for asked in reading.take()
        ]
        for reading, visit in visits:
            read_bytes += reading.add(visit.result())
        _check_bounds(sum(len(reading.nodes) for reading in reads), read_bytes)
        waiting = [reading for reading in waiting if reading.is_open]
    return [reading.graph() for reading in reads]


def _check_bounds(manifests: int, size: int) -> None:
    if manifests > MAX_MANIFESTS or size > MAX_MANIFESTS_BYTES:
        raise VerificationFailed(
            f"more manifests than one copy takes: {manifests}, of {size} bytes",
            hint="copy fewer images at once (--env), or without --referrers",
        )


class _Asked(NamedTuple):
    digest: Digest
    subject: Digest | None = None
    """Where it was found as a referrer."""


class _Visit(NamedTuple):
    node: Node | None
    found: tuple[_Asked, ...]


class _Reading:
    """A graph that is being read, breadth first."""

    def __init__(
        self, source: ContentReader, repository: Repository, root: Digest, referrers: bool
    ) -> None:
        self.nodes: dict[Digest, Node] = {}
        self._source = source
        self._repository = repository
        self._referrers = referrers
        self._root = root
        self._seen = {root}
        self._found_by_subject: set[Digest] = set()
        self._open = [_Asked(root)]
        self._depth = 0

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    def take(self) -> list[_Asked]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise VerificationFailed(
                f"{self._repository}@{self._root} goes deeper than {MAX_DEPTH} manifests"
            )
        taken, self._open = self._open, []
        return taken

    def visit(self, asked: _Asked) -> _Visit:
        """Read one manifest, in any thread; what it leads to."""
        try:
            node = _node(self._source, self._repository, asked.digest)
        except (NotFound, VerificationFailed):
            if asked.subject is None:
                raise
            return _Visit(None, ())
        if asked.subject is not None and node.subject != asked.subject:
            return _Visit(None, ())
        found = [_Asked(child.digest) for child in node.children]
        if self._referrers:
            about = self._source.referrers(self._repository, node.digest)
            found += [_Asked(each.digest, node.digest) for each in about]
        return _Visit(node, tuple(found))

    def add(self, visit: _Visit) -> int:
        """Take over what was read; the bytes that it has."""
        if visit.node is None:
            return 0
        self.nodes[visit.node.digest] = visit.node
        for asked in visit.found:
            if asked.digest not in self._seen:
                self._seen.add(asked.digest)
                self._open.append(asked)
                if asked.subject is not None:
                    self._found_by_subject.add(asked.digest)
        return visit.node.manifest.descriptor.size

    def graph(self) -> Graph:
        return Graph(self._root, self.nodes, frozenset(self._found_by_subject & self.nodes.keys()))


# --- one manifest -------------------------------------------------------------------------------


def _node(source: ContentReader, repository: Repository, digest: Digest) -> Node:
    content = source.manifest(repository, digest)
    return parse(f"{repository}@{digest}", digest, content)


def parse(place: str, digest: Digest, content: bytes) -> Node:
    """A manifest's parts. Raises VerificationFailed for what is no image manifest or index."""
    try:
        document = read_json(content)
        if not isinstance(document, dict) or document.get("schemaVersion") != 2:
            raise ValueError("no manifest of version 2")
        media_type = document.get("mediaType") or (INDEX if "manifests" in document else MANIFEST)
        manifest = Blob(Descriptor(media_type, digest, len(content)), content)
        if media_type in _INDEXES:
            return _index(manifest, document)
        if media_type in _IMAGES:
            return _image(manifest, document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VerificationFailed(f"{place}: malformed manifest: {error}") from error
    raise VerificationFailed(
        f"{place} has the media type {media_type!r}, which is not copied",
        hint="image manifests and indexes are, of OCI and of Docker's schema 2",
    )


def _image(manifest: Blob, document: Mapping[str, Any]) -> Node:
    if "manifests" in document:
        raise ValueError("both an image and an index")
    described = (document["config"], *document["layers"])
    blobs = _unique(map(_descriptor, filter(_is_stored, described)))
    return Node(manifest, blobs, subject=_subject(document))


def _is_stored(value: Mapping[str, Any]) -> bool:
    """Whether the registry itself has it; a layer with `urls` lies elsewhere, and stays there."""
    return not value.get("urls")


def _index(manifest: Blob, document: Mapping[str, Any]) -> Node:
    if "layers" in document or "config" in document:
        raise ValueError("both an image and an index")
    entries = document["manifests"]
    described = _unique(map(_descriptor, entries))
    return Node(
        manifest,
        tuple(each for each in described if each.media_type not in _INDEXES | _IMAGES),
        tuple(each for each in described if each.media_type in _INDEXES | _IMAGES),
        _subject(document),
        tuple(dict.fromkeys(name for entry in entries if (name := _platform(entry)))),
    )


def _subject(document: Mapping[str, Any]) -> Digest | None:
    subject = document.get("subject")
    return _descriptor(subject).digest if subject else None


def _descriptor(value: Mapping[str, Any]) -> Descriptor:
    size, media_type = value["size"], value["mediaType"]
    if type(size) is not int or size < 0 or not isinstance(media_type, str) or not media_type:
        raise ValueError(f"a size of {size!r} and the media type {media_type!r}")
    if media_type in _INDEXES | _IMAGES and size > MAX_MANIFEST_BYTES:
        raise ValueError(f"a manifest of {size} bytes: too large")
    try:
        return Descriptor(media_type, Digest.parse(value["digest"]), size)
    except InvalidReference as error:
        raise ValueError(str(error)) from error


def _unique(descriptors: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    return tuple({each.digest: each for each in descriptors}.values())


def platform_name(value: object) -> str:
    """`linux/arm64/v8`; empty where nothing, or nothing known, is said."""
    if not isinstance(value, dict):
        return ""
    parts = [value.get(key) for key in ("os", "architecture", "variant")]
    if "unknown" in parts[:2] or not all(isinstance(part, str) and part for part in parts[:2]):
        return ""
    return "/".join(str(part) for part in parts if part)


def _platform(entry: Mapping[str, Any]) -> str:
    return platform_name(entry.get("platform"))
