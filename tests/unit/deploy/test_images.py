"""Names of copied images in the objects of a verified bundle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from bundler.deploy.images import with_image_registry
from bundler.model.bundle import ReleaseDocument, VerifiedBundle
from bundler.model.objects import images_in
from bundler.model.reference import Digest
from bundler.model.relocation import ImageRegistry
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import apply, deployment, job, release

CART = Digest.of(b"cart")
REDIS = Digest.of(b"redis")
SERVICE = f"registry.example.com/shop/cart:abc@{CART}"
PLACE = ImageRegistry.parse("registry.prod/mirror")
MAPPED = f"registry.prod/mirror/registry.example.com/shop/cart:abc@{CART}"
MAPPED_REDIS = f"registry.prod/mirror/docker.io/library/redis:7.4.1@{REDIS}"


def bundle(*images: str) -> VerifiedBundle:
    made = release("v1.0.0", [deployment(f"d{n}", image=text) for n, text in enumerate(images)])
    value = {
        **cast("dict[str, Any]", made.release.value),
        "services": {
            "cart": {
                "image": "registry.example.com/shop/cart",
                "tag": "abc",
                "digest": str(CART),
                "commit": "a" * 40,
                "resolvedVia": "first-parent",
            }
        },
        "external": {"redis:7.4.1": {"digest": str(REDIS)}},
    }
    return replace(made, release=ReleaseDocument(made.release.content, value))


def images_of(made: VerifiedBundle) -> list[str]:
    return [use.image for obj in made.objects["stage", "default"] for use in images_in(obj)]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (SERVICE, MAPPED),
        (SERVICE.replace(":abc", ""), MAPPED.replace(":abc", "")),
        (f"redis:7.4.1@{REDIS}", MAPPED_REDIS),
        (f"docker.io/library/redis:7.4.1@{REDIS}", MAPPED_REDIS),
        ("redis:7.4.1", MAPPED_REDIS),  # an environment that is not protected
    ],
)
def test_a_pinned_image_keeps_its_digest_at_the_other_place(written: str, expected: str) -> None:
    mapped, unmapped = with_image_registry(bundle(written), PLACE, "stage")
    assert images_of(mapped) == [expected]
    assert not unmapped


@pytest.mark.parametrize(
    "written",
    [
        "registry.example.com/shop/cart:abc",
        f"registry.example.com/shop/cart:abc@{REDIS}",
        f"registry.example.com/shop/other@{CART}",
        "redis:7.4.2",
        "not an image",
    ],
)
def test_any_other_image_stays_and_is_told(written: str) -> None:
    mapped, unmapped = with_image_registry(bundle(written), PLACE, "stage")
    assert images_of(mapped) == [written]
    assert unmapped == (written,)
    assert mapped.images == {}


def test_containers_of_all_sorts_are_mapped_and_the_bundle_itself_stays_as_it_was() -> None:
    spec = {
        "initContainers": [{"name": "a", "image": SERVICE}, {"name": "b", "image": "busybox"}],
        "containers": [{"name": "c", "image": SERVICE}],
        "volumes": [{"name": "v", "image": {"reference": SERVICE}}],
    }
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    made = replace(bundle(), objects={("stage", "default"): (obj,)})
    mapped, _ = with_image_registry(made, PLACE, "stage")
    assert images_of(mapped) == [MAPPED, "busybox", MAPPED, MAPPED]
    assert images_of(made) == [SERVICE, "busybox", SERVICE, SERVICE]
    assert mapped.release is made.release
    assert mapped.digest == made.digest


def test_other_environments_are_left_alone() -> None:
    made = bundle(SERVICE)
    assert with_image_registry(made, PLACE, "prod").bundle.objects == made.objects


def test_the_revision_records_the_mapping_and_going_back_is_an_ordinary_change() -> None:
    cluster = FakeCluster()
    plain = bundle(SERVICE)
    mapped = with_image_registry(plain, PLACE, "stage").bundle
    assert apply(cluster, mapped).changes.counts()["created"] == 1
    assert cluster.revisions[1].image_registry == "registry.prod/mirror"
    assert cluster.revisions[1].images == {
        "registry.example.com/shop/cart": "registry.prod/mirror/registry.example.com/shop/cart"
    }
    assert apply(cluster, mapped).status == "unchanged"
    assert apply(cluster, plain).changes.counts()["configured"] == 1
    assert cluster.revisions[2].image_registry is None
    assert apply(cluster, mapped).changes.counts()["configured"] == 1


def test_a_job_is_mapped_too() -> None:
    made = release("v1.0.0", [job("migrate", image=SERVICE)])
    made = replace(made, release=bundle().release)
    assert images_of(with_image_registry(made, PLACE, "stage").bundle) == [MAPPED]
