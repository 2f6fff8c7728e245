"""The image lock: for every service of a release, which image and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bundler.model.commits import CommitSummary
from bundler.model.finding import Finding
from bundler.model.reference import Digest, ImageReference
from bundler.model.release import SourceRevision

ResolvedVia = Literal[
    "first-parent",
    "history",
    "identical-tree",
    "tag-commit",
    "submodule",
    "repository",
    "latest-label",
]


@dataclass(frozen=True)
class Tried:
    """Image references that had no image: the first ones, five in results, and their number."""

    first: tuple[str, ...] = ()
    count: int = 0


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
    resolved_via: ResolvedVia
    migrations: ResolvedMigrations | None = None
    tried: Tried = field(default_factory=Tried, compare=False)

    @property
    def reference(self) -> ImageReference:
        """As manifests get it; a tag that moves says nothing about the image and is left out."""
        tag = None if self.resolved_via == "latest-label" else self.tag
        return ImageReference(self.image, tag, self.digest)


@dataclass(frozen=True)
class ImageLock:
    """All services of one release, or there is no lock."""

    revision: SourceRevision
    services: Mapping[str, ResolvedImage]
    libraries: Mapping[str, str]
    """Library name → commit id."""
    external: Mapping[str, Digest] = field(default_factory=dict)
    """Third-party reference as manifests write it → digest."""
    summaries: Mapping[str, CommitSummary] = field(default_factory=dict, compare=False)
    """Commit id → who changed what, of the services' commits that could be read."""
    warnings: tuple[Finding, ...] = field(default=(), compare=False)
