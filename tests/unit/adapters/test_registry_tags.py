"""Who of several publishes a version, on registries that keep tags immutable and on others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.errors import AccessRefused, CouldNotCheck, Refused, Unreachable, VersionExists
from bundler.model.artifact import MANIFEST, Artifact, Blob
from bundler.model.reference import Digest, Repository
from tests.fakes.registry import image
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer

PATIENCE = Patience(
    connect=2, read=2, attempts=3, first_pause=0.01, retrying=5, settling=0.01, given_up=0
)
CART_ARTIFACT = image("cart")
CART = CART_ARTIFACT.manifest
OTHER = image("other").manifest
UNKNOWN = Answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')


class TagStore:
    """Tags of one repository; `immutable` says with what a second manifest is refused."""

    def __init__(self, server: ScriptedServer) -> None:
        self.tags: dict[str, Digest] = {}
        self.manifests: dict[Digest, bytes] = {}
        self.immutable: int | None = None
        self.answers: list[tuple[bool, Answer]] = []
        """Instead of the next PUTs: whether the manifest is stored, and the answer."""
        self.server = server
        self._lock = threading.Lock()
        server.answer = self.answer

    def answer(self, asked: Asked) -> Answer:
        tag = asked.path.rpartition("/")[2]
        if asked.method == "PUT":
            with self._lock:
                self.manifests[Digest.of(asked.body)] = asked.body
                return self._put(tag, Digest.of(asked.body))
        if tag not in self.tags:
            return UNKNOWN
        digest = {"Docker-Content-Digest": str(self.tags[tag]), "Content-Type": MANIFEST}
        return Answer(200, self.manifests.get(self.tags[tag], b""), digest)

    def _put(self, tag: str, digest: Digest) -> Answer:
        is_stored, answer = self.answers.pop(0) if self.answers else (True, Answer(201))
        if is_stored and self.immutable and tag in self.tags:
            return Answer(self.immutable, b'{"errors":[{"code":"TAG_INVALID"}]}')
        if is_stored:
            self.tags[tag] = digest
        return answer

    def puts(self) -> int:
        return sum(asked.method == "PUT" for asked in self.server.asked)


@pytest.fixture
def store() -> Iterator[TagStore]:
    with ScriptedServer(lambda _: Answer(500)) as server:
        yield TagStore(server)


@pytest.fixture
def repository(store: TagStore) -> Repository:
    return Repository("oci", f"{store.server.host}/shop/cart")


@pytest.fixture
def registry() -> OciRegistry:
    return OciRegistry(credentials=DockerCredentials([]), patience=PATIENCE)


def attempt(repository: Repository, manifest: Blob, settling: float = 0.5) -> Digest | None:
    """What one who is alone with his process publishes; None where he is told that he lost."""
    patience = replace(PATIENCE, settling=settling)
    registry = OciRegistry(credentials=DockerCredentials([]), patience=patience)
    try:
        registry.put_manifest(repository, manifest, "v1")
    except VersionExists:
        return None
    return manifest.descriptor.digest


@pytest.mark.requirement("B-80")
@pytest.mark.parametrize("immutable", [None, 400, 403, 409, 412])
def test_of_twenty_with_other_content_only_the_one_at_the_tag_wins(
    store: TagStore, repository: Repository, immutable: int | None
) -> None:
    store.immutable = immutable
    everybody = [image(str(number)).manifest for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        published = list(pool.map(lambda each: attempt(repository, each), everybody))
    assert [digest for digest in published if digest] == [store.tags["v1"]]


@pytest.mark.requirement("B-80")
@pytest.mark.parametrize("immutable", [None, 400, 403, 409, 412])
def test_twenty_with_the_same_content_all_win(
    store: TagStore, repository: Repository, immutable: int | None
) -> None:
    store.immutable = immutable
    with ThreadPoolExecutor(20) as pool:
        published = set(pool.map(lambda _: attempt(repository, CART, 0.05), range(20)))
    assert published == {CART.descriptor.digest}


def test_a_tag_that_is_there_is_not_waited_for(store: TagStore, repository: Repository) -> None:
    store.tags["v1"] = CART.descriptor.digest
    started = time.monotonic()
    assert attempt(repository, CART, settling=30) == CART.descriptor.digest
    assert attempt(repository, OTHER, settling=30) is None
    assert time.monotonic() - started < 10
    assert store.puts() == 0


@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again_where_it_was_one(
    store: TagStore, registry: OciRegistry, repository: Repository, is_stored: bool, status: int
) -> None:
    store.answers = [(is_stored, Answer(status))]
    registry.put_manifest(repository, CART, "v1")
    assert store.tags["v1"] == CART.descriptor.digest
    assert store.puts() == (1 if is_stored else 2)


@pytest.mark.requirement("B-80")
def test_trying_again_does_not_replace_what_another_published_meanwhile(
    store: TagStore, registry: OciRegistry, repository: Repository
) -> None:
    answer = store.answer

    def busy(asked: Asked) -> Answer:
        if asked.method == "PUT":
            store.tags["v1"] = OTHER.descriptor.digest
            return Answer(503)
        return answer(asked)

    store.server.answer = busy
    with pytest.raises(VersionExists, match=OTHER.descriptor.digest.hex):
        registry.put_manifest(repository, CART, "v1")
    assert store.puts() == 1


def test_a_registry_that_never_takes_it_is_told_as_such(
    store: TagStore, registry: OciRegistry, repository: Repository
) -> None:
    store.answers = [(False, Answer(503))] * 10
    with pytest.raises(CouldNotCheck, match="HTTP 503"):
        registry.put_manifest(repository, CART, "v1")
    assert store.puts() == PATIENCE.attempts


def test_a_registry_that_takes_it_and_shows_nothing_is_could_not_check(
    store: TagStore, registry: OciRegistry, repository: Repository
) -> None:
    store.answers = [(False, Answer(201))]
    with pytest.raises(CouldNotCheck, match="cannot be found"):
        registry.put_manifest(repository, CART, "v1")


def test_a_registry_that_breaks_off_each_time_is_unreachable(
    store: TagStore, registry: OciRegistry, repository: Repository
) -> None:
    store.answers = [(False, Answer(201, b"x", promised=9))] * 10
    with pytest.raises(Unreachable):
        registry.put_manifest(repository, CART, "v1")
    assert store.puts() == PATIENCE.attempts


# --- a tag that is made of the digest -----------------------------------------------------------

CART_TAG = f"sha256-{CART.descriptor.digest.hex}.image"


def test_a_tag_of_the_digest_is_set_in_one_request_and_not_waited_for(
    store: TagStore, repository: Repository
) -> None:
    registry = OciRegistry(
        credentials=DockerCredentials([]), patience=replace(PATIENCE, settling=30)
    )
    started = time.monotonic()
    for _ in range(2):
        registry.put_manifest(repository, CART, CART_TAG)
    assert time.monotonic() - started < 10
    assert store.tags == {CART_TAG: CART.descriptor.digest}
    assert [asked.method for asked in store.server.asked] == ["PUT", "PUT"]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("is_stored", [True, False])
def test_a_tag_of_the_digest_is_tried_again_where_it_failed(
    store: TagStore, registry: OciRegistry, repository: Repository, status: int, is_stored: bool
) -> None:
    store.answers = [(is_stored, Answer(status))]
    registry.put_manifest(repository, CART, CART_TAG)
    assert store.tags == {CART_TAG: CART.descriptor.digest}


@pytest.mark.parametrize("immutable", [400, 403, 409, 412])
def test_a_tag_of_the_digest_that_is_there_is_no_conflict_where_tags_are_immutable(
    store: TagStore, registry: OciRegistry, repository: Repository, immutable: int
) -> None:
    store.immutable = immutable
    for _ in range(2):
        registry.put_manifest(repository, CART, CART_TAG)


def test_a_tag_of_the_digest_that_has_other_content_is_left_as_it_is(
    store: TagStore, registry: OciRegistry, repository: Repository
) -> None:
    store.immutable, store.tags[CART_TAG] = 409, OTHER.descriptor.digest
    with pytest.raises(VersionExists):
        registry.put_manifest(repository, CART, CART_TAG)


# --- replacing ----------------------------------------------------------------------------------


def replacing(registry: OciRegistry, repository: Repository, old: Blob = OTHER) -> None:
    registry.tag(repository, CART_ARTIFACT, "v1", old.descriptor.digest)


@pytest.mark.requirement("B-82")
@pytest.mark.parametrize("immutable", [400, 403, 405, 409, 412])
def test_where_tags_are_immutable_replacing_is_refused_with_what_to_do(
    store: TagStore, registry: OciRegistry, repository: Repository, immutable: int
) -> None:
    store.immutable, store.tags["v1"] = immutable, OTHER.descriptor.digest
    with pytest.raises(
        VersionExists, match=f"stays {OTHER.descriptor.digest}.*HTTP {immutable}"
    ) as caught:
        replacing(registry, repository)
    assert "immutable" in str(caught.value.hint)
    assert store.puts() == 1


def test_missing_credentials_are_not_taken_for_immutable_tags(
    store: TagStore, registry: OciRegistry, repository: Repository
) -> None:
    store.immutable, store.tags["v1"] = 401, OTHER.descriptor.digest
    with pytest.raises(AccessRefused):
        replacing(registry, repository)


@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("status", [429, 503])
def test_replacing_goes_on_after_a_passing_failure(
    store: TagStore, registry: OciRegistry, repository: Repository, status: int, is_stored: bool
) -> None:
    store.tags["v1"] = OTHER.descriptor.digest
    store.answers = [(is_stored, Answer(status))]
    replacing(registry, repository)
    assert store.tags["v1"] == CART.descriptor.digest


def test_a_registry_that_takes_it_and_shows_what_was_there_is_could_not_check(
    store: TagStore, registry: OciRegistry, repository: Repository
) -> None:
    store.tags["v1"] = OTHER.descriptor.digest
    store.answers = [(False, Answer(201))]
    with pytest.raises(CouldNotCheck, match=f"still has {OTHER.descriptor.digest}"):
        replacing(registry, repository)


@pytest.mark.requirement("B-82")
def test_what_another_published_meanwhile_is_not_replaced(
    store: TagStore, registry: OciRegistry, repository: Repository
) -> None:
    store.tags["v1"] = image("third").digest
    with pytest.raises(VersionExists, match=r"other content now .*replaced"):
        replacing(registry, repository)
    del store.tags["v1"]
    with pytest.raises(Refused, match="not there any more"):
        replacing(registry, repository)
    assert store.puts() == 0


@pytest.mark.requirement("B-82")
def test_of_twenty_who_replace_one_version_only_the_one_at_the_tag_wins(
    store: TagStore, repository: Repository
) -> None:
    store.tags["v1"] = OTHER.descriptor.digest

    def attempt(artifact: Artifact) -> Digest | None:
        patience = replace(PATIENCE, settling=0.5)
        registry = OciRegistry(credentials=DockerCredentials([]), patience=patience)
        try:
            registry.tag(repository, artifact, "v1", OTHER.descriptor.digest)
        except VersionExists:
            return None
        return artifact.digest

    with ThreadPoolExecutor(20) as pool:
        tried = list(pool.map(attempt, [image(str(number)) for number in range(20)]))
    assert [digest for digest in tried if digest] == [store.tags["v1"]]
