"""Where each service's source is at a tag, and whether the tag's tree has what is declared."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Protocol

from bundler.errors import ProjectFileInvalid
from bundler.model.finding import Finding
from bundler.model.history import Input
from bundler.model.project import PROJECT_FILE, Library, Project, Service
from bundler.ports import CommitReader, HistoryReader, SourceReader, TreeEntry

MODE_LINK = "120000"
MODE_SUBMODULE = "160000"
MANY_FILES = 5_000
"""In a larger tree a hint is looked for among its folders only."""


class Source(SourceReader, HistoryReader, CommitReader, Protocol):
    """What resolving reads of the repository."""


Entries = Mapping[str, tuple[TreeEntry, ...]]
"""Declared path → its files at the tag."""


def all_inputs(project: Project) -> tuple[Input, ...]:
    """Every input of every service and library, sorted, each once."""
    parts: tuple[Service | Library, ...] = (
        *project.services.values(),
        *project.libraries.values(),
    )
    return tuple(sorted({each for part in parts for each in project.inputs_of(part)}))


def declared_entries(project: Project, source: Source, commit: str) -> Entries:
    """The files of every declared path.

    Raises ProjectFileInvalid: a path that is not there, that is a symbolic link, that is a
    submodule or none, and git-LFS pointers; all of them.
    """
    declared = list(_declared(project))
    others = frozenset(path for _, _, path in declared)
    entries = source.entries(commit, sorted({path for _, _, path in declared}))
    findings = [
        finding
        for pointer, kind, path in declared
        if (finding := _check(pointer, kind, path, entries, others, source, commit))
    ]
    findings += [
        Finding(
            "lfs-pointer",
            "is a git-LFS pointer, not the content",
            file=path,
            hint="commit its content, or take it out of the inputs by a pattern under ignore",
        )
        for path in source.lfs_pointers(commit, all_inputs(project))
    ]
    if findings:
        missing = any(finding.rule == "path-missing" for finding in findings)
        raise ProjectFileInvalid(
            "the tag's tree is not what the services are built from",
            hint="paths in bundler.yaml are folders or files, not globs" if missing else None,
            findings=findings,
        )
    return entries


def _declared(project: Project) -> Iterator[tuple[tuple[str, str, str], str, str]]:
    """(kind, name, key), what is expected there, and the path."""
    for service in project.services.values():
        place = ("services", service.name)
        yield from (((*place, "paths"), "source", path) for path in service.paths)
        if service.submodule:
            yield (*place, "submodule"), "submodule", service.submodule
        for path in service.migrations.paths if service.migrations else ():
            yield (*place, "migrations"), "source", path
    for library in project.libraries.values():
        yield from ((("libraries", library.name, "paths"), "source", p) for p in library.paths)


def _check(
    pointer: tuple[str, str, str],
    expected: str,
    path: str,
    entries: Entries,
    others: Collection[str],
    source: Source,
    commit: str,
) -> Finding | None:
    found = entries[path]
    itself = found[0] if len(found) == 1 and found[0].path == path else None
    is_submodule = itself is not None and itself.mode == MODE_SUBMODULE
    if not found:
        hint = _nearest(path, others, source, commit)
        problem = ("path-missing", f"the tag's tree has no {path}", hint)
    elif itself and itself.mode == MODE_LINK:
        hint = "name the folder that it leads to: git keeps a link, not what is behind it"
        problem = ("path-is-link", f"{path} is a symbolic link", hint)
    elif expected == "submodule" and not is_submodule:
        hint = "declare it under paths"
        problem = ("no-submodule", f"{path} is no submodule at the tag", hint)
    elif expected != "submodule" and is_submodule:
        problem = ("is-submodule", f"{path} is a submodule", f"declare it as `submodule: {path}`")
    else:
        return None
    rule, message, told = problem
    kind, name, key = pointer
    return Finding(
        rule,
        message,
        file=PROJECT_FILE,
        pointer=f"/{kind}/{name}/{key}",
        service=name if kind == "services" else None,
        hint=told,
    )


def _nearest(path: str, others: Collection[str], source: Source, commit: str) -> str | None:
    """The folder or file that may be meant: like the missing one, or of its name elsewhere.

    Not one that is declared already: that is somebody else's.
    """
    every = source.entries(commit, ["."])["."]
    for entry in every:
        if entry.mode == MODE_LINK and path.startswith(entry.path + "/"):
            return f"{entry.path} is a symbolic link: name the folder that it leads to"
    folders = {str(parent) for entry in every for parent in PurePosixPath(entry.path).parents}
    files = {entry.path for entry in every}
    known = (folders | files if len(files) < MANY_FILES else folders) - {".", *others}
    name = PurePosixPath(path).name
    same_name = sorted(each for each in known if PurePosixPath(each).name == name)
    near = get_close_matches(path, known, n=1) or same_name[:1]
    return f"did you mean {near[0]}?" if near else None


def tree_digest(entries: Iterable[TreeEntry]) -> str:
    """Digest of files by path, mode and git object id: `sha256:…`."""
    lines = sorted({f"{e.mode} {e.object_id}\t{e.path}\n" for e in entries})
    content = "".join(lines).encode("utf-8", "surrogateescape")
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def entries_below(entries: Entries, paths: Sequence[str]) -> Iterator[TreeEntry]:
    return (entry for path in paths for entry in entries[path])
