"""Artifacts of ours come back from every registry byte for byte, or are refused."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.errors import (
    BundlerError,
    CouldNotCheck,
    NotFound,
    Unreachable,
    UsageError,
    VerificationFailed,
)
from bundler.model.artifact import Descriptor
from bundler.model.reference import Digest, Repository
from tests.contract.places import (
    Place,
    publish,
    release,
)
from tests.fakes.registry import InMemoryRegistry, image


@pytest.mark.requirement("B-80", "B-85")
def test_what_was_pushed_comes_back_byte_for_byte(place: Place) -> None:
    artifact = release()
    publish(place, artifact, "v1.0.0")
    assert place.registry.resolve(place.repository, "v1.0.0") == artifact.digest
    assert place.registry.tags(place.repository) == ("v1.0.0",)
    assert place.registry.manifest(place.repository, artifact.digest) == artifact.manifest.content
    for blob in artifact.blobs:
        assert place.registry.blob(place.repository, blob.descriptor) == blob.content


def test_a_digest_is_answered_with_itself_or_nothing(place: Place) -> None:
    artifact = release(secrets.token_hex())
    assert place.registry.resolve(place.repository, artifact.digest) is None
    publish(place, artifact, "v1.0.0")
    assert place.registry.resolve(place.repository, artifact.digest) == artifact.digest
    assert place.registry.resolve(place.repository, Digest.of(b"absent")) is None


def test_a_layer_is_no_manifest(place: Place, request: pytest.FixtureRequest) -> None:
    artifact = release(secrets.token_hex())
    publish(place, artifact, "v1.0.0")
    layer = artifact.layers[0].descriptor.digest
    if "older_registry" in request.fixturenames:  # it cannot say, which is not no
        with pytest.raises(CouldNotCheck):
            place.registry.resolve(place.repository, layer)
    else:
        assert place.registry.resolve(place.repository, layer) is None


def test_what_is_not_there_is_not_found(place: Place) -> None:
    publish(place, release(), "v1.0.0")
    absent = Digest.of(b"absent")
    with pytest.raises(NotFound, match=absent.hex):
        place.registry.manifest(place.repository, absent)
    with pytest.raises(NotFound, match=absent.hex):
        place.registry.blob(place.repository, Descriptor("text/plain", absent, 6))


def test_an_artifact_without_layers_can_be_published(place: Place) -> None:
    publish(place, image("empty"), "v1.0.0")
    assert place.registry.resolve(place.repository, "v1.0.0") == image("empty").digest


def test_a_tampered_blob_is_refused(damageable: Place) -> None:
    artifact = release(secrets.token_hex())
    publish(damageable, artifact, "v1.0.0")
    descriptor = artifact.layers[0].descriptor
    damageable.damage(descriptor.digest)
    with pytest.raises(VerificationFailed, match=descriptor.digest.hex):
        damageable.registry.blob(damageable.repository, descriptor)


def test_a_tampered_manifest_is_refused(damageable: Place) -> None:
    artifact = release(secrets.token_hex())
    publish(damageable, artifact, "v1.0.0")
    damageable.damage(artifact.digest)
    with pytest.raises(VerificationFailed, match=artifact.digest.hex):
        damageable.registry.manifest(damageable.repository, artifact.digest)


def test_a_blob_of_another_size_than_described_is_refused(place: Place) -> None:
    artifact = release()
    publish(place, artifact, "v1.0.0")
    described = artifact.layers[0].descriptor
    for size in (described.size - 1, described.size + 1):
        with pytest.raises(VerificationFailed):
            place.registry.blob(place.repository, replace(described, size=size))


def test_a_damaged_manifest_is_not_answered_by_its_digest_in_a_folder(folder: Place) -> None:
    publish(folder, release(), "v1.0.0")
    folder.damage(release().digest)
    with pytest.raises(VerificationFailed, match=release().digest.hex):
        folder.registry.resolve(folder.repository, release().digest)


@pytest.mark.parametrize("path", ["host", "host/../x", "host/UPPER", "host/a b"])
def test_a_repository_that_is_none_is_a_usage_error(anonymous: OciRegistry, path: str) -> None:
    with pytest.raises(UsageError):
        anonymous.tags(Repository("oci", path))


def test_the_fake_fails_and_counts_as_it_is_told() -> None:
    fake = InMemoryRegistry()
    repository = Repository("oci", "registry.test/shop/cart")
    digest = fake.put_image(repository, "abc", "cart")
    assert fake.resolve(repository, "abc") == digest
    assert fake.requests == {"resolve": 1}
    failure: BundlerError = Unreachable("registry.test does not answer")
    fake.failures[repository] = failure
    with pytest.raises(Unreachable):
        fake.tags(repository)
