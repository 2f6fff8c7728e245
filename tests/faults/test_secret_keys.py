"""The private key of a client certificate: its path may be named, what is in it never is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.releases import Releases, config_map
from tests.fakes.tls import NAME, certificate, server_tls
from tests.faults import named_here
from tests.faults.canaries import Canaries
from tests.faults.fault_proxy import Fault, FaultProxy
from tests.faults.faults import refusal
from tools.registries import Distribution

VERSION = "v1.0.0"
DENIED = Fault("denied", lambda exchange: exchange.send(refusal(403, "DENIED")))


@dataclass(frozen=True)
class Guarded:
    """A registry that wants a certificate, and who has one."""

    work: Path
    registry: FaultProxy
    release: str
    files: Path
    """Where the certificate and its key are."""
    canaries: Canaries

    def run(self, *arguments: str, exit_code: int) -> str:
        """What a command says, which holds no secret."""
        completed = subprocess.run(
            [sys.executable, named_here.__file__, NAME, *arguments],
            cwd=self.work,
            env={**os.environ, "HOME": str(self.work / "home"), "BUNDLER_DEBUG": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = completed.stdout.decode()
        assert completed.returncode == exit_code, said
        assert not self.canaries.found_in(completed.stdout), said
        leaks = self.canaries.found_in_files([self.work], but=[self.files])
        assert not leaks
        return said

    @property
    def place(self) -> str:
        return f"oci://{self.registry.host}/deploy/shop"


def split(file: Path) -> tuple[str, str]:
    """The private key and the certificate."""
    key, begin, rest = file.read_text().partition("-----BEGIN CERTIFICATE-----")
    return key, begin + rest


@pytest.fixture
def guarded(
    tmp_path: Path, distribution: Distribution, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Guarded]:
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "server").mkdir()
    (tmp_path / "client").mkdir()
    server, client = (
        certificate(tmp_path / "server", NAME),
        certificate(tmp_path / "client", "client.test"),
    )
    canaries = Canaries()
    canaries.key("private key", client.read_text())
    work = tmp_path / "work"
    releases = Releases(work / "releases", {"default": "shop"})
    releases.publish(VERSION, config_map("settings", answer="42"))
    with ExitStack() as running:
        tls = server_tls(server, clients=client)
        registry = running.enter_context(FaultProxy(distribution.host, tls=tls))
        registry.host = f"{NAME}:{registry.port}"
        files = work / "home/.docker/certs.d" / registry.host
        files.mkdir(parents=True)
        key, public = split(client)
        (files / "client.key").write_text(key)
        (files / "client.cert").write_text(public)
        (files / "ca.crt").write_text(split(server)[1])
        yield Guarded(work, registry, releases(VERSION), files, canaries)


@pytest.mark.requirement("B-85")
def test_a_private_key_is_used_and_not_told(guarded: Guarded) -> None:
    with guarded.canaries.watched_arguments() as shown:
        guarded.run("copy", guarded.release, guarded.place, exit_code=0)
        guarded.run("save", f"{guarded.place}:{VERSION}", "shop.tar", exit_code=0)
        guarded.run("load", "shop.tar", f"{guarded.place}-again", exit_code=0)
        guarded.registry.inject(DENIED, 0, forever=True)
        guarded.run("save", f"{guarded.place}:{VERSION}", "other.tar", exit_code=6)
    assert not shown


@pytest.mark.requirement("B-85")
def test_a_private_key_is_not_told_where_it_is_damaged_or_refused(
    guarded: Guarded, tmp_path: Path
) -> None:
    key, cert = guarded.files / "client.key", guarded.files / "client.cert"
    right = key.read_text()
    command = ("copy", guarded.release, guarded.place)
    for damaged in (right[:-40], right.replace("\n", ""), f"{right[30:]}", right[::-1]):
        key.write_text(damaged)
        assert str(cert) in guarded.run(*command, exit_code=6)
    other = certificate(tmp_path, "other.test").read_text()
    guarded.canaries.key("other private key", other)
    key.write_text(other)  # does not fit
    assert "client.key" in guarded.run(*command, exit_code=6)
    cert.write_text(other)  # fits, and the registry does not know it
    guarded.run(*command, exit_code=6)
    cert.write_text(right)  # the key in place of the certificate
    guarded.run(*command, exit_code=6)
    (guarded.files / "ca.crt").write_text(right)
    guarded.run(*command, exit_code=6)
