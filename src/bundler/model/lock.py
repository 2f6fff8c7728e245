"""The image lock: for every service of a release, which image and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bundler.model.reference import Digest, ImageReference
from bundler.model.release import SourceRevision

ResolvedVia = Literal["first-parent", "history", "identical-tree", "tag-commit"]


@dataclass(frozen=True)
class Tried:
    """Image references that were asked for without an answer: the first five and their number."""

    first: tuple[str, ...] = ()
    count: int = 0

    def as_dict(self) -> dict[str, object]:
        return {"first": list(self.first), "count": self.count}


@dataclass(frozen=True)
class ResolvedMigrations:
    tree_digest: str
    reversible: bool
    job: str | None = None


@dataclass(frozen=True)
class ResolvedImage:
    image: str
    tag: str
    digest: Digest
    commit: str
    resolved_via: str
    migrations: ResolvedMigrations | None = None
    tried: Tried = field(default_factory=Tried, compare=False)

    @property
    def reference(self) -> ImageReference:
        return ImageReference(self.image, self.tag, self.digest)


@dataclass(frozen=True)
class ImageLock:
    """All services of one release, or there is no lock."""

    revision: SourceRevision
    services: Mapping[str, ResolvedImage]
    libraries: Mapping[str, str]
    """Library name → commit id."""
    external: Mapping[str, Digest] = field(default_factory=dict)
    """Third-party reference as manifests write it → digest."""
