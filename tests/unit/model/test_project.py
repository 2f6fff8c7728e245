from __future__ import annotations

import pytest

from bundler.model.project import Lookup
from bundler.model.reference import Repository


def lookup(**places: str) -> Lookup:
    return Lookup({prefix: Repository.parse(place) for prefix, place in places.items()})


@pytest.mark.parametrize(
    ("prefix", "image", "place"),
    [
        ("registry.example.com/shop", "registry.example.com/shop/cart", "ocidir://images/cart"),
        ("registry.example.com:5000", "registry.example.com:5000/a/b", "ocidir://images/a/b"),
        ("registry.example.com/shop/", "registry.example.com/shop/cart", "ocidir://images/cart"),
        ("registry.example.com/shop", "registry.example.com/shop", "ocidir://images"),
        ("registry.example.com/shop", "registry.example.com/shop2/a", None),
        ("docker.io/library", "redis", "ocidir://images/redis"),
        ("acme", "acme/cart", "ocidir://images/cart"),
        ("docker.io/acme", "acme/cart", "ocidir://images/cart"),
    ],
)
def test_an_image_is_asked_for_where_the_prefix_of_its_name_says(
    prefix: str, image: str, place: str | None
) -> None:
    found = lookup(**{prefix: "ocidir://images"}).place(image)
    assert str(found) == (place or f"oci://{image}")


def test_the_longest_prefix_decides() -> None:
    places = lookup(**{"r.example.com": "ocidir://a", "r.example.com/shop/cart": "ocidir://b"})
    assert str(places.place("r.example.com/shop/cart")) == "ocidir://b"
    assert str(places.place("r.example.com/shop/cart2")) == "ocidir://a/shop/cart2"
