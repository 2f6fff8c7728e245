"""A tag and its manifest in one question, and what is believed of the answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.errors import CouldNotCheck, VerificationFailed
from bundler.model.artifact import MANIFEST
from bundler.model.reference import Digest, Repository
from tests.fakes.registry import image
from tests.fakes.scripted_server import Answer, ScriptedServer

IMAGE = image("cart")
CONTENT = IMAGE.manifest.content
MISSING = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}'
NAMED = {"Docker-Distribution-Api-Version": "registry/2.0"}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: Answer(404, MISSING)) as server:
        yield server


@pytest.fixture
def registry() -> OciRegistry:
    patience = Patience(connect=2, read=1, attempts=2, first_pause=0.01, settling=0.01)
    return OciRegistry(credentials=DockerCredentials([]), patience=patience)


@pytest.fixture
def repository(server: ScriptedServer) -> Repository:
    return Repository("oci", f"{server.host}/shop/cart")


def manifest(digest: Digest | None) -> Answer:
    named = {"Docker-Content-Digest": str(digest)} if digest else {}
    return Answer(200, CONTENT, {"Content-Type": MANIFEST, **named})


@pytest.mark.parametrize("named", [IMAGE.digest, None], ids=["named", "not named"])
def test_a_tag_and_its_manifest_come_in_one_answer(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, named: Digest | None
) -> None:
    server.answer = lambda _: manifest(named)
    assert registry.tagged(repository, "v1") == (IMAGE.digest, CONTENT)
    assert [asked.method for asked in server.asked] == ["GET"]


def test_content_that_is_not_what_the_answer_names_is_asked_for_twice_and_refused(
    server: ScriptedServer, registry: OciRegistry, repository: Repository
) -> None:
    server.answer = lambda _: manifest(Digest.of(b"another"))
    with pytest.raises(VerificationFailed):
        registry.tagged(repository, "v1")
    assert len(server.asked) == 2


def test_a_tag_that_is_not_there_is_none(registry: OciRegistry, repository: Repository) -> None:
    assert registry.tagged(repository, "v1") is None


@pytest.mark.parametrize("status", [200, 404])
def test_a_web_server_is_no_registry_without_the_tag(
    server: ScriptedServer, registry: OciRegistry, repository: Repository, status: int
) -> None:
    server.answer = lambda _: Answer(status, b"<html>Welcome</html>")
    with pytest.raises(CouldNotCheck):
        registry.tagged(repository, "v1")


@pytest.mark.parametrize(
    ("headers", "questions"), [(NAMED, ["HEAD"]), ({}, ["HEAD", "GET"])], ids=["named", "not named"]
)
def test_who_names_itself_a_registry_is_believed_at_once_that_there_is_nothing(
    server: ScriptedServer,
    registry: OciRegistry,
    repository: Repository,
    headers: dict[str, str],
    questions: list[str],
) -> None:
    server.answer = lambda _: Answer(404, MISSING, headers)
    assert registry.resolve(repository, "v1") is None
    assert [asked.method for asked in server.asked] == questions
