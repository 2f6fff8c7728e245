"""Which commits may have built each service's image: here, in a submodule, or elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bundler.errors import SourceInvalid, TryAgain
from bundler.model.commits import CommitSummary
from bundler.model.finding import Finding
from bundler.model.history import Candidate, History, first_parent_commit, others, preferred
from bundler.model.lock import ResolvedImage
from bundler.model.project import OtherRepository, Project, Service
from bundler.model.release import SourceRevision
from bundler.parallel import threads
from bundler.ports import OtherRepositories
from bundler.publish.inputs import Entries, Source, all_inputs, entries_below, tree_digest
from bundler.publish.search import Candidates

PARALLEL_REPOSITORIES = 8
_COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class RefMissing(Exception):
    """The other repository has no such tag or branch (yet)."""

    def __init__(self, service: Service, reference: str) -> None:
        super().__init__(f"{_place(service)} has no {reference}")
        self.reference = reference


@dataclass(frozen=True)
class OtherCommit:
    """What a service's other repository says: a commit, or why there is none."""

    commit: str | None
    reference: str
    error: TryAgain | SourceInvalid | None = None
    is_branch: bool = False


@dataclass(frozen=True)
class Commits:
    """The candidates of every service, and each library's commit."""

    project: Project
    revision: SourceRevision
    entries: Entries
    history: History
    elsewhere: Mapping[str, OtherCommit]
    """Service name → what its other repository says."""

    def candidates(self, service: Service) -> Candidates:
        """Raises RefMissing, Unreachable, CouldNotCheck, SourceInvalid."""
        if service.submodule:
            recorded = self.entries[service.submodule][0].object_id
            return Candidates((Candidate(recorded, "submodule"),))
        if service.repository:
            return Candidates((self._elsewhere(service),))
        history = self.history
        inputs = self.project.inputs_of(service)
        mask = history.mask(inputs)
        first = preferred(history, mask)
        if service.strategy == "every-commit":
            first = _tagged_first(history.commits[0].id, first)
        below = entries_below(self.entries, [each.path for each in inputs])
        return Candidates(
            first,
            lambda: others(history, mask, first),
            None if service.ignore else tree_digest(below),
        )

    def _elsewhere(self, service: Service) -> Candidate:
        other = self.elsewhere[service.name]
        if other.error:
            raise other.error
        if other.commit is None:
            raise RefMissing(service, other.reference)
        return Candidate(other.commit, "repository")

    def libraries(self) -> dict[str, str]:
        """Library → the first-parent commit that introduced its input tree."""
        return {
            name: first_parent_commit(
                self.history, self.history.mask(self.project.inputs_of(library))
            )
            for name, library in self.project.libraries.items()
        }

    def moving(self) -> tuple[Finding, ...]:
        """Branches of other repositories: the same release tag may mean another commit later."""
        return tuple(
            Finding(
                "mutable-ref",
                f"{other.reference} of {_place(self.project.services[name])} is a branch: "
                "it means another commit later",
                "warning",
                service=name,
                hint="name a commit or a tag under ref",
            )
            for name, other in self.elsewhere.items()
            if other.is_branch
        )

    def unseen(self, known: Mapping[str, CommitSummary]) -> tuple[Finding, ...]:
        """Commit ids of other repositories that these did not show."""
        return tuple(
            Finding(
                "commit-unknown",
                f"{_place(self.project.services[name])} was not seen to have {other.commit}",
                "warning",
                service=name,
                hint="ref must be the id of a commit there, not that of a tag object",
            )
            for name, other in self.elsewhere.items()
            if other.commit == other.reference and other.commit not in known
        )


