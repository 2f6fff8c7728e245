"""`rules` and `allow.secrets` in bundler.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.adapters.project import file as project_file
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
from bundler.errors import ProjectFileInvalid
from bundler.model.finding import Finding
from bundler.model.project import Environment, Project

TEXT = """
apiVersion: bundler/v1
kind: Project
name: shop
deployRegistry: oci://registry.example.com/deploy/shop
images: {registry: registry.example.com/shop}
services: {cart: {path: cart}}
"""


def parsed(more: str) -> Project:
    text = (TEXT + more).encode()
    return project_file.parse(text, Path("/"), DocumentSchemas(), KubernetesSchemas())


def environments(more: str) -> dict[str, Environment]:
    return dict(parsed(more).environments)


def told(more: str) -> tuple[Finding, ...]:
    with pytest.raises(ProjectFileInvalid) as raised:
        parsed(more)
    return raised.value.findings


def test_an_environments_rules_count_more_than_the_projects() -> None:
    found = environments("""
rules: {downtime: error, missing-requests: ignore}
environments:
  prod: {kustomize: prod, namespace: shop, rules: {downtime: warning}}
  stage: {kustomize: stage, namespace: shop}
""")
    assert found["prod"].rules == {"downtime": "warning", "missing-requests": "ignore"}
    assert found["stage"].rules == {"downtime": "error", "missing-requests": "ignore"}


def test_secrets_are_allowed_by_name_or_by_kind_and_name() -> None:
    allow = "{secrets: [demo, ConfigMap/settings]}"
    found = environments(f"environments: {{dev: {{kustomize: d, namespace: s, allow: {allow}}}}}")
    assert found["dev"].allowed.secrets == {"demo", "ConfigMap/settings"}


@pytest.mark.parametrize("name", ["'*'", "configmap/settings", "Demo", "ConfigMap/"])
def test_what_names_no_object_is_refused(name: str) -> None:
    allow = f"{{secrets: [{name}]}}"
    (finding,) = told(f"environments: {{dev: {{kustomize: d, namespace: s, allow: {allow}}}}}")
    assert finding.pointer == "/environments/dev/allow/secrets/0"


def test_an_unknown_rule_suggests_the_nearest() -> None:
    (finding,) = told("rules: {plain-secrets: warning}\n")
    assert finding.pointer == "/rules/plain-secrets"
    assert finding.line == 8
    assert finding.message == "no rule 'plain-secrets'"
    assert finding.hint == "did you mean plain-secret?"


@pytest.mark.parametrize(
    ("pointer", "settings"),
    [
        ("/environments/dev/without", "kustomize: d, without: [crat]"),
        ("/environments/dev/helm/pins", "helm: {chart: c, pins: {crat: image}}"),
    ],
)
def test_an_unknown_service_suggests_the_nearest(pointer: str, settings: str) -> None:
    (finding,) = told(f"environments: {{dev: {{namespace: s, {settings}}}}}")
    assert (finding.pointer, finding.hint) == (pointer, "did you mean cart?")


def test_a_rule_that_may_not_be_changed_says_why() -> None:
    (finding,) = told("environments: {dev: {kustomize: d, namespace: s, rules: {schema: ignore}}}")
    assert finding.pointer == "/environments/dev/rules/schema"
    assert finding.message == "rule schema may not be changed"
    assert finding.hint == "an API server would refuse it, in the middle of an apply"


def test_a_severity_is_error_warning_or_ignore() -> None:
    (finding,) = told("rules: {plain-secret: warn}\n")
    assert finding.message == '"warn" is none of error, warning, ignore'
    assert finding.hint == "did you mean warning?"
