"""A range of commits → the services that CI has to build, and the tags of their images.

A service is affected if its input tree at the head is not the one at the merge base with the
commit before, or if it is new. What it is built from is said by the head's project file, for the
base too: so does `resolve`, which then finds the images of all that is left out here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bundler.develop.source import Clone, ParseProject, need_project, read_project, refuse_shallow
from bundler.errors import ProjectFileInvalid, SourceInvalid
from bundler.model.finding import Finding
from bundler.model.history import History, first_parent_commit
from bundler.model.image_tags import image_tags
from bundler.model.project import PROJECT_FILE, Project, Role, Service
from bundler.ports import HistoryReader, RevisionReader, SourceReader, TreeEntry

LATEST = "latest"
EVERYTHING = "everything"
UNPUSHED: tuple[Role | None, ...] = ("feature", None)
"""Roles of branches whose images are built, but not pushed."""
_ZEROS = re.compile(r"0{40}|0{64}")
_COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MODE_SUBMODULE = "160000"


class Source(Clone, SourceReader, HistoryReader, RevisionReader, Protocol):
    """What planning reads of the repository."""


@dataclass(frozen=True)
class Branch:
    """Where the commits are, as far as that is known."""

    name: str | None = None
    is_proposed: bool = False
    """Whether they are only proposed for another branch, in a pull request or merge request."""


@dataclass(frozen=True)
class AffectedService:
    name: str
    image: str
    """Without tag."""
    commit: str
    """The one that `resolve` asks for first: who introduced this input tree."""
    tags: tuple[str, ...]
    """Of the image when it is pushed; none where nothing is."""
    because: tuple[str, ...]
    paths: tuple[str, ...]
    """All of its input; its own come first."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "image": self.image,
            "commit": self.commit,
            "tags": list(self.tags),
            "because": list(self.because),
            "paths": list(self.paths),
        }


