"""What bundler.yaml's findings say, and where they point."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.adapters.project import file as project_file
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
from bundler.errors import ProjectFileInvalid
from bundler.model.finding import Finding
from bundler.model.project import GITFLOW, Project
from bundler.model.reference import ImageReference

PROJECT = """
apiVersion: bundler/v1
kind: Project
name: shop
deployRegistry: oci://registry.example.com/deploy/shop
images: {registry: "%s"}
services:
  cart: {path: cart}
  orders: {path: orders%s}
"""


def told(registry: str = "registry.example.com/shop", orders: str = "") -> tuple[Finding, ...]:
    with pytest.raises(ProjectFileInvalid) as raised:
        project_file.parse(
            (PROJECT % (registry, orders)).encode(),
            Path("/"),
            DocumentSchemas(),
            KubernetesSchemas(),
        )
    return raised.value.findings


def findings(registry: str = "registry.example.com/shop", orders: str = "") -> list[str | None]:
    return [finding.pointer for finding in told(registry, orders)]


@pytest.mark.parametrize("registry", ["https://registry.example.com/shop", "R/Shop", "a b"])
def test_a_wrong_registry_is_told_once_and_where_it_is_written(registry: str) -> None:
    assert findings(registry) == ["/images/registry"]


@pytest.mark.parametrize("image", ["x.example.com/orders:v1", "https://x.example.com/orders"])
def test_a_wrong_image_is_told_at_its_service(image: str) -> None:
    assert findings(orders=f", image: '{image}'") == ["/services/orders/image"]


def parsed(more: str, services: str = "  cart: {path: cart}") -> Project:
    text = f"""
apiVersion: bundler/v1
kind: Project
name: shop
deployRegistry: oci://registry.example.com/deploy/shop
services:
{services}
{more}
"""
    return project_file.parse(text.encode(), Path("/"), DocumentSchemas(), KubernetesSchemas())


IMAGES = "images: {registry: registry.example.com/shop%s}"


def test_patterns_of_the_project_hold_for_all_services_and_libraries() -> None:
    project = parsed(
        f'ignore: ["*.md"]\nlibraries: {{money: {{paths: [libs]}}}}\n{IMAGES % ""}',
        "  cart: {path: cart, uses: [money], ignore: [docs/]}",
    )
    assert project.services["cart"].ignore == ("*.md", "docs/")
    assert project.libraries["money"].ignore == ("*.md",)
    [own, library] = project.inputs_of(project.services["cart"])
    assert (own.path, library.path) == ("cart", "libs")
    assert own.ignore == library.ignore == ("*.md", "docs/")


@pytest.mark.requirement("B-01")
def test_branches_have_roles_that_can_be_set() -> None:
    assert parsed(IMAGES % "").branches == GITFLOW
    project = parsed(f"branches: {{main: [trunk], feature: [dev/*]}}\n{IMAGES % ''}")
    roles = {name: project.branches.role(name) for name in ("trunk", "main", "dev/x", "develop")}
    assert roles == {"trunk": "main", "main": None, "dev/x": "feature", "develop": "develop"}
    assert project.releases.branches == ("trunk",)


@pytest.mark.requirement("B-52")
def test_third_party_images_can_be_denied() -> None:
    project = parsed(IMAGES % ', external: {allow: ["redis:*", "*:latest"], deny: ["*:latest"]}')
    taken = {name: project.is_external(ImageReference.parse(name)) for name in ("redis:7", "redis")}
    assert taken == {"redis:7": True, "redis": False}
    assert project.is_denied(ImageReference.parse("docker.io/library/redis"))


def test_platforms_of_the_project_hold_unless_a_service_has_its_own() -> None:
    project = parsed(
        IMAGES % ", platforms: [linux/amd64, linux/arm64]",
        "  cart: {path: cart, platforms: [linux/amd64]}\n  web: {path: web}",
    )
    assert project.services["cart"].platforms == ("linux/amd64",)
    assert project.services["web"].platforms == ("linux/amd64", "linux/arm64")


def test_disabled_services_are_no_part_of_releases() -> None:
    project = parsed(IMAGES % "", "  cart: {path: cart}\n  next: {path: next, disabled: true}")
    assert (list(project.services), list(project.disabled)) == (["cart"], ["next"])


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [
        ("submodule: sub, uses: [money]", "uses"),
        ("repository: 'https://git.example.com/x', ignore: ['*.md']", "ignore"),
        ("submodule: sub, formerPaths: [old]", "formerPaths"),
        ("path: orders2, ref: v1", "ref"),
        ("repository: 'https://me:secret@git.example.com/x'", "repository"),
        ("repository: 'https://secret@git.example.com/x'", "repository"),
        ("repository: 'ext::sh -c id'", "repository"),
        ("repository: '--upload-pack=x'", "repository"),
        ("repository: 'https://git.example.com/x', ref: '-x'", "ref"),
    ],
)
def test_what_has_no_meaning_for_a_source_elsewhere_is_told(settings: str, pointer: str) -> None:
    text = f"""
apiVersion: bundler/v1
kind: Project
name: shop
deployRegistry: oci://registry.example.com/deploy/shop
images: {{registry: registry.example.com/shop}}
libraries: {{money: {{paths: [libs]}}}}
services: {{cart: {{{settings}}}}}
"""
    with pytest.raises(ProjectFileInvalid) as raised:
        project_file.parse(text.encode(), Path("/"), DocumentSchemas(), KubernetesSchemas())
    assert [finding.pointer for finding in raised.value.findings] == [f"/services/cart/{pointer}"]
    assert "secret" not in str([finding.as_dict() for finding in raised.value.findings])


def test_a_password_in_a_url_is_not_repeated_whatever_is_wrong_with_it() -> None:
    found = told(orders=", repository: 'https://me:secret@git.example.com/a b'")
    assert found
    assert "secret" not in str([finding.as_dict() for finding in found])


def test_two_services_cannot_have_one_image() -> None:
    found = told(orders=", image: registry.example.com/shop/cart")
    assert [finding.message for finding in found] == [
        "image name 'registry.example.com/shop/cart' means service 'cart' already"
    ]


def test_a_branch_pattern_has_one_role() -> None:
    with pytest.raises(ProjectFileInvalid) as raised:
        parsed(f"branches: {{develop: [main]}}\n{IMAGES % ''}")
    assert [finding.message for finding in raised.value.findings] == [
        "'main' is a main branch already"
    ]
