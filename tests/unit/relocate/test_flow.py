"""A release with its images, between registries in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bundler.bundles import Manifest
from bundler.errors import (
    AccessRefused,
    CouldNotCheck,
    ImagesMissing,
    VerificationFailed,
    VersionExists,
)
from bundler.model.artifact import INDEX, Blob, Descriptor
from bundler.model.bundle import ReleaseDocument
from bundler.model.project import Lookup
from bundler.model.reference import ArtifactReference, ImageReference, Repository
from bundler.relocate.flow import Relocated, Wanted, relocate
from bundler.relocate.images import ImageSources, tag_of
from tests.fakes.registry import InMemoryRegistry, image, referrer

BUNDLES = Repository("oci", "registry.example.com/deploy/shop")
CART = Repository("oci", "registry.example.com/shop/cart")
REDIS = Repository("oci", "docker.io/library/redis")
TO = Repository("oci", "registry.prod/deploy/shop")
MIRROR = Repository("oci", "registry.prod/mirror")
CART_THERE = TO.child("images/registry.example.com/shop/cart")
REDIS_THERE = TO.child("images/docker.io/library/redis")


class Shop:
    """A registry with a release, its two images and what refers to one of them."""

    def __init__(self) -> None:
        self.registry = InMemoryRegistry()
        platforms = [image(name) for name in ("amd64", "arm64")]
        for each in platforms:
            self.registry.put(CART, each)
        described = [
            each.manifest.descriptor.as_dict() | {"platform": {"os": "linux", "architecture": name}}
            for each, name in zip(platforms, ("amd64", "arm64"), strict=True)
        ]
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": described}
        self.cart = self.registry.put_index(CART, Blob.of(INDEX, json.dumps(document).encode()))
        self.redis = self.registry.put_image(REDIS, "7", "redis")
        self.bundle = self.registry.put_image(BUNDLES, "v1.0.0", "bundle")
        about = referrer(Descriptor(INDEX, self.cart, 1), b"signed")
        self.signature = self.registry.put(CART, about)
        self.document = ReleaseDocument(b"", self.release())

    def release(self) -> dict[str, Any]:
        cart = {"image": CART.path, "tag": "abc", "digest": str(self.cart)}
        return {
            "version": "v1.0.0",
            "services": {"cart": cart},
            "external": {"redis:7": {"digest": str(self.redis)}},
        }

    def copy(
        self,
        destination: InMemoryRegistry,
        to: Repository = TO,
        bundles: Repository = BUNDLES,
        **wanted: Any,
    ) -> Relocated:
        reference = ArtifactReference(bundles, "v1.0.0", self.bundle)
        nothing = Descriptor("", self.bundle, 0)
        return relocate(
            self.registry,
            Manifest(reference, nothing, nothing, {}),
            self.document,
            destination,
            destination,
            Wanted(to, **wanted),
        )


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def prod() -> InMemoryRegistry:
    return InMemoryRegistry()


def test_the_release_alone_goes_under_its_version(shop: Shop, prod: InMemoryRegistry) -> None:
    relocated = shop.copy(prod)
    assert str(relocated.reference) == f"{TO}:v1.0.0@{shop.bundle}"
    assert relocated.status == "copied"
    assert relocated.images == ()
    assert prod.resolve(TO, "v1.0.0") == shop.bundle
    assert shop.copy(prod).status == "unchanged"


def test_images_go_beside_the_bundle_under_their_whole_names(
    shop: Shop, prod: InMemoryRegistry
) -> None:
    relocated = shop.copy(prod, images="all")
    assert [each.as_dict() for each in relocated.images] == [
        {
            "image": f"redis:7@{shop.redis}",
            "from": str(REDIS),
            "to": str(REDIS_THERE),
            "digest": str(shop.redis),
            "platforms": ["linux/amd64"],
        },
        {
            "image": f"{CART.path}:abc@{shop.cart}",
            "from": str(CART),
            "to": str(CART_THERE),
            "digest": str(shop.cart),
            "platforms": ["linux/amd64", "linux/arm64"],
        },
    ]
    assert prod.resolve(CART_THERE, tag_of(shop.cart)) == shop.cart
    assert prod.resolve(CART_THERE, shop.signature) is None


def test_referrers_of_images_come_along(shop: Shop, prod: InMemoryRegistry) -> None:
    shop.copy(prod, images="all", referrers=True)
    assert prod.resolve(CART_THERE, shop.signature) == shop.signature


def test_images_go_to_the_place_that_is_named(shop: Shop, prod: InMemoryRegistry) -> None:
    shop.copy(prod, images="all", images_to=MIRROR)
    assert prod.resolve(MIRROR.child("registry.example.com/shop/cart"), shop.cart)


def test_some_images_are_chosen(shop: Shop, prod: InMemoryRegistry) -> None:
    only = (ImageReference(CART.path, "abc", shop.cart),)
    relocated = shop.copy(prod, images="all", only=only)
    assert [each.to for each in relocated.images] == [CART_THERE]


def test_a_copy_is_copied_on_from_beside_its_bundle(shop: Shop, prod: InMemoryRegistry) -> None:
    shop.copy(prod, images="all", referrers=True)
    shop.registry = prod
    further = InMemoryRegistry()
    place = Repository("oci", "edge.example/shop")
    relocated = shop.copy(further, place, TO, images="all", referrers=True)
    assert {each.source for each in relocated.images} == {CART_THERE, REDIS_THERE}
    assert {content for (_, content) in further.blobs} == {content for (_, content) in prod.blobs}


def test_a_registry_that_refuses_to_say_what_it_has_not_is_no_obstacle(
    shop: Shop, prod: InMemoryRegistry
) -> None:
    for name in ("registry.example.com/shop/cart", "docker.io/library/redis"):
        beside = BUNDLES.child(f"images/{name}")
        shop.registry.failures[beside] = AccessRefused(f"{beside}: denied")
    assert len(shop.copy(prod, images="all").images) == 2


def test_images_are_read_where_it_is_said(shop: Shop, prod: InMemoryRegistry) -> None:
    shop.copy(prod, images="all", images_to=MIRROR)
    shop.registry.failures[CART] = shop.registry.failures[REDIS] = CouldNotCheck("asked")
    for (place, digest), content in prod.blobs.items():
        shop.registry.blobs[place, digest] = content
    shop.registry._manifests.update(prod._manifests)
    sources = ImageSources(copied_to=MIRROR)
    relocated = shop.copy(InMemoryRegistry(), images="all", sources=sources)
    assert all(each.source.path.startswith(MIRROR.path) for each in relocated.images)


def test_a_lookup_says_where_to_ask_as_in_the_project_file(
    shop: Shop, prod: InMemoryRegistry
) -> None:
    proxy = Repository("oci", "proxy.example/hub")
    shop.registry.put(proxy.child("redis"), image("redis"))
    sources = ImageSources(lookup=Lookup({"docker.io/library": proxy}))
    relocated = shop.copy(prod, images="all", sources=sources)
    assert relocated.images[0].source == proxy.child("redis")


def test_all_images_that_are_nowhere_are_told_and_nothing_is_sent(
    shop: Shop, prod: InMemoryRegistry
) -> None:
    shop.registry = InMemoryRegistry()
    with pytest.raises(ImagesMissing) as caught:
        shop.copy(prod, images="all")
    assert len(caught.value.findings) == 2
    assert not prod.blobs


def test_other_content_under_the_version_is_refused_before_anything_is_sent(
    shop: Shop, prod: InMemoryRegistry
) -> None:
    prod.put_image(TO, "v1.0.0", "another")
    before = dict(prod.blobs)
    with pytest.raises(VersionExists):
        shop.copy(prod, images="all")
    assert prod.blobs == before
    assert shop.copy(prod, version="v1.0.0-copy").reference.tag == "v1.0.0-copy"


def test_a_dry_run_tells_what_would_be_sent(shop: Shop, prod: InMemoryRegistry) -> None:
    planned = shop.copy(prod, images="all", dry_run=True)
    assert planned.status == "planned"
    assert not prod.blobs
    assert shop.copy(prod, images="all").copied == planned.copied


def test_the_version_appears_after_all_its_images(shop: Shop, prod: InMemoryRegistry) -> None:
    prod.failures[REDIS_THERE] = CouldNotCheck("registry.prod answers nonsense")
    with pytest.raises(CouldNotCheck):
        shop.copy(prod, images="all")
    assert prod.resolve(TO, "v1.0.0") is None
    del prod.failures[REDIS_THERE]
    assert shop.copy(prod, images="all").status == "copied"


def test_a_file_gives_what_it_holds(shop: Shop, prod: InMemoryRegistry) -> None:
    file = Repository("ocitar", "shop.tar")
    tar = InMemoryRegistry()
    shop.copy(tar, file, images="all", only=(ImageReference(CART.path, "abc", shop.cart),))
    shop.registry = tar
    relocated = shop.copy(prod, bundles=file, images="present")
    assert [(each.source, each.to) for each in relocated.images] == [(file, CART_THERE)]
    with pytest.raises(ImagesMissing, match="1 of 2") as caught:
        shop.copy(prod, bundles=file, images="all")
    assert "--images" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["../../etc/cron.d", "registry.example.com/../up", "a b", "", "/"])
@pytest.mark.parametrize("kind", ["service", "external"])
def test_a_name_that_leads_out_of_its_place_is_refused(
    shop: Shop, prod: InMemoryRegistry, name: str, kind: str
) -> None:
    release = shop.release()
    if kind == "service":
        release["services"]["cart"]["image"] = name
    else:
        release["external"] = {name: {"digest": str(shop.redis)}}
    shop.document = ReleaseDocument(b"", release)
    with pytest.raises(VerificationFailed):
        shop.copy(prod, images="all")
    assert not prod.blobs
