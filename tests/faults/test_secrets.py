"""Secrets stay where they were put: whatever we do, and whatever fails, none is seen elsewhere."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.git_server import needs_login
from tests.fakes.scripted_server import Answer as Scripted
from tests.fakes.scripted_server import Asked, ScriptedServer
from tests.faults import small_shop
from tests.faults.canaries import Canaries
from tests.faults.fault_proxy import Answer, Exchange, Fault, FaultProxy
from tests.faults.faults import refusal
from tests.faults.token_gate import TokenGate
from tests.git_history import NewCommit, git, make_history
from tools.registries import Distribution
from tools.sample_shop import push_images

USER = "ci"
VERSION = small_shop.VERSION
LOGINS = ("auths", "helper", "helper-token", "identity-token")
HELPER = """\
#!/bin/sh
cat {answer}
"""


@dataclass(frozen=True)
class Ran:
    exit_code: int
    said: bytes


class Secretive:
    """A shop behind logins of every kind, and where each of their secrets may be."""

    def __init__(self, folder: Path, login: str, kustomize: Path, running: ExitStack) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.places = folder / "secret-places"
        self.canaries = Canaries()
        self.work.mkdir()
        self.places.mkdir()
        self._kustomize = kustomize
        self.distribution = running.enter_context(Distribution())
        password = self.canaries.secret("password", USER)
        identity = self.canaries.secret("identity") if "token" in login else ""
        self.gate = running.enter_context(TokenGate(USER, password, identity))
        self.gate.prefix = self.canaries.secret("token")
        self.elsewhere = running.enter_context(FaultProxy(self.distribution.host))
        self.proxy = running.enter_context(
            FaultProxy(self.distribution.host, guard=self.gate.guard, elsewhere=self.elsewhere)
        )
        self.through = self.canaries.secret("proxy", "me")
        self.git = running.enter_context(self._git_server())
        self._log_in(login, password, identity)
        self.name = f"deploy/{secrets.token_hex(4)}"
        place = f"oci://{self.proxy.host}/{self.name}"
        commit = self._make_other_repository()
        other = {"url": f"{self.git.url}/search", "commit": commit}
        prefix = f"images/{secrets.token_hex(4)}"
        self.images = f"oci://{self.proxy.host}/{prefix}"
        small_shop.build(self.work, place, self.images, other)
        origin = f"https://ci:{self.canaries.secret('remote', 'ci')}@git.example.com/shop.git"
        with (self.work / "repo/.git/config").open("a") as config:  # not by an argument of git
            config.write(f'[remote "origin"]\n\turl = {origin}\n')
        git(self.work / "repo", "update-ref", "refs/remotes/origin/main", "main")
        push_images(self.work / "images", self.distribution.host, prefix=prefix)

    def _git_server(self) -> ScriptedServer:
        self.git_password = self.canaries.secret("git", USER)
        return ScriptedServer(needs_login(self.places / "served", USER, self.git_password))

    def _make_other_repository(self) -> str:
        repository = self.places / "served" / "search"
        repository.mkdir(parents=True)
        [commit] = make_history(repository, [NewCommit({"main": "search"})])
        git(repository, "tag", VERSION, commit)
        return commit

    def _log_in(self, login: str, password: str, identity: str) -> None:
        pair = base64.b64encode(f"{USER}:{password}".encode()).decode()
        configuration: dict[str, object] = {"auths": {self.proxy.host: {"auth": pair}}}
        if login == "identity-token":
            configuration = {"auths": {self.proxy.host: {"identitytoken": identity}}}
        elif login.startswith("helper"):
            configuration = {"credHelpers": {self.proxy.host: "kept"}}
            user, secret = ("<token>", identity) if "token" in login else (USER, password)
            self._program(
                "docker-credential-kept", json.dumps({"Username": user, "Secret": secret})
            )
        (self.places / "config.json").write_text(json.dumps(configuration))
        (self.places / "config.json").chmod(0o600)
        self._program("git-credential-kept", f"username={USER}\npassword={self.git_password}\n")
        (self.places / "gitconfig").write_text("[credential]\n\thelper = kept\n[http]\n\tproxy =\n")

    def _program(self, name: str, answer: str) -> None:
        said = self.places / f"{name}.says"
        said.write_text(answer)
        program = self.places / name
        program.write_text(HELPER.format(answer=said))
        program.chmod(0o700)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self.places}:{os.environ['PATH']}",
            "HOME": str(self.work / "home"),
            "DOCKER_CONFIG": str(self.places),
            "GIT_CONFIG_GLOBAL": str(self.places / "gitconfig"),
            "BUNDLER_CACHE": str(self.work / "cache"),
            "BUNDLER_KUSTOMIZE": str(self._kustomize),
            "BUNDLER_DEBUG": "1",
            "TMPDIR": str(self.work),
            "http_proxy": f"http://me:{self.through}@{self.proxy.host}",
            "no_proxy": f"{self.git.host},{self.gate.realm.split('/')[2]},{self.elsewhere.host}",
        }

    def run(self, *arguments: object) -> Ran:
        completed = subprocess.run(
            [sys.executable, "-m", "bundler", *map(str, arguments)],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return Ran(completed.returncode, completed.stdout)

    @property
    def commands(self) -> dict[str, tuple[str, ...]]:
        """Those that ask a registry; each can run any number of times after those before it."""
        reference = f"oci://{self.proxy.host}/{self.name}:{VERSION}"
        fresh = f"out-{secrets.token_hex(4)}"
        lookup = ("--images", "--images-lookup", f"registry.example.com/shop={self.images}")
        place = f"oci://{self.proxy.host}/{fresh}"
        return {
            "resolve": ("resolve", VERSION, "--repo", "repo", "-o", "json"),
            "publish": ("publish", VERSION, "--repo", "repo"),
            "pull": ("pull", reference, "-d", fresh),
            "list": ("list", "--deploy-registry", reference.removesuffix(f":{VERSION}")),
            "apply": ("apply", reference, "--env", "stage", "--directory", fresh, "--yes"),
            "copy": ("copy", reference, f"{place}/copied", *lookup, "--referrers"),
            "save": ("save", reference, "shop.tar", "--force", *lookup, "--referrers"),
            "load": ("load", "shop.tar", f"{place}/loaded"),
        }

    def check_output(self, ran: Ran) -> None:
        assert not self.canaries.found_in(ran.said), ran.said.decode()

    def check_files(self) -> None:
        folders = (self.folder, self.distribution.directory)
        meant = (self.places, self.work / "repo/.git/config")
        assert not self.canaries.found_in_files(folders, meant)


@pytest.fixture(params=LOGINS)
def secretive(
    request: pytest.FixtureRequest, tmp_path: Path, kustomize_path: Path
) -> Iterator[Secretive]:
    with ExitStack() as running:
        yield Secretive(tmp_path, request.param, kustomize_path, running)


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, kustomize_path: Path
) -> Iterator[Secretive]:
    """A shop that is published already, for what changes nothing."""
    with ExitStack() as running:
        shop = Secretive(tmp_path_factory.mktemp("secret"), "helper-token", kustomize_path, running)
        for name in ("publish", "save"):
            ran = shop.run(*shop.commands[name])
            assert ran.exit_code == 0, ran.said.decode()
        yield shop


@pytest.mark.requirement("B-85")
def test_no_secret_is_told_where_all_goes_well(secretive: Secretive) -> None:
    with secretive.canaries.watched_arguments() as shown:
        for command in secretive.commands.values():
            ran = secretive.run(*command)
            assert ran.exit_code == 0, ran.said.decode()
            secretive.check_output(ran)
    assert not shown
    secretive.check_files()
    # all of them were in use
    assert any(secretive.gate.prefix in each.authorization for each in secretive.proxy.asked)
    assert all("Proxy-Authorization" in each.headers for each in secretive.proxy.asked)
    assert any(each.authorization for each in secretive.git.asked)
    assert not secretive.elsewhere.asked


def _echoed(exchange: Exchange, status: int) -> None:
    """A registry that repeats whatever it was sent, wherever it can."""
    sent = " ".join([exchange.request.target, *exchange.request.headers.values()])
    error = {"code": sent, "message": sent, "detail": {"sent": sent}}
    body = json.dumps({"errors": [error], "token": sent}).encode()
    headers = (("Location", f"/?{sent}"), ("Www-Authenticate", sent), ("Warning", sent))
    exchange.send(Answer(status, (("Content-Type", "application/json"), *headers), body))


def _led_away(exchange: Exchange) -> None:
    assert exchange.proxy.elsewhere
    secret = exchange.request.authorization.replace(" ", "+")
    place = f"http://{secret}@{exchange.proxy.elsewhere.host}/?signature={secret}"
    exchange.send(Answer(307, (("Location", place),)))


FAULTS = (
    Fault("echo-400", lambda exchange: _echoed(exchange, 400)),
    Fault("echo-401", lambda exchange: _echoed(exchange, 401)),
    Fault("echo-404", lambda exchange: _echoed(exchange, 404)),
    Fault("echo-200", lambda exchange: _echoed(exchange, 200)),
    Fault("echo-307", lambda exchange: _echoed(exchange, 307)),
    Fault("led-away", _led_away),
    Fault("denied", lambda exchange: exchange.send(refusal(403, "DENIED"))),
)


@pytest.mark.requirement("B-85")
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_no_secret_is_told_whatever_a_registry_does(published: Secretive, fault: Fault) -> None:
    with published.canaries.watched_arguments() as shown:
        for name in ("publish", "pull", "list", "copy", "save", "load"):
            # 0 would be the question that says which login is wanted
            published.proxy.inject(fault, 1, forever=True)
            ran = published.run(*published.commands[name])
            published.proxy.clear()
            # a strange answer may look like an empty list
            assert ran.exit_code in (1, 4, 6) or name == "list", ran.said.decode()
            published.check_output(ran)
    assert not shown
    assert not [each for each in published.elsewhere.asked if each.authorization]
    published.check_files()


@pytest.mark.requirement("B-85")
@pytest.mark.parametrize("status", [200, 400, 401, 500])
@pytest.mark.parametrize("secretive", ["auths", "identity-token"], indirect=True)
def test_no_secret_is_told_whatever_a_token_service_does(secretive: Secretive, status: int) -> None:
    def echo(asked: Asked) -> Scripted:
        sent = f"{asked.authorization} {asked.body.decode()}"
        return Scripted(status, json.dumps({"token": sent, "errors": [{"code": sent}]}).encode())

    secretive.gate.answer_with(echo)
    ran = secretive.run(*secretive.commands["list"])
    assert ran.exit_code == 6, ran.said.decode()
    secretive.check_output(ran)
    secretive.check_files()


@pytest.mark.requirement("B-85")
@pytest.mark.parametrize("secretive", ["helper"], indirect=True)
def test_no_secret_is_told_where_a_helper_fails(secretive: Secretive) -> None:
    said = secretive.places / "docker-credential-kept.says"
    for answer in (said.read_text()[:-1], f"[{said.read_text()}]", "", "{}"):
        said.write_text(answer)
        ran = secretive.run(*secretive.commands["list"])
        assert ran.exit_code == 6, ran.said.decode()
        secretive.check_output(ran)
    program = secretive.places / "docker-credential-kept"
    program.write_text(program.read_text() + f"cat {said} >&2; exit 1\n")
    secretive.check_output(secretive.run(*secretive.commands["list"]))
    secretive.check_files()


@pytest.mark.requirement("B-85")
@pytest.mark.parametrize("secretive", ["auths"], indirect=True)
def test_no_secret_is_told_where_a_configuration_is_damaged(secretive: Secretive) -> None:
    config = secretive.places / "config.json"
    whole = config.read_text()
    for damaged in (whole[:-1], f"[{whole}]", whole.replace('{"auth": ', "").replace("}}", "}")):
        config.write_text(damaged)
        ran = secretive.run(*secretive.commands["list"])
        assert ran.exit_code == 6, ran.said.decode()
        secretive.check_output(ran)
    secretive.check_files()


@pytest.mark.requirement("B-85")
@pytest.mark.parametrize("secretive", ["auths"], indirect=True)
def test_a_password_in_a_reference_is_not_repeated(secretive: Secretive) -> None:
    secret = secretive.canaries.secret("reference", USER)
    place = f"oci://{USER}:{secret}@{secretive.proxy.host}/{secretive.name}"
    for command in (
        ("list", "--deploy-registry", place),
        ("pull", f"{place}:{VERSION}", "-d", "out"),
        ("publish", VERSION, "--repo", "repo", "--deploy-registry", place),
        ("copy", f"{place}:{VERSION}", "ocidir://copied"),
        ("copy", "ocidir://whole:v1.0.0", place),
        ("save", f"{place}:{VERSION}", "out.tar"),
        ("load", "shop.tar", place),
        ("load", "shop.tar", "ocidir://loaded", "--images-to", place),
    ):
        ran = secretive.run(*command)
        assert ran.exit_code == 2, ran.said.decode()
        secretive.check_output(ran)
