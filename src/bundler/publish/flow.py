"""publish: release tag → resolve → render with pins → validate → pack → push, version tag last.

Each function takes what the step before it gave; a command stops at its step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, Protocol

from bundler.errors import (
    BranchRefused,
    CouldNotCheck,
    ProjectFileInvalid,
    SourceInvalid,
    UsageError,
    VersionExists,
)
from bundler.model.artifact import Artifact
from bundler.model.bundle import RenderedBundle, ValidatedBundle
from bundler.model.lock import ImageLock
from bundler.model.project import PROJECT_FILE, Project
from bundler.model.reference import ArtifactReference, Digest, ImageReference, Repository
from bundler.model.release import InvalidTag, ReleaseTag, SourceRevision
from bundler.ports import (
    ArtifactRegistry,
    Branches,
    DocumentSchemas,
    HistoryReader,
    ObjectSchemas,
    Renderer,
    SourceReader,
    TagResolver,
)
from bundler.publish import published
from bundler.publish.external import resolve_external
from bundler.publish.pack import pack
from bundler.publish.published import PublishedRelease
from bundler.publish.push import push
from bundler.publish.render import render
from bundler.publish.resolve import Images, resolve
from bundler.publish.validate import validate

Status = Literal["published", "unchanged"]


class Source(TagResolver, SourceReader, HistoryReader, Protocol):
    """A repository with releases."""


@dataclass(frozen=True)
class Parts:
    """What publishing works with; the wiring chooses the adapters."""

    source: Source
    parse_project: Callable[[bytes], Project]
    images: Images
    registry: ArtifactRegistry
    renderer: Renderer
    objects: ObjectSchemas
    documents: DocumentSchemas
    progress: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class OpenedRelease:
    """A release whose tag, branch and project file are in order."""

    project: Project
    revision: SourceRevision
    branches: Branches


@dataclass(frozen=True)
class Ignored:
    """A tag that the project does not count as a release."""

    tag: ReleaseTag
    reason: str


@dataclass(frozen=True)
class Published:
    status: Status
    bundle: ValidatedBundle
    digest: Digest
    reference: ArtifactReference | None
    """None where nothing was pushed (`--dry-run`)."""
    removed: tuple[str, ...] = ()
    """Services of the previous release that this one has not."""

    @property
    def lock(self) -> ImageLock:
        return self.bundle.rendered.lock


def open_release(tag: ReleaseTag, parts: Parts) -> OpenedRelease | Ignored:
    """Raises SourceInvalid, ProjectFileInvalid, UsageError, BranchRefused."""
    revision = parts.source.revision(tag)
    text = parts.source.read(revision.commit, PROJECT_FILE)
    if text is None:
        raise ProjectFileInvalid(
            f"no {PROJECT_FILE} at {tag} ({revision.commit[:12]})",
            hint="commit one to the root of the repository, then tag that commit",
        )
    project = parts.parse_project(text)
    rules = project.releases
    if not fnmatchcase(tag.name, rules.tags):
        return Ignored(tag, f"it does not match releases.tags: {rules.tags}")
    if rules.semver and tag.semver is None:
        return Ignored(tag, "it is no semantic version such as v1.2.3")
    _check_version(tag)
    if parts.source.is_shallow():
        raise SourceInvalid(
            "this clone is shallow: its history is cut off",
            hint="git fetch --unshallow --tags; in CI, check out with full history "
            "(GitHub: fetch-depth: 0, GitLab: GIT_DEPTH: 0)",
        )
    branches = parts.source.branches(revision.commit, rules.branches)
    if not branches.containing:
        raise _branch_refused(tag, revision, rules.branches, branches)
    return OpenedRelease(project, revision, branches)


def _check_version(tag: ReleaseTag) -> None:
    """Only a tag that is a release has to be one that a registry takes. Raises UsageError."""
    try:
        _ = tag.version
    except InvalidTag as error:
        hint = "letters, digits and . _ - +, at most 128, as in v1.4.0"
        raise UsageError(str(error), hint=hint) from error


def _branch_refused(
    tag: ReleaseTag, revision: SourceRevision, patterns: tuple[str, ...], branches: Branches
) -> BranchRefused:
    allowed = " or ".join(patterns)
    if branches.known:
        hint = "merge its commit first, or allow the branch in releases.branches"
        if branches.unpushed:
            hint = f"it is on your local {branches.unpushed[0]} only: push that first"
        return BranchRefused(f"tag {tag} ({revision.commit[:12]}) is not on {allowed}", hint=hint)
    return BranchRefused(
        f"cannot tell whether tag {tag} is on {allowed}: no such branch here",
        hint="fetch it: git fetch origin '+refs/heads/*:refs/remotes/origin/*'",
    )


def resolve_release(
    opened: OpenedRelease,
    parts: Parts,
    on_resolved: Callable[[str], None] = lambda _: None,
) -> ImageLock:
    """Raises as `resolve` does."""
    return resolve(
        opened.project,
        opened.revision,
        parts.source,
        parts.images,
        _branch_names(opened),
        on_resolved,
    )


def _branch_names(opened: OpenedRelease) -> tuple[str, ...]:
    """The allowed branches in their order; a pattern stands for those that have the commit."""
    names: list[str] = []
    for pattern in opened.project.releases.branches:
        if set(pattern) & set("*?["):
            names += [name for name in opened.branches.containing if fnmatchcase(name, pattern)]
        else:
            names.append(pattern)
    return tuple(dict.fromkeys(names))


def render_release(opened: OpenedRelease, lock: ImageLock, parts: Parts) -> RenderedBundle:
    """Raises RenderFailed, ToolMissing, CouldNotCheck or Unreachable (external images)."""

    def resolve_image(image: ImageReference) -> Digest:
        return resolve_external(image, opened.project.lookup, parts.images)

    with parts.source.exported(opened.revision.commit) as tree:
        return render(opened.project, lock, tree, parts.renderer, resolve_image)


def publish(
    opened: OpenedRelease,
    parts: Parts,
    registry: Repository,
    *,
    dry_run: bool = False,
    on_resolved: Callable[[str], None] = lambda _: None,
) -> Published:
    """Publish a release into a deploy registry, or find that it is there already.

    A version that exists keeps its lock; what is made of it now must equal what is there.
    Raises VersionExists where it does not, and as the steps do.
    """
    version = opened.revision.tag.version
    existing = published.find(parts.registry, registry, version, parts.documents)
    if existing:
        published.refuse_other_source(existing, opened.project, opened.revision)
        parts.progress(f"{version} is published: using the images that it recorded")
        lock = published.lock(existing, opened.revision)
    else:
        parts.progress(f"resolving {len(opened.project.services)} services")
        lock = resolve_release(opened, parts, on_resolved)
    renderer = parts.renderer
    parts.progress(f"rendering with {renderer.name} {renderer.version()}, and validating")
    bundle = validate(render_release(opened, lock, parts), parts.objects)
    artifact = pack(opened.project, bundle)
    removed = _removed(parts, registry, bundle)
    if existing:
        return _unchanged(existing, bundle, artifact, removed)
    if dry_run:
        return Published("published", bundle, artifact.digest, None, removed)
    return _push(opened, parts, registry, artifact, bundle, removed)


def _removed(parts: Parts, registry: Repository, bundle: ValidatedBundle) -> tuple[str, ...]:
    try:
        return published.removed_services(parts.registry, registry, bundle, parts.documents)
    except CouldNotCheck as error:  # a registry that does not list is no reason not to publish
        parts.progress(f"what was removed since the previous release is not known: {error.message}")
        return ()


def _push(
    opened: OpenedRelease,
    parts: Parts,
    registry: Repository,
    artifact: Artifact,
    bundle: ValidatedBundle,
    removed: tuple[str, ...],
) -> Published:
    version = opened.revision.tag.version
    parts.progress(f"pushing to {registry}")
    try:
        reference = push(parts.registry, registry, artifact, version)
    except VersionExists:
        # Somebody published it since we looked: the same content is no conflict (B-92).
        existing = published.find(parts.registry, registry, version, parts.documents)
        if existing is None:
            raise
        published.refuse_other_source(existing, opened.project, opened.revision)
        return _unchanged(existing, bundle, artifact, removed)
    return Published("published", bundle, artifact.digest, reference, removed)


def _unchanged(
    existing: PublishedRelease,
    bundle: ValidatedBundle,
    artifact: Artifact,
    removed: tuple[str, ...],
) -> Published:
    """What is there, if it is what we made. Raises VersionExists."""
    published.refuse_other_content(existing, bundle, artifact)
    reference = existing.manifest.reference
    return Published("unchanged", bundle, existing.digest, reference, removed)
