"""One suite for every place that artifacts can be in: the fake, a folder, real registries."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bundler.adapters.docker_credentials import DockerCredentials
from bundler.adapters.oci_layout import OciLayout
from bundler.adapters.oci_registry import OciRegistry
from bundler.adapters.oci_tar import OciTar, OciTarWriter
from bundler.adapters.registries import Registries
from bundler.adapters.registry_certificates import Certificates
from bundler.adapters.registry_patience import Patience
from bundler.errors import (
    AccessRefused,
    BundlerError,
    CouldNotCheck,
    NotFound,
    Unreachable,
    UsageError,
    VerificationFailed,
    VersionExists,
)
from bundler.model.artifact import CONTENT_LAYER, RELEASE_CONFIG, Artifact, Blob, Descriptor
from bundler.model.reference import Digest, Repository
from bundler.ports import ArtifactRegistry, ContentReader, ContentWriter
from tests.fakes.registry import InMemoryRegistry, image, index, referrer
from tests.fakes.tls import NAME, TlsProxy, certificate, name_here, server_tls
from tests.fakes.token_service import TokenService
from tools.registries import Distribution, DockerRegistry, ReferrersRegistry
from tools.server_process import free_port

USER, PASSWORD = "deployer", "canary-7f3a-password"
IDENTITY_TOKEN = "canary-7f3a-identity"
QUICK = Patience(attempts=5, first_pause=0.05, retrying=5, settling=0.05, given_up=0)
LONGER = replace(QUICK, attempts=6, first_pause=0.1)
"""For Docker's registry 2.8, which fails while others write what it reads."""
CHUNK = 1024 * 1024


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


def undamaged(digest: Digest) -> None:
    raise AssertionError(f"{digest} cannot be damaged")


@pytest.fixture(scope="session")
def private_distribution() -> Iterator[Distribution]:
    with Distribution(htpasswd=(USER, PASSWORD)) as registry:
        yield registry


@pytest.fixture(scope="session")
def tls_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"), NAME)


@pytest.fixture(scope="session")
def tls_distribution(private_distribution: Distribution, tls_file: Path) -> Iterator[str]:
    """The host of a registry with passwords, behind a proxy that speaks TLS."""
    with TlsProxy(private_distribution.host, server_tls(tls_file)) as proxy:
        yield proxy.host


@pytest.fixture(scope="session")
def token_service(tls_file: Path) -> Iterator[TokenService]:
    with TokenService(tls_file, USER, PASSWORD, IDENTITY_TOKEN) as service:
        yield service


@contextmanager
def taking_tokens(kind: type[Distribution], service: TokenService, tls_file: Path) -> Iterator[str]:
    """The host of a registry that takes tokens, behind a proxy that speaks TLS."""
    with (
        kind(tokens=service.access) as registry,
        TlsProxy(registry.host, server_tls(tls_file)) as proxy,
    ):
        yield proxy.host


@pytest.fixture(scope="session")
def token_distribution(token_service: TokenService, tls_file: Path) -> Iterator[str]:
    with taking_tokens(Distribution, token_service, tls_file) as host:
        yield host


@pytest.fixture(scope="session")
def token_docker_registry(token_service: TokenService, tls_file: Path) -> Iterator[str]:
    with taking_tokens(DockerRegistry, token_service, tls_file) as host:
        yield host


@pytest.fixture
def trusting(
    tls_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., OciRegistry]:
    """Make a registry that trusts our certificate, with a password."""
    name_here(monkeypatch)

    def trusting(*hosts: str, credentials: DockerCredentials | None = None) -> OciRegistry:
        for host in hosts:
            (tmp_path / "certs.d" / host).mkdir(parents=True)
            (tmp_path / "certs.d" / host / "ca.crt").write_bytes(tls_file.read_bytes())
        return OciRegistry(
            credentials=credentials or write_credentials(tmp_path, hosts[0]),
            patience=LONGER,
            certificates=Certificates([tmp_path / "certs.d"]),
            chunk_bytes=CHUNK,
        )

    return trusting


@pytest.fixture
def anonymous() -> OciRegistry:
    return OciRegistry(credentials=DockerCredentials([]), patience=QUICK, chunk_bytes=CHUNK)


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
def behind_tls(tls_distribution: str, trusting: Callable[..., OciRegistry]) -> Place:
    return Place(trusting(tls_distribution), fresh_repository(tls_distribution), undamaged)


@pytest.fixture
def with_tokens(
    token_distribution: str, token_service: TokenService, trusting: Callable[..., OciRegistry]
) -> Place:
    registry = trusting(token_distribution, f"{NAME}:{token_service.server.port}")
    return Place(registry, fresh_repository(token_distribution), undamaged)


