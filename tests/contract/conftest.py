"""Every place that artifacts can be in: the fake, a folder, a file, real registries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from bundler.adapters.layout.oci_layout import OciLayout
from bundler.adapters.layout.oci_tar import OciTar, OciTarWriter
from bundler.adapters.registry.certificates import Certificates
from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.registries import Registries
from bundler.model.reference import Digest, Repository
from tests.contract.places import (
    CHUNK,
    IDENTITY_TOKEN,
    LONGER,
    NETWORK,
    PASSWORD,
    QUICK,
    USER,
    WITH_STORAGE,
    ContentPlace,
    Place,
    fresh_repository,
    undamaged,
    write_credentials,
)
from tests.fakes.registry import InMemoryRegistry
from tests.fakes.tls import NAME, TlsProxy, certificate, name_here, server_tls
from tests.fakes.token_service import TokenService
from tools.registries import Distribution, DockerRegistry, ReferrersRegistry


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


def damage_storage(registry: Distribution, digest: Digest) -> None:
    stored = registry.directory / "storage/docker/registry/v2/blobs/sha256" / digest.hex[:2]
    path = stored / digest.hex / "data"
    path.write_bytes(path.read_bytes() + b"\n")  # still JSON: it serves no manifest that is none


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


@pytest.fixture(params=NETWORK)
def network(request: pytest.FixtureRequest) -> ContentPlace:
    place = request.getfixturevalue(request.param)
    return ContentPlace(place.repository, place.registry, lambda: nullcontext(place.registry))
