"""Listing a deploy registry that has been in use for years."""

from __future__ import annotations

import time

import pytest

from bundler.bundles import list_versions, only_version
from bundler.errors import NotFound, UsageError
from bundler.model.artifact import (
    CONTENT_LAYER,
    CREATED,
    RELEASE_ARTIFACT,
    RELEASE_CONFIG,
    REVISION,
    Artifact,
    Blob,
)
from bundler.model.reference import Repository
from tests.fakes.registry import InMemoryRegistry, artifact, image

REPOSITORY = Repository("oci", "registry.example.com/deploy/shop")
COMMIT = "a" * 40


def bundle() -> Artifact:
    annotations = {CREATED: "2026-01-02T03:04:05Z", REVISION: f"v1@sha1:{COMMIT}"}
    return artifact(
        Blob.of(RELEASE_CONFIG, b"{}"),
        (Blob.of(CONTENT_LAYER, b"tar"),),
        artifactType=RELEASE_ARTIFACT,
        annotations=annotations,
    )


@pytest.fixture
def registry() -> InMemoryRegistry:
    """10,000 versions, and tags of other things among them."""
    registry = InMemoryRegistry()
    for number in range(10_000):
        registry.put(REPOSITORY, bundle(), f"v1.{number // 10}.{number % 10}")
    for tag in ("v1.999.10", "v1.999.11", "latest-image"):
        registry.put(REPOSITORY, image(tag), tag)
    return registry


@pytest.mark.requirement("B-90")
def test_the_newest_of_10000_are_listed_with_few_questions(registry: InMemoryRegistry) -> None:
    listing = list_versions(registry, REPOSITORY, limit=50)
    assert [each.version for each in listing.versions[:3]] == ["v1.999.9", "v1.999.8", "v1.999.7"]
    assert len(listing.versions) == 50
    assert listing.versions[0].commit == COMMIT
    assert listing.versions[0].created == "2026-01-02T03:04:05Z"
    assert listing.older == 10_003 - 52
    assert registry.requests["tagged"] == 52


def test_all_10000_are_listed_in_order(registry: InMemoryRegistry) -> None:
    started = time.monotonic()
    listing = list_versions(registry, REPOSITORY)
    assert [each.version for each in listing.versions] == [
        f"v1.{number // 10}.{number % 10}" for number in reversed(range(10_000))
    ]
    assert listing.older == 0
    assert time.monotonic() - started < 30


def test_the_one_version_of_a_place_needs_no_name() -> None:
    registry = InMemoryRegistry()
    with pytest.raises(NotFound):
        only_version(registry, REPOSITORY)
    registry.put(REPOSITORY, image("one"), "sha256-1.image")
    digest = registry.put(REPOSITORY, bundle(), "v1.0.0")
    assert str(only_version(registry, REPOSITORY)) == f"{REPOSITORY}:v1.0.0@{digest}"
    registry.put(REPOSITORY, bundle(), "v1.1.0")
    with pytest.raises(UsageError, match="2 versions") as caught:
        only_version(registry, REPOSITORY)
    assert "v1.1.0" in str(caught.value.hint)


@pytest.mark.requirement("B-90")
def test_tags_that_tools_make_for_referrers_and_copies_are_no_versions() -> None:
    registry = InMemoryRegistry()
    digest = registry.put(REPOSITORY, bundle(), "v1.0.0")
    made = f"sha256-{digest.hex}"
    for suffix in ("", ".sig", ".att", ".sbom", ".image", ".replaced"):
        registry.put(REPOSITORY, bundle(), f"{made}{suffix}")
    assert set(registry.tags(REPOSITORY)) >= {made, f"{made}.sig"}
    listing = list_versions(registry, REPOSITORY)
    assert [each.version for each in listing.versions] == ["v1.0.0"]
    assert listing.older == 0
    assert only_version(registry, REPOSITORY).tag == "v1.0.0"
