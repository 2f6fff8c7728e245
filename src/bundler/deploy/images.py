"""verified bundle → the same with its images' names at the place that they were copied to.

Digests stay. Only images that the release document pins are mapped: nobody copied any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

from bundler.bundles import locked_images
from bundler.model.bundle import VerifiedBundle
from bundler.model.objects import KubernetesObject, images_written_in
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
    changed: Any = obj
    for use in tuple(images_written_in(obj)):
        if use.image in mapping:
            steps = [s.replace("~1", "/").replace("~0", "~") for s in use.pointer.split("/")[1:]]
            changed = _replaced(changed, steps, use.prefix + mapping[use.image])
    return cast("KubernetesObject", changed)


def _replaced(value: Any, path: list[str], text: str) -> Any:
    """A copy with other text at a JSON pointer; what is beside the path is shared."""
    if not path:
        return text
    step, *rest = path
    if isinstance(value, list):
        index = int(step)
        return [*value[:index], _replaced(value[index], rest, text), *value[index + 1 :]]
    return {**value, step: _replaced(value[step], rest, text)}
