"""Copying by digest: the same bytes, deepest first, each content once, the tag last.

A manifest stands at a destination only when all its parts do, so one that is there needs nothing
any more, and a copy that was broken off goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import NamedTuple

from bundler.model.artifact import Descriptor
from bundler.model.reference import Digest, Repository
from bundler.parallel import threads
from bundler.ports import ContentReader, ContentWriter
from bundler.relocate.graph import Graph, Node, read_graphs

PARALLEL = 16
"""Requests under way; each holds a piece of 1 MiB at most."""

OnTotal = Callable[[int], Callable[[str], None]]
"""Is told how many things there are; what it returns is called for each of them."""


@dataclass(frozen=True)
class Root:
    """A manifest that is copied with all that belongs to it."""

    source: Repository
    digest: Digest
    to: Repository
    tag: str | None = None


@dataclass(frozen=True)
class Amount:
    """Blobs and manifests, and the blobs' bytes."""

    blobs: int = 0
    manifests: int = 0
    bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.blobs + other.blobs, self.manifests + other.manifests, self.bytes + other.bytes
        )

    def as_dict(self) -> dict[str, int]:
        return {"blobs": self.blobs, "manifests": self.manifests, "bytes": self.bytes}


@dataclass(frozen=True)
class Copied:
    """What was sent, what was there already (or in reach of the destination), and the graphs."""

    sent: Amount = Amount()
    skipped: Amount = Amount()
    graphs: tuple[Graph, ...] = ()


class _Place(NamedTuple):
    """A content's place at the destination."""

    repository: Repository
    digest: Digest


def copy(
    source: ContentReader,
    destination: ContentWriter,
    roots: Sequence[Root],
    *,
    referrers: bool = False,
    dry_run: bool = False,
    on_total: OnTotal = lambda _: lambda _: None,
    before_sending: Callable[[], object] = lambda: None,
) -> Copied:
    """Copy every root and set its tag when all of it is there.

    A dry run only counts. `before_sending` is called when all is known and nothing is sent yet:
    it may raise what speaks against it. Raises NotFound, VerificationFailed (the source has
    something else than its digest says), VersionExists (a tag has another digest), Unreachable,
    CouldNotCheck.
    """
    with threads(PARALLEL) as pool:
        graphs = read_graphs(
            source, [(root.source, root.digest) for root in roots], pool, referrers=referrers
        )
        run = _Copy(source, destination, list(zip(roots, graphs, strict=True)), pool)
        run.find_absent()
        before_sending()
        step = on_total(run.total)
        if dry_run:
            run.count_absent()
        else:
            run.send_blobs(step)
            run.send_manifests(step)
        return run.copied()


