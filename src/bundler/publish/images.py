"""Finds and replaces the image strings of objects: in containers, and where a project says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bundler.model.finding import json_pointer
from bundler.model.objects import (
    BUILT_IN_GROUPS,
    ImageUse,
    KubernetesObject,
    images_in,
    split_api_version,
    with_text,
)
from bundler.model.project import ImagePath
from bundler.publish.image_paths import uses_at

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def images_of(obj: KubernetesObject, declared: Iterable[ImagePath] = ()) -> Iterator[ImageUse]:
    """Every image of a workload, of every list of containers elsewhere, and at declared paths.

    Argo's Rollouts and the like hold a pod template; a schema that talks of containers (in a
    CustomResourceDefinition) has no list there.
    """
    group, _ = split_api_version(str(obj.get("apiVersion", "")))
    known = set()
    for use in images_in(obj) if group in BUILT_IN_GROUPS else _containers_in(obj, ""):
        known.add(use.pointer)
        yield use
    for path in declared:
        yield from (use for use in uses_at(path, obj) if use.pointer not in known)


def _containers_in(value: object, pointer: str) -> Iterator[ImageUse]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            here = pointer + json_pointer(key)
            if key in _CONTAINERS and isinstance(inner, list):
                yield from _images_of_list(inner, here)
            yield from _containers_in(inner, here)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _containers_in(inner, f"{pointer}/{index}")


def _images_of_list(containers: list[Any], pointer: str) -> Iterator[ImageUse]:
    for index, container in enumerate(containers):
        image = container.get("image") if isinstance(container, Mapping) else None
        if isinstance(image, str):
            yield ImageUse(f"{pointer}/{index}/image", image)


def with_images(
    obj: KubernetesObject, replacements: Mapping[str, str], declared: Iterable[ImagePath] = ()
) -> KubernetesObject:
    """The object with every image that is a key replaced by its value."""
    for use in tuple(images_of(obj, declared)) if replacements else ():
        if use.image in replacements:
            obj = with_text(obj, use.pointer, use.prefix + replacements[use.image])
    return obj
