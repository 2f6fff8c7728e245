"""Where an image lies once it was copied: one rule for who copies and for who applies.

`registry.example.com/shop/cart` becomes `PLACE/registry.example.com/shop/cart`: the whole name, so
that two images never meet and a name says where the image came from. A port's colon is no part of a
repository's name and becomes `__`, which no host has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundler.model.reference import Digest, ImageReference, InvalidReference, Repository

IMAGES = "images"
"""Where images lie below a bundle's repository if nothing else is said."""


def relocated_name(image_name: str) -> str:
    """The part of a relocated image's name that is behind its place."""
    host, slash, path = ImageReference(image_name).full_name.partition("/")
    return f"{host.lower().strip('[]').replace(']', '').replace(':', '__')}{slash}{path}"


def image_place(bundles: Repository) -> Repository:
    """Where the images of a repository's bundles lie if nothing else is said.

    A tar file holds them in itself.
    """
    return bundles if bundles.scheme == "ocitar" else bundles.child(IMAGES)


@dataclass(frozen=True)
class ImageRegistry:
    """A place that the images of releases were copied to."""

    place: Repository

    @classmethod
    def parse(cls, text: str) -> ImageRegistry:
        """A prefix of image names, `registry.prod/shop`, or the same with its `oci://`."""
        place = Repository.parse(text if "://" in text else f"oci://{text.rstrip('/')}")
        if place.scheme != "oci":
            raise InvalidReference(f"{text!r} is no registry that a cluster could pull from")
        return cls(place)

    def relocated(self, image: ImageReference) -> ImageReference:
        """Where a cluster pulls a copied image from: by the same digest."""
        return ImageReference(f"{self.place.path}/{relocated_name(image.name)}", None, image.digest)

    def __str__(self) -> str:
        return self.place.path


def repository_of(place: Repository, image_name: str) -> Repository:
    """Where an image lies at a place that images are copied to."""
    if place.scheme == "ocitar":
        return place
    return place.child(relocated_name(image_name))


def locked_images(release: Mapping[str, Any]) -> tuple[ImageReference, ...]:
    """All images of a release document, services' and external ones, each once, by name."""
    services = (
        ImageReference(image["image"], image["tag"], Digest.parse(image["digest"]))
        for image in release["services"].values()
    )
    external = (
        ImageReference.parse(text).with_digest(Digest.parse(image["digest"]))
        for text, image in release["external"].items()
    )
    unique = {(image.full_name, image.digest): image for image in (*services, *external)}
    return tuple(unique[key] for key in sorted(unique, key=str))