@pytest.fixture
def older_with_tokens(
    token_docker_registry: str, token_service: TokenService, trusting: Callable[..., OciRegistry]
) -> Place:
    registry = trusting(token_docker_registry, f"{NAME}:{token_service.server.port}")
    return Place(registry, fresh_repository(token_docker_registry), undamaged)


@pytest.fixture
def older_registry(docker_registry: DockerRegistry) -> Place:
    registry = OciRegistry(credentials=DockerCredentials([]), patience=LONGER, chunk_bytes=CHUNK)
    repository = fresh_repository(docker_registry.host)
    return Place(registry, repository, lambda digest: damage_storage(docker_registry, digest))


@pytest.fixture
def registry_with_referrers(referrers_registry: ReferrersRegistry, anonymous: OciRegistry) -> Place:
    return Place(anonymous, fresh_repository(referrers_registry.host), undamaged)


WITH_STORAGE = ["memory", "folder", "open_registry", "private_registry", "older_registry"]
WITH_REFERENCES = [
    "open_registry",
    "older_registry",
    "behind_tls",
    "with_tokens",
    "older_with_tokens",
]
"""Those that check that a manifest's parts are there."""
NETWORK = [*WITH_REFERENCES, "registry_with_referrers"]


@pytest.fixture(params=[*WITH_STORAGE, "registry_with_referrers", "behind_tls", "with_tokens"])
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


# --- content of any kind, with all that belongs to it ---


@dataclass(frozen=True)
class ContentPlace:
    """A place that content is copied to, and then read from."""

    repository: Repository
    reader: ContentReader
    writing: Callable[[], AbstractContextManager[ContentWriter]]


@pytest.fixture(params=["memory", "folder", "tar", *NETWORK])
def content_place(request: pytest.FixtureRequest, tmp_path: Path) -> ContentPlace:
    if request.param in NETWORK:
        place = request.getfixturevalue(request.param)
        return ContentPlace(place.repository, place.registry, lambda: nullcontext(place.registry))
    if request.param == "memory":
        fake = InMemoryRegistry()
        repository = Repository("oci", "registry.test/deploy/shop")
        return ContentPlace(repository, fake, lambda: nullcontext(fake))
    if request.param == "folder":
        layout = OciLayout(tmp_path)
        repository = Repository("ocidir", "deploy/shop")
        return ContentPlace(repository, layout, lambda: nullcontext(layout))
    file = tmp_path / "shop.tar"
    return ContentPlace(
        Repository("ocitar", "shop.tar"), OciTar(tmp_path), lambda: OciTarWriter(file)
    )


def put(writer: ContentWriter, repository: Repository, blob: Blob) -> None:
    writer.put_blob(repository, blob.descriptor, lambda: iter([blob.content]))


def put_blobs(writer: ContentWriter, repository: Repository, *artifacts: Artifact) -> None:
    for each in artifacts:
        for blob in each.blobs:
            put(writer, repository, blob)


@pytest.mark.requirement("B-89")
def test_an_image_of_any_kind_comes_back_with_all_that_belongs_to_it(
    content_place: ContentPlace,
) -> None:
    one, other = image("amd64", layers=[b"a" * 5000, b"b"]), image("arm64", layers=[b"c", b"b"])
    both = index([one.manifest.descriptor, other.manifest.descriptor])
    signature = referrer(both.descriptor, b"signed", annotations={"by": "us"})
    place = content_place.repository
    with content_place.writing() as writer:
        put_blobs(writer, place, one, other, signature)
        for manifest, tag in (
            (one.manifest, None),
            (other.manifest, None),
            (both, None),
            (signature.manifest, None),
            (both, "v1.0.0"),
        ):
            writer.put_manifest(place, manifest, tag)
            assert writer.has(place, manifest.descriptor)
    reader = content_place.reader
    assert [tag for tag in reader.tags(place) if not tag.startswith("sha256-")] == ["v1.0.0"]
    assert reader.resolve(place, "v1.0.0") == both.descriptor.digest
    for manifest in (one.manifest, other.manifest, both, signature.manifest):
        described = reader.descriptor(place, manifest.descriptor.digest)
        assert described is not None
        assert replace(described, annotations={}) == manifest.descriptor
        assert reader.manifest(place, manifest.descriptor.digest) == manifest.content
    for each in (one, other, signature):
        for blob in each.blobs:
            assert b"".join(reader.blob_pieces(place, blob.descriptor)) == blob.content
    found = reader.referrers(place, both.descriptor.digest)
    assert [each.digest for each in found] == [signature.digest]
    assert reader.referrers(place, one.digest) == ()


