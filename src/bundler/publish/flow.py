"""publish: release tag → resolve → render with pins → validate → pack → push, version tag last.

Each function takes what the step before it gave; a command stops at its step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Literal, Protocol

from bundler.errors import (
    BranchRefused,
    ProjectFileInvalid,
    Refused,
    SourceInvalid,
    TryAgain,
    UsageError,
    VersionExists,
)
from bundler.model.artifact import Artifact, Profile
from bundler.model.bundle import RenderedBundle, ValidatedBundle
from bundler.model.finding import Finding
from bundler.model.lock import ImageLock
from bundler.model.project import PROJECT_FILE, Project
from bundler.model.reference import ArtifactReference, Digest, ImageReference, Repository
from bundler.model.release import InvalidTag, ReleaseTag, SourceRevision
from bundler.ports import (
    ArtifactReader,
    Branches,
    DeployRegistry,
    DocumentSchemas,
    ObjectSchemas,
    OtherRepositories,
    ReadTree,
    TagResolver,
)
from bundler.publish import encrypted, former, published, replacement, rules
from bundler.publish.explain import Explanation, explain
from bundler.publish.external import resolve_external
from bundler.publish.inputs import Source as TreeSource
from bundler.publish.pack import pack
from bundler.publish.published import PublishedRelease
from bundler.publish.push import push
from bundler.publish.render import complete
from bundler.publish.rendering import Renderers, rendering
from bundler.publish.replacement import Replacing
from bundler.publish.resolve import Asking, resolve
from bundler.publish.supplied_schemas import supplied_crds
from bundler.publish.validate import validate
from bundler.publish.waiting import Waiting

Status = Literal["published", "unchanged"]


class Source(TagResolver, TreeSource, Protocol):
    """A repository with releases."""


@dataclass(frozen=True)
class Parts:
    """What publishing works with; the wiring chooses the adapters."""

    source: Source
    parse_project: Callable[[bytes, ReadTree], Project]
    """The text of a project file, and what it may name in the same tree."""
    images: ArtifactReader
    repositories: OtherRepositories
    registry: DeployRegistry
    renderers: Renderers
    objects: ObjectSchemas
    documents: DocumentSchemas
    cached: Callable[[Renderers, str], Renderers] = lambda renderers, _: renderers
    """Renderers that know what was rendered from a tree, by its id, before."""
    progress: Callable[[str], None] = lambda _: None
    waiting: Waiting = field(default_factory=Waiting)
    """For images whose builds still run."""
    seconds_of_asking: float = 300
    on_resolved: Callable[[str], None] = lambda _: None
    """Told the name of each service whose image was found."""


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
class Replaced:
    """What the version was before."""

    digest: Digest
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
    replaced: Replaced | None = None

    @property
    def lock(self) -> ImageLock:
        return self.bundle.rendered.lock

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return (*self.lock.warnings, *self.bundle.warnings)


def open_release(tag: ReleaseTag, parts: Parts) -> OpenedRelease | Ignored:
    """Raises SourceInvalid, ProjectFileInvalid, UsageError, BranchRefused."""
    revision = parts.source.revision(tag)
    text = parts.source.read(revision.commit, PROJECT_FILE)
    if text is None:
        raise ProjectFileInvalid(
            f"no {PROJECT_FILE} at {tag} ({revision.commit[:12]})",
            hint="commit one to the root of the repository, then tag that commit",
        )
    project = parts.parse_project(text, partial(parts.source.contents, revision.commit))
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
    opened: OpenedRelease, parts: Parts, *, named_externals: bool = False
) -> ImageLock:
    """The lock; with `named_externals`, the third-party images that the project names in full.

    Publishing does without: it asks for those that the manifests use. Raises as `resolve` does.
    """
    protected = any(each.protected for each in opened.project.environments.values())
    asking = dataclasses.replace(
        _asking(opened, parts), named_externals=named_externals and protected
    )
    return resolve(opened.project, opened.revision, parts.source, asking)


def explain_service(opened: OpenedRelease, parts: Parts, service: str) -> Explanation:
    """Raises as `explain` does."""
    asking = _asking(opened, parts)
    return explain(opened.project, opened.revision, service, parts.source, asking)


def _asking(opened: OpenedRelease, parts: Parts) -> Asking:
    return Asking(
        parts.images,
        parts.repositories,
        _branch_names(opened),
        parts.seconds_of_asking,
        parts.waiting,
        on_resolved=parts.on_resolved,
        tell=parts.progress,
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


def _refuse_nothing(project: Project) -> None:
    if not project.environments:
        raise ProjectFileInvalid(
            f"{PROJECT_FILE} has no environment with a target: there is nothing to release",
            hint="declare one under environments: an overlay and a namespace",
        )


def render_release(
    opened: OpenedRelease, parts: Parts, lock: ImageLock | None = None
) -> RenderedBundle:
    """Images are resolved, unless they are known, while overlays are rendered.

    Raises RenderFailed, ToolMissing, and what `resolve_release` raises.
    """
    _refuse_nothing(opened.project)

    def resolve_image(image: ImageReference) -> Digest:
        return resolve_external(image, opened.project, parts.images)

    project, newest = opened.project, parts.objects.newest()
    renderers = parts.cached(parts.renderers, parts.source.tree_id(opened.revision.commit))
    with (
        parts.source.exported(opened.revision.commit) as tree,
        rendering(project, tree, renderers) as started,
    ):
        lock = lock or resolve_release(opened, parts)
        for environment in project.environments.values():
            parts.objects.prepare(environment.kubernetes or newest)
        rendered = complete(project, lock, started, renderers, resolve_image, newest)
    find_committed = partial(parts.source.containing, opened.revision.commit)
    return encrypted.as_committed(rendered, find_committed)


def validate_release(
    opened: OpenedRelease,
    rendered: RenderedBundle,
    parts: Parts,
    before: PublishedRelease | None = None,
) -> ValidatedBundle:
    """Compared with the release before, where there is one.

    Raises ValidationFailed, ProjectFileInvalid (CRDs under `schemas` that cannot be read).
    """
    supplied = supplied_crds(opened.project, parts.source, opened.revision.commit)

    def former_objects(files: Mapping[str, bytes]) -> rules.Former:
        return former.changed_objects(parts.registry, before, files) if before else {}

    return validate(rendered, parts.objects, supplied, former_objects)


def release_before(
    opened: OpenedRelease, parts: Parts, registry: Repository
) -> PublishedRelease | None:
    """None too where the registry cannot say: that is no reason not to publish."""
    try:
        return former.find(parts.registry, registry, opened.revision.tag, parts.documents)
    except TryAgain as error:
        parts.progress(f"the release before this one is not known: {error.message}")
        return None


@dataclass(frozen=True)
class _Made:
    """What a release was made into."""

    bundle: ValidatedBundle
    artifact: Artifact
    removed: tuple[str, ...]

    def published(
        self, reference: ArtifactReference | None, replaced: Replaced | None = None
    ) -> Published:
        digest = self.artifact.digest
        return Published("published", self.bundle, digest, reference, self.removed, replaced)


def publish(
    opened: OpenedRelease,
    parts: Parts,
    registry: Repository,
    *,
    dry_run: bool = False,
    profile: Profile = "oci",
    replacing: Replacing | None = None,
) -> Published:
    """Publish a release into a deploy registry, or find that it is there already.

    A version that exists keeps its lock; what is made of it now must equal what is there.
    Raises VersionExists where it does not, and as the steps do. When `replacing`, nothing is taken
    over, and where it does not equal, it takes the version's place; Refused if that is not agreed.
    """
    _refuse_nothing(opened.project)
    version = opened.revision.tag.version
    existing = published.find(parts.registry, registry, version, parts.documents)
    versions = parts.renderers.versions(opened.project)
    with_what = " and ".join(f"{name} {version}" for name, version in versions.items())
    lock = None
    if existing and replacing is None:
        published.refuse_other_source(existing, opened.project, opened.revision)
        parts.progress(f"{version} is published: using the images that it recorded")
        lock = _with_summaries(published.lock(existing, opened.revision), parts)
    else:
        parts.progress(f"resolving {len(opened.project.services)} services")
    parts.progress(f"rendering with {with_what}, and validating")
    rendered = render_release(opened, parts, lock)
    before = release_before(opened, parts, registry)
    # What is published was compared then; other releases may have come in between since.
    comparing = before if existing is None or replacing else None
    bundle = validate_release(opened, rendered, parts, comparing)
    artifact = pack(opened.project, bundle, profile)
    made = _Made(bundle, artifact, _removed(before, bundle))
    if existing and replacing:
        return _replace(opened, parts, existing, made, replacing, dry_run)
    if existing:
        return _unchanged(existing, made)
    return made.published(None) if dry_run else _push(opened, parts, registry, made)


def _with_summaries(lock: ImageLock, parts: Parts) -> ImageLock:
    """A release document does not say who made the commits; the repository does."""
    commits = sorted({image.commit for image in lock.services.values()})
    return dataclasses.replace(lock, summaries=parts.source.summaries(commits))


def _removed(before: PublishedRelease | None, bundle: ValidatedBundle) -> tuple[str, ...]:
    """Services of the release before that this one has not."""
    if before is None:
        return ()
    return tuple(sorted(before.value["services"].keys() - bundle.rendered.lock.services.keys()))


def _push(opened: OpenedRelease, parts: Parts, registry: Repository, made: _Made) -> Published:
    version = opened.revision.tag.version
    parts.progress(f"pushing to {registry}")
    try:
        return made.published(push(parts.registry, registry, made.artifact, version))
    except VersionExists:
        # Somebody published it since we looked: the same content is no conflict (B-92).
        existing = published.find(parts.registry, registry, version, parts.documents)
        if existing is None:
            raise
        published.refuse_other_source(existing, opened.project, opened.revision)
        return _unchanged(existing, made)


def _unchanged(existing: PublishedRelease, made: _Made) -> Published:
    """What is there, if it is what we made. Raises VersionExists."""
    published.refuse_other_content(existing, made.bundle, made.artifact)
    return _there(existing, made)


def _there(existing: PublishedRelease, made: _Made) -> Published:
    reference = existing.manifest.reference
    return Published("unchanged", made.bundle, existing.digest, reference, made.removed)


def _replace(
    opened: OpenedRelease,
    parts: Parts,
    existing: PublishedRelease,
    made: _Made,
    replacing: Replacing,
    dry_run: bool,
) -> Published:
    """Put what we made in the place of what is there. Raises Refused, VersionExists."""
    place = existing.manifest.reference
    found = published.differences(existing, opened.project, made.bundle, made.artifact)
    if not found:
        return _there(existing, made)
    if not replacing.agreed(place, found):
        raise Refused(f"{place} stays as it is: replacing it was not agreed to")
    replaced = Replaced(existing.digest, replacing.reason)
    if dry_run:
        return made.published(None, replaced)
    parts.progress(f"replacing {place}")
    reference = replacement.replace(parts.registry, existing, made.artifact, replacing)
    return made.published(reference, replaced)
