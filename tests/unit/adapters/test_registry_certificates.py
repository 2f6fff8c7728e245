"""Authorities and client certificates where Docker has them, with servers that insist on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.adapters.registry.certificates import Certificates
from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.errors import CouldNotCheck, Unreachable
from bundler.model.reference import Repository
from tests.fakes.registry import image
from tests.fakes.scripted_server import Answer, ScriptedServer
from tests.fakes.tls import NAME, certificate, name_here, server_tls

PATIENCE = Patience(connect=2, read=2, attempts=2, first_pause=0.01, given_up=0)
DIGEST = image().digest
FOUND = Answer(200, headers={"Docker-Content-Digest": str(DIGEST)})


@pytest.fixture
def tls_file(tmp_path: Path) -> Path:
    return certificate(tmp_path, NAME)


@pytest.fixture
def client_file(tmp_path: Path) -> Path:
    """The key and certificate of a client, which is its own authority."""
    folder = tmp_path / "client"
    folder.mkdir()
    return certificate(folder, "client.test")


@pytest.fixture
def server(
    tls_file: Path, client_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ScriptedServer]:
    """A registry that speaks only to who has a client certificate."""
    name_here(monkeypatch)
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    with ScriptedServer(lambda _: FOUND, server_tls(tls_file, clients=client_file)) as server:
        yield server


@pytest.fixture
def repository(server: ScriptedServer) -> Repository:
    return Repository("oci", f"{NAME}:{server.port}/shop/cart")


@pytest.fixture
def folder(tmp_path: Path, server: ScriptedServer, tls_file: Path, client_file: Path) -> Path:
    """The files of one host, complete."""
    folder = tmp_path / "certs.d" / f"{NAME}:{server.port}"
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(tls_file.read_bytes())
    for name in ("client.cert", "client.key"):
        (folder / name).write_bytes(client_file.read_bytes())
    return folder


@pytest.fixture
def registry(folder: Path) -> OciRegistry:
    return OciRegistry(
        credentials=DockerCredentials([]),
        patience=PATIENCE,
        certificates=Certificates([folder.parent / "absent", folder.parent]),
    )


@pytest.mark.requirement("B-86")
def test_a_client_certificate_is_shown_to_its_host(
    registry: OciRegistry, repository: Repository
) -> None:
    assert registry.resolve(repository, "v1") == DIGEST


@pytest.mark.requirement("B-86")
def test_without_a_client_certificate_the_host_is_unreachable(
    registry: OciRegistry, repository: Repository, folder: Path, server: ScriptedServer
) -> None:
    for name in ("client.cert", "client.key"):
        (folder / name).unlink()
    with pytest.raises(Unreachable):
        registry.resolve(repository, "v1")
    assert not server.asked


@pytest.mark.requirement("B-86")
def test_the_authority_of_one_host_is_not_trusted_for_another(
    registry: OciRegistry, tls_file: Path
) -> None:
    with (
        ScriptedServer(lambda _: FOUND, server_tls(tls_file)) as other,
        pytest.raises(Unreachable, match="certificate verify failed"),
    ):
        registry.resolve(Repository("oci", f"{NAME}:{other.port}/shop/cart"), "v1")


@pytest.mark.requirement("B-86")
def test_a_client_certificate_does_not_follow_a_redirect(
    registry: OciRegistry,
    repository: Repository,
    server: ScriptedServer,
    tls_file: Path,
    client_file: Path,
    folder: Path,
) -> None:
    with ScriptedServer(lambda _: FOUND, server_tls(tls_file, clients=client_file)) as other:
        server.answer = lambda _: Answer(307, headers={"Location": f"https://{NAME}:{other.port}/"})
        authority = folder.parent / f"{NAME}:{other.port}" / "ca.crt"
        authority.parent.mkdir()
        authority.write_bytes(tls_file.read_bytes())
        with pytest.raises(Unreachable):
            registry.resolve(repository, "v1")
        assert not other.asked


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("ca.crt", b"canary", "no certificate of an authority"),
        ("client.cert", b"canary", "no client certificate"),
        ("client.key", b"canary", "no client certificate"),
        ("client.key", None, "needs client.key"),
        ("client.cert", None, "needs client.cert"),
    ],
)
def test_damaged_files_are_could_not_check(
    registry: OciRegistry,
    repository: Repository,
    folder: Path,
    name: str,
    content: bytes | None,
    said: str,
) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(CouldNotCheck, match=said) as caught:
        registry.resolve(repository, "v1")
    assert "canary" not in str(caught.value)


def test_the_usual_port_may_be_left_out(tmp_path: Path, tls_file: Path) -> None:
    (tmp_path / "certs.d" / NAME).mkdir(parents=True)
    (tmp_path / "certs.d" / NAME / "ca.crt").write_bytes(tls_file.read_bytes())
    certificates = Certificates([tmp_path / "certs.d"])
    usual = certificates.usual()
    assert certificates.settings(("https", NAME, 443)) is not usual
    assert certificates.settings(("https", NAME, 5000)) is usual
    assert certificates.settings(("https", "other.test", 443)) is usual


def test_the_folders_are_those_of_docker() -> None:
    for environment, folders in (
        ({"HOME": "/home/me"}, ["/etc/docker/certs.d", "/home/me/.docker/certs.d"]),
        ({}, ["/etc/docker/certs.d"]),
    ):
        assert [str(each) for each in Certificates.from_environment(environment).folders] == folders