def test_a_blob_that_is_not_what_it_is_said_to_be_is_not_kept(content_place: ContentPlace) -> None:
    place, blob = content_place.repository, Blob.of("text/plain", b"right" * 1000)
    with content_place.writing() as writer:
        for wrong in (b"", b"wrong" * 1000, blob.content[:-1], blob.content + b"x"):
            with pytest.raises(VerificationFailed):
                put(writer, place, replace(blob, content=wrong))
            assert not writer.has(place, blob.descriptor)
        put(writer, place, blob)
        assert writer.has(place, blob.descriptor)
    assert b"".join(content_place.reader.blob_pieces(place, blob.descriptor)) == blob.content


def test_a_blob_that_is_there_is_not_asked_for_again(content_place: ContentPlace) -> None:
    place, blob = content_place.repository, Blob.of("text/plain", b"content")

    def unwanted() -> Iterator[bytes]:
        raise AssertionError("asked for")

    with content_place.writing() as writer:
        put(writer, place, blob)
        writer.put_blob(place, blob.descriptor, unwanted)


def test_a_large_blob_comes_in_pieces(content_place: ContentPlace) -> None:
    place, blob = content_place.repository, Blob.of("text/plain", b"0123456789abcdef" * 200_000)
    with content_place.writing() as writer:
        put(writer, place, blob)
    pieces = list(content_place.reader.blob_pieces(place, blob.descriptor))
    assert max(map(len, pieces)) <= 1024 * 1024
    assert b"".join(pieces) == blob.content


def test_a_manifest_needs_its_parts(
    content_place: ContentPlace, request: pytest.FixtureRequest
) -> None:
    if "registry_with_referrers" in request.fixturenames:
        return  # it takes any
    one = image("amd64", layers=[b"a"])
    place = content_place.repository
    with content_place.writing() as writer:
        for manifest in (one.manifest, index([one.manifest.descriptor])):
            with pytest.raises(BundlerError):
                writer.put_manifest(place, manifest, "v1.0.0")
    assert content_place.reader.tags(place) == ()


def test_a_tag_of_other_content_is_not_moved(content_place: ContentPlace) -> None:
    place = content_place.repository
    with content_place.writing() as writer:
        put_blobs(writer, place, image("first"), image("second"))
        for _ in range(2):
            writer.put_manifest(place, image("first").manifest, "v1.0.0")
        with pytest.raises(VersionExists, match=r"v1\.0\.0"):
            writer.put_manifest(place, image("second").manifest, "v1.0.0")
    assert content_place.reader.resolve(place, "v1.0.0") == image("first").digest


def test_what_was_never_written_is_not_there(content_place: ContentPlace) -> None:
    place, absent = content_place.repository, image("absent").manifest.descriptor
    with content_place.writing() as writer:
        assert not writer.has(place, absent)
    reader = content_place.reader
    assert reader.descriptor(place, "v1.0.0") is None
    assert reader.descriptor(place, absent.digest) is None
    assert reader.referrers(place, absent.digest) == ()
    with pytest.raises(NotFound):
        list(reader.blob_pieces(place, absent))


def test_many_threads_write_one_content(content_place: ContentPlace) -> None:
    place = content_place.repository
    images = [
        image(str(number % 5), layers=[b"shared", bytes([number % 5])]) for number in range(40)
    ]
    with content_place.writing() as writer, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda each: put_blobs(writer, place, each), images))
        list(
            pool.map(
                lambda number: writer.put_manifest(
                    place, images[number].manifest, f"v{number % 5}" if number > 20 else None
                ),
                range(40),
            )
        )
    assert sorted(content_place.reader.tags(place)) == ["v0", "v1", "v2", "v3", "v4"]


def test_nothing_is_added_to_a_tar_file(tmp_path: Path) -> None:
    registries, file = Registries(tmp_path), Repository("ocitar", "shop.tar")
    with OciTarWriter(tmp_path / "shop.tar") as writer:
        put_blobs(writer, file, image("cart"))
        writer.put_manifest(file, image("cart").manifest, "v1.0.0")
    assert registries.resolve(file, "v1.0.0") == image("cart").digest
    with pytest.raises(UsageError, match="nothing can be added"):
        registries.push(file, image("other"))


# --- on the network ---


@pytest.fixture(params=NETWORK)
def network(request: pytest.FixtureRequest) -> ContentPlace:
    place = request.getfixturevalue(request.param)
    return ContentPlace(place.repository, place.registry, lambda: nullcontext(place.registry))


