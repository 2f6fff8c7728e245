"""Images where a project says that there are some: custom resources, env, args, ConfigMaps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bundler.model.bundle import RenderedTarget
from bundler.model.finding import Finding, json_pointer
from bundler.model.objects import HASH_SUFFIX, ImageUse, KubernetesObject, ObjectRef
from bundler.model.project import ImagePath

_STEP = re.compile(r"(?P<key>.+?)(?:\[(?P<item>.*)\])?")


def uses_at(path: ImagePath, obj: KubernetesObject) -> Iterator[ImageUse]:
    """The images of an object at a declared path."""
    if _is_meant(path, ObjectRef.of(obj)):
        yield from _at(obj, path.path, "")


def check(targets: Iterable[RenderedTarget]) -> Iterator[Finding]:
    """Paths at which no target of their environment has an image; and images that are pinned
    behind the back of a name that says what the content is."""
    used: set[tuple[str, ImagePath]] = set()
    declared: dict[tuple[str, ImagePath], None] = {}
    for target in targets:
        for path in target.environment.image_paths:
            key = target.environment.name, path
            declared[key] = None
            for obj in target.objects:
                for use in uses_at(path, obj):
                    used.add(key)
                    yield from _stale_name(target, obj, use)
    for environment, path in declared:
        if (environment, path) not in used:
            yield Finding(
                "unused-image-path",
                f"no {path.kind} has an image at {'/'.join(path.path)}",
                environment=environment,
                hint="correct crdImages, or take the entry out",
            )


def _stale_name(target: RenderedTarget, obj: KubernetesObject, use: ImageUse) -> Iterator[Finding]:
    ref = ObjectRef.of(obj)
    if ref.kind == "ConfigMap" and HASH_SUFFIX.search(ref.name):
        yield Finding(
            "image-in-generated-name",
            f"{ref.name} is named by its content, which a pinned image changes: "
            "the pods that use it would not restart",
            pointer=use.pointer,
            object=str(ref),
            environment=target.place,
            hint="pass the image to the container in env or args, "
            "or set options.disableNameSuffixHash for this generator",
        )


def _is_meant(path: ImagePath, ref: ObjectRef) -> bool:
    name = HASH_SUFFIX.sub("", ref.name) if ref.kind == "ConfigMap" else ref.name
    return (
        path.kind == ref.kind
        and path.group in (None, ref.group)
        and path.name in (None, ref.name, name)
    )


def _at(value: Any, path: tuple[str, ...], pointer: str) -> Iterator[ImageUse]:
    if not path:
        if isinstance(value, str):
            yield ImageUse(pointer, value)
        return
    match = _STEP.fullmatch(path[0])
    key, item = (match["key"], match["item"]) if match else (path[0], None)
    if not isinstance(value, Mapping) or key not in value:
        return
    here, inner = pointer + json_pointer(key), value[key]
    if item is None:
        yield from _at(inner, path[1:], here)
    elif isinstance(inner, list):
        for index, each in enumerate(inner):
            yield from _in_item(each, item, path[1:], f"{here}/{index}")


def _in_item(value: Any, item: str, rest: tuple[str, ...], pointer: str) -> Iterator[ImageUse]:
    """Of a list: every item, the one of a name, or what follows a text's beginning."""
    if isinstance(value, str):
        if not rest and value.startswith(item):
            yield ImageUse(pointer, value.removeprefix(item), item)
    elif not item or (isinstance(value, Mapping) and value.get("name") == item):
        yield from _at(value, rest, pointer)
