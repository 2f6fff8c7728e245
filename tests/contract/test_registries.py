"""One suite for every place that artifacts can be in: the fake, a folder, real registries."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bundler.adapters.docker_credentials import DockerCredentials
from bundler.adapters.oci_registry import OciRegistry
from bundler.adapters.registries import Registries
from bundler.adapters.registry_patience import Patience
from bundler.errors import (
    AccessRefused,
    BundlerError,
    NotFound,
    Unreachable,
    UsageError,
    VerificationFailed,
    VersionExists,
)
from bundler.model.artifact import CONTENT_LAYER, RELEASE_CONFIG, Artifact, Blob, Descriptor
from bundler.model.reference import Digest, Repository
from bundler.ports import ArtifactRegistry
from tests.fakes.registry import InMemoryRegistry, image
from tools.registries import Distribution, ReferrersRegistry
from tools.server_process import free_port

USER, PASSWORD = "deployer", "canary-7f3a-password"
QUICK = Patience(attempts=3, first_pause=0.01, retrying=5, given_up=0)


@dataclass(frozen=True)
class Place:
    registry: ArtifactRegistry
    repository: Repository
    damage: Callable[[Digest], None]
    """Replace stored bytes behind the registry's back."""


def release(text: str = "v1") -> Artifact:
    """An artifact with a config and two layers, as bundles have them."""
    config = Blob.of(RELEASE_CONFIG, json.dumps({"release": text}).encode())
    layers = (
        Blob.of(CONTENT_LAYER, f"tar of {text}".encode() * 1000),
        Blob.of("application/json", json.dumps({"document": text}).encode(), "release.json"),
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.release-bundler.release.v1",
        "config": config.descriptor.as_dict(),
        "layers": [layer.descriptor.as_dict() for layer in layers],
    }
    content = json.dumps(manifest, indent=1).encode()
    return Artifact(Blob.of(str(manifest["mediaType"]), content), config, layers)


def fresh_repository(host: str) -> Repository:
    return Repository("oci", f"{host}/deploy/my.team/{secrets.token_hex(6)}")


def write_credentials(folder: Path, host: str, password: str = PASSWORD) -> DockerCredentials:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    path = folder / "config.json"
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return DockerCredentials([path])


def damage_storage(registry: Distribution, digest: Digest) -> None:
    stored = registry.directory / "storage/docker/registry/v2/blobs/sha256" / digest.hex[:2]
    path = stored / digest.hex / "data"
    path.write_bytes(path.read_bytes() + b"\n")  # still JSON: it serves no manifest that is none


@pytest.fixture(scope="session")
def private_distribution() -> Iterator[Distribution]:
    with Distribution(htpasswd=(USER, PASSWORD)) as registry:
        yield registry


@pytest.fixture
def anonymous() -> OciRegistry:
    return OciRegistry(credentials=DockerCredentials([]), patience=QUICK)


@pytest.fixture
def memory() -> Place:
    fake = InMemoryRegistry()
    repository = Repository("oci", "registry.test/deploy/shop")

    def damage(digest: Digest) -> None:
        fake.blobs[repository, digest] = b"tampered"

    return Place(fake, repository, damage)


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    def damage(digest: Digest) -> None:
        (tmp_path / "deploy/shop/blobs/sha256" / digest.hex).write_bytes(b"tampered")

    return Place(Registries(tmp_path), Repository("ocidir", "deploy/shop"), damage)


@pytest.fixture
def open_registry(distribution: Distribution, anonymous: OciRegistry) -> Place:
    repository = fresh_repository(distribution.host)
    return Place(anonymous, repository, lambda digest: damage_storage(distribution, digest))


@pytest.fixture
def private_registry(private_distribution: Distribution, tmp_path: Path) -> Place:
    credentials = write_credentials(tmp_path, private_distribution.host)
    registry = OciRegistry(credentials=credentials, patience=QUICK)
    repository = fresh_repository(private_distribution.host)
    return Place(registry, repository, lambda digest: damage_storage(private_distribution, digest))


@pytest.fixture
def registry_with_referrers(referrers_registry: ReferrersRegistry, anonymous: OciRegistry) -> Place:
    def damage(digest: Digest) -> None:
        raise AssertionError("its storage is its memory")

    return Place(anonymous, fresh_repository(referrers_registry.host), damage)


WITH_STORAGE = ["memory", "folder", "open_registry", "private_registry"]
NETWORK = ["open_registry", "private_registry", "registry_with_referrers"]


