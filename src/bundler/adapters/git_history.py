"""History as facts about paths: at which ancestors is a path the same object as at a commit?

Two streams answer for all paths at once, whatever their number: `rev-list` gives every ancestor
with its tree and parents, `diff-tree --stdin` the differing entries of each distinct pair of
neighbouring trees. Knowledge flows from the commit downwards: where an entry does not differ
between a commit and its parent, what is known of the one holds for the other; where it differs,
the diff names the parent's object.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, NamedTuple

from bundler.errors import SourceInvalid
from bundler.ports import HistoryCommit

_ABSENT = "absent"
_ROOT = "."


class _Commit(NamedTuple):
    id: str
    tree: str
    parents: tuple[str, ...]


def read(
    command: Callable[..., list[str]],
    environment: Mapping[str, str],
    commit: str,
    paths: Sequence[str],
) -> Sequence[HistoryCommit]:
    """The commit and its ancestors, children before parents, with one bit for each path.

    `command` makes a git command line of arguments. Linear in the entries that history changed.
    """
    commits = list(_ancestors(_run(command("rev-list", *_LISTING, commit), environment)))
    trees = {entry.id: entry.tree for entry in commits}
    if any(parent not in trees for entry in commits for parent in entry.parents):
        raise SourceInvalid(
            "history is cut off: a parent commit is missing",
            hint="fetch all of it: git fetch --unshallow --tags",
        )
    edges = {
        (entry.tree, trees[parent])
        for entry in commits
        for parent in entry.parents
        if entry.tree != trees[parent]
    }
    index = {path: number for number, path in enumerate(paths)}
    differences = dict(_differences(command, environment, sorted(edges), index))
    wanted = _objects_at(command, environment, commit, paths)
    root = 1 << index[_ROOT] if _ROOT in index else 0
    equal = {commit: (1 << len(paths)) - 1}
    history = []
    for entry in commits:
        here = equal[entry.id]
        history.append(HistoryCommit(entry.id, entry.parents, here))
        for parent in entry.parents:
            if parent not in equal:
                changed = differences.get((entry.tree, trees[parent]), {})
                carried = _carried(here, changed, wanted) & ~root
                same_root = trees[parent] == trees[commit]
                equal[parent] = carried | (root if same_root else 0)
    return history


_LISTING = ("--topo-order", "--format=%H %T %P")


def _ancestors(listing: bytes) -> Iterator[_Commit]:
    for line in listing.decode().splitlines():
        if not line.startswith("commit "):
            identifier, tree, *parents = line.split(" ")
            yield _Commit(identifier, tree, tuple(parent for parent in parents if parent))


def _carried(equal: int, changed: Mapping[int, str], wanted: Sequence[str]) -> int:
    for number, parents_object in changed.items():
        bit = 1 << number
        equal = equal | bit if parents_object == wanted[number] else equal & ~bit
    return equal


def _differences(
    command: Callable[..., list[str]],
    environment: Mapping[str, str],
    edges: Sequence[tuple[str, str]],
    index: Mapping[str, int],
) -> Iterator[tuple[tuple[str, str], dict[int, str]]]:
    """For each pair of trees (child's, parent's): path number → the parent's `mode id`."""
    if not edges or not index:
        return
    arguments = ("diff-tree", "--stdin", "-r", "-t", "-z", "--no-renames", "--no-abbrev", "--")
    with tempfile.TemporaryFile() as pairs:
        pairs.write("".join(f"{child} {parent}\n" for child, parent in edges).encode())
        pairs.seek(0)
        # git compares each entry with each path given; top folders are few, services may be many.
        folders = sorted({path.partition("/")[0] for path in index} - {_ROOT})
        output = _run(command(*arguments, *folders), environment, pairs) if folders else b""
    edge: tuple[str, str] | None = None
    changed: dict[int, str] = {}
    # Headers end with a line feed, entries with NUL: `T1 T2\n:meta\0path\0:meta\0path\0T3 T4\n…`.
    meta = ""
    for token in output.decode("utf-8", "surrogateescape").split("\0"):
        if meta:
            number = index.get(token)
            # A folder that becomes a file is two entries, one of them absent: the other counts.
            if number is not None and (meta != _ABSENT or number not in changed):
                changed[number] = meta
            meta = ""
            continue
        *headers, rest = token.split("\n")
        for header in headers:
            if edge is not None:
                yield edge, changed
            child, _, parent = header.partition(" ")
            edge, changed = (child, parent), {}
        if rest:
            _, new_mode, _, new_object, _ = rest.split(" ")
            meta = _ABSENT if new_mode == "000000" else f"{new_mode} {new_object}"
    if edge is not None:
        yield edge, changed


def _objects_at(
    command: Callable[..., list[str]],
    environment: Mapping[str, str],
    commit: str,
    paths: Sequence[str],
) -> list[str]:
    """`mode id` of each path at a commit, as `diff-tree` writes them."""
    arguments = ("ls-tree", "-t", "-z", "--full-tree", commit, "--")
    listed = _run(command(*arguments, *(path for path in paths if path != _ROOT)), environment)
    found: dict[str, str] = {}
    for line in listed.decode("utf-8", "surrogateescape").split("\0")[:-1]:
        described, _, path = line.partition("\t")
        mode, _, object_id = described.split(" ")
        found[path] = f"{mode} {object_id}"
    return [found.get(path, _ABSENT) for path in paths]


def _run(
    command: list[str], environment: Mapping[str, str], stdin: IO[bytes] | int = subprocess.DEVNULL
) -> bytes:
    completed = subprocess.run(
        command,
        stdin=stdin,
        capture_output=True,
        check=False,
        env=dict(environment),
    )
    if completed.returncode:
        words = completed.stderr.decode(errors="replace").strip()
        raise SourceInvalid(f"reading the history failed: {words}")
    return completed.stdout
