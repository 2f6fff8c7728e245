"""`bundler.yaml` → Project: its schema first, then what no schema can say; all findings at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundler.adapters import project_checks, project_values
from bundler.errors import ProjectFileInvalid
from bundler.manifests import InvalidYaml, read_documents
from bundler.model.finding import Finding
from bundler.model.project import PROJECT_FILE, Project
from bundler.ports import DocumentSchemas, ObjectSchemas


def parse(
    text: bytes, root: Path, schemas: DocumentSchemas, object_schemas: ObjectSchemas
) -> Project:
    """The project of a file's text; relative `ocidir://` paths start at `root`.

    Raises ProjectFileInvalid with every finding.
    """
    document = _document(text)
    _raise_for(schemas.check("project", document))
    _raise_for(project_checks.check(document, root, object_schemas))
    return project_values.project(document, root)


def _document(text: bytes) -> Mapping[str, Any]:
    try:
        documents = read_documents(text)
    except InvalidYaml as error:
        finding = Finding("invalid-yaml", str(error), file=PROJECT_FILE, line=error.line)
        raise ProjectFileInvalid(f"{PROJECT_FILE} is not valid YAML", findings=[finding]) from error
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise ProjectFileInvalid(f"{PROJECT_FILE} must hold one document with keys")
    return documents[0]


def _raise_for(findings: Iterable[Finding]) -> None:
    found = tuple(replace(finding, file=PROJECT_FILE) for finding in findings)
    if found:
        raise ProjectFileInvalid(
            f"{PROJECT_FILE} has {len(found)} error{'s' if len(found) > 1 else ''}",
            hint="docs/project-file.md describes every key",
            findings=found,
        )
