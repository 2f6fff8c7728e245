"""Which commits may have built what a tag holds: those whose input tree is the tag's.

The rule (docs/resolution.md): a candidate is the tag's commit or an ancestor of it with an equal
input tree. First comes the first-parent commit that introduced this tree, then the commit that
git's default history simplification gives, then all others in topological order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bundler.model.lock import ResolvedVia
from bundler.ports import HistoryCommit


class Candidate(NamedTuple):
    commit: str
    via: ResolvedVia


@dataclass(frozen=True)
class History:
    """A commit's ancestry, and for each path the ancestors that have it as the commit has it."""

    commits: Sequence[HistoryCommit]
    """Children before parents; the first is the commit itself."""
    by_id: Mapping[str, HistoryCommit]
    bits: Mapping[str, int]
    """Path → its bit in `HistoryCommit.equal`."""

    @classmethod
    def of(cls, commits: Sequence[HistoryCommit], paths: Sequence[str]) -> History:
        by_id = {commit.id: commit for commit in commits}
        return cls(commits, by_id, {path: 1 << number for number, path in enumerate(paths)})

    def mask(self, paths: Iterable[str]) -> int:
        mask = 0
        for path in paths:
            mask |= self.bits[path]
        return mask


def first_parent_commit(history: History, mask: int) -> str:
    """Follow first parents while the input tree stays: where it was introduced."""
    commit = history.commits[0]
    while commit.parents:
        parent = history.by_id[commit.parents[0]]
        if parent.equal & mask != mask:
            break
        commit = parent
    return commit.id


def simplified_commit(history: History, mask: int) -> str:
    """What `git log -1 -- PATHS` shows: follow the first parent with an equal input tree."""
    commit = history.commits[0]
    while True:
        parents = (history.by_id[parent] for parent in commit.parents)
        same = next((parent for parent in parents if parent.equal & mask == mask), None)
        if same is None:
            return commit.id
        commit = same


def preferred(history: History, mask: int) -> tuple[Candidate, ...]:
    """The one or two commits that CI is expected to have built."""
    first = Candidate(first_parent_commit(history, mask), "first-parent")
    second = Candidate(simplified_commit(history, mask), "history")
    return (first,) if second.commit == first.commit else (first, second)


def others(history: History, mask: int) -> Iterator[Candidate]:
    """Every other commit with the same input tree, nearest to the tag first."""
    known = {candidate.commit for candidate in preferred(history, mask)}
    tagged = history.commits[0].id
    for commit in history.commits:
        if commit.equal & mask == mask and commit.id not in known:
            yield Candidate(commit.id, "tag-commit" if commit.id == tagged else "identical-tree")