def _tagged_first(tagged: str, first: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    rest = tuple(candidate for candidate in first if candidate.commit != tagged)
    return (Candidate(tagged, "tag-commit"), *rest) if len(rest) == len(first) else first


def read_history(project: Project, revision: SourceRevision, source: Source) -> History:
    """The history of all services and libraries, read once."""
    inputs = all_inputs(project)
    return History.of(source.history(revision.commit, inputs), inputs)


def find_commits(
    project: Project,
    revision: SourceRevision,
    entries: Entries,
    history: History,
    repositories: OtherRepositories,
) -> Commits:
    """Ask each other repository once."""
    others = ask_elsewhere(project.services.values(), revision, repositories)
    return Commits(project, revision, entries, history, others)


# --- other repositories -------------------------------------------------------------------------


def ask_elsewhere(
    services: Iterable[Service], revision: SourceRevision, repositories: OtherRepositories
) -> dict[str, OtherCommit]:
    """The commits of the services that other repositories have; failures are kept as values."""
    by_url: dict[str, list[Service]] = {}
    for service in services:
        if service.repository:
            by_url.setdefault(service.repository.url, []).append(service)
    if not by_url:
        return {}
    with threads(PARALLEL_REPOSITORIES) as pool:
        asked = [
            pool.submit(_ask, url, group, revision, repositories) for url, group in by_url.items()
        ]
    return {name: other for answer in asked for name, other in answer.result().items()}


def _ask(
    url: str,
    services: Iterable[Service],
    revision: SourceRevision,
    repositories: OtherRepositories,
) -> dict[str, OtherCommit]:
    wanted = {
        service.name: _references(service.repository, revision)
        for service in services
        if service.repository
    }
    named = sorted({ref for refs in wanted.values() for ref in refs if not _is_commit_id(ref)})
    try:
        commits: Mapping[str, str | None] = repositories.commits(url, named) if named else {}
    except (TryAgain, SourceInvalid) as error:
        return {name: OtherCommit(None, refs[0], error) for name, refs in wanted.items()}
    return {name: _chosen(refs, commits) for name, refs in wanted.items()}


def _references(repository: OtherRepository, revision: SourceRevision) -> tuple[str, ...]:
    """The full names that a ref may mean; a commit id stands for itself."""
    ref = repository.ref
    if ref is None:
        return (f"refs/tags/{revision.tag}",)
    if _is_commit_id(ref) or ref.startswith("refs/"):
        return (ref,)
    return (f"refs/tags/{ref}", f"refs/heads/{ref}")


def _chosen(references: tuple[str, ...], commits: Mapping[str, str | None]) -> OtherCommit:
    if _is_commit_id(references[0]):
        return OtherCommit(references[0], references[0])
    known = {ref: commit for ref in references if (commit := commits.get(ref))}
    if len(set(known.values())) > 1:
        tag, branch = references
        error = SourceInvalid(
            f"{tag} and {branch} are different commits there",
            hint=f"write ref: {tag} or ref: {branch}",
        )
        return OtherCommit(None, tag, error)
    reference = next(iter(known), references[0])
    is_branch = reference.startswith("refs/heads/")
    return OtherCommit(known.get(reference), reference, is_branch=is_branch)


def _is_commit_id(ref: str) -> bool:
    return _COMMIT_ID.fullmatch(ref) is not None


def _place(service: Service) -> str:
    return service.repository.url if service.repository else service.name


# --- evidence -----------------------------------------------------------------------------------


def summaries(
    images: Mapping[str, ResolvedImage],
    commits: Commits,
    source: Source,
    repositories: OtherRepositories,
    tell: Callable[[str], None],
) -> dict[str, CommitSummary]:
    """Who changed what, of the services' commits; those that cannot be read are left out."""
    services = commits.project.services
    here = {
        image.commit
        for name, image in images.items()
        if not services[name].submodule and not services[name].repository
    }
    found = dict(source.summaries(sorted(here)))
    by_url: dict[str, set[str]] = {}
    for name, image in images.items():
        submodule, other = services[name].submodule, services[name].repository
        if submodule:
            summary = source.submodule_summary(commits.revision.commit, submodule, image.commit)
            found |= {image.commit: summary} if summary else {}
        elif other:
            by_url.setdefault(other.url, set()).add(image.commit)
    for url, wanted in by_url.items():
        try:
            found |= repositories.summaries(url, sorted(wanted))
        except (TryAgain, SourceInvalid) as error:
            tell(f"who made the commits of {url} is not known: {error.message}")
    return found
