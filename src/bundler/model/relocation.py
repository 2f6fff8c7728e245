"""Where an image lies once it was copied: one rule for who copies and for who applies.

`registry.example.com/shop/cart` becomes `PLACE/registry.example.com/shop/cart`: the whole name, so
that two images never meet and a name says where the image came from. A port's colon is no part of a
repository's name and becomes `__`, which no host has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bundler.model.objects import KubernetesObject, images_written_in
from bundler.model.reference import Digest, ImageReference, InvalidReference, Repository

IMAGES = "images"
"""Where images lie below a bundle's repository if nothing else is said."""


def relocated_name(image_name: str) -> str:
    """The part of a relocated image's name that is behind its place."""
    host, slash, path = ImageReference(image_name).full_name.partition("/")
    return f"{host.lower().replace(':', '__')}{slash}{path}"


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
        return replace(image, name=f"{self.place.path}/{relocated_name(image.name)}")

    def __str__(self) -> str:
        return self.place.path


def repository_of(place: Repository, image_name: str) -> Repository:
    """Where an image lies at a place that images are copied to."""
    if place.scheme == "ocitar":
        return place
    return place.child(relocated_name(image_name))


class LockedImages:
    """The images that a release document pins, services' and external ones."""

    def __init__(self, release: Mapping[str, Any]) -> None:
        """Raises InvalidReference: names become places, so every one has to be well-formed."""
        services = [
            ImageReference.parse(f"{image['image']}:{image['tag']}@{image['digest']}")
            for image in release["services"].values()
        ]
        external = {
            ImageReference.parse(text): Digest.parse(image["digest"])
            for text, image in release["external"].items()
        }
        pinned = [*services, *(image.with_digest(digest) for image, digest in external.items())]
        self._pinned = {(image.full_name, image.digest): image for image in pinned}
        self._by_tag = {
            str(image.normalized): image.with_digest(digest) for image, digest in external.items()
        }

    @property
    def all(self) -> tuple[ImageReference, ...]:
        """Each once, by name."""
        return tuple(self._pinned[key] for key in sorted(self._pinned, key=str))

    def find(self, text: str) -> ImageReference | None:
        """The pinned image that a manifest means; None for any other."""
        try:
            image = ImageReference.parse(text)
        except InvalidReference:
            return None
        if image.digest is None:
            return self._by_tag.get(str(image.normalized))
        return self._pinned.get((image.full_name, image.digest))

    def used_by(self, objects: Iterable[KubernetesObject]) -> tuple[ImageReference, ...]:
        """Those that objects name, each once, by name."""
        found = {self.find(use.image) for obj in objects for use in images_written_in(obj)}
        return tuple(image for image in self.all if image in found)
