"""`bundler.yaml` → Project: its schema first, then what no schema can say; all findings at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundler.adapters.project import checks as project_checks
from bundler.adapters.project import layers as project_layers
from bundler.adapters.project import targets as project_targets
from bundler.adapters.project import values as project_values
from bundler.adapters.project.targets import line_of
from bundler.errors import ProjectFileInvalid
from bundler.manifests import InvalidYaml, line_numbers, read_documents
from bundler.model.finding import Finding
from bundler.model.project import PROJECT_FILE, Project
from bundler.ports import DocumentSchemas, ObjectSchemas, ReadTree


def parse(
    text: bytes,
    root: Path,
    schemas: DocumentSchemas,
    object_schemas: ObjectSchemas,
    read: ReadTree | None = None,
) -> Project:
    """The project of a file's text; relative `ocidir://` paths start at `root`.

    What the file names in the same tree comes from `read`: targets and layers. Without it neither
    is there, which is enough for a question about services alone. Raises ProjectFileInvalid with
    every finding.
    """
    document = _document(text)
    _raise_for(schemas.check("project", document), text)
    expanded = project_targets.expand(document, read, schemas)
    document = expanded.document
    found = project_checks.check(document, root, object_schemas)
    _raise_for((*expanded.findings, *expanded.located(found)), text)
    project = project_values.project(document, root)
    if read is None:
        return project
    layered = project_layers.with_layers(project, document, read, schemas)
    _raise_for(expanded.located(layered.findings), text)
    return layered.project


def _document(text: bytes) -> Mapping[str, Any]:
    try:
        documents = read_documents(text)
    except InvalidYaml as error:
        finding = Finding("invalid-yaml", str(error), file=PROJECT_FILE, line=error.line)
        raise ProjectFileInvalid(f"{PROJECT_FILE} is not valid YAML", findings=[finding]) from error
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise ProjectFileInvalid(f"{PROJECT_FILE} must hold one document with keys")
    return documents[0]


def _raise_for(findings: Iterable[Finding], text: bytes) -> None:
    """`text` is the project file's: a finding of it, or of no file, has the line there."""
    found = tuple(findings)
    lines = line_numbers(text) if found else {}
    found = tuple(
        finding
        if finding.file not in (None, PROJECT_FILE)
        else replace(finding, file=PROJECT_FILE, line=line_of(finding.pointer or "", lines))
        for finding in found
    )
    if found:
        files = ", ".join(dict.fromkeys(str(finding.file) for finding in found))
        raise ProjectFileInvalid(
            f"{files} {'have' if ', ' in files else 'has'} {len(found)} "
            f"error{'s' if len(found) > 1 else ''}",
            hint="docs/project-file.md describes every key",
            findings=found,
        )
