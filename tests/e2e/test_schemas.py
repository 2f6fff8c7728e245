"""Custom resources of a release: counted without a schema, checked by CRDs that are supplied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from bundler.manifests import write_documents
from tests.contract.test_crd_schemas import crd, zone
from tests.e2e.conftest import Bundler, Result
from tools.sample_shop import SampleShop, git

TAG = "v3.0.0"


@pytest.fixture
def release(shop: SampleShop, bundler: Bundler) -> Callable[..., Result]:
    """Validates a release whose dev overlay has a custom resource, and CRDs as they are given."""

    def validate(resource: Mapping[str, Any], files: Mapping[str, bytes], keys: str = "") -> Result:
        repository = shop.repository
        git(repository, "checkout", "--quiet", "--force", "main")
        overlay = repository / "overlays/dev"
        (overlay / "zone.yaml").write_bytes(write_documents([resource]))
        kustomization = overlay / "kustomization.yaml"
        text = kustomization.read_text().replace("resources:\n", "resources:\n  - zone.yaml\n", 1)
        assert "zone.yaml" in text
        kustomization.write_text(text)
        project = repository / "bundler.yaml"
        project.write_text(project.read_text() + keys)
        for path, content in files.items():
            (repository / path).parent.mkdir(exist_ok=True)
            (repository / path).write_bytes(content)
        git(repository, "add", "--all")
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        git(repository, *identity, "commit", "--quiet", "-m", "zones")
        git(repository, "tag", TAG)
        return bundler("validate", TAG, "--repo", "shop", "-o", "json")

    return validate


@pytest.mark.requirement("B-73")
def test_a_custom_resource_without_a_schema_is_counted(
    release: Callable[..., Result], checked: Callable[[str, Result], Any]
) -> None:
    valid = checked("result-validate", release(zone(), {}))
    assert valid["unvalidated"] == 1
    (warning,) = [each for each in valid["warnings"] if each["rule"] == "unvalidated"]
    assert "Zone.example.com" in warning["message"]


@pytest.mark.requirement("B-73")
def test_a_crd_of_the_tags_tree_is_used_where_the_project_names_its_folder(
    release: Callable[..., Result], checked: Callable[[str, Result], Any]
) -> None:
    files = {"crds/zones.yaml": write_documents([crd()])}
    valid = checked("result-validate", release(zone(), files, "schemas: [crds/]\n"))
    assert valid["unvalidated"] == 0


@pytest.mark.requirement("B-71", "B-73")
def test_what_the_supplied_crd_forbids_is_refused_with_its_place(
    release: Callable[..., Result],
) -> None:
    files = {"crds/zones.yaml": write_documents([crd()])}
    result = release(zone(hots=1), files, "schemas: [crds/zones.yaml]\n")
    assert result.exit_code == 4
    (finding,) = [each for each in result.findings if each["rule"] == "schema"]
    assert (finding["pointer"], finding["environment"]) == ("/spec/hots", "dev/default")
    assert finding["hint"] == "did you mean hosts?"


def test_schemas_that_are_not_there_are_refused(release: Callable[..., Result]) -> None:
    result = release(zone(), {}, "schemas: [crds, vendor/x.yaml]\n")
    assert (result.exit_code, result.error["code"]) == (2, "project-file-invalid")
    assert [finding["rule"] for finding in result.findings] == ["path-missing"] * 2
