"""TLS, proxies, cookies, netrc and redirects: who is told what."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import responses
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bundler.adapters.docker_credentials import DockerCredentials
from bundler.adapters.oci_registry import OciRegistry
from bundler.adapters.registry_client import is_loopback
from bundler.adapters.registry_http import Patience, RegistryHttp, Request, host_of, joined
from bundler.errors import CouldNotCheck, Unreachable
from bundler.model.reference import Repository
from tests.fakes.registry import image
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer

PATIENCE = Patience(connect=2, read=2, attempts=2, first_pause=0.01, given_up=0)
NAME = "registry.test"


@pytest.fixture
def http() -> RegistryHttp:
    return RegistryHttp(PATIENCE)


def certificate(folder: Path, name: str) -> Path:
    """A file with the key and the self-signed certificate of a host."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "tls.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def tls_file(tmp_path: Path) -> Path:
    return certificate(tmp_path, NAME)


@pytest.fixture
def tls_server(tls_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A registry with TLS that is found under a name of its own."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tls_file)
    digest = str(image().digest)
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **named: Any) -> Any:
        return resolve("127.0.0.1" if host == NAME else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    answer = Answer(200, headers={"Docker-Content-Digest": digest})
    with ScriptedServer(lambda _: answer, tls) as server:
        yield server


@pytest.mark.requirement("B-86")
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_ca_is_trusted_where_it_is_named(
    tls_server: ScriptedServer, tls_file: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(tls_file))
    registry = OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)
    repository = Repository("oci", f"{NAME}:{tls_server.port}/shop/cart")
    assert registry.resolve(repository, "v1") == image().digest


@pytest.mark.requirement("B-86")
def test_an_unknown_certificate_is_refused(tls_server: ScriptedServer) -> None:
    registry = OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)
    repository = Repository("oci", f"{NAME}:{tls_server.port}/shop/cart")
    with pytest.raises(Unreachable, match="certificate verify failed") as caught:
        registry.resolve(repository, "v1")
    assert "SSL_CERT_FILE" in (caught.value.hint or "")
    assert not tls_server.asked


@pytest.mark.requirement("B-86")
def test_a_ca_file_that_is_absent_is_could_not_check(
    tls_server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    registry = OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)
    repository = Repository("oci", f"{NAME}:{tls_server.port}/shop/cart")
    with pytest.raises(CouldNotCheck, match=r"absent\.pem"):
        registry.resolve(repository, "v1")


@pytest.mark.requirement("B-86")
def test_plain_http_to_another_machine_needs_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    with responses.RequestsMock() as web:
        digest = str(image().digest)
        web.head(f"http://{NAME}/v2/shop/manifests/v1", headers={"Docker-Content-Digest": digest})
        plain = OciRegistry(plain_http=True, credentials=DockerCredentials([]), patience=PATIENCE)
        assert plain.resolve(Repository("oci", f"{NAME}/shop"), "v1") == image().digest
    with responses.RequestsMock() as web:
        web.head(f"https://{NAME}/v2/shop/manifests/v1", headers={"Docker-Content-Digest": digest})
        default = OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)
        assert default.resolve(Repository("oci", f"{NAME}/shop"), "v1") == image().digest


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.10", True),
        ("[::1]:5000", True),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com:5000", False),
        ("10.0.0.1", False),
        ("registry", False),
    ],
)
def test_loopback_is_only_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_docker_hub_is_asked_where_its_api_is() -> None:
    with responses.RequestsMock() as web:
        digest = str(image().digest)
        web.head(
            "https://registry-1.docker.io/v2/library/redis/manifests/7",
            headers={"Docker-Content-Digest": digest},
        )
        registry = OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)
        assert registry.resolve(Repository("oci", "docker.io/redis"), "7") == image().digest


def test_netrc_has_no_say(
    http: RegistryHttp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login canary password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with ScriptedServer(lambda _: Answer()) as server:
        http.send(Request("GET", f"{server.url}/v2/", {}))
        assert server.asked[0].authorization is None


def test_cookies_are_not_kept(http: RegistryHttp) -> None:
    with ScriptedServer(lambda _: Answer(headers={"Set-Cookie": "sid=canary"})) as server:
        for _ in range(2):
            http.send(Request("GET", f"{server.url}/v2/", {}))
        assert "Cookie" not in server.asked[1].headers


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(lambda _: Answer(200, b"by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        request = Request("GET", "http://registry.invalid/v2/", {})
        assert RegistryHttp(PATIENCE).send(request).content == b"by proxy"
        monkeypatch.setenv("no_proxy", "registry.invalid")
        with pytest.raises(Unreachable):
            RegistryHttp(PATIENCE).send(request)


def test_what_authorises_us_stays_with_its_origin(http: RegistryHttp) -> None:
    def hop(asked: Asked) -> Answer:
        if asked.path == "/start":
            return Answer(307, headers={"Location": "/same"})
        return Answer(307, headers={"Location": f"{other.url}/other"})

    def back(asked: Asked) -> Answer:
        if asked.path == "/other":
            return Answer(302, headers={"Location": f"{own.url}/back"})
        return Answer()

    with ScriptedServer(hop) as own, ScriptedServer(back) as other:
        own.answer = lambda asked: Answer() if asked.path == "/back" else hop(asked)
        http.send(Request("GET", f"{own.url}/start", {"Authorization": "Basic canary"}))
        seen = [(asked.path, asked.authorization) for asked in own.asked]
        assert seen == [("/start", "Basic canary"), ("/same", "Basic canary"), ("/back", None)]
        assert [asked.authorization for asked in other.asked] == [None]


def test_a_write_is_not_redirected_into_a_read(http: RegistryHttp) -> None:
    with ScriptedServer(lambda _: Answer(302, headers={"Location": "/login"})) as server:
        with pytest.raises(CouldNotCheck, match="redirects a PUT"):
            http.send(Request("PUT", f"{server.url}/v2/", {}, b"content"))
        assert len(server.asked) == 1


def test_nobody_sends_us_from_https_to_http() -> None:
    assert joined("https://a.test/v2/x", "/v2/y") == "https://a.test/v2/y"
    assert joined("http://a.test/v2/x", "https://b.test/y") == "https://b.test/y"
    for location in ("http://a.test/v2/y", "http://b.test/y", "file:///etc/passwd"):
        with pytest.raises(CouldNotCheck):
            joined("https://a.test/v2/x", location)


def test_a_host_is_named_without_anything_secret() -> None:
    assert host_of("https://user:canary@a.test/x?sig=canary") == "a.test"
    assert host_of("http://a.test:5000/") == "a.test:5000"
    assert host_of("https://[::1]:443/") == "[::1]"


def test_pauses_grow_but_stay_within_bounds() -> None:
    patience = Patience(first_pause=1, longest_pause=4)
    for attempt in range(10):
        assert 0 <= patience.pause(attempt, None) <= min(2**attempt, 4)
    assert patience.pause(0, 2.5) == 2.5
    assert patience.pause(0, 3600) == 4