class _Copy:
    """One copy that is under way."""

    def __init__(
        self,
        source: ContentReader,
        destination: ContentWriter,
        roots: Sequence[tuple[Root, Graph]],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._source = source
        self._destination = destination
        self._roots = roots
        self._pool = pool
        self._present: set[_Place] = set()
        """Manifests that are at the destination, with all that is below them."""
        self._blobs_there: dict[_Place, bool] = {}
        """Those that were asked for, and whether they are at the destination."""
        self._sent: set[_Place] = set()

    # --- what there is to do --------------------------------------------------------------------

    def find_absent(self) -> None:
        """Ask for the roots and the referrers: what is below one that is there is there too.

        A few blobs are asked for at the same time, many only if they are to be sent.
        """
        blobs = self._all_blobs()
        asked = {
            place: self._pool.submit(self._destination.has, place.repository, blob)
            for place, blob in (blobs if len(blobs) <= PARALLEL else {}).items()
        }
        tops = {
            _Place(root.to, digest): graph
            for root, graph in self._roots
            for digest in (graph.root, *graph.referrers)
        }
        answers = {
            place: self._pool.submit(
                self._destination.has,
                place.repository,
                graph.nodes[place.digest].manifest.descriptor,
            )
            for place, graph in tops.items()
        }
        for place, graph in tops.items():
            if answers[place].result():
                self._present.update(
                    _Place(place.repository, digest) for digest in graph.below(place.digest)
                )
        self._blobs_there = {place: answer.result() for place, answer in asked.items()}

    @property
    def total(self) -> int:
        return len(self._blobs()) + len(self._manifests())

    def _manifests(self) -> Mapping[_Place, Node]:
        """Those that are not there."""
        return {
            place: node
            for root, graph in self._roots
            for digest, node in graph.nodes.items()
            if (place := _Place(root.to, digest)) not in self._present
        }

    def _blobs(self) -> Mapping[_Place, tuple[Descriptor, Repository]]:
        """Those that are not known to be there: what, and where it is read."""
        return {
            _Place(root.to, blob.digest): (blob, root.source)
            for root, graph in self._roots
            for digest, node in graph.nodes.items()
            if _Place(root.to, digest) not in self._present
            for blob in node.blobs
            if not self._blobs_there.get(_Place(root.to, blob.digest))
        }

    def _all_blobs(self) -> Mapping[_Place, Descriptor]:
        return {
            _Place(root.to, blob.digest): blob
            for root, graph in self._roots
            for node in graph.nodes.values()
            for blob in node.blobs
        }

    # --- doing it -------------------------------------------------------------------------------

    def count_absent(self) -> None:
        """What a copy would send, as far as can be said without sending anything."""
        asked = {
            self._pool.submit(self._destination.has, place.repository, blob): place
            for place, (blob, _) in self._blobs().items()
            if place not in self._blobs_there
        }
        self._sent = {place for place in self._blobs() if place in self._blobs_there}
        self._sent.update(place for answer, place in asked.items() if not answer.result())
        self._sent.update(self._manifests())

    def send_blobs(self, step: Callable[[str], None]) -> None:
        """Each content once, the largest first; then to the other repositories that want it."""
        first: dict[tuple[str, Digest], _Place] = {}
        later: list[_Place] = []
        wanted = self._blobs()
        for place in wanted:
            key = (_registry(place.repository), place.digest)
            if first.setdefault(key, place) != place:
                later.append(place)
        near = self._at_hand()
        ordered = sorted(first.items(), key=lambda item: -wanted[item[1]][0].size)
        _finish(
            (self._send_blob(place, *wanted[place], near.get(key)) for key, place in ordered), step
        )
        _finish(
            (
                self._send_blob(
                    place,
                    *wanted[place],
                    first[_registry(place.repository), place.digest].repository,
                )
                for place in later
            ),
            step,
        )

    def _at_hand(self) -> Mapping[tuple[str, Digest], Repository]:
        """Repositories of the destination's registries that have a content already."""
        found: dict[tuple[str, Digest], Repository] = {}
        for root, graph in self._roots:
            for digest, node in graph.nodes.items():
                is_there = _Place(root.to, digest) in self._present
                near = root.to if is_there else root.source
                if is_there or near.scheme == "oci":
                    for blob in node.blobs:
                        found[_registry(near), blob.digest] = near
        return found

    def _send_blob(
        self, place: _Place, blob: Descriptor, source: Repository, near: Repository | None
    ) -> Future[None]:
        def pieces() -> Iterator[bytes]:
            self._sent.add(place)
            return self._source.blob_pieces(source, blob)

        return self._pool.submit(
            self._destination.put_blob, place.repository, blob, pieces, near,
            is_absent=place in self._blobs_there,
        )  # fmt: skip

    def send_manifests(self, step: Callable[[str], None]) -> None:
        """Level by level; a tag comes last, when referrers are there too."""
        wanted = self._manifests()
        tags = {_Place(root.to, root.digest): root.tag for root, _ in self._roots}
        early = {
            _Place(root.to, root.digest) for root, graph in self._roots if not graph.referrers
        } & wanted.keys()
        self._sent.update(wanted)
        for level in self._levels():
            _finish(
                (
                    self._send_manifest(
                        place, wanted[place], tags[place] if place in early else None
                    )
                    for place in level
                    if place in wanted
                ),
                step,
            )
        _finish(self._send_manifest(place, node, None) for place, node in self._unsure_referrers())
        nodes = {
            _Place(root.to, root.digest): graph.nodes[root.digest] for root, graph in self._roots
        }
        late = ((place, tag) for place, tag in tags.items() if tag and place not in early)
        _finish((self._send_manifest(place, nodes[place], tag) for place, tag in late))

    def _unsure_referrers(self) -> Iterator[tuple[_Place, Node]]:
        """Those that are there: a copy that was broken off may have stored and not listed them."""
        for root, graph in self._roots:
            for digest in graph.referrers:
                if (place := _Place(root.to, digest)) in self._present:
                    yield place, graph.nodes[digest]

    def _send_manifest(self, place: _Place, node: Node, tag: str | None) -> Future[None]:
        return self._pool.submit(
            self._destination.put_manifest, place.repository, node.manifest, tag
        )

    def _levels(self) -> Iterator[Sequence[_Place]]:
        """The levels of all graphs together."""
        levels: list[dict[_Place, None]] = []
        for root, graph in self._roots:
            for depth, level in enumerate(graph.levels()):
                if depth == len(levels):
                    levels.append({})
                levels[depth].update(dict.fromkeys(_Place(root.to, digest) for digest in level))
        yield from map(tuple, levels)

    # --- what became of it ----------------------------------------------------------------------

    def copied(self) -> Copied:
        blobs = self._all_blobs()
        manifests = {
            _Place(root.to, digest) for root, graph in self._roots for digest in graph.nodes
        }
        sent, skipped = (
            Amount(
                sum((place in self._sent) == wanted for place in blobs),
                sum((place in self._sent) == wanted for place in manifests),
                sum(blob.size for place, blob in blobs.items() if (place in self._sent) == wanted),
            )
            for wanted in (True, False)
        )
        return Copied(sent, skipped, tuple(graph for _, graph in self._roots))


def _registry(repository: Repository) -> str:
    """What shares content: repositories of one host; folders are copied from within a machine."""
    return f"{repository.scheme}://{repository.host}"


def _finish(work: Iterable[Future[None]], step: Callable[[str], None] = lambda _: None) -> None:
    """Wait for all, and raise the first error as soon as there is one."""
    for done in as_completed(list(work)):
        done.result()
        step("")
