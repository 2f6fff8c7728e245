"""What is known of a commit's ancestry, and which of its commits have the same input tree.

The rule (docs/resolution.md): a candidate is the commit itself or an ancestor of it with an equal
input tree. First comes the first-parent commit that introduced this tree, then the commit that
git's default history simplification gives, then all others in topological order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import NamedTuple

from bundler.model.lock import ResolvedVia

_ROWS_AT_ONCE = 4096
"""So that the digits of a long history for many inputs take little memory."""
_DIGITS = bytes.maketrans(b"01", b"\0\1")


class Input(NamedTuple):
    """What is below one path of a tree, as far as something is built from it."""

    path: str
    ignore: tuple[str, ...] = ()
    """Patterns in gitignore's grammar, from the root: files that they match do not count."""
    former: tuple[str, ...] = ()
    """Where the same content lay before it was moved to `path`: it counts there too."""


class HistoryCommit(NamedTuple):
    id: str
    parents: tuple[str, ...]
    equal: int
    """Bit i is set where inputs[i] is the same here as at the commit that was asked about."""


class Candidate(NamedTuple):
    commit: str
    via: ResolvedVia


@dataclass(frozen=True)
class History:
    """A commit's ancestry, and for each input the ancestors that have it as the commit has it."""

    commits: Sequence[HistoryCommit]
    """Children before parents; the first is the commit itself."""
    by_id: Mapping[str, HistoryCommit]
    bits: Mapping[Input, int]
    """Input → its bit in `HistoryCommit.equal`."""

    @classmethod
    def of(cls, commits: Sequence[HistoryCommit], inputs: Sequence[Input]) -> History:
        by_id = {commit.id: commit for commit in commits}
        return cls(commits, by_id, {each: 1 << number for number, each in enumerate(inputs)})

    def mask(self, inputs: Iterable[Input]) -> int:
        mask = 0
        for each in inputs:
            mask |= self.bits[each]
        return mask

    def with_tree(self, mask: int, without: Iterable[str]) -> Iterator[Candidate]:
        """Every other commit that has all the inputs of a mask, in topological order."""
        having = bytearray(self._table.having(mask))
        for commit in without:
            having[self._positions[commit]] = 0
        return compress(self._identical, having)

    @cached_property
    def lines(self) -> _Lines:
        return _Lines.of(self)

    @cached_property
    def _table(self) -> _Table:
        return _Table.of(self.commits, len(self.bits))

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {commit.id: number for number, commit in enumerate(self.commits)}

    @cached_property
    def _identical(self) -> Sequence[Candidate]:
        """Made once: hundreds of services may have thousands of them each."""
        tagged, *others = self.commits
        return [
            Candidate(tagged.id, "tag-commit"),
            *(Candidate(commit.id, "identical-tree") for commit in others),
        ]


@dataclass(frozen=True)
class _Table:
    """For each input the commits that have it, as bits: all inputs are asked for at once."""

    columns: Sequence[int]
    """Input number → a bit for each commit, the first in the highest."""
    commits: int

    @classmethod
    def of(cls, commits: Sequence[HistoryCommit], inputs: int) -> _Table:
        columns = [0] * inputs
        for start in range(0, len(commits), _ROWS_AT_ONCE):
            rows = commits[start : start + _ROWS_AT_ONCE]
            digits = "".join(f"{commit.equal:0{inputs}b}" for commit in rows)
            for number in range(inputs):
                column = int(digits[inputs - 1 - number :: inputs], 2)
                columns[number] = columns[number] << len(rows) | column
        return cls(columns, len(commits))

    def having(self, mask: int) -> bytes:
        """One byte for each commit: 1 where it has all the inputs, else 0."""
        common = (1 << self.commits) - 1
        while mask:
            common &= self.columns[mask.bit_length() - 1]
            mask &= ~(1 << mask.bit_length() - 1)
        return f"{common:0{self.commits}b}".encode().translate(_DIGITS)


@dataclass(frozen=True)
class _Lines:
    """All commits along first parents: a line ends at a root, or where it meets a former line.

    The first line is the one of the commit that was asked about.
    """

    commits: Sequence[HistoryCommit]
    positions: Mapping[str, int]
    ends: Sequence[int]
    """Position → the position after the last of its line."""
    table: _Table

    @classmethod
    def of(cls, history: History) -> _Lines:
        positions: dict[str, int] = {}
        commits: list[HistoryCommit] = []
        ends: list[int] = []
        for start in history.commits:
            commit: HistoryCommit | None = start
            while commit and commit.id not in positions:
                positions[commit.id] = len(commits)
                commits.append(commit)
                commit = history.by_id[commit.parents[0]] if commit.parents else None
            ends += [len(commits)] * (len(commits) - len(ends))
        return cls(commits, positions, ends, _Table.of(commits, len(history.bits)))

    def last(self, start: HistoryCommit, having: bytes) -> HistoryCommit:
        """The last commit that has the inputs, from one that has them along its line."""
        position = self.positions[start.id]
        end = self.ends[position]
        changed = having.find(0, position, end)
        return self.commits[(end if changed < 0 else changed) - 1]


def first_parent_commit(history: History, mask: int) -> str:
    """Follow first parents while the input tree stays: where it was introduced."""
    return history.lines.last(history.commits[0], history.lines.table.having(mask)).id


def simplified_commit(history: History, mask: int) -> str:
    """What `git log -1 -- PATHS` shows: follow the first parent with an equal input tree."""
    lines, having = history.lines, history.lines.table.having(mask)
    same: HistoryCommit | None = history.commits[0]
    while same:
        commit = lines.last(same, having)
        parents = (history.by_id[parent] for parent in commit.parents)
        same = next((parent for parent in parents if parent.equal & mask == mask), None)
    return commit.id


def preferred(history: History, mask: int) -> tuple[Candidate, ...]:
    """The one or two commits that CI is expected to have built."""
    first = Candidate(first_parent_commit(history, mask), "first-parent")
    second = Candidate(simplified_commit(history, mask), "history")
    return (first,) if second.commit == first.commit else (first, second)


def others(history: History, mask: int, known: Iterable[Candidate]) -> Iterator[Candidate]:
    """Every other commit with the same input tree, nearest first."""
    return history.with_tree(mask, (candidate.commit for candidate in known))
