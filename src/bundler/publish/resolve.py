"""release tag → image lock: for every service the image that CI built of its input tree.

All services or nothing: a lock exists only when each service has an image whose commit has the
service's input tree; otherwise every missing service is named with what was tried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from bundler.errors import (
    CouldNotCheck,
    ImagesMissing,
    ProjectFileInvalid,
    TryAgain,
    Unreachable,
)
from bundler.model.finding import Finding
from bundler.model.image_tags import image_tags
from bundler.model.lock import ImageLock, ResolvedImage, ResolvedMigrations, Tried
from bundler.model.project import PROJECT_FILE, Project, Service
from bundler.model.reference import Digest, ImageReference, Repository
from bundler.model.release import SourceRevision
from bundler.parallel import threads
from bundler.ports import HistoryReader, ManifestResolver, SourceReader, TagLister, TreeEntry
from bundler.publish.candidates import Candidate, History, first_parent_commit, others, preferred

PARALLEL = 16
UNLISTED_LIMIT = 50
"""How many further commits are asked for one by one where a registry refuses to list tags."""
SHOWN_TRIES = 5


class Source(SourceReader, HistoryReader, Protocol):
    """What resolving reads of the repository."""


class Images(ManifestResolver, TagLister, Protocol):
    """What resolving asks of the image registries."""


def resolve(
    project: Project,
    revision: SourceRevision,
    source: Source,
    images: Images,
    branches: Sequence[str] = (),
    on_resolved: Callable[[str], None] = lambda _: None,
) -> ImageLock:
    """The lock of a release. `branches` fill `{branch}` in tag templates, in this order.

    Raises ProjectFileInvalid (a path that the tag's tree has not, a git-LFS pointer),
    ImagesMissing (all of them), CouldNotCheck or Unreachable.
    """
    inputs = {s.name: project.input_paths(s.paths, s.uses) for s in project.services.values()}
    libraries = {x.name: project.input_paths(x.paths, x.uses) for x in project.libraries.values()}
    paths = sorted({path for group in (*inputs.values(), *libraries.values()) for path in group})
    migrated = [s for s in project.services.values() if s.migrations]
    migration_paths = {path for s in migrated if s.migrations for path in s.migrations.paths}
    entries = source.entries(revision.commit, sorted({*paths, *migration_paths}))
    _check_inputs(project, entries, source, revision.commit, paths)
    history = History.of(source.history(revision.commit, paths), paths)

    def find(service: Service) -> ResolvedImage:
        search = _Search(service, project.lookup.place(service.image), images, tuple(branches))
        found = search.find(history, history.mask(inputs[service.name]))
        on_resolved(service.name)
        return _resolved(service, found, entries)

    return ImageLock(
        revision,
        _all_or_nothing(project.services.values(), find),
        {
            name: first_parent_commit(history, history.mask(group))
            for name, group in libraries.items()
        },
    )


# --- one service --------------------------------------------------------------------------------


class Found(NamedTuple):
    candidate: Candidate
    tag: str
    digest: Digest
    tried: Tried


class _Missing(Exception):
    def __init__(self, place: Repository, tried: Tried, *, listed: bool) -> None:
        super().__init__("no acceptable image")
        self.place = place
        self.tried = tried
        self.listed = listed
        """Whether all candidates were looked at, and not only as many as may be asked for."""


class _Tries:
    """Counts references that had no answer; remembers the first few."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._first: list[str] = []
        self._count = 0

    def add(self, tag: str) -> None:
        self._count += 1
        if len(self._first) < SHOWN_TRIES:
            self._first.append(str(ImageReference(self._service.image, tag)))

    def result(self) -> Tried:
        return Tried(tuple(self._first), self._count)


class _Search:
    """The questions that one service's image takes: few where CI did what is expected."""

    def __init__(
        self, service: Service, place: Repository, images: Images, branches: tuple[str, ...]
    ) -> None:
        self._service = service
        self._place = place
        self._images = images
        self._branches = branches
        self._tries = _Tries(service)
        self._listed = True

    def find(self, history: History, mask: int) -> Found:
        """Raises _Missing, CouldNotCheck or Unreachable."""
        found = self._ask(preferred(history, mask))
        if found is None:
            rest = others(history, mask)
            first = next(rest, None)
            found = first and self._among_listed(self._chained(first, rest))
        if found is None:
            raise _Missing(self._place, self._tries.result(), listed=self._listed)
        return found

    @staticmethod
    def _chained(first: Candidate, rest: Iterator[Candidate]) -> Iterator[Candidate]:
        yield first
        yield from rest

    def _tags(self, candidate: Candidate) -> Iterator[str]:
        return image_tags(self._service.tag, candidate.commit, self._branches)

    def _ask(self, candidates: Iterable[Candidate]) -> Found | None:
        for candidate in candidates:
            for tag in self._tags(candidate):
                digest = self._images.resolve(self._place, tag)
                if digest is not None:
                    return Found(candidate, tag, digest, self._tries.result())
                self._tries.add(tag)
        return None

    def _among_listed(self, candidates: Iterator[Candidate]) -> Found | None:
        """One listing answers for all; where it is refused, a bounded number of questions."""
        try:
            listed = frozenset(self._images.tags(self._place))
        except CouldNotCheck:
            self._listed = False
            return self._ask(islice(candidates, UNLISTED_LIMIT))
        for candidate in candidates:
            for tag in self._tags(candidate):
                digest = self._images.resolve(self._place, tag) if tag in listed else None
                if digest is not None:
                    return Found(candidate, tag, digest, self._tries.result())
                self._tries.add(tag)
        return None


def _resolved(
    service: Service, found: Found, entries: Mapping[str, tuple[TreeEntry, ...]]
) -> ResolvedImage:
    declared = service.migrations
    migrations = (
        ResolvedMigrations(
            tree_digest(entry for path in declared.paths for entry in entries[path]),
            declared.reversible,
            declared.job,
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


def tree_digest(entries: Iterable[TreeEntry]) -> str:
    """Digest of files by path, mode and git object id: `sha256:…`."""
    lines = sorted({f"{e.mode} {e.object_id}\t{e.path}\n" for e in entries})
    content = "".join(lines).encode("utf-8", "surrogateescape")
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


# --- all services -------------------------------------------------------------------------------


def _all_or_nothing(
    services: Iterable[Service], find: Callable[[Service], ResolvedImage]
) -> dict[str, ResolvedImage]:
    """Ask for all in parallel; what went wrong is told for all of them at once."""
    found: dict[str, ResolvedImage] = {}
    missing: list[Finding] = []
    unchecked: list[tuple[Finding, TryAgain]] = []
    ordered = sorted(services, key=lambda service: service.name)
    with threads(PARALLEL) as pool:
        futures = {service: pool.submit(find, service) for service in ordered}
        for service, future in futures.items():
            try:
                found[service.name] = future.result()
            except _Missing as error:
                missing.append(_missing_finding(service, error))
            except TryAgain as error:
                place = Finding(error.code, error.message, service=service.name, hint=error.hint)
                unchecked.append((place, error))
    if unchecked:
        findings = [finding for finding, _ in unchecked] + missing
        first = unchecked[0][1]
        kind = Unreachable if isinstance(first, Unreachable) else CouldNotCheck
        raise kind(
            f"{len(unchecked)} of {len(ordered)} services could not be checked: {first.message}",
            hint=first.hint or "their images may exist: run it again",
            findings=findings,
        )
    if missing:
        raise ImagesMissing(
            f"{len(missing)} of {len(ordered)} services have no image",
            hint="build the missing images (the develop flow does it for each commit), "
            "then run it again; nothing was pushed",
            findings=missing,
        )
    return found


def _missing_finding(service: Service, missing: _Missing) -> Finding:
    tried = missing.tried
    shown = ", ".join(tried.first)
    more = f" and {tried.count - len(tried.first)} more" if tried.count > len(tried.first) else ""
    message = f"no image in {missing.place}; tried {shown}{more}"
    unlisted = f"its tags cannot be listed: only {UNLISTED_LIMIT} older commits were asked for"
    hint = None if missing.listed else unlisted
    return Finding("image-missing", message, service=service.name, hint=hint)


# --- inputs -------------------------------------------------------------------------------------


def _check_inputs(
    project: Project,
    entries: Mapping[str, tuple[TreeEntry, ...]],
    source: Source,
    commit: str,
    paths: Sequence[str],
) -> None:
    findings = [
        Finding(
            "path-missing",
            f"the tag's tree has no {path}",
            file=PROJECT_FILE,
            pointer=f"/{kind}/{name}/paths",
            service=name if kind == "services" else None,
        )
        for kind, name, path in _declared_paths(project)
        if not entries.get(path)
    ]
    findings += [
        Finding("lfs-pointer", "is a git-LFS pointer, not the content", file=path)
        for path in source.lfs_pointers(commit, paths)
    ]
    if findings:
        raise ProjectFileInvalid(
            "the tag's tree is not what the services are built from",
            hint="correct the paths in bundler.yaml, which are folders or files, not globs",
            findings=findings,
        )


def _declared_paths(project: Project) -> Iterator[tuple[str, str, str]]:
    for service in project.services.values():
        own = service.paths + (service.migrations.paths if service.migrations else ())
        yield from (("services", service.name, path) for path in own)
    for library in project.libraries.values():
        yield from (("libraries", library.name, path) for path in library.paths)