@dataclass(frozen=True)
class Affected:
    """What a push must build."""

    head: str
    bases: tuple[str, ...]
    """The merge bases that the head was compared with."""
    everything: str | None
    """Why all services are affected, whatever the commits changed."""
    branch: Branch
    role: Role | None
    push: bool
    """Whether the images are pushed, or only built."""
    services: tuple[AffectedService, ...]
    unaffected: int
    elsewhere: int
    """How many services other repositories build."""
    removed: tuple[str, ...]
    """Services of a base that the head has not."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "head": self.head,
            "since": list(self.bases),
            "everything": self.everything,
            "branch": self.branch.name,
            "role": self.role,
            "push": self.push,
            "services": {service.name: service.as_dict() for service in self.services},
            "unaffected": self.unaffected,
            "elsewhere": self.elsewhere,
            "removed": list(self.removed),
        }


def affected(
    since: str, head: str, branch: Branch, source: Source, parse_project: ParseProject
) -> Affected:
    """The services that the commits from `since` to `head` affect.

    Raises SourceInvalid (a shallow clone, no such commit), ProjectFileInvalid (at the head).
    """
    refuse_shallow(source)
    commit = source.commit(head)
    project = need_project(source, commit, parse_project)
    every = _all_services(project)
    built = {n: s for n, s in sorted(every.items()) if s.repository is None}
    bases, everything = _bases(since, commit, source)
    former = _former_services(bases, source, parse_project)
    if None in former.values():
        everything = f"{PROJECT_FILE} was not valid before"
    comparison = _compared(project, built.values(), commit, former, source)
    role = project.branches.role(branch.name) if branch.name else None
    push = role not in UNPUSHED and not branch.is_proposed
    found = []
    for service in built.values():
        because = (EVERYTHING,) if everything else comparison.because(service)
        if because:
            found.append(_planned(comparison, service, branch if push else Branch(), because))
    return Affected(
        head=commit,
        bases=bases,
        everything=everything,
        branch=branch,
        role=role,
        push=push,
        services=tuple(found),
        unaffected=len(built) - len(found),
        elsewhere=len(every) - len(built),
        removed=tuple(sorted({n for s in former.values() for n in s or () if n not in every})),
    )


def _planned(
    comparison: _Comparison, service: Service, pushed: Branch, because: tuple[str, ...]
) -> AffectedService:
    commit = comparison.commit(service)
    tags = planned_tags(comparison.project, service, commit, pushed.name) if pushed.name else ()
    paths = comparison.paths(service)
    return AffectedService(service.name, service.image, commit, tags, because, paths)


def planned_tags(project: Project, service: Service, commit: str, branch: str) -> tuple[str, ...]:
    """The tags that a branch's image of a commit gets: `latest` is develop's alone."""
    role = project.branches.role(branch)
    if role in UNPUSHED:
        return ()
    if role != "develop":
        return tuple(image_tags(service.tag, commit, [branch]))
    if project.only_latest:
        return (LATEST,)
    return (*image_tags(service.tag, commit, [branch]), LATEST)


# --- the range ----------------------------------------------------------------------------------


def _bases(since: str, head: str, source: Source) -> tuple[tuple[str, ...], str | None]:
    """The merge bases, or why there are none and everything is affected."""
    if _ZEROS.fullmatch(since):
        return (), "the branch is new"
    try:
        before = source.commit(since)
    except SourceInvalid:
        # Full ids come from CI: after a forced push nobody can fetch the commit any more.
        if not _COMMIT_ID.fullmatch(since):
            raise
        return (), f"{since[:12]} is not in this clone: the branch was replaced"
    bases = source.merge_bases(before, head)
    return bases, None if bases else f"{since} and the head have no commit in common"


def _former_services(
    bases: Iterable[str], source: Source, parse_project: ParseProject
) -> dict[str, Mapping[str, Service] | None]:
    """The services that each base had; None where its project file is not valid."""
    former: dict[str, Mapping[str, Service] | None] = {}
    for base in bases:
        try:
            project = read_project(source, base, parse_project)
        except ProjectFileInvalid:
            former[base] = None
        else:
            former[base] = _all_services(project) if project else {}
    return former


def _all_services(project: Project) -> dict[str, Service]:
    """Those of releases and those that are not yet: both are built."""
    return {**project.services, **project.disabled}


# --- one service --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Base:
    commit: str
    services: Mapping[str, Service]
    entries: Mapping[str, tuple[TreeEntry, ...]]
    """Of the submodules that the head declares."""


@dataclass(frozen=True)
class _Comparison:
    """The head beside every merge base."""

    project: Project
    history: History
    entries: Mapping[str, tuple[TreeEntry, ...]]
    bases: tuple[_Base, ...]

    def because(self, service: Service) -> tuple[str, ...]:
        """What differs, in words; nothing if the service is as it was at every base."""
        return tuple(
            dict.fromkeys(word for base in self.bases for word in self._since(base, service))
        )

    def _since(self, base: _Base, service: Service) -> Iterator[str]:
        former = base.services.get(service.name)
        if former is None or _kind(former) != _kind(service):
            yield "new"
            return
        if former.image != service.image:
            yield f"image name, formerly {former.image}"
        if former.tag != service.tag:
            yield f"image tag, formerly {former.tag}"
        if service.submodule:
            if self.entries[service.submodule] != base.entries[service.submodule]:
                yield f"submodule {service.submodule}"
            return
        if service.strategy == "every-commit" and base.commit != self.history.commits[0].id:
            yield "every commit"
        yield from self._changed_inputs(base, service)

    def _changed_inputs(self, base: _Base, service: Service) -> Iterator[str]:
        equal = self.history.by_id[base.commit].equal
        inputs = self.project.inputs_of(service)
        changed = {each.path for each in inputs if not equal & self.history.bits[each]}
        yield from (path for path in service.paths if path in changed)
        for name in self.project.libraries_of(service.uses) if changed else ():
            if changed.intersection(self.project.libraries[name].paths):
                yield f"library {name}"

    def commit(self, service: Service) -> str:
        if service.submodule:
            return self.entries[service.submodule][0].object_id
        if service.strategy == "every-commit":
            return self.history.commits[0].id
        return first_parent_commit(self.history, self.history.mask(self.project.inputs_of(service)))

    def paths(self, service: Service) -> tuple[str, ...]:
        if service.submodule:
            return (service.submodule,)
        return tuple(
            dict.fromkeys((*service.paths, *(e.path for e in self.project.inputs_of(service))))
        )


def _compared(
    project: Project,
    services: Collection[Service],
    head: str,
    former: Mapping[str, Mapping[str, Service] | None],
    source: Source,
) -> _Comparison:
    """Read the history once for all services; raises ProjectFileInvalid for paths that are not."""
    entries = _declared_entries(project, services, source, head)
    inputs = sorted({each for service in services for each in project.inputs_of(service)})
    history = History.of(source.history(head, inputs), inputs)
    submodules = sorted({service.submodule for service in services if service.submodule})
    bases = tuple(
        _Base(base, known or {}, source.entries(base, submodules)) for base, known in former.items()
    )
    return _Comparison(project, history, entries, bases)


def _kind(service: Service) -> str:
    """Where a service's source is."""
    if service.submodule:
        return "submodule"
    return "repository" if service.repository else "paths"


# --- what is declared ---------------------------------------------------------------------------


def _declared_entries(
    project: Project, services: Iterable[Service], source: SourceReader, commit: str
) -> Mapping[str, tuple[TreeEntry, ...]]:
    """The files of every declared path. Raises ProjectFileInvalid: those that are not there."""
    declared = list(_declared(project, services))
    entries = source.entries(commit, sorted({path for _, path in declared}))
    findings = [
        Finding("path-missing", f"{commit[:12]} has no {path}", file=PROJECT_FILE, pointer=pointer)
        for pointer, path in declared
        if not entries[path]
    ]
    findings += [
        Finding("no-submodule", f"{path} is no submodule", file=PROJECT_FILE, pointer=pointer)
        for pointer, path in declared
        if pointer.endswith("/submodule")
        and entries[path]
        and entries[path][0].mode != _MODE_SUBMODULE
    ]
    if findings:
        raise ProjectFileInvalid(
            "the tree is not what the services are built from",
            hint=f"correct the paths in {PROJECT_FILE}, which are folders or files, not globs",
            findings=findings,
        )
    return entries


def _declared(project: Project, services: Iterable[Service]) -> Iterator[tuple[str, str]]:
    """(JSON pointer, path) of all that services are built from."""
    for service in services:
        place = f"/services/{service.name}"
        yield from ((f"{place}/paths", path) for path in service.paths)
        if service.submodule:
            yield f"{place}/submodule", service.submodule
    for library in project.libraries.values():
        yield from ((f"/libraries/{library.name}/paths", path) for path in library.paths)
