"""TLS, proxies, cookies, netrc and redirects: who is told what."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.http import RegistryHttp, Request
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.adapters.registry.urls import host_of, is_loopback, joined
from bundler.errors import CouldNotCheck, Unreachable
from bundler.model.reference import Repository
from tests.fakes.registry import image
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer
from tests.fakes.tls import NAME, certificate, name_here, server_tls
from tests.fakes.tunnel import Tunnel

PATIENCE = Patience(connect=2, read=2, attempts=2, first_pause=0.01, given_up=0)


@pytest.fixture
def http() -> RegistryHttp:
    return RegistryHttp(PATIENCE)


@pytest.fixture
def tls_file(tmp_path: Path) -> Path:
    return certificate(tmp_path, NAME)


@pytest.fixture
def tls_server(tls_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A registry with TLS that is found under a name of its own."""
    digest = str(image().digest)
    name_here(monkeypatch)
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    answer = Answer(200, headers={"Docker-Content-Digest": digest})
    with ScriptedServer(lambda _: answer, server_tls(tls_file)) as server:
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
def test_a_ca_file_without_certificates_is_could_not_check(
    tls_server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("canary")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    registry = OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)
    repository = Repository("oci", f"{NAME}:{tls_server.port}/shop/cart")
    with pytest.raises(CouldNotCheck, match=r"ca\.pem has no certificates"):
        registry.resolve(repository, "v1")


@pytest.mark.requirement("B-86")
def test_a_certificate_of_another_name_is_refused(
    tls_server: ScriptedServer, tls_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_file))
    name_here(monkeypatch, "other.test")
    registry = OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)
    with pytest.raises(Unreachable, match="no TLS connection"):
        registry.resolve(Repository("oci", f"other.test:{tls_server.port}/shop/cart"), "v1")
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
def test_plain_http_to_another_machine_needs_the_flag(proxy: ScriptedServer) -> None:
    repository = Repository("oci", f"{NAME}/shop")
    plain = OciRegistry(plain_http=True, credentials=DockerCredentials([]), patience=PATIENCE)
    assert plain.resolve(repository, "v1") == image().digest
    default = OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)
    with pytest.raises(Unreachable):
        default.resolve(repository, "v1")
    asked = [(asked.method, asked.path) for asked in proxy.asked]
    assert asked[0] == ("HEAD", f"http://{NAME}/v2/shop/manifests/v1")
    assert set(asked[1:]) == {("CONNECT", f"{NAME}:443")}


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


