"""A manifest and all that belongs to it, read by digest: what there is to copy.

Nothing in a manifest is believed but what its digest covers; whatever a source answers is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import NamedTuple

from bundler.errors import NotFound, VerificationFailed
from bundler.manifests import read_json
from bundler.model.artifact import Blob, Descriptor
from bundler.model.manifest_parts import MANIFESTS, manifest_parts
from bundler.model.reference import Digest, Repository
from bundler.ports import ContentReader

MAX_MANIFESTS = 20_000
MAX_MANIFESTS_BYTES = 64 * 1024 * 1024
"""Of one copy: they are in memory all at once, the blobs are not."""
MAX_DEPTH = 32
"""Of indexes in indexes, and of what refers to what refers to a manifest."""


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
        parts = manifest_parts(read_json(content))
    except ValueError as error:
        raise VerificationFailed(f"{place}: malformed manifest: {error}") from error
    if parts.media_type not in MANIFESTS:
        raise VerificationFailed(
            f"{place} has the media type {parts.media_type!r}, which is not copied",
            hint="image manifests and indexes are, of OCI and of Docker's schema 2",
        )
    manifest = Blob(Descriptor(parts.media_type, digest, len(content)), content)
    return Node(manifest, parts.blobs, parts.children, parts.subject, parts.platforms)
