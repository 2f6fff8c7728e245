"""What is looked at in every tree: the places of all inputs, and what each of them must hold.

Without patterns the object at a place decides; with patterns, every file below it that they leave.
Either way a place holds entries (relative path → `mode id`), and it is the same in two trees if
no entry differs. So a number tells all: how many entries at a place are not the wanted ones.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from bundler.adapters.git.process import Git
from bundler.errors import ProjectFileInvalid
from bundler.model.history import Input

ROOT = "."
"""The path of the whole tree."""
ABSENT = b"absent"
_TREE = b"040000"
_PATHS_KEPT = 1 << 16

Entries = dict[str, bytes]
"""Path below a place (empty for the place itself) → `mode id`."""
Ignored = Callable[[str], bool]


class Watch(NamedTuple):
    """One place's interest in a path."""

    place: int
    wanted: bytes
    """What the path must hold."""
    files: bool
    """Whether folders are nothing: their files are looked at instead."""


class _Place(NamedTuple):
    number: int
    path: str
    input: int
    present: str
    """The input's own path; `path` is that or a former one."""
    ignored: Ignored | None


@dataclass(frozen=True)
class Places:
    """All places of some inputs, and what they hold at the commit that was asked about."""

    places: Sequence[_Place]
    root: str
    """The commit's tree."""
    held: Mapping[int, Entries]

    @classmethod
    def of(cls, git: Git, commit: str, tree: str, inputs: Sequence[Input]) -> Places:
        each = (
            (number, path, i) for number, i in enumerate(inputs) for path in (i.path, *i.former)
        )
        places = [
            _Place(number, path, owner, i.path, ignored_by(i.ignore))
            for number, (owner, path, i) in enumerate(each)
        ]
        empty = cls(places, tree, {})
        held: dict[int, Entries] = defaultdict(dict)
        for path, entry in _listed(git, commit, tree, places):
            for place, below in empty._interested(path, is_tree=entry.startswith(_TREE)):
                held[place.number][below] = entry
        return cls(places, tree, held)

    @cached_property
    def owners(self) -> Sequence[int]:
        """Place → its input."""
        return [place.input for place in self.places]

    @cached_property
    def wanted(self) -> Sequence[Entries]:
        """Place → the entries that it must hold: those of its input's own path."""
        own: dict[int, Entries] = {}
        for place in self.places:
            own.setdefault(place.input, self.held.get(place.number, {}))
        return [own[place.input] for place in self.places]

    @cached_property
    def differing(self) -> Sequence[int]:
        """Place → how many of its entries are not the wanted ones, at the commit itself."""
        return [
            sum(
                held.get(below, ABSENT) != wanted.get(below, ABSENT)
                for below in held.keys() | wanted.keys()
            )
            for held, wanted in (
                (self.held.get(place.number, {}), self.wanted[place.number])
                for place in self.places
            )
        ]

    @cached_property
    def at_root(self) -> Sequence[Watch]:
        """Who looks at the top tree as one object; no comparison of two trees names it."""
        return [
            Watch(place.number, self.wanted[place.number].get("", ABSENT), files=False)
            for place in self._plain.get(ROOT, ())
        ]

    @cached_property
    def top_folders(self) -> Sequence[str] | None:
        """Where differences matter; None is everywhere."""
        paths = {place.path for place in self.places}
        if any(place.path == ROOT for group in self._filtered.values() for place in group):
            return None
        return sorted({path.partition("/")[0] for path in paths - {ROOT}})

    def watches(self) -> Callable[[bytes], tuple[Watch, ...]]:
        """Says who looks at a path. A history names the same paths again and again."""

        @lru_cache(_PATHS_KEPT)
        def watching(path: bytes) -> tuple[Watch, ...]:
            interested = self._interested(path.decode("utf-8", "surrogateescape"))
            return tuple(
                Watch(
                    place.number,
                    self.wanted[place.number].get(below, ABSENT),
                    files=place.ignored is not None,
                )
                for place, below in interested
            )

        return watching

    @cached_property
    def _plain(self) -> Mapping[str, Sequence[_Place]]:
        return _by_path(place for place in self.places if place.ignored is None)

    @cached_property
    def _filtered(self) -> Mapping[str, Sequence[_Place]]:
        return _by_path(place for place in self.places if place.ignored is not None)

    def _interested(self, path: str, *, is_tree: bool = False) -> Iterator[tuple[_Place, str]]:
        """The places that a path is an entry of, with its path below each."""
        for place in self._plain.get(path, ()):
            yield place, ""
        if not is_tree and self._filtered:
            for ancestor in _upwards(path):
                below = f"/{path}" if ancestor == ROOT else path.removeprefix(ancestor)
                for place in self._filtered.get(ancestor, ()):
                    shown = below[1:] if place.present == ROOT else place.present + below
                    if place.ignored and not place.ignored(shown):
                        yield place, below


def _by_path(places: Iterable[_Place]) -> dict[str, list[_Place]]:
    found: dict[str, list[_Place]] = defaultdict(list)
    for place in places:
        found[place.path].append(place)
    return dict(found)


def _upwards(path: str) -> Iterator[str]:
    """The path itself, the folders above it, and the root."""
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ROOT


def _listed(
    git: Git, commit: str, tree: str, places: Sequence[_Place]
) -> Iterator[tuple[str, bytes]]:
    """What the commit has at and below the places: path, `mode id`."""
    yield ROOT, b"%s %s" % (_TREE, tree.encode())
    deep = ("-r",) if any(place.ignored for place in places) else ()
    asked = sorted({place.path for place in places})
    if ROOT in asked:
        asked = [] if deep else [path for path in asked if path != ROOT]
    elif not asked:
        return
    for line in git.tokens("ls-tree", "-t", *deep, "-z", "--full-tree", commit, "--", *asked):
        described, _, path = line.partition(b"\t")
        mode, _, object_id = described.split(b" ")
        yield path.decode("utf-8", "surrogateescape"), mode + b" " + object_id


def ignored_by(patterns: Sequence[str]) -> Ignored | None:
    """Whether a path is ignored, by gitignore's grammar; None without patterns.

    Unlike git, a file that `!` takes back counts even where its whole folder is ignored: an image
    is not found that git's rule would allow, but never a wrong one.
    """
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec

    # `a/**/` means the folders below `a`; the library takes it for all files below it, too.
    spelled = [re.sub(r"(?:/\*\*)+/$", "/**/*/", pattern) for pattern in patterns]
    try:
        return GitIgnoreSpec.from_lines(spelled).match_file
    except (ValueError, re.error) as error:
        raise ProjectFileInvalid(
            f"a pattern under `ignore` means nothing to git: {error}",
            hint=f"correct one of {', '.join(patterns)} in bundler.yaml",
        ) from error
