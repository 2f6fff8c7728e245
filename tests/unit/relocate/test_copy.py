"""Copying between registries in memory: what is sent, in which order, and how often."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from bundler.errors import NotFound, Unreachable, VerificationFailed, VersionExists
from bundler.model.artifact import INDEX, MANIFEST, Artifact, Blob, Descriptor
from bundler.model.reference import Digest, Repository
from bundler.relocate.copy import Amount, Root, copy
from bundler.relocate.graph import parse
from tests.fakes.registry import InMemoryRegistry, image, index, referrer

FROM = Repository("oci", "registry.example.com/shop/cart")
OTHER = Repository("oci", "registry.example.com/shop/mailer")
TO = Repository("oci", "registry.prod/shop/cart")
TO_OTHER = Repository("oci", "registry.prod/shop/mailer")
BASE = b"base layer" * 1000


@pytest.fixture
def source() -> InMemoryRegistry:
    return InMemoryRegistry()


@pytest.fixture
def destination() -> InMemoryRegistry:
    return InMemoryRegistry()


def two_platforms(registry: InMemoryRegistry, repository: Repository = FROM) -> Digest:
    children = [image(name, layers=(BASE, name.encode())) for name in ("amd64", "arm64")]
    for child in children:
        registry.put(repository, child)
    return registry.put_index(repository, index([each.manifest.descriptor for each in children]))


def everything_of(registry: InMemoryRegistry, repository: Repository) -> dict[Digest, bytes]:
    return {
        digest: content
        for (place, digest), content in registry.blobs.items()
        if place == repository
    }


def test_an_index_arrives_with_every_platform_and_the_same_bytes(
    source: InMemoryRegistry, destination: InMemoryRegistry
) -> None:
    digest = two_platforms(source)
    copied = copy(source, destination, [Root(FROM, digest, TO, "v1")])
    assert everything_of(destination, TO) == everything_of(source, FROM)
    assert destination.resolve(TO, "v1") == digest
    assert copied.sent == Amount(
        5,
        3,
        sum(
            b.size
            for b in {
                b.digest: b for n in copied.graphs[0].nodes.values() for b in n.blobs
            }.values()
        ),
    )
    assert copied.skipped == Amount()


def test_again_nothing_is_sent(source: InMemoryRegistry, destination: InMemoryRegistry) -> None:
    digest = two_platforms(source)
    copy(source, destination, [Root(FROM, digest, TO, "v1")])
    destination.requests.clear()
    again = copy(source, destination, [Root(FROM, digest, TO, "v1")])
    assert again.sent == Amount()
    assert destination.requests.keys() == {"has", "put_manifest"}
    assert destination.requests["put_manifest"] == 1  # its tag


def test_a_content_that_many_images_share_is_read_once(
    source: InMemoryRegistry, destination: InMemoryRegistry
) -> None:
    roots = []
    for number in range(20):
        repository = FROM.child(str(number))
        digest = source.put(repository, image(str(number), layers=(BASE,)))
        roots.append(Root(repository, digest, TO.child(str(number))))
    copy(source, destination, roots)
    assert destination.requests["mount"] == 19
    assert destination.requests["upload"] == 21  # 20 configurations and one layer
    assert source.requests["blob_pieces"] == 21
    destination.requests.clear()
    copy(source, destination, roots)
    assert destination.requests["has"] == 20  # the roots alone: there are too many blobs to ask for


def test_within_one_registry_everything_is_mounted() -> None:
    registry = InMemoryRegistry()
    digest = two_platforms(registry)
    moved = Repository("oci", "registry.example.com/prod/cart")
    copied = copy(registry, registry, [Root(FROM, digest, moved)])
    assert registry.requests["upload"] == 0
    assert copied.sent.blobs == 0
    assert everything_of(registry, moved) == everything_of(registry, FROM)


def test_what_another_image_brought_before_is_mounted_from_there(
    source: InMemoryRegistry, destination: InMemoryRegistry
) -> None:
    first = source.put(FROM, image("cart", layers=(BASE,)))
    second = source.put(OTHER, image("mailer", layers=(BASE,)))
    copy(source, destination, [Root(FROM, first, TO)])
    copy(source, destination, [Root(FROM, first, TO), Root(OTHER, second, TO_OTHER)])
    assert destination.requests["mount"] == 1


class Breaking(InMemoryRegistry):
    """Fails at one request to write, as a registry does that goes away."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self._writes = count()

    def _break(self) -> None:
        if next(self._writes) == self.at:
            raise Unreachable("registry.prod does not answer")

    def put_blob(
        self,
        repository: Repository,
        descriptor: Descriptor,
        pieces: Callable[[], Iterator[bytes]],
        near: Repository | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        self._break()
        super().put_blob(repository, descriptor, pieces, near, is_absent=is_absent)

    def put_manifest(self, repository: Repository, manifest: Blob, tag: str | None = None) -> None:
        self._break()
        super().put_manifest(repository, manifest, tag)


@pytest.mark.parametrize("at", range(12))
@pytest.mark.requirement("B-83")
def test_broken_off_anywhere_no_tag_is_there_and_again_it_completes(
    source: InMemoryRegistry, at: int
) -> None:
    digest = two_platforms(source)
    source.put(FROM, referrer(Descriptor(INDEX, digest, 1), b"signed"))
    destination = Breaking(at)
    root = Root(FROM, digest, TO, "v1")
    with pytest.raises(Unreachable):
        copy(source, destination, [root], referrers=True)
    assert destination.resolve(TO, "v1") is None
    blobs_before = destination.requests["upload"]
    copy(source, destination, [root], referrers=True)
    assert everything_of(destination, TO) == everything_of(source, FROM)
    assert destination.resolve(TO, "v1") == digest
    if at >= 7:  # all blobs were there
        assert destination.requests["upload"] == blobs_before == 7


def test_referrers_come_along_with_what_refers_to_them_and_to_every_platform(
    source: InMemoryRegistry, destination: InMemoryRegistry
) -> None:
    root = two_platforms(source)
    child = parse("", root, source.manifest(FROM, root)).children[0]
    sbom = referrer(child, b"sbom")
    signature = referrer(sbom.manifest.descriptor, b"signature of the sbom")
    for each in (sbom, signature):
        source.put(FROM, each)
    copy(source, destination, [Root(FROM, root, TO, "v1")])
    assert destination.resolve(TO, sbom.digest) is None
    copied = copy(source, destination, [Root(FROM, root, TO, "v1")], referrers=True)
    assert copied.sent.manifests == 2
    assert everything_of(destination, TO) == everything_of(source, FROM)


class Lying(InMemoryRegistry):
    """Says of any manifest that these refer to it."""

    listed: tuple[Descriptor, ...] = ()

    def referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        super().referrers(repository, digest)
        return self.listed


def test_referrers_that_are_none_are_left_out(destination: InMemoryRegistry) -> None:
    source = Lying()
    digest = source.put(FROM, image("cart"))
    unrelated = source.put(FROM, image("unrelated"))
    absent, itself = Digest.of(b"never pushed"), digest
    source.listed = tuple(Descriptor(INDEX, each, 1) for each in (unrelated, absent, itself))
    copied = copy(source, destination, [Root(FROM, digest, TO)], referrers=True)
    assert copied.sent.manifests == 1
    assert destination.resolve(TO, unrelated) is None


def test_a_tag_with_another_digest_is_refused(
    source: InMemoryRegistry, destination: InMemoryRegistry
) -> None:
    destination.put(TO, image("older"), "v1")
    digest = source.put(FROM, image("newer"))
    with pytest.raises(VersionExists):
        copy(source, destination, [Root(FROM, digest, TO, "v1")])


def test_a_missing_platform_is_named_and_nothing_is_sent(
    source: InMemoryRegistry, destination: InMemoryRegistry
) -> None:
    gone = image("gone").manifest.descriptor
    digest = source.put_index(FROM, index([gone]))
    with pytest.raises(NotFound, match=str(gone.digest)):
        copy(source, destination, [Root(FROM, digest, TO)])
    assert not destination.blobs


def test_a_blob_that_is_not_what_its_digest_says_is_not_kept(
    source: InMemoryRegistry, destination: InMemoryRegistry
) -> None:
    cart = image("cart", layers=(BASE,))
    digest = source.put(FROM, cart)
    source.blobs[FROM, cart.layers[0].descriptor.digest] = b"tampered"
    with pytest.raises(VerificationFailed):
        copy(source, destination, [Root(FROM, digest, TO, "v1")])
    assert destination.resolve(TO, digest) is None


def test_a_dry_run_counts_and_sends_nothing(
    source: InMemoryRegistry, destination: InMemoryRegistry
) -> None:
    digest = two_platforms(source)
    planned = copy(source, destination, [Root(FROM, digest, TO, "v1")], dry_run=True)
    assert not destination.blobs
    assert copy(source, destination, [Root(FROM, digest, TO, "v1")]).sent == planned.sent


def test_layers_that_lie_elsewhere_stay_there(
    source: InMemoryRegistry, destination: InMemoryRegistry
) -> None:
    here = image("windows")
    elsewhere = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": str(Digest.of(b"elsewhere")),
        "size": 9,
        "urls": ["https://elsewhere.example.com/layer"],
    }
    manifest = json.loads(here.manifest.content) | {"layers": [elsewhere]}
    content = Blob.of(MANIFEST, json.dumps(manifest).encode())
    digest = source.put(FROM, Artifact(content, here.config, ()))
    copied = copy(source, destination, [Root(FROM, digest, TO)])
    assert copied.sent.blobs == 1


