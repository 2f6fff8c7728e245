"""Credentials wherever people keep them, and registries that refuse or do not answer."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.errors import (
    AccessRefused,
    Unreachable,
)
from bundler.model.reference import Repository
from tests.contract.places import (
    IDENTITY_TOKEN,
    PASSWORD,
    QUICK,
    USER,
    Place,
    fresh_repository,
    publish,
    release,
    undamaged,
    write_credentials,
)
from tests.fakes.registry import image
from tests.fakes.tls import NAME
from tests.fakes.token_service import TokenService
from tools.registries import Distribution
from tools.server_process import free_port

KEPT_IN = {
    "REGISTRY_AUTH_FILE": ("auth.json", "auth.json"),
    "DOCKER_CONFIG": ("", "config.json"),
    "XDG_RUNTIME_DIR": ("", "containers/auth.json"),
    "XDG_CONFIG_HOME": ("", "containers/auth.json"),
    "HOME": ("", ".config/containers/auth.json"),
}
"""What a variable names in a folder, and where the credentials are there."""


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
