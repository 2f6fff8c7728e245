"""The parts of a drafted project file, and how they get their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

NAME_LENGTH = 63
LISTED = 8
_GENERIC = frozenset({
    "docker", "dockerfile", "dockerfiles", "container", "containers", "build", "image",
    "images", "deploy", "deployment", "deployments", "package", "src", "ci", "overlays",
    "overlay", "environments", "envs", "env", "stages", "k8s", "kubernetes", "kustomize",
    "manifests", "kubernetes-manifests", "services", "apps", "applications", "components",
    "microservices", "cmd", "config",
})  # fmt: skip

_WRITABLE = re.compile(r"[^\\\x00-\x1f\ud800-\udfff]+")


class Check(NamedTuple):
    """Something that the files do not tell, and that a person has to look at."""

    kind: str
    """What it is about: `service`, `environment`; empty for the whole project."""
    name: str
    message: str


@dataclass(frozen=True)
class DraftService:
    name: str
    paths: tuple[str, ...]
    uses: tuple[str, ...] = ()
    image: str | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class DraftLibrary:
    name: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class DraftTarget:
    name: str
    folder: str
    namespace: str


@dataclass(frozen=True)
class DraftEnvironment:
    name: str
    targets: tuple[DraftTarget, ...]
    """One called `default` where there are no others."""
    protected: bool = True
    without: tuple[str, ...] = ()


def legal_name(text: str, fallback: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return name[:NAME_LENGTH].strip("-") or fallback


def is_writable(path: str) -> bool:
    """Whether a project file may hold a path: no control characters, no backslash, UTF-8."""
    return _WRITABLE.fullmatch(path) is not None


def is_generic(folder: str) -> bool:
    """Whether a folder's name says nothing of what is in it."""
    return folder.lower() in _GENERIC


def unique_names(wanted: Mapping[str, str]) -> dict[str, str]:
    """Path → name of its own; names that clash get those of the folders above put before them."""
    names = dict(wanted)
    for depth in (1, 2, 3):
        for path in _clashing(names):
            above = [part for part in path.split("/")[:-1] if not is_generic(part)]
            above = [part for part in above if legal_name(part, "") != wanted[path]]
            names[path] = legal_name("-".join([*above[-depth:], wanted[path]]), wanted[path])
    taken = set(names.values())
    first = {name: path for path, name in sorted(names.items(), reverse=True)}
    for path in _clashing(names):
        if first[names[path]] != path:
            names[path] = _numbered(names[path], taken)
            taken.add(names[path])
    return names


def _clashing(names: Mapping[str, str]) -> list[str]:
    counts = Counter(names.values())
    return sorted(path for path, name in names.items() if counts[name] > 1)


def _numbered(name: str, taken: Collection[str]) -> str:
    stem = name[: NAME_LENGTH - 6].rstrip("-")
    return next(n for n in (f"{stem}-{number}" for number in count(2)) if n not in taken)


def listed(texts: Sequence[str]) -> str:
    """The first few of many."""
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more


def shown(text: str) -> str:
    """Text as it may stand in a comment: on one line, without what cannot be printed."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
