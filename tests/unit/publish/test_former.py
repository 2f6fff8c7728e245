"""A release is compared with the one before it."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.manifests import write_documents
from bundler.model.artifact import Artifact
from bundler.model.bundle import RenderedBundle, RenderedTarget, ValidatedBundle
from bundler.model.reference import Repository
from bundler.model.release import ReleaseTag
from bundler.publish import former
from bundler.publish.pack import pack
from bundler.publish.published import PublishedRelease
from bundler.publish.push import push
from bundler.publish.render import files
from tests.fakes.registry import InMemoryRegistry
from tests.fakes.shop import deployment, environment, lock, pinned, project

REGISTRY = Repository("oci", "registry.test/deploy/shop")
CART = deployment("cart", pinned("cart"))
ORDERS = deployment("orders", pinned("orders"))


def artifact(*objects: dict[str, Any]) -> Artifact:
    shop = project()
    target = RenderedTarget(environment(), environment().targets[0], objects)
    rendered = RenderedBundle(lock(shop), (target,), {"kustomize": "v5.8.2"})
    return pack(shop, ValidatedBundle(rendered, files(rendered), {"stage": "1.36"}))


@pytest.fixture
def registry() -> InMemoryRegistry:
    registry = InMemoryRegistry()
    for version, objects in {"v1.0.0": (CART,), "v1.1.0": (CART, ORDERS), "v2.0.0": ()}.items():
        push(registry, REGISTRY, artifact(*objects), version)
    return registry


def find(registry: InMemoryRegistry, tag: str) -> PublishedRelease | None:
    return former.find(registry, REGISTRY, ReleaseTag(tag), DocumentSchemas())


@pytest.mark.parametrize(
    ("tag", "before"),
    [("v1.0.0", None), ("v1.1.0", "v1.0.0"), ("v1.2.0", "v1.1.0"), ("main", None)],
)
def test_the_next_lower_version_is_the_one_before(
    registry: InMemoryRegistry, tag: str, before: str | None
) -> None:
    found = find(registry, tag)
    assert (found and found.manifest.reference.tag) == before


def test_objects_that_are_not_the_same_any_more_are_those_of_the_release_before(
    registry: InMemoryRegistry,
) -> None:
    before = find(registry, "v1.2.0")
    assert before is not None
    path = "stage/default/30-workloads.yaml"
    assert former.changed_objects(registry, before, {path: write_documents([CART, ORDERS])}) == {
        "stage/default": []
    }
    changed = former.changed_objects(registry, before, {path: write_documents([CART])})
    assert changed == {"stage/default": [ORDERS]}
    assert former.changed_objects(registry, before, {}) == {"stage/default": [CART, ORDERS]}