@pytest.fixture(params=[*WITH_STORAGE, "registry_with_referrers"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=WITH_STORAGE)
def damageable(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["memory", "folder"])
def atomic(request: pytest.FixtureRequest) -> Place:
    """A place that can compare and set."""
    found: Place = request.getfixturevalue(request.param)
    return found


def publish(place: Place, artifact: Artifact, tag: str) -> None:
    place.registry.push(place.repository, artifact)
    place.registry.tag(place.repository, artifact, tag)


@pytest.mark.requirement("B-80", "B-85")
def test_what_was_pushed_comes_back_byte_for_byte(place: Place) -> None:
    artifact = release()
    publish(place, artifact, "v1.0.0")
    assert place.registry.resolve(place.repository, "v1.0.0") == artifact.digest
    assert place.registry.tags(place.repository) == ("v1.0.0",)
    assert place.registry.manifest(place.repository, artifact.digest) == artifact.manifest.content
    for blob in artifact.blobs:
        assert place.registry.blob(place.repository, blob.descriptor) == blob.content


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


def test_a_digest_is_answered_with_itself_or_nothing(place: Place) -> None:
    artifact = release(secrets.token_hex())
    assert place.registry.resolve(place.repository, artifact.digest) is None
    publish(place, artifact, "v1.0.0")
    assert place.registry.resolve(place.repository, artifact.digest) == artifact.digest
    for absent in (Digest.of(b"absent"), artifact.layers[0].descriptor.digest):
        assert place.registry.resolve(place.repository, absent) is None


def test_what_is_not_there_is_not_found(place: Place) -> None:
    publish(place, release(), "v1.0.0")
    absent = Digest.of(b"absent")
    with pytest.raises(NotFound, match=absent.hex):
        place.registry.manifest(place.repository, absent)
    with pytest.raises(NotFound, match=absent.hex):
        place.registry.blob(place.repository, Descriptor("text/plain", absent, 6))


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


def test_an_artifact_without_layers_can_be_published(place: Place) -> None:
    publish(place, image("empty"), "v1.0.0")
    assert place.registry.resolve(place.repository, "v1.0.0") == image("empty").digest


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


def test_different_tags_set_at_once_are_all_there(place: Place) -> None:
    place.registry.push(place.repository, release())
    tags = {f"v1.0.{number}" for number in range(20)}
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda tag: place.registry.tag(place.repository, release(), tag), tags))
    assert set(place.registry.tags(place.repository)) == tags


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


@pytest.mark.requirement("B-55")
def test_wrong_credentials_do_not_look_like_a_missing_image(
    private_distribution: Distribution, tmp_path: Path
) -> None:
    host = private_distribution.host
    wrong = write_credentials(tmp_path, host, "canary-wrong")
    repository = fresh_repository(host)
    for credentials, hint in (
        (wrong, str(tmp_path / "config.json")),
        (DockerCredentials([]), "docker login"),
    ):
        registry = OciRegistry(credentials=credentials, patience=QUICK)
        questions: list[Callable[[], object]] = [
            lambda registry=registry: registry.resolve(repository, "v1.0.0"),  # type: ignore[misc]
            lambda registry=registry: registry.tags(repository),  # type: ignore[misc]
            lambda registry=registry: registry.push(repository, release()),  # type: ignore[misc]
        ]
        for ask in questions:
            with pytest.raises(AccessRefused, match=f"{host}/.*refuses access") as caught:
                ask()
            assert hint in (caught.value.hint or "")
            assert f"docker login {host}" in (caught.value.hint or "")
            assert "canary" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.requirement("B-85", "B-86")
def test_each_registry_is_used_with_its_own_credentials(
    private_registry: Place, open_registry: Place
) -> None:
    both = private_registry.registry
    for repository in (private_registry.repository, open_registry.repository):
        both.push(repository, release())
        both.tag(repository, release(), "v1.0.0")
        assert both.resolve(repository, "v1.0.0") == release().digest


@pytest.mark.requirement("B-55")
def test_a_registry_that_is_down_is_unreachable(anonymous: OciRegistry) -> None:
    repository = fresh_repository(f"127.0.0.1:{free_port()}")
    artifact = release()
    questions: list[Callable[[], object]] = [
        lambda: anonymous.resolve(repository, "v1.0.0"),
        lambda: anonymous.tags(repository),
        lambda: anonymous.manifest(repository, artifact.digest),
        lambda: anonymous.blob(repository, artifact.config.descriptor),
        lambda: anonymous.push(repository, artifact),
        lambda: anonymous.tag(repository, artifact, "v1.0.0"),
    ]
    for ask in questions:
        with pytest.raises(Unreachable, match="connection refused"):
            ask()


@pytest.mark.requirement("B-55")
def test_a_host_without_an_address_is_unreachable(anonymous: OciRegistry) -> None:
    with pytest.raises(Unreachable, match=r"registry\.invalid does not answer"):
        anonymous.resolve(Repository("oci", "registry.invalid/shop"), "v1.0.0")


def test_a_damaged_manifest_is_not_answered_by_its_digest_in_a_folder(folder: Place) -> None:
    publish(folder, release(), "v1.0.0")
    folder.damage(release().digest)
    with pytest.raises(VerificationFailed, match=release().digest.hex):
        folder.registry.resolve(folder.repository, release().digest)


@pytest.mark.parametrize("tag", ["", "a/b", "../x", "v1.0.0?x=1", "-v1"])
def test_a_text_that_is_no_tag_is_a_usage_error(open_registry: Place, tag: str) -> None:
    with pytest.raises(UsageError, match="is not a tag"):
        open_registry.registry.resolve(open_registry.repository, tag)


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
