"""verified bundle → the same with its images' names at the place that they were copied to.

Digests stay. Only images that the release document pins are mapped: nobody copied any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from bundler.bundles import locked_images
from bundler.model.bundle import VerifiedBundle
from bundler.model.objects import KubernetesObject, images_written_in, with_text
from bundler.model.reference import ImageReference
from bundler.model.relocation import ImageRegistry


class Mapped(NamedTuple):
    bundle: VerifiedBundle
    unmapped: tuple[str, ...]
    """Images that the release does not pin: they are pulled from where they say."""


def with_image_registry(
    bundle: VerifiedBundle, registry: ImageRegistry, environment: str
) -> Mapped:
    """The bundle with the images of an environment's objects pulled from `registry`."""
    locked = locked_images(bundle.reference, bundle.release)
    strings = sorted(
        {
            use.image
            for (name, _), objects in bundle.objects.items()
            if name == environment
            for obj in objects
            for use in images_written_in(obj)
        }
    )
    found = {text: image for text in strings if (image := locked.find(text))}
    mapping = {text: str(_relocated(text, image, registry)) for text, image in found.items()}
    objects = {
        place: tuple(_with_images(obj, mapping) for obj in members)
        if place[0] == environment
        else members
        for place, members in bundle.objects.items()
    }
    names = {
        image.full_name: registry.relocated(image).name for text, image in sorted(found.items())
    }
    mapped = replace(bundle, objects=objects, image_registry=str(registry), images=names)
    return Mapped(mapped, tuple(text for text in strings if text not in found))


def _relocated(text: str, pinned: ImageReference, registry: ImageRegistry) -> ImageReference:
    """As it is written, at the other place, with its digest also where none was written."""
    written = ImageReference.parse(text)
    return replace(registry.relocated(written), digest=pinned.digest)


def _with_images(obj: KubernetesObject, mapping: Mapping[str, str]) -> KubernetesObject:
    for use in tuple(images_written_in(obj)):
        if use.image in mapping:
            obj = with_text(obj, use.pointer, use.prefix + mapping[use.image])
    return obj
