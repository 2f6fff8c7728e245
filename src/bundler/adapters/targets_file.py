"""The runner's `targets.yaml`: which connection leads to which target (docs/targets.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundler.adapters.git.transport import is_address
from bundler.errors import NoConnection
from bundler.manifests import InvalidYaml, read_documents
from bundler.model.connection import GitFolder, TargetConnection
from bundler.model.finding import Finding
from bundler.ports import DocumentSchemas


def read(path: Path, schemas: DocumentSchemas) -> Mapping[str, TargetConnection]:
    """`environment/target` → connection. Raises NoConnection with every finding."""
    try:
        documents = read_documents(path.read_bytes())
    except OSError as error:
        raise NoConnection(f"{path} cannot be read: {error.strerror}") from error
    except InvalidYaml as error:
        finding = Finding("invalid-yaml", str(error), file=str(path), line=error.line)
        raise NoConnection(f"{path} is not valid YAML", findings=[finding]) from error
    document: Any = documents[0] if len(documents) == 1 else documents
    findings = schemas.check("targets", document)
    if findings:
        raise NoConnection(
            f"{path} does not describe targets", hint="see docs/targets.md", findings=findings
        )
    return {name: _connection(path.parent, settings) for name, settings in document.items()}


def _connection(folder: Path, settings: Mapping[str, Any]) -> TargetConnection:
    kubeconfig, directory = settings.get("kubeconfig"), settings.get("directory")
    return TargetConnection(
        settings.get("context"),
        str(folder / kubeconfig) if kubeconfig else None,
        settings.get("inCluster", False),
        str(folder / directory) if directory else None,
        settings.get("cluster"),
        _git_folder(folder, settings["git"]) if "git" in settings else None,
    )


def _git_folder(folder: Path, settings: Mapping[str, str]) -> GitFolder:
    repository = settings["repository"]
    if not is_address(repository):
        repository = str((folder / repository).resolve())
    return GitFolder(repository, settings.get("branch", "main"), settings.get("path", "."))
