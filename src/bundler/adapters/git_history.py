"""History as facts about paths: in which ancestors is a path the same object as in a commit?

Two streams answer for all paths at once, whatever their number: `rev-list` gives every ancestor
with its tree and parents, `diff-tree --stdin` the entries that differ between neighbouring trees.
What is known of the commit's own tree spreads from there: where an entry does not differ between
two neighbours, what holds for the one holds for the other; where it differs, the diff names both
objects. A spanning tree of neighbours is enough, and first parents differ least.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, NamedTuple

from bundler.errors import SourceInvalid
from bundler.ports import HistoryCommit

_ABSENT = b"absent"
_ROOT = "."
_CHUNK_BYTES = 1 << 20
_PAIRS_AT_ONCE = 4096
"""diff-tree keeps every top tree that it has read: of a large history that is gigabytes."""

Command = Callable[..., list[str]]
"""Makes a git command line of arguments."""
Edge = tuple[str, str]
"""Two trees."""
Changed = dict[int, tuple[bytes, bytes]]
"""Path number → `mode id` in the one and in the other tree."""


class _Commit(NamedTuple):
    id: str
    tree: str
    parents: tuple[str, ...]


def read(
    command: Command, environment: Mapping[str, str], commit: str, paths: Sequence[str]
) -> Sequence[HistoryCommit]:
    """The commit and its ancestors, children before parents, with one bit for each path.

    Linear in the number of ancestors and of the entries that they changed.
    """
    commits = list(_ancestors(command, environment, commit))
    trees = {entry.id: entry.tree for entry in commits}
    if any(parent not in trees for entry in commits for parent in entry.parents):
        raise SourceInvalid(
            "history is cut off: a parent commit is missing",
            hint="fetch all of it: git fetch --unshallow --tags",
        )
    numbers = {path.encode("utf-8", "surrogateescape"): n for n, path in enumerate(paths)}
    edges = list(_spanning_edges(commits, trees))
    differences = _differences(command, environment, edges, numbers)
    wanted = _objects_at(command, environment, commit, paths)
    equal = _spread(trees[commit], differences, wanted)
    if _ROOT in paths:
        bit = 1 << paths.index(_ROOT)
        equal = {t: e | bit if t == trees[commit] else e & ~bit for t, e in equal.items()}
    return [HistoryCommit(entry.id, entry.parents, equal[entry.tree]) for entry in commits]


def _ancestors(command: Command, environment: Mapping[str, str], commit: str) -> Iterator[_Commit]:
    listing = _run(command("rev-list", "--topo-order", "--format=%H %T %P", commit), environment)
    for line in listing.decode().splitlines():
        if not line.startswith("commit "):
            identifier, tree, *parents = line.split()
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


def _spread(
    known: str, differences: Iterator[tuple[Edge, Changed]], wanted: Sequence[bytes]
) -> dict[str, int]:
    """Tree → one bit for each path: whether it is the wanted object there."""
    neighbours: dict[str, list[tuple[str, Changed, int]]] = defaultdict(list)
    for (one, other), changed in differences:
        neighbours[one].append((other, changed, 1))
        neighbours[other].append((one, changed, 0))
    equal = {known: (1 << len(wanted)) - 1}
    todo = [known]
    while todo:
        tree = todo.pop()
        for neighbour, changed, side in neighbours[tree]:
            if neighbour not in equal:
                carried = equal[tree]
                for number, objects in changed.items():
                    bit = 1 << number
                    same = objects[side] == wanted[number]
                    carried = carried | bit if same else carried & ~bit
                equal[neighbour] = carried
                todo.append(neighbour)
    return equal


def _differences(
    command: Command,
    environment: Mapping[str, str],
    edges: Sequence[Edge],
    numbers: Mapping[bytes, int],
) -> Iterator[tuple[Edge, Changed]]:
    """What differs between the trees of each edge, among the numbered paths.

    diff-tree is silent about pairs of trees that differ nowhere below the asked folders.
    """
    # git compares each entry with each path given; top folders are few, services may be many.
    folders = {path.partition(b"/")[0] for path in numbers} - {_ROOT.encode()}
    asked = [folder.decode("utf-8", "surrogateescape") for folder in sorted(folders)]
    silent = dict.fromkeys(edges)
    for start in range(0, len(edges) if asked else 0, _PAIRS_AT_ONCE):
        pairs = edges[start : start + _PAIRS_AT_ONCE]
        for edge, changed in _compared(command, environment, pairs, asked, numbers):
            silent.pop(edge, None)
            yield edge, changed
    for edge in silent:
        yield edge, {}


def _compared(
    command: Command,
    environment: Mapping[str, str],
    edges: Sequence[Edge],
    folders: Sequence[str],
    numbers: Mapping[bytes, int],
) -> Iterator[tuple[Edge, Changed]]:
    arguments = ("diff-tree", "--stdin", "-r", "-t", "-z", "--no-renames", "--no-abbrev", "--")
    with tempfile.TemporaryFile() as pairs:
        pairs.write("".join(f"{one} {other}\n" for one, other in edges).encode())
        pairs.seek(0)
        tokens = _tokens(command(*arguments, *folders), environment, pairs)
        edge: Edge | None = None
        changed: Changed = {}
        # Headers end with a line feed, entries with NUL: `T1 T2\n:meta\0path\0:meta\0path\0T3 …`
        for token in tokens:
            *headers, meta = token.split(b"\n")
            for header in headers:
                if edge is not None:
                    yield edge, changed
                one, _, other = header.decode().partition(" ")
                edge, changed = (one, other), {}
            if meta:
                number = numbers.get(next(tokens))
                if number is not None:
                    changed[number] = _merged(changed.get(number), meta)
        if edge is not None:
            yield edge, changed


def _merged(former: tuple[bytes, bytes] | None, meta: bytes) -> tuple[bytes, bytes]:
    """Both sides of an entry; a folder that becomes a file is told in two halves."""
    one_mode, other_mode, one, other, _ = meta[1:].split(b" ")
    sides = (
        _ABSENT if one_mode == b"000000" else one_mode + b" " + one,
        _ABSENT if other_mode == b"000000" else other_mode + b" " + other,
    )
    if former is None:
        return sides
    return (
        former[0] if sides[0] == _ABSENT else sides[0],
        former[1] if sides[1] == _ABSENT else sides[1],
    )


def _objects_at(
    command: Command, environment: Mapping[str, str], commit: str, paths: Sequence[str]
) -> list[bytes]:
    """`mode id` of each path at a commit, as `diff-tree` writes them."""
    arguments = ("ls-tree", "-t", "-z", "--full-tree", commit, "--")
    listed = _run(command(*arguments, *(path for path in paths if path != _ROOT)), environment)
    found: dict[bytes, bytes] = {}
    for line in listed.split(b"\0")[:-1]:
        described, _, path = line.partition(b"\t")
        mode, _, object_id = described.split(b" ")
        found[path] = mode + b" " + object_id
    return [found.get(path.encode("utf-8", "surrogateescape"), _ABSENT) for path in paths]


# --- running git --------------------------------------------------------------------------------


def _run(command: list[str], environment: Mapping[str, str]) -> bytes:
    completed = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=dict(environment)
    )
    if completed.returncode:
        raise _failure(completed.stderr)
    return completed.stdout


def _tokens(
    command: list[str], environment: Mapping[str, str], stdin: IO[bytes]
) -> Iterator[bytes]:
    """What a command writes, split at NUL, as it comes."""
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=words, env=dict(environment)
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101  told by PIPE
        rest = b""
        while chunk := process.stdout.read(_CHUNK_BYTES):
            *whole, rest = (rest + chunk).split(b"\0")
            yield from whole
        if rest:
            yield rest
        if process.wait():
            words.seek(0)
            raise _failure(words.read())


def _failure(words: bytes) -> SourceInvalid:
    return SourceInvalid(f"reading the history failed: {words.decode(errors='replace').strip()}")
