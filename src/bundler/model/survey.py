"""What a look at a repository's files found, before anything is concluded from it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from posixpath import dirname, join, normpath
from typing import NamedTuple

_ASIDE = frozenset({
    "vendor", "vendored", "node_modules", "third_party", "third-party", "thirdparty",
    "testdata", "test", "tests", "e2e", "integration-tests", "example", "examples", "sample",
    "samples", "fixtures", "hack",
})  # fmt: skip
_DOCKERFILE = re.compile(
    r"(?:(?P<before>.+)\.)?(?:dockerfile|containerfile)(?:[._-](?P<after>.+))?", re.IGNORECASE
)
_NO_DOCKERFILE = re.compile(
    r"\.(?:dockerignore|containerignore|md|txt|j2|tmpl|tpl|template|in|bak|orig|swp|sh|ya?ml|json)$|~$",
    re.IGNORECASE,
)


def is_aside(path: str) -> bool:
    """Whether a path lies under vendored code, tests, examples or hidden folders."""
    folders = path.split("/")[:-1]
    return any(folder.lower() in _ASIDE or folder.startswith(".") for folder in folders)


class DockerfileName(NamedTuple):
    folder: str
    suffix: str | None
    """`worker` of `Dockerfile.worker` or `worker.Dockerfile`."""


def dockerfile_name(path: str) -> DockerfileName | None:
    """The parts of a Dockerfile's path; None where it is none."""
    name = path.rpartition("/")[2]
    found = _DOCKERFILE.fullmatch(name)
    if not found or _NO_DOCKERFILE.search(name):
        return None
    return DockerfileName(dirname(path) or ".", found["after"] or found["before"])


class Dockerfile(NamedTuple):
    path: str
    sources: tuple[str, ...]
    """What it copies from its build context, as it is written there."""


class FoundObject(NamedTuple):
    """An object that stands in a manifest."""

    group: str
    kind: str
    name: str
    images: tuple[str, ...] = ()


class ImageChange(NamedTuple):
    """An entry of `images:` in a kustomization."""

    name: str
    new_name: str | None = None
    tag: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Kustomization:
    folder: str
    is_component: bool = False
    namespace: str | None = None
    resources: tuple[str, ...] = ()
    """Folders of the kustomizations that it refers to, as resources or bases."""
    components: tuple[str, ...] = ()
    objects: tuple[FoundObject, ...] = ()
    """What its own files hold."""
    removed: frozenset[tuple[str, str]] = frozenset()
    """(kind, name) of what its patches delete."""
    images: tuple[ImageChange, ...] = ()
    refused: tuple[str, ...] = ()
    """What a release may not be made of: remote bases, helm charts."""


@dataclass(frozen=True)
class Survey:
    folder_name: str
    files: frozenset[str] = frozenset()
    dockerfiles: tuple[Dockerfile, ...] = ()
    kustomizations: tuple[Kustomization, ...] = ()
    charts: tuple[str, ...] = ()
    """Folders with a Chart.yaml."""
    submodules: tuple[str, ...] = ()
    branches: frozenset[str] = frozenset()
    """Local names of the branches, those of remotes too."""
    branch: str | None = None
    """The branch that is checked out."""
    left_out: tuple[str, ...] = ()
    """Dockerfiles under vendored code, tests and examples."""
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tree:
    """The files of a repository as folders with names in them."""

    children: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Iterable[str]) -> Tree:
        children: dict[str, set[str]] = {".": set()}
        for file in files:
            path = file
            while True:
                folder, name = dirname(path) or ".", path.rpartition("/")[2]
                known = folder in children
                children.setdefault(folder, set()).add(name)
                if known:
                    break
                path = folder
        return cls(children)

    def is_folder(self, path: str) -> bool:
        return path in self.children

    def exists(self, path: str) -> bool:
        folder, name = dirname(path) or ".", path.rpartition("/")[2]
        return path in self.children or name in self.children.get(folder, ())

    def matches(self, context: str, source: str) -> tuple[str, ...]:
        """The paths that a source in a build context means; none where there are none.

        What follows a wildcard or an unknown variable in a path is not looked at.
        """
        parts = [part for part in source.split("/") if part not in ("", ".")]
        fixed = next((n for n, part in enumerate(parts) if re.search(r"[*?\[$]", part)), None)
        path = normpath(join(context, *parts[:fixed]))
        if path.startswith("..") or not self.exists(path):
            return ()
        if fixed is None:
            return (path,)
        if "$" in parts[fixed]:
            return (path,) if fixed else ()
        names = (n for n in self.children.get(path, ()) if fnmatchcase(n, parts[fixed]))
        return tuple(sorted(normpath(join(path, name)) for name in names))


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it; everything lies in `.`."""
    return folder in (".", path) or path.startswith(folder + "/")
