"""The whole story of one service: what it is made of, which commits count, and what was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from bundler.errors import BundlerError, UsageError
from bundler.model.commits import CommitSummary
from bundler.model.finding import Finding
from bundler.model.history import Candidate, Input
from bundler.model.lock import ResolvedImage
from bundler.model.project import Project, Service
from bundler.model.reference import Repository
from bundler.model.release import SourceRevision
from bundler.publish.inputs import Source, declared_entries
from bundler.publish.resolve import Asking, failure_of, find_image, resolved
from bundler.publish.search import Attempt
from bundler.publish.sources import Commits, RefMissing, find_commits, read_history, summaries


@dataclass(frozen=True)
class Explanation:
    revision: SourceRevision
    service: Service
    libraries: tuple[str, ...]
    """Those that it uses, through others too."""
    inputs: tuple[Input, ...]
    tree_digest: str | None
    place: Repository
    """Where its image was asked for."""
    candidates: tuple[Candidate, ...]
    """All of them, in the order of asking."""
    attempts: tuple[Attempt, ...]
    image: ResolvedImage | None
    error: BundlerError | None
    """Why there is no image."""
    summaries: Mapping[str, CommitSummary]
    warnings: tuple[Finding, ...] = ()


def explain(
    project: Project, revision: SourceRevision, name: str, source: Source, asking: Asking
) -> Explanation:
    """Resolve one service and keep everything that was asked.

    Raises UsageError (no such service), ProjectFileInvalid, SourceInvalid; whatever else is wrong
    is part of the story.
    """
    service = _service(project, name)
    alone = replace(project, services={name: service})
    entries = declared_entries(alone, source, revision.commit)
    history = read_history(alone, revision, source)
    commits = find_commits(alone, revision, entries, history, asking.repositories)
    attempts: list[Attempt] = []
    image: ResolvedImage | None = None
    warnings: tuple[Finding, ...] = ()
    error: BundlerError | None = None
    try:
        found = find_image(service, commits, replace(asking, on_attempt=attempts.append))
        image = resolved(service, found, entries)
        warnings = (*found.findings, *commits.moving())
    except BundlerError as failure:
        error = failure_of(service, failure)
    candidates, tree_digest = _candidates(commits, service)
    known = {name: image} if image else {}
    return Explanation(
        revision,
        service,
        project.libraries_of(service.uses),
        project.inputs_of(service),
        tree_digest,
        project.lookup.place(service.image),
        candidates,
        tuple(attempts),
        image,
        error,
        _summaries(candidates, source)
        | summaries(known, commits, source, asking.repositories, asking.tell),
        warnings,
    )


def _service(project: Project, name: str) -> Service:
    if name in project.services:
        return project.services[name]
    if name in project.disabled:
        raise UsageError(
            f"service {name} is disabled: it is not part of releases",
            hint=f"take services.{name}.disabled out of bundler.yaml",
        )
    near = get_close_matches(name, project.services, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(project.services)}"
    raise UsageError(f"no service {name!r}", hint=hint)


def _candidates(commits: Commits, service: Service) -> tuple[tuple[Candidate, ...], str | None]:
    try:
        candidates = commits.candidates(service)
    except (BundlerError, RefMissing):  # told as the error already
        return (), None
    return (*candidates.preferred, *candidates.others()), candidates.tree_digest


def _summaries(candidates: tuple[Candidate, ...], source: Source) -> dict[str, CommitSummary]:
    return dict(source.summaries([candidate.commit for candidate in candidates]))
