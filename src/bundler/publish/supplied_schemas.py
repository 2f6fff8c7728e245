"""CRDs of the tag's tree that the project file names under `schemas`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bundler.errors import ProjectFileInvalid
from bundler.manifests import InvalidYaml, read_documents
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject
from bundler.model.project import PROJECT_FILE, Project
from bundler.ports import TreeEntry, TreeReader

_MODE_LINK = "120000"
_SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILES = 2_000


class SuppliedCrd(NamedTuple):
    file: str
    crd: KubernetesObject


Supplied = Mapping[str, tuple[SuppliedCrd, ...]]
"""Environment → the CRDs that are supplied for it."""


def supplied_crds(project: Project, source: TreeReader, commit: str) -> Supplied:
    """What the environments' `schemas` name at a commit.

    Raises ProjectFileInvalid: paths that are not there or hold no CRD, and files that are no YAML;
    all of them.
    """
    paths = sorted({p for each in project.environments.values() for p in each.schemas})
    if not paths:
        return {}
    entries = source.entries(commit, paths)
    found: dict[str, tuple[SuppliedCrd, ...]] = {}
    findings: list[Finding] = []
    for path in paths:
        try:
            found[path] = tuple(_crds_below(path, entries[path], source, commit))
        except _Unusable as error:
            findings.append(error.finding)
    if findings:
        raise ProjectFileInvalid("schemas cannot be read from the tag's tree", findings=findings)
    return {
        name: tuple(crd for path in environment.schemas for crd in found[path])
        for name, environment in project.environments.items()
    }


class _Unusable(Exception):
    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def _crds_below(
    path: str, entries: Sequence[TreeEntry], source: TreeReader, commit: str
) -> Iterator[SuppliedCrd]:
    """The CRDs of a file, or of all YAML and JSON files of a folder. Raises _Unusable."""
    if not entries:
        raise _unusable("path-missing", f"the tag's tree has no {path}")
    files = [e for e in entries if e.path == path or e.path.endswith(_SUFFIXES)]
    if len(files) > MAX_FILES:
        raise _unusable("project-file", f"{path} has more than {MAX_FILES} files")
    count = 0
    for entry in files:
        if entry.mode == _MODE_LINK:
            raise _unusable("path-is-link", f"{entry.path} is a symbolic link")
        for document in _documents(entry.path, source.read(commit, entry.path) or b""):
            if is_crd(document):
                count += 1
                yield SuppliedCrd(entry.path, document)
    if not count:
        hint = "name files with objects of kind CustomResourceDefinition, or their folder"
        raise _unusable("project-file", f"{path} has no CRD of apiextensions.k8s.io/v1", hint)


def _documents(file: str, content: bytes) -> Iterator[Any]:
    try:
        documents = read_documents(content)
    except InvalidYaml as error:
        finding = Finding("invalid-yaml", str(error), file=file, line=error.line)
        raise _Unusable(finding) from error
    for document in documents:
        items = document.get("items") if isinstance(document, Mapping) else None
        yield from items if isinstance(items, list) else (document,)


def is_crd(document: Any) -> bool:
    return (
        isinstance(document, Mapping)
        and document.get("kind") == "CustomResourceDefinition"
        and document.get("apiVersion") == "apiextensions.k8s.io/v1"
    )


def _unusable(rule: str, message: str, hint: str | None = None) -> _Unusable:
    return _Unusable(Finding(rule, message, file=PROJECT_FILE, pointer="/schemas", hint=hint))
