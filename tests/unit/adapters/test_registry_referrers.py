"""Referrers, by the API and by the tag, and all the sense and nonsense that registries answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.adapters.registry.referrers import MAX_REFERRERS, fallback_tag
from bundler.errors import BundlerError, CouldNotCheck, VerificationFailed
from bundler.model.artifact import INDEX, MANIFEST, Blob, Descriptor
from bundler.model.reference import Digest, Repository
from tests.fakes.registry import image, index, referrer
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer

PATIENCE = Patience(
    connect=2, read=2, attempts=3, first_pause=0.01, retrying=5, settling=0.01, given_up=0
)
SUBJECT = image("shop").manifest.descriptor
TAG = fallback_tag(SUBJECT.digest)
UNKNOWN = Answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
NO_API = Answer(404, b"404 page not found")


def signature(text: str) -> Blob:
    return referrer(SUBJECT, text.encode(), annotations={"by": text}).manifest


ONE, TWO, THREE = (signature(text) for text in ("one", "two", "three"))


def listing(*entries: object, **headers: str) -> Answer:
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}
    return Answer(200, json.dumps(document).encode(), {"Content-Type": INDEX, **headers})


def entry(manifest: Blob) -> dict[str, object]:
    return manifest.descriptor.as_dict()


class Registry:
    """Answers of the API by page, and manifests by tag and digest."""

    def __init__(self, server: ScriptedServer) -> None:
        self.pages: list[Answer] = []
        self.manifests: dict[str, bytes] = {}
        self.after_put: Callable[[str], None] = lambda _: None
        self.headers: dict[str, str] = {}
        self.server = server
        server.answer = self.answer

    def answer(self, asked: Asked) -> Answer:
        path, _, page = asked.path.partition("?page=")
        if "/referrers/" in path:
            return self.pages[int(page or 0)]
        reference = path.rpartition("/")[2]
        if asked.method == "PUT":
            self.manifests[reference] = asked.body
            self.after_put(reference)
            return Answer(201, headers=self.headers)
        content = self.manifests.get(reference)
        return UNKNOWN if content is None else Answer(200, content, {"Content-Type": INDEX})

    def listed(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = json.loads(self.manifests[TAG])["manifests"]
        return entries


@pytest.fixture
def remote() -> Iterator[Registry]:
    with ScriptedServer(lambda _: Answer(500)) as server:
        yield Registry(server)


@pytest.fixture
def registry() -> OciRegistry:
    return OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)


@pytest.fixture
def repository(remote: Registry) -> Repository:
    return Repository("oci", f"{remote.server.host}/shop/cart")


def found(registry: OciRegistry, repository: Repository) -> list[Digest]:
    return [each.digest for each in registry.referrers(repository, SUBJECT.digest)]


# --- reading ---


@pytest.mark.requirement("B-87")
def test_pages_of_referrers_and_the_tag_are_put_together(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    following = {"Link": f'</v2/shop/cart/referrers/{SUBJECT.digest}?page=1>; rel="next"'}
    remote.pages = [listing(entry(ONE), **following), listing(entry(TWO), entry(ONE))]
    remote.manifests[TAG] = index([THREE.descriptor, TWO.descriptor]).content
    assert found(registry, repository) == [each.descriptor.digest for each in (ONE, TWO, THREE)]


@pytest.mark.requirement("B-87")
@pytest.mark.parametrize(
    "answer",
    [
        NO_API,
        UNKNOWN,
        Answer(400),
        Answer(405),
        Answer(406),
        Answer(200, b"<html>", {"Content-Type": "text/html"}),
        Answer(200, b"{}", {"Content-Type": "application/json"}),
    ],
)
def test_without_the_api_the_tag_is_read(
    remote: Registry, registry: OciRegistry, repository: Repository, answer: Answer
) -> None:
    remote.pages = [answer]
    assert found(registry, repository) == []
    remote.manifests[TAG] = index([ONE.descriptor]).content
    assert found(registry, repository) == [ONE.descriptor.digest]


@pytest.mark.requirement("B-87")
def test_a_list_that_comes_damaged_is_no_empty_list(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    whole = listing(entry(ONE))
    remote.pages = [Answer(200, whole.body[:-5], whole.headers)]
    with pytest.raises(CouldNotCheck, match="damaged"):
        found(registry, repository)
    digest = {"Docker-Content-Digest": str(Digest.of(index([ONE.descriptor]).content))}
    tag = Answer(200, index([ONE.descriptor]).content[:-5], {"Content-Type": INDEX, **digest})
    remote.server.answer = lambda asked: NO_API if "/referrers/" in asked.path else tag
    with pytest.raises(VerificationFailed):
        found(OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE), repository)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_a_registry_that_does_not_say_is_not_one_without_referrers(
    remote: Registry, registry: OciRegistry, repository: Repository, status: int
) -> None:
    remote.pages = [Answer(status)]
    with pytest.raises(CouldNotCheck):
        found(registry, repository)


def test_where_there_is_no_api_is_asked_once(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    remote.pages = [NO_API]
    for _ in range(3):
        found(registry, repository)
    assert sum("/referrers/" in asked.path for asked in remote.server.asked) == 1


@pytest.mark.requirement("B-87")
def test_junk_among_referrers_is_left_out(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    good = entry(ONE)
    remote.pages = [
        listing(
            None, 7, "text", [], {},
            {**good, "digest": "sha512:00"},
            {**good, "digest": "sha256:../../x"},
            {**good, "digest": 5},
            {**good, "size": -1},
            {**good, "size": True},
            {**good, "size": "7"},
            {**good, "mediaType": "text/html"},
            {**good, "mediaType": {}},
            SUBJECT.as_dict(),
            {**good, "annotations": {"by": "us", "bad": 7}, "artifactType": []},
            good,
        )
    ]  # fmt: skip
    remote.manifests[TAG] = b"[]"
    referrers = registry.referrers(repository, SUBJECT.digest)
    assert referrers == (
        Descriptor(MANIFEST, ONE.descriptor.digest, ONE.descriptor.size, {"by": "us"}),
    )


@pytest.mark.requirement("B-87")
def test_no_more_than_a_thousand_referrers_are_read(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    many = [{**entry(ONE), "digest": str(Digest.of(str(number).encode()))} for number in range(400)]
    many += [
        {**entry(ONE), "digest": str(Digest.of(str(-number).encode()))} for number in range(1, 2000)
    ]
    remote.pages = [listing(*many)]
    assert len(found(registry, repository)) == MAX_REFERRERS


def test_pages_without_an_end_have_one(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    again = {"Link": f'</v2/shop/cart/referrers/{SUBJECT.digest}>; rel="next"'}
    remote.pages = [listing(entry(ONE), **again)]
    assert found(registry, repository) == [ONE.descriptor.digest]


def test_pages_are_not_followed_to_another_host(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    remote.pages = [listing(entry(ONE), Link='<http://127.0.0.1:1/v2/x>; rel="next"')]
    with pytest.raises(CouldNotCheck, match="another host"):
        found(registry, repository)


# --- writing ---


@pytest.mark.requirement("B-87")
def test_without_the_api_a_referrer_is_listed_under_the_tag(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    remote.pages = [NO_API]
    before = {"mediaType": MANIFEST, "digest": "sha256:0", "size": 1, "unknown": [1]}
    document = {"schemaVersion": 2, "manifests": [before], "annotations": {"kept": "yes"}}
    remote.manifests[TAG] = json.dumps(document).encode()
    for manifest in (ONE, TWO, ONE):
        registry.put_manifest(repository, manifest)
    first, *others = remote.listed()
    assert first == before
    assert others == [
        {
            **entry(manifest),
            "artifactType": "application/vnd.test.signature",
            "annotations": {"by": text},
        }
        for manifest, text in ((ONE, "one"), (TWO, "two"))
    ]
    assert json.loads(remote.manifests[TAG])["annotations"] == {"kept": "yes"}


def test_a_referrer_that_was_stored_before_is_listed_later(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    """Whoever stored it may have ended before that."""
    remote.pages = [NO_API]
    remote.manifests[str(ONE.descriptor.digest)] = ONE.content
    registry.put_manifest(repository, ONE)
    assert len(remote.listed()) == 1


def test_with_the_api_no_tag_is_written(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    remote.pages = [listing()]
    for manifest in (ONE, TWO):
        registry.put_manifest(repository, manifest)
    assert TAG not in remote.manifests
    assert sum("/referrers/" in asked.path for asked in remote.server.asked) == 1


def test_a_registry_that_only_says_it_has_the_api_is_not_believed(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    remote.pages = [NO_API]
    remote.headers = {"OCI-Subject": str(SUBJECT.digest)}
    registry.put_manifest(repository, ONE)
    assert len(remote.listed()) == 1


@pytest.mark.requirement("B-87")
@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("has_api", [True, False])
def test_the_answer_to_a_question_decides_and_not_what_is_said_of_a_manifest(
    remote: Registry, registry: OciRegistry, repository: Repository, says_so: bool, has_api: bool
) -> None:
    """Some say `OCI-Subject` and list nothing, others list and do not say it."""
    remote.pages = [listing() if has_api else NO_API]
    remote.headers = {"OCI-Subject": str(SUBJECT.digest)} if says_so else {}
    registry.put_manifest(repository, ONE)
    assert (TAG in remote.manifests) == (not has_api)
    if has_api:
        remote.pages = [listing(entry(ONE))]
    assert found(registry, repository) == [ONE.descriptor.digest]


@pytest.mark.requirement("B-87")
def test_an_entry_that_another_writer_removed_is_written_again(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    remote.pages = [NO_API]

    def overwrite(reference: str) -> None:
        if reference == TAG:
            remote.manifests[TAG] = index([TWO.descriptor]).content
            remote.after_put = lambda _: None

    remote.after_put = overwrite
    registry.put_manifest(repository, ONE)
    assert {each["digest"] for each in remote.listed()} == {
        str(ONE.descriptor.digest),
        str(TWO.descriptor.digest),
    }


def test_writers_without_an_end_are_could_not_check(
    remote: Registry, registry: OciRegistry, repository: Repository
) -> None:
    remote.pages = [NO_API]
    remote.after_put = lambda _: remote.manifests.clear()
    with pytest.raises(CouldNotCheck, match="again and again"):
        registry.put_manifest(repository, ONE)


@pytest.mark.parametrize("content", [b"[]", b"not JSON", b'{"manifests":{}}', ONE.content])
def test_a_tag_that_is_something_else_is_not_overwritten(
    remote: Registry, registry: OciRegistry, repository: Repository, content: bytes
) -> None:
    remote.pages = [NO_API]
    remote.manifests[TAG] = content
    with pytest.raises(BundlerError, match="no list of referrers"):
        registry.put_manifest(repository, ONE)
    assert remote.manifests[TAG] == content