@pytest.mark.requirement("B-84")
def test_a_blob_of_another_repository_of_the_registry_is_mounted(network: ContentPlace) -> None:
    here = network.repository
    near = Repository("oci", f"{here}/base".removeprefix("oci://"))
    blob = Blob.of("text/plain", secrets.token_bytes(3 * 1024 * 1024))
    with network.writing() as registry:
        registry.put_blob(near, blob.descriptor, lambda: iter([blob.content]))
        registry.put_blob(here, blob.descriptor, lambda: iter([blob.content]), near)
        assert registry.has(here, blob.descriptor)
        absent = Blob.of("text/plain", secrets.token_bytes(10))
        registry.put_blob(here, absent.descriptor, lambda: iter([absent.content]), near)
        assert registry.has(here, absent.descriptor)
    assert b"".join(network.reader.blob_pieces(here, blob.descriptor)) == blob.content


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


@pytest.mark.requirement("B-87")
def test_all_referrers_that_are_written_at_once_are_found(network: ContentPlace) -> None:
    place, subject = network.repository, image("subject", layers=[b"layer"])
    signatures = [referrer(subject.manifest.descriptor, bytes([number])) for number in range(12)]
    with network.writing() as registry, ThreadPoolExecutor(6) as pool:
        put_blobs(registry, place, subject, *signatures)
        registry.put_manifest(place, subject.manifest, "v1.0.0")
        list(pool.map(lambda each: registry.put_manifest(place, each.manifest), signatures))
    found = network.reader.referrers(place, subject.digest)
    assert {each.digest for each in found} == {each.digest for each in signatures}


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


@pytest.mark.requirement("B-86")
def test_an_identity_token_is_enough(
    token_distribution: str,
    token_service: TokenService,
    trusting: Callable[..., OciRegistry],
    tmp_path: Path,
) -> None:
    path = tmp_path / "auth.json"
    auths = {token_distribution: {"identitytoken": IDENTITY_TOKEN}}
    path.write_text(json.dumps({"auths": auths}))
    registry = trusting(
        token_distribution,
        f"{NAME}:{token_service.server.port}",
        credentials=DockerCredentials([path]),
    )
    place = Place(registry, fresh_repository(token_distribution), undamaged)
    publish(place, release(), "v1.0.0")
    assert registry.resolve(place.repository, "v1.0.0") == release().digest


@pytest.mark.requirement("B-55", "B-86")
def test_a_token_service_that_refuses_is_told_as_such(
    token_distribution: str,
    token_service: TokenService,
    trusting: Callable[..., OciRegistry],
    tmp_path: Path,
) -> None:
    registry = trusting(
        token_distribution,
        f"{NAME}:{token_service.server.port}",
        credentials=write_credentials(tmp_path, token_distribution, "canary-wrong"),
    )
    with pytest.raises(AccessRefused, match="gives no token") as caught:
        registry.put_manifest(fresh_repository(token_distribution), image().manifest, "v1.0.0")
    assert "canary" not in f"{caught.value} {caught.value.hint}"


KEPT_IN = {
    "REGISTRY_AUTH_FILE": ("auth.json", "auth.json"),
    "DOCKER_CONFIG": ("", "config.json"),
    "XDG_RUNTIME_DIR": ("", "containers/auth.json"),
    "XDG_CONFIG_HOME": ("", "containers/auth.json"),
    "HOME": ("", ".config/containers/auth.json"),
}
"""What a variable names in a folder, and where the credentials are there."""


@pytest.mark.requirement("B-86")
@pytest.mark.parametrize("variable", KEPT_IN)
@pytest.mark.parametrize("scope", ["", "/deploy", "/deploy/my.team"])
def test_credentials_are_found_where_they_are_kept(
    tls_distribution: str,
    trusting: Callable[..., OciRegistry],
    tmp_path: Path,
    variable: str,
    scope: str,
) -> None:
    named, place = KEPT_IN[variable]
    file = tmp_path / "kept" / place
    file.parent.mkdir(parents=True)
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    file.write_text(json.dumps({"auths": {f"{tls_distribution}{scope}": {"auth": auth}}}))
    environment = {variable: str(tmp_path / "kept" / named)}
    credentials = DockerCredentials.from_environment(environment)
    registry = trusting(tls_distribution, credentials=credentials)
    repository = fresh_repository(tls_distribution)
    registry.push(repository, release())
    assert registry.resolve(repository, release().digest) == release().digest
    if scope:
        with pytest.raises(AccessRefused):
            registry.tags(Repository("oci", f"{tls_distribution}/elsewhere/shop"))


@pytest.mark.requirement("B-86")
def test_a_credential_helper_is_asked(
    tls_distribution: str,
    trusting: Callable[..., OciRegistry],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    helper = tmp_path / "docker-credential-contract"
    answer = json.dumps({"Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"credHelpers": {tls_distribution: "contract"}}))
    registry = trusting(tls_distribution, credentials=DockerCredentials([config]))
    repository = fresh_repository(tls_distribution)
    registry.push(repository, release())
    assert registry.resolve(repository, release().digest) == release().digest
