"""release tag → image lock: for every service the image that CI built of its input tree.

All services or nothing: a lock exists only when each service has an image whose commit has the
service's input tree; otherwise everything that is wrong is told, service by service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bundler.errors import (
    AccessRefused,
    BundlerError,
    CouldNotCheck,
    ImagesMissing,
    ImagesRefused,
    NotFound,
    SourceInvalid,
    TryAgain,
    Unreachable,
    VerificationFailed,
)
from bundler.model.finding import Finding
from bundler.model.lock import ImageLock, ResolvedImage, ResolvedMigrations
from bundler.model.project import Project, Service
from bundler.model.release import SourceRevision
from bundler.parallel import threads
from bundler.ports import ArtifactReader, OtherRepositories
from bundler.publish.external import Externals, resolve_named
from bundler.publish.inputs import (
    Entries,
    Source,
    declared_entries,
    entries_below,
    tree_digest,
)
from bundler.publish.search import UNLISTED_LIMIT, Attempt, Found, Missing, Search
from bundler.publish.sources import (
    Commits,
    RefMissing,
    ask_elsewhere,
    find_commits,
    read_history,
    summaries,
)
from bundler.publish.waiting import Waiting

PARALLEL = 16
"""Services that are asked for at one time; a registry may be asked less at once."""


@dataclass(frozen=True)
class Asking:
    """How to ask: where, how long, and whom to tell."""

    images: ArtifactReader
    repositories: OtherRepositories
    branches: Sequence[str] = ()
    """Fill `{branch}` in tag templates, in this order."""
    seconds: float = 300
    """The longest time that all questions together may take, each time they are asked."""
    waiting: Waiting = field(default_factory=Waiting)
    named_externals: bool = False
    """Whether third-party images that the project names in full are asked for too."""
    on_resolved: Callable[[str], None] = lambda _: None
    on_attempt: Callable[[Attempt], None] = lambda _: None
    tell: Callable[[str], None] = lambda _: None


def resolve(
    project: Project, revision: SourceRevision, source: Source, asking: Asking
) -> ImageLock:
    """The lock of a release, with who made its commits and what should be looked at.

    Raises ProjectFileInvalid (what the tag's tree has not), ImagesRefused, ImagesMissing,
    AccessRefused, CouldNotCheck, Unreachable: with a finding for every service concerned.
    """
    with threads(1) as pool:  # two programs, on two cores
        reading = pool.submit(read_history, project, revision, source)
        entries = declared_entries(project, source, revision.commit)
    commits = find_commits(project, revision, entries, reading.result(), asking.repositories)
    answers = _ask_until_found(commits, asking)
    external = resolve_named(project, asking.images) if asking.named_externals else Externals()
    others = [_external_failure(text, error) for text, error in external.failures.items()]
    total = len(project.services) + (len(external.digests) + len(others) if others else 0)
    _raise_for((*answers.failures, *others), total, "images" if others else "services")
    found = {name: answers.found[name] for name in sorted(answers.found)}
    services = {
        name: resolved(project.services[name], image, entries) for name, image in found.items()
    }
    known = summaries(services, commits, source, asking.repositories, asking.tell)
    return ImageLock(
        revision,
        services,
        commits.libraries(),
        external.digests,
        summaries=known,
        warnings=(*_warnings(found), *commits.moving(), *commits.unseen(known)),
    )


def _warnings(found: Mapping[str, Found]) -> tuple[Finding, ...]:
    return tuple(
        replace(finding, service=name)
        for name, image in found.items()
        for finding in image.findings
    )


def resolved(service: Service, found: Found, entries: Entries) -> ResolvedImage:
    """What the lock says of an image that was found."""
    declared = service.migrations
    migrations = (
        ResolvedMigrations(
            tree_digest(entries_below(entries, declared.paths)), declared.reversible, declared.job
        )
        if declared
        else None
    )
    return ResolvedImage(
        service.image,
        found.tag,
        found.digest,
        found.candidate.commit,
        found.candidate.via,
        migrations,
        found.tried,
    )


# --- asking for all -----------------------------------------------------------------------------


class Failure(NamedTuple):
    name: str
    error: BundlerError
    findings: tuple[Finding, ...]


class Answers(NamedTuple):
    found: Mapping[str, Found]
    failures: tuple[Failure, ...]

    @property
    def reason(self) -> str | None:
        """Why something is not there, unless it is just missing."""
        errors = (each.error for each in self.failures if isinstance(each.error, TryAgain))
        return next((error.message for error in errors), None)

    @property
    def may_come(self) -> bool:
        """Whether everything that failed could be found a while later."""
        waitable = (ImagesMissing, Unreachable, CouldNotCheck)
        return bool(self.failures) and all(
            isinstance(each.error, waitable) and not isinstance(each.error, AccessRefused)
            for each in self.failures
        )


def _ask_until_found(commits: Commits, asking: Asking) -> Answers:
    """Ask for all; then, as long as it is worth waiting, again for those that are not there."""
    answers = _ask(commits, commits.project.services.values(), asking)
    pauses = asking.waiting.begin()
    while answers.may_come and pauses.pause(
        [each.name for each in answers.failures], answers.reason
    ):
        pending = [commits.project.services[each.name] for each in answers.failures]
        elsewhere = ask_elsewhere(pending, commits.revision, asking.repositories)
        commits = replace(commits, elsewhere={**commits.elsewhere, **elsewhere})
        again = _ask(commits, pending, asking)
        answers = Answers({**answers.found, **again.found}, again.failures)
    return answers


def _ask(commits: Commits, services: Iterable[Service], asking: Asking) -> Answers:
    ordered = sorted(services, key=lambda service: service.name)
    found: dict[str, Found] = {}
    failures: list[Failure] = []
    with threads(PARALLEL, abandons=True) as pool:
        futures = {
            service: pool.submit(find_image, service, commits, asking) for service in ordered
        }
        wait(futures.values(), timeout=asking.seconds)
        for service, future in futures.items():
            if not future.done():
                failures.append(_late(service, asking.seconds))
                continue
            try:
                found[service.name] = future.result()
            except BundlerError as error:
                failures.append(_failure(service, error))
    return Answers(found, tuple(failures))


class _RefMissing(ImagesMissing):
    """Not an image, but the commit that it would be of."""


def find_image(service: Service, commits: Commits, asking: Asking) -> Found:
    """One service's image. Raises ImagesMissing, ImagesRefused, TryAgain, SourceInvalid."""
    place = commits.project.lookup.place(service.image)
    label = commits.project.revision_label
    try:
        candidates = commits.candidates(service)
        search = Search(service, place, asking.images, asking.branches, label, asking.on_attempt)
        found = search.find(candidates)
    except Missing as error:
        raise ImagesMissing("no image", findings=[_missing(error)]) from error
    except RefMissing as error:
        finding = Finding("ref-missing", str(error))
        raise _RefMissing("no ref", findings=[finding]) from error
    refused = [finding for finding in found.findings if finding.severity == "error"]
    if refused:
        raise ImagesRefused("not acceptable", findings=refused)
    asking.on_resolved(service.name)
    return found


def _missing(missing: Missing) -> Finding:
    tried = missing.tried
    shown = ", ".join(tried.first)
    more = f" and {tried.count - len(tried.first)} more" if tried.count > len(tried.first) else ""
    message = f"no image in {missing.place}; tried {shown}{more}"
    unlisted = f"its tags cannot be listed: only {UNLISTED_LIMIT} older commits were asked for"
    return Finding("image-missing", message, hint=None if missing.listed else unlisted)


def _late(service: Service, seconds: float) -> Failure:
    message = f"not answered for within {seconds:g} s"
    return _failure(service, Unreachable(message, hint="--registry-timeout sets a longer time"))


def _failure(service: Service, error: BundlerError) -> Failure:
    findings = error.findings or (Finding(error.code, error.message, hint=error.hint),)
    return Failure(
        service.name, error, tuple(replace(finding, service=service.name) for finding in findings)
    )


def _external_failure(reference: str, error: BundlerError) -> Failure:
    if isinstance(error, NotFound):
        finding = Finding("external-image-missing", error.message, hint=error.hint)
        return Failure(reference, ImagesMissing(error.message), (finding,))
    findings = error.findings or (Finding(error.code, error.message, hint=error.hint),)
    return Failure(reference, error, findings)


# --- what is wrong, all at once -----------------------------------------------------------------


class _Kind(NamedTuple):
    raised: type[BundlerError]
    counts: tuple[type[BundlerError], ...]
    """What counts as this kind."""
    matter: str
    hint: str


_GRAVEST_FIRST = (
    _Kind(
        ImagesRefused,
        (ImagesRefused, VerificationFailed),
        "have an image that is refused",
        "an image that is not what its tag says has to be built again",
    ),
    _Kind(
        ImagesMissing,
        (_RefMissing,),
        "have no such ref in their repository",
        "push the tag there, or correct ref: a tag, a branch, or a commit's full id",
    ),
    _Kind(
        ImagesMissing,
        (ImagesMissing,),
        "have no image",
        "build the missing images (the develop flow does it for each commit), then run it "
        "again; --wait-images 10m waits for builds that still run",
    ),
    _Kind(
        SourceInvalid,
        (SourceInvalid,),
        "have a source that cannot be read",
        "correct their repository and ref in bundler.yaml",
    ),
    _Kind(
        AccessRefused,
        (AccessRefused,),
        "could not be checked for lack of access",
        "log in to what refuses it",
    ),
    _Kind(Unreachable, (Unreachable,), "could not be asked for", "run it again: they may exist"),
    _Kind(CouldNotCheck, (TryAgain,), "could not be checked", "run it again: they may exist"),
)


def _raise_for(failures: Sequence[Failure], total: int, what: str = "services") -> None:
    """Raise the gravest kind of what failed, with the findings of all kinds."""
    rest = list(failures)
    groups: list[tuple[_Kind, list[Failure]]] = []
    for kind in _GRAVEST_FIRST:
        group = [failure for failure in rest if isinstance(failure.error, kind.counts)]
        rest = [failure for failure in rest if not isinstance(failure.error, kind.counts)]
        groups += [(kind, group)] if group else []
    if rest:
        raise rest[0].error
    if groups:
        kind, gravest = groups[0]
        message = "; ".join(f"{len(group)} of {total} {what} {k.matter}" for k, group in groups)
        hint = "; ".join(dict.fromkeys(k.hint for k, _ in groups))
        if issubclass(kind.raised, TryAgain):
            hint = gravest[0].error.hint or hint
        findings = [each for _, group in groups for one in group for each in one.findings]
        raise kind.raised(message, hint=hint, findings=findings)


def failure_of(service: Service, error: BundlerError) -> BundlerError:
    """What `resolve` would raise if this were the only thing that is wrong."""
    try:
        _raise_for([_failure(service, error)], 1)
    except BundlerError as told:
        return told
    return error
