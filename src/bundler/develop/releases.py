"""The releases of a repository in main's order, each with the one before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Protocol

from bundler.develop.source import Clone, ParseProject, need_project, refuse_shallow
from bundler.errors import SourceInvalid
from bundler.model.project import ReleaseRules
from bundler.model.release import InvalidTag, ReleaseTag
from bundler.ports import CommitReader, ReleaseLineReader, RevisionReader, SourceReader

Ancestry = Sequence[tuple[str, tuple[str, ...]]]
"""Commits with their parents, children before parents."""


class Source(Clone, SourceReader, RevisionReader, ReleaseLineReader, CommitReader, Protocol):
    """What the history of releases is read from."""


@dataclass(frozen=True)
class Release:
    tag: str
    commit: str
    date: str
    """When the commit was written, such as `2025-06-15T12:00:00Z`."""
    subject: str
    predecessor: str | None
    """The nearest release among its ancestors."""

    def as_dict(self) -> dict[str, str | None]:
        return {
            "tag": self.tag,
            "commit": self.commit,
            "date": self.date,
            "subject": self.subject,
            "predecessor": self.predecessor,
        }


@dataclass(frozen=True)
class ReleaseHistory:
    releases: tuple[Release, ...]
    """Newest first."""
    ignored: int
    """How many tags the project does not count as releases."""
    off_branch: int
    """How many tags are on no branch that releases are allowed on."""


def release_history(source: Source, parse_project: ParseProject) -> ReleaseHistory:
    """Every release of a repository, by the rules of the project file at HEAD.

    Raises SourceInvalid (a shallow clone, no allowed branch), ProjectFileInvalid.
    """
    refuse_shallow(source)
    rules = need_project(source, source.commit("HEAD"), parse_project).releases
    heads = source.branch_heads(rules.branches)
    if not heads:
        raise SourceInvalid(
            f"no branch {' or '.join(rules.branches)} here",
            hint="fetch it: git fetch origin '+refs/heads/*:refs/remotes/origin/*'",
        )
    every = source.tags()
    counted = {tag: commit for tag, commit in every.items() if _is_release(tag, rules)}
    ancestry = source.ancestry(tuple(dict.fromkeys(heads.values())))
    allowed = {commit for commit, _ in ancestry}
    tags = {tag: commit for tag, commit in counted.items() if commit in allowed}
    summaries = source.summaries(sorted(set(tags.values())))
    before = predecessors(ancestry, tags)
    releases = tuple(
        Release(
            tag,
            tags[tag],
            datetime.fromtimestamp(summaries[tags[tag]].time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            summaries[tags[tag]].subject,
            before[tag],
        )
        for tag in in_order(ancestry, tags, next(iter(heads.values())))
    )
    return ReleaseHistory(releases, len(every) - len(counted), len(counted) - len(tags))


def _is_release(name: str, rules: ReleaseRules) -> bool:
    try:
        tag = ReleaseTag.parse(name)
        _ = tag.version
    except InvalidTag:
        return False
    return fnmatchcase(name, rules.tags) and not (rules.semver and tag.semver is None)


# --- order --------------------------------------------------------------------------------------


def nearest_first(ancestry: Ancestry, tags: Mapping[str, str]) -> list[str]:
    """Tags by their commits, children before parents; of one commit the highest version first."""
    place = {commit: number for number, (commit, _) in enumerate(ancestry)}
    by_name = sorted(tags, reverse=True)
    versions = {tag: version for tag in by_name if (version := ReleaseTag(tag).semver)}
    semantic = sorted(versions, key=versions.__getitem__, reverse=True)
    others = [tag for tag in by_name if tag not in versions]
    return sorted([*semantic, *others], key=lambda tag: place[tags[tag]])


def in_order(ancestry: Ancestry, tags: Mapping[str, str], main: str) -> list[str]:
    """Tags, newest first: by when their commits came to main's first-parent line.

    What is on another branch alone comes after the commit of main that it grew from.
    """
    place = _places_on_main(ancestry, main)
    merged = set(place)
    for commit, parents in reversed(ancestry):
        if commit not in place:
            place[commit] = max((place[parent] for parent in parents), default=-1)
    numbers = {tag: number for number, tag in enumerate(nearest_first(ancestry, tags))}

    def newness(tag: str) -> tuple[int, bool, int]:
        commit = tags[tag]
        return place[commit], commit not in merged, -numbers[tag]

    return sorted(tags, key=newness, reverse=True)


def _places_on_main(ancestry: Ancestry, main: str) -> dict[str, int]:
    """Commit → the number of the commit on main's first-parent line that brought it there."""
    parents = dict(ancestry)
    line = [main]
    while parents[line[-1]]:
        line.append(parents[line[-1]][0])
    place: dict[str, int] = {}
    for number, brought in enumerate(reversed(line)):
        todo = [brought]
        while todo:
            commit = todo.pop()
            if commit not in place:
                place[commit] = number
                todo.extend(parents[commit])
    return place


# --- predecessors -------------------------------------------------------------------------------


def predecessors(ancestry: Ancestry, tags: Mapping[str, str]) -> dict[str, str | None]:
    """For each tag the nearest one before it: no other lies between the two.

    A tag that a merge brought in is nearer than those before the merge. Sets of tags are numbers
    with one bit for each, the nearest to the heads lowest.
    """
    order = nearest_first(ancestry, tags)
    own = _own_bits(order, tags)
    before = _before(ancestry, own)
    found: dict[str, str | None] = {}
    for number, tag in enumerate(order):
        commit = tags[tag]
        lower = own[commit] >> (number + 1) << (number + 1)  # others of the same commit
        bit = _lowest(lower) or before[commit]
        found[tag] = order[bit.bit_length() - 1] if bit else None
    return found


def _own_bits(order: Iterable[str], tags: Mapping[str, str]) -> dict[str, int]:
    own: dict[str, int] = {}
    for number, tag in enumerate(order):
        own[tags[tag]] = own.get(tags[tag], 0) | 1 << number
    return own


def _before(ancestry: Ancestry, own: Mapping[str, int]) -> dict[str, int]:
    """Commit → the bit of the nearest tag among its strict ancestors, 0 where there is none."""
    reached: dict[str, int] = {}
    before: dict[str, int] = {}
    for commit, parents in reversed(ancestry):
        first = parents[0] if parents else None
        along = reached[first] if first else 0
        merged = 0
        for parent in parents[1:]:
            merged |= reached[parent]
        reached[commit] = along | merged | own.get(commit, 0)
        before[commit] = _lowest(merged & ~along) or (
            _lowest(own.get(first, 0)) or before[first] if first else 0
        )
    return before


def _lowest(bits: int) -> int:
    return bits & -bits