def test_docker_hub_is_asked_where_its_api_is(proxy: ScriptedServer) -> None:
    for plain_http, expected in (
        (True, ("HEAD", "http://registry-1.docker.io/v2/library/redis/manifests/7")),
        (False, ("CONNECT", "registry-1.docker.io:443")),
    ):
        registry = OciRegistry(plain_http, DockerCredentials([]), PATIENCE)
        proxy.asked.clear()
        with suppress(Unreachable):
            assert registry.resolve(Repository("oci", "docker.io/redis"), "7") == image().digest
        assert (proxy.asked[0].method, proxy.asked[0].path) == expected


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


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """The proxy that the environment names for everything; it opens no tunnel."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "CONNECT":
            return Answer(403)
        return Answer(200, b"by proxy", {"Docker-Content-Digest": str(image().digest)})

    for variable in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    with ScriptedServer(answer) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("https_proxy", proxy.url)
        yield proxy


@pytest.mark.parametrize(
    ("host", "no_proxy", "expected"),
    [
        ("registry.invalid", "", True),
        ("registry.invalid", "other.invalid", True),
        ("registry.invalid", "registry.invalid", False),
        ("registry.invalid", ".invalid", False),
        ("registry.invalid:5000", "registry.invalid:5000", False),
        ("registry.invalid:5001", "registry.invalid:5000", True),
        ("notregistry.invalid", "registry.invalid", True),
        ("registry.invalid", "*", False),
        ("127.0.0.9:1", "127.0.0.0/8", False),
        ("127.0.0.9:1", "10.0.0.0/8, 127.0.0.0/8", False),
        ("127.0.0.9:1", "10.0.0.0/8", True),
        ("127.0.0.9:1", "127.0.0.9", False),
    ],
)
def test_a_proxy_of_the_environment_is_used(
    proxy: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    no_proxy: str,
    expected: bool,
) -> None:
    monkeypatch.setenv("no_proxy", no_proxy)
    http, request = RegistryHttp(PATIENCE), Request("GET", f"http://{host}/v2/", {})
    if expected:
        assert http.send(Request("GET", f"http://{host}/v2/", {}, limit=99)).content == b"by proxy"
        assert proxy.asked[0].path == request.url
    else:
        with pytest.raises(Unreachable):
            http.send(request)
        assert not proxy.asked


def test_a_registry_with_tls_is_asked_through_a_tunnel(
    tls_server: ScriptedServer, tls_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_file))
    for variable in ("NO_PROXY", "no_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    repository = Repository("oci", f"{NAME}:{tls_server.port}/shop/cart")
    with Tunnel() as tunnel:
        monkeypatch.setenv("https_proxy", tunnel.url)
        registry = OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)
        for _ in range(2):
            assert registry.resolve(repository, "v1") == image().digest
        (head,) = tunnel.asked
        assert head.startswith(f"CONNECT {NAME}:{tls_server.port} ")
        assert f"Basic {b64encode(b'me:secret').decode()}" in head
    assert len(tls_server.asked) == 2
    assert all("Proxy-Authorization" not in asked.headers for asked in tls_server.asked)


def test_a_proxy_that_opens_no_tunnel_is_unreachable(
    http: RegistryHttp, proxy: ScriptedServer
) -> None:
    with pytest.raises(Unreachable, match=r"registry\.invalid is behind a proxy") as caught:
        http.send(Request("GET", "https://registry.invalid/v2/?sig=canary", {}))
    assert "HTTPS_PROXY" in (caught.value.hint or "")
    assert "canary" not in caught.value.message


def test_a_proxy_is_told_its_own_password_and_no_other(
    proxy: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"user:c%40nary@{proxy.host}")
    monkeypatch.setenv("https_proxy", f"http://user:c%40nary@{proxy.host}")
    expected = f"Basic {b64encode(b'user:c@nary').decode()}"
    http = RegistryHttp(PATIENCE)
    http.send(Request("GET", "http://registry.invalid/v2/", {}))
    with pytest.raises(Unreachable) as caught:
        http.send(Request("GET", "https://registry.invalid/v2/", {"Authorization": "Basic x"}))
    assert "nary" not in f"{caught.value.message} {caught.value.hint}"
    for asked in proxy.asked:
        assert asked.headers["Proxy-Authorization"] == expected
        assert asked.authorization is None


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "http://", "http://[", "ftp://x"])
def test_a_proxy_of_another_kind_is_could_not_check(
    proxy: ScriptedServer, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("http_proxy", url)
    with pytest.raises(CouldNotCheck, match="proxy"):
        RegistryHttp(PATIENCE).send(Request("GET", "http://registry.invalid/v2/", {}))


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
    assert patience.pause(0, 3600) == 60


def test_connections_are_used_again(http: RegistryHttp) -> None:
    with ScriptedServer(lambda _: Answer(200, b"content")) as server:
        for method in ("GET", "HEAD", "GET"):
            http.send(Request(method, f"{server.url}/v2/", {}))
        assert server.connections == 1


def test_a_connection_that_the_server_has_closed_is_replaced(http: RegistryHttp) -> None:
    with ScriptedServer(lambda _: Answer(200, b"content")) as server:
        for _ in range(3):
            http.send(Request("PUT", f"{server.url}/v2/", {}, b"content", repeatable=False))
            server.hang_up()
        assert server.connections == 3


def test_a_body_may_take_longer_than_a_connection() -> None:
    """The limit of writing holds for a piece: a slow line is no broken one."""
    content = b"x" * 3_000_000 + b"end"
    received = bytearray()

    def take_slowly(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while not received.endswith(b"end"):
                received.extend(connection.recv(64 * 1024))
                time.sleep(0.02)
            connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        thread = threading.Thread(target=take_slowly, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        impatient = RegistryHttp(Patience(connect=0.3, read=5, attempts=1))
        assert impatient.send(Request("PUT", url, {}, content, repeatable=False)).status == 201
        thread.join()
    assert received.endswith(content)


def test_an_ipv6_address_is_asked(http: RegistryHttp) -> None:
    with pytest.raises(Unreachable, match=r"\[::1\]:1 does not answer"):
        http.send(Request("GET", "http://[::1]:1/v2/", {}))


def test_a_header_with_a_line_break_is_not_sent(http: RegistryHttp) -> None:
    with ScriptedServer(lambda _: Answer()) as server:
        with pytest.raises(CouldNotCheck, match="cannot be asked") as caught:
            http.send(Request("GET", f"{server.url}/v2/", {"Accept": "canary\r\nX: 1"}))
        assert "canary" not in caught.value.message
        assert not server.asked


def test_reading_imports_neither_oras_nor_requests() -> None:
    """They take longer to load than asking for hundreds of images."""
    program = (
        "import sys, bundler.adapters.registry.oci_registry\n"
        "sys.exit(not {'oras', 'requests'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
