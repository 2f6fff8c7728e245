"""Versions of every registry: set once, all listed, replaced only if they are as they were."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.errors import Refused, UsageError, VersionExists
from bundler.model.reference import Digest
from tests.contract.places import (
    ContentPlace,
    Place,
    fresh_repository,
    publish,
    put_blobs,
    release,
)
from tests.fakes.registry import image
from tools.registries import Distribution


@pytest.mark.requirement("B-83")
def test_no_tag_is_visible_before_it_is_set(place: Place) -> None:
    artifact = release()
    place.registry.push(place.repository, artifact)
    assert place.registry.resolve(place.repository, "v1.0.0") is None
    assert place.registry.tags(place.repository) == ()
    assert place.registry.manifest(place.repository, artifact.digest) == artifact.manifest.content


def test_an_unknown_repository_has_no_tags(place: Place) -> None:
    assert place.registry.resolve(place.repository, "v1.0.0") is None
    assert place.registry.tags(place.repository) == ()


def test_an_unknown_tag_of_a_known_repository_is_none(place: Place) -> None:
    publish(place, release(), "v1.0.0")
    assert place.registry.resolve(place.repository, "v2.0.0") is None


def test_publishing_the_same_twice_changes_nothing(place: Place) -> None:
    for _ in range(2):
        publish(place, release(), "v1.0.0")
    assert place.registry.tags(place.repository) == ("v1.0.0",)


@pytest.mark.requirement("B-80")
def test_a_tag_that_exists_with_other_content_is_refused(place: Place) -> None:
    publish(place, release("first"), "v1.0.0")
    with pytest.raises(VersionExists, match=r"v1\.0\.0"):
        publish(place, release("second"), "v1.0.0")
    assert place.registry.resolve(place.repository, "v1.0.0") == release("first").digest


def test_one_manifest_can_have_several_tags(place: Place) -> None:
    publish(place, release(), "v1.0.0")
    place.registry.tag(place.repository, release(), "v1.0.1")
    assert sorted(place.registry.tags(place.repository)) == ["v1.0.0", "v1.0.1"]


def test_twenty_who_publish_the_same_at_once_all_succeed(place: Place) -> None:
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: publish(place, release(), "v1.0.0"), range(20)))
    assert place.registry.tags(place.repository) == ("v1.0.0",)


def test_of_twenty_who_publish_different_content_at_once_one_wins(atomic: Place) -> None:
    def attempt(number: int) -> Digest | None:
        artifact = release(f"content {number}")
        try:
            publish(atomic, artifact, "v1.0.0")
        except VersionExists:
            return None
        return artifact.digest

    with ThreadPoolExecutor(20) as pool:
        winners = [digest for digest in pool.map(attempt, range(20)) if digest]
    assert winners == [atomic.registry.resolve(atomic.repository, "v1.0.0")]


@pytest.mark.requirement("B-80")
def test_of_twenty_who_publish_different_content_at_once_one_wins_on_the_network(
    distribution: Distribution,
) -> None:
    """Each with connections of his own; the registry would take them all."""
    repository = fresh_repository(distribution.host)

    def attempt(number: int) -> Digest | None:
        registry = OciRegistry(credentials=DockerCredentials([]), patience=Patience())
        artifact = image(f"content {number}")
        try:
            registry.push(repository, artifact)
            registry.tag(repository, artifact, "v1.0.0")
        except VersionExists:
            return None
        return artifact.digest

    with ThreadPoolExecutor(20) as pool:
        winners = [digest for digest in pool.map(attempt, range(20)) if digest]
    reader = OciRegistry(credentials=DockerCredentials([]))
    assert winners == [reader.resolve(repository, "v1.0.0")]


def test_different_tags_set_at_once_are_all_there(place: Place) -> None:
    place.registry.push(place.repository, release())
    tags = {f"v1.0.{number}" for number in range(20)}
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda tag: place.registry.tag(place.repository, release(), tag), tags))
    assert set(place.registry.tags(place.repository)) == tags


def test_a_tag_of_other_content_is_not_moved(content_place: ContentPlace) -> None:
    place = content_place.repository
    with content_place.writing() as writer:
        put_blobs(writer, place, image("first"), image("second"))
        for _ in range(2):
            writer.put_manifest(place, image("first").manifest, "v1.0.0")
        with pytest.raises(VersionExists, match=r"v1\.0\.0"):
            writer.put_manifest(place, image("second").manifest, "v1.0.0")
    assert content_place.reader.resolve(place, "v1.0.0") == image("first").digest


@pytest.mark.requirement("B-92")
@pytest.mark.parametrize("kind", ["distribution", "docker_registry"])
def test_ten_thousand_tags_are_all_listed(
    kind: str, request: pytest.FixtureRequest, anonymous: OciRegistry
) -> None:
    registry: Distribution = request.getfixturevalue(kind)
    repository, artifact = fresh_repository(registry.host), image("tagged")
    anonymous.push(repository, artifact)
    anonymous.tag(repository, artifact, "v0.0.0")
    stored = registry.directory / "storage/docker/registry/v2/repositories" / repository.name
    folder = stored / "_manifests/tags"
    for number in range(1, 10_000):
        (folder / f"v0.0.{number}").symlink_to("v0.0.0")
    tags = anonymous.tags(repository)
    assert len(tags) == 10_000
    assert set(tags) == {f"v0.0.{number}" for number in range(10_000)}


@pytest.mark.parametrize("tag", ["", "a/b", "../x", "v1.0.0?x=1", "-v1"])
def test_a_text_that_is_no_tag_is_a_usage_error(open_registry: Place, tag: str) -> None:
    with pytest.raises(UsageError, match="is not a tag"):
        open_registry.registry.resolve(open_registry.repository, tag)


# --- replacing on purpose -----------------------------------------------------------------------


@pytest.mark.requirement("B-82")
def test_a_version_is_replaced_if_it_is_what_was_expected(place: Place) -> None:
    registry, repository = place.registry, place.repository
    first, second = release("first"), release("second")
    publish(place, first, "v1.0.0")
    registry.push(repository, second)
    for _ in range(2):
        registry.tag(repository, second, "v1.0.0", first.digest)
        assert registry.resolve(repository, "v1.0.0") == second.digest
    assert registry.tags(repository) == ("v1.0.0",)
    assert registry.resolve(repository, first.digest) == first.digest
    assert registry.manifest(repository, first.digest) == first.manifest.content


@pytest.mark.requirement("B-82")
def test_a_version_that_is_not_what_was_expected_stays(place: Place) -> None:
    registry, repository = place.registry, place.repository
    publish(place, release("first"), "v1.0.0")
    registry.push(repository, release("second"))
    with pytest.raises(VersionExists, match=r"v1\.0\.0"):
        registry.tag(repository, release("second"), "v1.0.0", Digest.of(b"something else"))
    assert registry.resolve(repository, "v1.0.0") == release("first").digest


@pytest.mark.requirement("B-82")
def test_a_version_that_is_gone_is_not_replaced(place: Place) -> None:
    registry, repository = place.registry, place.repository
    registry.push(repository, release())
    with pytest.raises(Refused, match=r"v1\.0\.0 is not there any more"):
        registry.tag(repository, release(), "v1.0.0", Digest.of(b"something"))
    assert registry.tags(repository) == ()


def test_other_versions_of_what_is_replaced_stay(place: Place) -> None:
    registry, repository = place.registry, place.repository
    first, second = release("first"), release("second")
    publish(place, first, "v1.0.0")
    registry.tag(repository, first, "v1.0.1")
    registry.push(repository, second)
    registry.tag(repository, second, "v1.0.0", first.digest)
    assert registry.resolve(repository, "v1.0.0") == second.digest
    assert registry.resolve(repository, "v1.0.1") == first.digest
    assert sorted(registry.tags(repository)) == ["v1.0.0", "v1.0.1"]


@pytest.mark.requirement("B-82")
def test_of_twenty_who_replace_a_version_at_once_one_wins(atomic: Place) -> None:
    publish(atomic, release("first"), "v1.0.0")

    def attempt(number: int) -> Digest | None:
        artifact = release(f"content {number}")
        atomic.registry.push(atomic.repository, artifact)
        try:
            atomic.registry.tag(atomic.repository, artifact, "v1.0.0", release("first").digest)
        except VersionExists:
            return None
        return artifact.digest

    with ThreadPoolExecutor(20) as pool:
        winners = [digest for digest in pool.map(attempt, range(20)) if digest]
    assert winners == [atomic.registry.resolve(atomic.repository, "v1.0.0")]
