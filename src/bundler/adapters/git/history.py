"""History as facts about inputs: in which ancestors is an input the same as in a commit?

Two streams answer for all inputs at once, whatever their number: `rev-list` gives every ancestor
with its tree and parents, `diff-tree --stdin` the entries that differ between neighbouring trees.
What is known of the commit's own tree spreads from there: each differing entry brings a place
nearer to what it must hold or takes it away, and a place where nothing differs from that is the
same. A spanning tree of neighbours is enough, and first parents differ least.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from bundler.adapters.git.inputs import ABSENT, Places, Watch
from bundler.adapters.git.process import Git
from bundler.errors import SourceInvalid
from bundler.model.history import HistoryCommit, Input

_PAIRS_AT_ONCE = 4096
"""diff-tree keeps every top tree that it has read: of a large history that is gigabytes."""
_FEW_PAIRS = 1024
"""Not worth a second process."""
_AT_ONCE = 2
_NOTHING, _FOLDER = b"000000", b"040000"

T = TypeVar("T")
Edge = tuple[str, str]
"""Two trees."""
Change = dict[int, int]
"""Place → how many more of its entries are not the wanted ones in the other tree."""


class _Commit(NamedTuple):
    id: str
    tree: str
    parents: tuple[str, ...]


def read(git: Git, commit: str, inputs: Sequence[Input]) -> Sequence[HistoryCommit]:
    """The commit and its ancestors, children before parents, with one bit for each input.

    Linear in the number of ancestors and of the entries that they changed.
    """
    commits = list(_ancestors(git, commit))
    trees = {entry.id: entry.tree for entry in commits}
    if any(parent not in trees for entry in commits for parent in entry.parents):
        raise SourceInvalid(
            "history is cut off: a parent commit is missing",
            hint="fetch all of it: git fetch --unshallow --tags",
        )
    known = trees[commit]
    places = Places.of(git, commit, known, inputs)
    changes = _changes(git, list(_spanning_edges(commits, trees)), places)
    equal = _spread(known, changes, _Standing(places, len(inputs)))
    return [HistoryCommit(entry.id, entry.parents, equal[entry.tree]) for entry in commits]


def _ancestors(git: Git, commit: str) -> Iterator[_Commit]:
    listing = ("rev-list", "--topo-order", "--format=%H %T %P", commit, "--")
    for line in git.tokens(*listing, separator=b"\n"):
        if not line.startswith(b"commit "):
            identifier, tree, *parents = line.decode().split()
            yield _Commit(identifier, tree, tuple(parents))


def _spanning_edges(commits: Sequence[_Commit], trees: Mapping[str, str]) -> Iterator[Edge]:
    """Neighbouring trees that connect all trees, without a circle: first parents before others."""
    leaders: dict[str, str] = {}

    def leader(tree: str) -> str:
        top = tree
        while (above := leaders.get(top, top)) != top:
            top = above
        while tree != top:
            leaders[tree], tree = top, leaders.get(tree, tree)
        return top

    firsts = ((c.tree, trees[c.parents[0]]) for c in commits if c.parents)
    others = ((c.tree, trees[parent]) for c in commits for parent in c.parents[1:])
    for edges in (firsts, others):
        for edge in edges:
            one, other = map(leader, edge)
            if one != other:
                leaders[one] = other
                yield edge


# --- what differs -------------------------------------------------------------------------------


def _changes(git: Git, edges: Sequence[Edge], places: Places) -> Iterator[tuple[Edge, Change]]:
    """What an edge changes at each place.

    diff-tree is silent about pairs of trees that differ nowhere below the asked folders.
    """
    silent = dict.fromkeys(edges)
    # git compares each entry with each path given; top folders are few, services may be many.
    folders = places.top_folders
    if folders is None or folders:
        watching = places.watches()
        streams = (_compared(git, some, folders or (), watching) for some in _batches(edges))
        for edge, change in _in_turn(streams):
            silent.pop(edge, None)
            yield edge, change | _root_change(edge, places)
    for edge in silent:
        yield edge, _root_change(edge, places)


def _batches(edges: Sequence[Edge]) -> Iterator[Sequence[Edge]]:
    size = min(_PAIRS_AT_ONCE, max(_FEW_PAIRS, -(-len(edges) // _AT_ONCE)))
    return (edges[start : start + size] for start in range(0, len(edges), size))


def _in_turn(streams: Iterator[Iterator[T]]) -> Iterator[T]:
    """All items of all streams, a few of which are open: they fill while others are read."""
    opened = deque(islice(streams, _AT_ONCE))
    while opened:
        stream = opened.popleft()
        for item in stream:
            yield item
            opened.append(stream)
            break
        else:
            opened.extend(islice(streams, 1))


def _root_change(edge: Edge, places: Places) -> Change:
    one, other = (b"%s %s" % (_FOLDER, tree.encode()) for tree in edge)
    return {w.place: (other != w.wanted) - (one != w.wanted) for w in places.at_root}


def _compared(
    git: Git,
    edges: Sequence[Edge],
    folders: Sequence[str],
    watching: Callable[[bytes], tuple[Watch, ...]],
) -> Iterator[tuple[Edge, Change]]:
    arguments = ("diff-tree", "--stdin", "-r", "-t", "-z", "--no-renames", "--no-abbrev", "--")
    tokens = git.tokens(*arguments, *folders, lines=(f"{one} {other}" for one, other in edges))
    edge: Edge | None = None
    change: Change = {}
    # Headers end with a line feed, entries with NUL: `T1 T2\n:meta\0path\0:meta\0path\0T3 …`
    for token in tokens:
        *headers, meta = token.split(b"\n")
        for header in headers:
            if edge is not None:
                yield edge, change
            one, _, other = header.decode().partition(" ")
            edge, change = (one, other), {}
        if meta and (watches := watching(next(tokens))):
            _add(change, watches, meta)
    if edge is not None:
        yield edge, change


def _add(change: Change, watches: Iterable[Watch], meta: bytes) -> None:
    """Count one entry; a folder that becomes a file is told in two, which add up."""
    one_mode, other_mode, one_id, other_id, _ = meta[1:].split(b" ")
    one, other = one_mode + b" " + one_id, other_mode + b" " + other_id
    for place, wanted, files in watches:
        nothing = (_NOTHING, _FOLDER) if files else (_NOTHING,)
        before = (ABSENT if one_mode in nothing else one) != wanted
        after = (ABSENT if other_mode in nothing else other) != wanted
        if before != after:
            change[place] = change.get(place, 0) + after - before


# --- what is equal ------------------------------------------------------------------------------


class _Standing:
    """How the places stand in one tree, and with it the inputs; moves from tree to tree."""

    def __init__(self, places: Places, inputs: int) -> None:
        self._owners = places.owners
        self._differing = list(places.differing)
        self._same_places = [0] * inputs
        self.equal = 0
        """Bit i is set where a place of input i holds what it must."""
        for place, differing in enumerate(self._differing):
            if not differing:
                self._count(place, 1)

    def move(self, change: Change, direction: int) -> None:
        for place, more in change.items():
            before = self._differing[place]
            after = self._differing[place] = before + direction * more
            if bool(before) != bool(after):
                self._count(place, -1 if after else 1)

    def _count(self, place: int, step: int) -> None:
        number = self._owners[place]
        before = self._same_places[number]
        after = self._same_places[number] = before + step
        if bool(before) != bool(after):
            self.equal ^= 1 << number


def _spread(
    known: str, changes: Iterator[tuple[Edge, Change]], standing: _Standing
) -> dict[str, int]:
    """Tree → one bit for each input: walk all trees from the known one, there and back."""
    neighbours: dict[str, list[tuple[str, Change, int]]] = defaultdict(list)
    for (one, other), change in changes:
        neighbours[one].append((other, change, 1))
        neighbours[other].append((one, change, -1))
    equal = {known: standing.equal}
    way: list[tuple[Change, int, Iterator[tuple[str, Change, int]]]]
    way = [({}, 1, iter(neighbours[known]))]
    while way:
        came, direction, ahead = way[-1]
        following = next((step for step in ahead if step[0] not in equal), None)
        if following is None:
            standing.move(came, -direction)
            way.pop()
            continue
        tree, change, forth = following
        standing.move(change, forth)
        equal[tree] = standing.equal
        way.append((change, forth, iter(neighbours[tree])))
    return equal
