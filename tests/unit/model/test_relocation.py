"""Where copied images lie: predictable, and never two in one place."""

from __future__ import annotations

import pytest

from bundler.model.reference import Digest, ImageReference, InvalidReference, Repository
from bundler.model.relocation import (
    ImageRegistry,
    LockedImages,
    image_place,
    relocated_name,
    repository_of,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("registry.example.com/shop/cart", "registry.example.com/shop/cart"),
        ("redis", "docker.io/library/redis"),
        ("acme/tool", "docker.io/acme/tool"),
        ("index.docker.io/acme/tool", "docker.io/acme/tool"),
        ("localhost:5000/shop/cart", "localhost__5000/shop/cart"),
        ("Registry.Example.com/shop/cart", "registry.example.com/shop/cart"),
    ],
)
def test_the_whole_name_is_kept(name: str, expected: str) -> None:
    assert relocated_name(name) == expected
    place = Repository.parse("oci://registry.prod/mirror")
    there = repository_of(place, name)
    assert Repository.parse(str(there)) == there
    copied = ImageRegistry(place).relocated(ImageReference(name, "1", Digest.of(b"")))
    assert copied.name == f"registry.prod/mirror/{expected}" == there.path
    assert (copied.tag, copied.digest) == ("1", Digest.of(b""))


def test_a_port_and_a_host_with_the_same_letters_do_not_meet() -> None:
    names = ["h:1/a", "h__1/a", "h-1/a", "h.1/a", "h1/a"]
    assert len({relocated_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("text", ["registry.prod/m", "oci://registry.prod/m", "registry.prod/m/"])
def test_a_place_is_written_with_or_without_its_scheme(text: str) -> None:
    assert str(ImageRegistry.parse(text)) == "registry.prod/m"


@pytest.mark.parametrize("text", ["", "ocidir://m", "registry.prod/m:1", "registry.prod", "a b"])
def test_what_no_cluster_can_pull_from_is_no_place(text: str) -> None:
    with pytest.raises(InvalidReference):
        ImageRegistry.parse(text)


def test_images_lie_beside_their_bundles_and_in_a_tar_with_them() -> None:
    assert str(image_place(Repository.parse("oci://h/deploy/shop"))) == "oci://h/deploy/shop/images"
    file = Repository("ocitar", "shop.tar")
    assert image_place(file) == repository_of(file, "redis") == file


def test_images_of_a_release_are_each_there_once() -> None:
    digest = str(Digest.of(b"a"))
    image = {"image": "h.io/shop/cart", "tag": "1", "digest": digest}
    release = {
        "services": {"cart": image, "cart-worker": image},
        "external": {"redis:7": {"digest": digest}, f"redis@{digest}": {"digest": digest}},
    }
    assert [image.full_name for image in LockedImages(release).all] == [
        "docker.io/library/redis",
        "h.io/shop/cart",
    ]
