"""Every rule has a fixture that fires it and one that does not: fixtures/rules/RULE.

A fixture holds `objects` as an overlay renders them (with the settings of its `environment` and the
`former` release's objects), or the `files` of a tree with an overlay, or the text of a `project`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.project import file as project_file
from bundler.adapters.renderers.kustomization_scan import scan
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
from bundler.errors import ProjectFileInvalid, ValidationFailed
from bundler.manifests import read_documents, write_documents
from bundler.model.finding import Finding
from bundler.model.project import Project
from bundler.model.rules import RULES
from bundler.publish import rules
from bundler.publish.render import render
from bundler.publish.validate import validate
from tests.fakes.renderer import folder_renderers, write_overlay
from tests.fakes.shop import lock, resolve_external

FIXTURES = Path(__file__).parents[3] / "fixtures" / "rules"
PAIRS = sorted(folder.name for folder in FIXTURES.iterdir())
SCHEMAS = KubernetesSchemas()
OF_TEXTS = {"ambiguous-scalar", "render"}
"""What a renderer says, or how it writes it; a fixture of objects is parsed already."""


def findings(fixture: Mapping[str, Any], tree: Path) -> tuple[Finding, ...]:
    if "project" in fixture:
        return of_project(fixture["project"])
    if "files" in fixture:
        for name, text in fixture["files"].items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        return scan(tree.resolve(), "overlay", "prod/default").findings
    return of_objects(fixture, tree)


def of_project(text: str) -> tuple[Finding, ...]:
    try:
        project_file.parse(text.encode(), Path("/"), DocumentSchemas(), SCHEMAS)
    except ProjectFileInvalid as error:
        return error.findings
    return ()


def project(environment: Mapping[str, Any]) -> Project:
    prod = {"kustomize": "overlays/prod", "namespace": "shop", **environment}
    document = {
        "apiVersion": "bundler/v1",
        "kind": "Project",
        "name": "shop",
        "deployRegistry": "oci://registry.example.com/deploy/shop",
        "images": {
            "registry": "registry.example.com/shop",
            "external": {"allow": ["docker.io/library/redis*"], "deny": ["*-alpine"]},
        },
        "services": {"cart": {"paths": ["services/cart"]}},
        "environments": {"prod": prod},
    }
    text = write_documents([document])
    return project_file.parse(text, Path("/"), DocumentSchemas(), SCHEMAS)


def of_objects(fixture: Mapping[str, Any], tree: Path) -> tuple[Finding, ...]:
    uses_cart = "registry.example.com/shop/cart" in str(fixture["objects"])
    without = [] if uses_cart else ["cart"]
    shop = project({"without": without, **fixture.get("environment", {})})
    write_overlay(tree, "overlays/prod", *fixture["objects"])
    rendered = render(shop, lock(shop), tree, folder_renderers(), resolve_external, "1.36")
    found = list(rendered.findings)
    found += rules.check(rendered, {"prod/default": fixture.get("former", ())})
    try:
        found += validate(replace(rendered, findings=()), SCHEMAS).warnings
    except ValidationFailed as error:
        found += error.findings
    return rules.by_policy(found, shop.environments)


def fixture(rule: str, name: str) -> Mapping[str, Any]:
    (read,) = read_documents((FIXTURES / rule / f"{name}.yaml").read_bytes())
    assert isinstance(read, Mapping)
    return read


def test_every_rule_that_can_have_one_has_a_pair_of_fixtures() -> None:
    """Charts and layers have trees of their own for it, beside the tests of their parts."""
    checked = {r.name for r in RULES.values() if r.stage in ("project file", "render", "objects")}
    assert set(PAIRS) == checked - OF_TEXTS


@pytest.mark.requirement("A-09", "B-71", "B-76", "D-10", "D-19")
@pytest.mark.parametrize("rule", PAIRS)
def test_the_bad_fixture_fires_its_rule(rule: str, tmp_path: Path) -> None:
    found = findings(fixture(rule, "bad"), tmp_path)
    assert rule in {finding.rule for finding in found}


@pytest.mark.parametrize("rule", PAIRS)
def test_the_good_fixture_fires_nothing(rule: str, tmp_path: Path) -> None:
    found = findings(fixture(rule, "good"), tmp_path)
    assert [str(finding) for finding in found if not is_of_another_package(finding)] == []


def is_of_another_package(finding: Finding) -> bool:
    """Custom resources without a schema, and what SOPS adds to an object."""
    return finding.rule == "unvalidated" or finding.pointer == "/sops"


@pytest.mark.parametrize("rule", PAIRS)
def test_a_finding_has_its_place(rule: str, tmp_path: Path) -> None:
    for finding in findings(fixture(rule, "bad"), tmp_path):
        if finding.rule in rules.CHECKED:
            assert finding.environment == "prod/default"
            assert finding.file
            assert finding.object
            assert finding.pointer
            assert finding.hint
