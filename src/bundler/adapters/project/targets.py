"""Targets that stand in files of their own: `environments.NAME.targetsFrom` is a folder of them.

They become entries of `targets`, as if they had been written there; what is found to be wrong with
one of them is told in its file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from bundler.adapters.project import values
from bundler.manifests import InvalidYaml, line_numbers, read_documents
from bundler.model.finding import Finding
from bundler.model.project import PROJECT_FILE
from bundler.ports import DocumentSchemas, ReadTree

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_YAML_OR_LIKE_IT = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class _File:
    path: str
    lines: Mapping[str, int]


@dataclass(frozen=True)
class Expanded:
    """A project file's document with the targets of files in it."""

    document: Mapping[str, Any]
    findings: tuple[Finding, ...]
    """What is wrong with the files."""
    files: Mapping[str, _File]
    """JSON pointer of a target → the file that it stands in."""

    def located(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Findings of the document, with the file where their author can mend them."""
        for finding in findings:
            yield finding if finding.file else self._located(finding)

    def _located(self, finding: Finding) -> Finding:
        pointer = finding.pointer or ""
        for target, file in self.files.items():
            if f"{pointer}/".startswith(f"{target}/"):
                inner = pointer.removeprefix(target)
                return replace(
                    finding, file=file.path, pointer=inner, line=line_of(inner, file.lines)
                )
        return replace(finding, file=PROJECT_FILE)


def line_of(pointer: str, lines: Mapping[str, int]) -> int:
    """The line of a place, or of the nearest place around it."""
    while pointer and pointer not in lines:
        pointer = pointer.rpartition("/")[0]
    return lines.get(pointer, 1)


def expand(
    document: Mapping[str, Any], read: ReadTree | None, schemas: DocumentSchemas
) -> Expanded:
    """The document with the targets of all files; without a tree to read, with none of them."""
    environments: dict[str, Any] = {}
    findings: list[Finding] = []
    files: dict[str, _File] = {}
    for name, settings in document.get("environments", {}).items():
        folder = settings.get("targetsFrom")
        targets = dict(settings.get("targets") or {})
        if folder and read:
            found = _Folder(values.path(folder), read, schemas)
            pointer = f"/environments/{name}/targets"
            findings += found.clashes(targets, f"{pointer}From")
            targets |= {t: given for t, given in found.targets.items() if t not in targets}
            files |= {f"{pointer}/{target}": file for target, file in found.files.items()}
        environments[name] = {**settings, "targets": targets} if folder else settings
    expanded = {**document, "environments": environments} if environments else document
    return Expanded(expanded, tuple(findings), files)


class _Folder:
    """The targets of one folder, and what is wrong with its files."""

    def __init__(self, folder: str, read: ReadTree, schemas: DocumentSchemas) -> None:
        self._folder = folder
        self._findings: list[Finding] = []
        self.targets: dict[str, Mapping[str, Any]] = {}
        self.files: dict[str, _File] = {}
        contents = read([folder])
        self._is_there = bool(contents)
        for path, content in sorted(contents.items()):
            if str(PurePosixPath(path).parent) == folder:
                self._read(path, content, schemas)

    def clashes(self, declared: Mapping[str, Any], pointer: str) -> Iterator[Finding]:
        """All findings, with those about targets that stand in the project file too."""
        if not self._is_there:
            hint = "commit a file NAME.yaml for each target to it, or .gitkeep for none"
            message = f"there is no folder {self._folder}"
            yield Finding("project-file", message, pointer=pointer, file=PROJECT_FILE, hint=hint)
        yield from self._findings
        for name in sorted(self.targets.keys() & declared.keys()):
            message = f"target {name} stands in {PROJECT_FILE} too"
            hint = "remove it there, or give this file another name"
            yield Finding(
                "project-file", message, file=self.files[name].path, line=1, pointer="", hint=hint
            )

    def _read(self, path: str, content: bytes, schemas: DocumentSchemas) -> None:
        file = PurePosixPath(path)
        if file.suffix.lower() not in _YAML_OR_LIKE_IT or file.name.startswith("."):
            return
        if file.suffix != ".yaml" or not _NAME.fullmatch(file.stem):
            hint = "NAME.yaml; a name has lower-case letters, digits and '-', at most 63"
            self._report(Finding("project-file", "is no name of a target's file", hint=hint), path)
            return
        try:
            documents = read_documents(content)
        except InvalidYaml as error:
            self._report(Finding("invalid-yaml", str(error), line=error.line), path)
            return
        if len(documents) > 1:
            self._report(Finding("project-file", "holds more than one document"), path)
            return
        given = documents[0] if documents else {}
        lines = line_numbers(content)
        found = schemas.check("target", given)
        for finding in found:
            line = line_of(finding.pointer or "", lines)
            self._report(replace(finding, line=line), path)
        if not found:
            self.targets[file.stem] = given
            self.files[file.stem] = _File(path, lines)

    def _report(self, finding: Finding, path: str) -> None:
        self._findings.append(replace(finding, file=path))