def test_two_at_once_both_succeed(source: InMemoryRegistry, destination: InMemoryRegistry) -> None:
    digest = two_platforms(source)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            copy(source, destination, [Root(FROM, digest, TO, "v1")])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert everything_of(destination, TO) == everything_of(source, FROM)


class Ordered(InMemoryRegistry):
    """Notes in which order manifests come."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[tuple[Digest, str | None]] = []

    def put_manifest(self, repository: Repository, manifest: Blob, tag: str | None = None) -> None:
        super().put_manifest(repository, manifest, tag)
        self.order.append((manifest.descriptor.digest, tag))


def test_the_tag_comes_after_the_referrers(source: InMemoryRegistry) -> None:
    destination = Ordered()
    digest = source.put(FROM, image("cart"))
    about: Artifact = referrer(Descriptor(MANIFEST, digest, 1), b"signed")
    source.put(FROM, about)
    copy(source, destination, [Root(FROM, digest, TO, "v1")], referrers=True)
    assert destination.order == [(digest, None), (about.digest, None), (digest, "v1")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"schemaVersion": 1}',
        b'{"schemaVersion": 2, "mediaType": 7}',
        b'{"schemaVersion": 2, "mediaType": "text/html"}',
        b'{"schemaVersion": 2, "manifests": [], "layers": []}',
        b'{"schemaVersion": 2, "manifests": {"a": 1}}',
        b'{"schemaVersion": 2, "manifests": [{"mediaType": "a", "size": -1, "digest": "sha256:"}]}',
        b'{"schemaVersion": 2, "config": {}, "layers": []}',
        b'{"schemaVersion": 2, "config": null, "layers": null}',
        b'{"schemaVersion": 2, "manifests": [], "subject": {"digest": "sha512:0"}}',
    ],
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(VerificationFailed):
        parse("registry.example.com/shop", Digest.of(content), content)


def test_manifests_without_an_end_are_refused(destination: InMemoryRegistry) -> None:
    source = InMemoryRegistry()
    digest = source.put(FROM, image("deepest"))
    for _ in range(40):
        digest = source.put_index(FROM, index([Descriptor(INDEX, digest, 1)]))
    with pytest.raises(VerificationFailed, match="deeper"):
        copy(source, destination, [Root(FROM, digest, TO)])
