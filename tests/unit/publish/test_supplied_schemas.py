from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from bundler.errors import ProjectFileInvalid
from bundler.manifests import write_documents
from bundler.model.project import Project
from bundler.ports import TreeEntry
from bundler.publish.supplied_schemas import supplied_crds
from tests.contract.test_crd_schemas import crd
from tests.fakes.shop import environment, obj, project

COMMIT = "a" * 40
CRD = write_documents([crd()])


class Tree:
    """Implements `bundler.ports.TreeReader`: files in memory; a link has `->` for content."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def read(self, commit: str, path: str) -> bytes | None:
        return self.files.get(path) if commit == COMMIT else None

    def entries(self, commit: str, paths: Sequence[str]) -> Mapping[str, tuple[TreeEntry, ...]]:
        files = sorted(self.files.items()) if commit == COMMIT else ()
        return {
            path: tuple(
                TreeEntry(file, "120000" if content == b"->" else "100644", "0" * 40)
                for file, content in files
                if file == path or file.startswith(f"{path}/")
            )
            for path in paths
        }


def with_schemas(**schemas: tuple[str, ...]) -> Project:
    return project(*(replace(environment(n), schemas=paths) for n, paths in schemas.items()))


def supplied(files: Mapping[str, bytes], **schemas: tuple[str, ...]) -> dict[str, list[str]]:
    found = supplied_crds(with_schemas(**schemas), Tree(files), COMMIT)
    return {name: [each.file for each in crds] for name, crds in found.items()}


@pytest.mark.requirement("B-73")
def test_the_crds_of_files_and_folders_are_found_with_their_files() -> None:
    files = {
        "crds/a.yaml": CRD,
        "crds/deep/b.yml": write_documents([obj("v1", "ConfigMap", "c"), crd()]),
        "crds/kustomization.yaml": b"resources: [a.yaml]\n",
        "crds/README.md": b"a: [",
        "vendor/c.json": b'{"kind": "List", "items": [' + CRD_JSON + b"]}",
    }
    assert supplied(files, dev=("crds",), stage=("crds", "vendor/c.json"), prod=()) == {
        "dev": ["crds/a.yaml", "crds/deep/b.yml"],
        "stage": ["crds/a.yaml", "crds/deep/b.yml", "vendor/c.json"],
        "prod": [],
    }


CRD_JSON = b'{"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1"}'


def test_nothing_is_read_where_nothing_is_named() -> None:
    assert supplied({}, dev=()) == {}


@pytest.mark.requirement("B-71")
def test_all_that_cannot_be_used_is_told_at_once() -> None:
    files = {
        "bad.yaml": b"a: 1\na: 2\n",
        "bomb.yaml": b"[" * 100_000,
        "link.yaml": b"->",
        "none/x.yaml": write_documents([obj("v1", "ConfigMap", "c")]),
        "old.yaml": CRD.replace(b"io/v1\n", b"io/v1beta1\n"),
    }
    with pytest.raises(ProjectFileInvalid) as caught:
        supplied(files, dev=("bad.yaml", "bomb.yaml", "link.yaml", "missing", "none", "old.yaml"))
    found = [(finding.rule, finding.file, finding.line) for finding in caught.value.findings]
    assert found == [
        ("invalid-yaml", "bad.yaml", 2),
        ("invalid-yaml", "bomb.yaml", 1),
        ("path-is-link", "bundler.yaml", None),
        ("path-missing", "bundler.yaml", None),
        ("project-file", "bundler.yaml", None),
        ("project-file", "bundler.yaml", None),
    ]
