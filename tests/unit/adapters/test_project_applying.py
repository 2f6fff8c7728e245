"""`timeout`, `onFailure`, `jobs` and `order` of an environment in bundler.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.adapters.project import file as project_file
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
from bundler.errors import ProjectFileInvalid
from bundler.model.project import ApplySettings, Environment

TEXT = """
apiVersion: bundler/v1
kind: Project
name: shop
deployRegistry: oci://registry.example.com/deploy/shop
images: {registry: registry.example.com/shop}
services: {cart: {path: cart}, db: {path: db}, api: {path: api}, ui: {path: ui}}
environments:
  prod: {kustomize: prod, namespace: shop, %s}
"""


def prod(more: str) -> Environment:
    text = (TEXT % more).encode()
    schemas = DocumentSchemas(), KubernetesSchemas()
    return project_file.parse(text, Path("/"), *schemas).environments["prod"]


def told(more: str) -> list[str]:
    with pytest.raises(ProjectFileInvalid) as raised:
        prod(more)
    return [str(finding) for finding in raised.value.findings]


def test_what_is_not_said_is_left_to_the_runner() -> None:
    assert prod("protected: true").applying == ApplySettings()
    assert prod("protected: true").order == {}


def test_an_environment_says_how_it_is_applied() -> None:
    found = prod("timeout: 1h30m, onFailure: rollback, jobs: refuse").applying
    assert found == ApplySettings(5400.0, "rollback", "refuse")
    assert prod("timeout: 90").applying.timeout == 90.0


@pytest.mark.parametrize("text", ["soon", "''", "0s", "10 m", "1m30", "1.5h"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    assert any("90s, 10m or 1h30m" in finding for finding in told(f"timeout: {text}"))


@pytest.mark.parametrize(
    "text",
    ["timeout: 0", "timeout: -5", "onFailure: undo", "jobs: never", "order: [[]]", "order: []"],
)
def test_other_words_are_refused(text: str) -> None:
    assert told(text)


def test_services_come_in_the_declared_steps_and_the_others_with_the_first() -> None:
    assert prod("order: [[db, cart], api]").order == {"db": 0, "cart": 0, "api": 1}


def test_an_order_names_each_service_once_and_only_those_that_there_are() -> None:
    findings = told("order: [db, [apii, db]]")
    assert len(findings) == 2
    assert any("apii" in each and "api" in each for each in findings)
    assert any("'db' stands twice" in each for each in findings)
