"""Where a value comes from: the layers, pins, placement and files that have a say in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from bundler.model.bundle import PinnedTarget
from bundler.model.differences import HIDDEN
from bundler.model.finding import json_pointer
from bundler.model.layers import Layer, find, same
from bundler.model.lock import ImageLock
from bundler.model.objects import (
    COMMIT,
    ENVIRONMENT,
    MANAGED_BY,
    OWNER,
    PART_OF,
    KubernetesObject,
)
from bundler.model.project import Target
from bundler.publish.images import images_of
from bundler.publish.layering import is_config_map, is_meant, without_identity

_SHOWN = ("apiVersion", "kind", "metadata", "type", "immutable")
OriginKind = Literal["layer", "pin", "external", "placement", "overlay", "chart", "values"]


class Said(NamedTuple):
    """What a layer says about a field; None takes it out."""

    layer: Layer
    pointer: str
    value: Any

    @property
    def place(self) -> str:
        return self.layer.place(self.pointer)


@dataclass(frozen=True)
class Origin:
    """One that has a say in a value."""

    kind: OriginKind
    value: Any
    """What it says; None where it takes the field out."""
    what: str
    """In words: the layer's level, the service of a pin, the patch of a kustomization."""
    file: str | None = None
    line: int | None = None

    @property
    def place(self) -> str:
        line = f":{self.line}" if self.line else ""
        return f"{self.file}{line}" if self.file else self.what


@dataclass(frozen=True)
class Explanation:
    place: str
    path: str
    object: str | None
    """`Kind/namespace/name`; None for a value of a chart."""
    value: Any
    origins: tuple[Origin, ...]
    """The one that decides comes first, and then what it is over."""


def without_secrets(found: Explanation, kind: str, steps: Sequence[str]) -> Explanation:
    """An explanation that does not tell what a Secret holds, wherever it comes from."""
    if kind != "Secret" or (steps and steps[0] in _SHOWN):
        return found
    origins = tuple(replace(origin, value=HIDDEN) for origin in found.origins)
    return replace(found, value=HIDDEN, origins=origins)


def said(target: Target, obj: KubernetesObject, steps: Sequence[str]) -> tuple[Said, ...]:
    """What the layers of a target say about a field of a rendered object, from the lowest."""
    return tuple(
        each for layer in target.layers for each in _said_by(layer, target.namespace, obj, steps)
    )


def _said_by(
    layer: Layer, namespace: str, obj: KubernetesObject, steps: Sequence[str]
) -> Iterator[Said]:
    for index, part in enumerate(layer.objects):
        if is_meant(part, obj, namespace):
            found = find(without_identity(part), steps)
            if found is not None and (found.pointer or found.value):
                yield Said(layer, f"/objects/{index}{found.pointer}", found.value)
    for name, content in layer.config_maps.items():
        is_meant_here = is_config_map(name, obj) and len(steps) == 2 and steps[0] == "data"
        if is_meant_here and steps[1] in content:
            pointer = json_pointer("configMaps", name, steps[1])
            yield Said(layer, pointer, content[steps[1]])


def of_layers(statements: Sequence[Said]) -> tuple[Origin, ...]:
    """From the highest layer to the lowest."""
    return tuple(
        Origin(
            "layer",
            each.value,
            f"{each.layer.level} layer",
            each.layer.file,
            each.layer.line(each.pointer),
        )
        for each in reversed(statements)
    )


def of_image(
    pinned: PinnedTarget, lock: ImageLock, obj: KubernetesObject, pointer: str
) -> Origin | None:
    """The pin behind an image, or the registry's answer for a third-party one."""
    use = next((use for use in images_of(obj) if use.pointer == pointer), None)
    if use is None:
        return None
    service = pinned.services.get(use.image)
    if service is not None:
        image = lock.services[service]
        what = f"service {service}, commit {image.commit[:12]} ({image.resolved_via})"
        return Origin("pin", use.image, f"the pin of {what}")
    for reference, digest in lock.external.items():
        if use.image.endswith(f"@{digest}"):
            return Origin("external", use.image, f"{reference}, as its registry had it")
    return None


def of_placement(
    pinned: PinnedTarget, project: str, steps: Sequence[str], value: Any
) -> Origin | None:
    """What an object is given for its place in a target."""
    target = f"environments.{pinned.environment.name}"
    if pinned.target.name != "default":
        target += f".targets.{pinned.target.name}"
    given = {
        ("metadata", "namespace"): (pinned.target.namespace, f"namespace of {target}"),
        ("metadata", "labels", PART_OF): (project, "name of the project"),
        ("metadata", "labels", MANAGED_BY): (value, "label of every object of a release"),
        ("metadata", "labels", ENVIRONMENT): (pinned.environment.name, "name of the environment"),
        ("metadata", "labels", COMMIT): (value, "commit of the service that it runs"),
        ("metadata", "annotations", OWNER): (value, "owner of every object of the target"),
    }
    found = given.get(tuple(steps))
    return Origin("placement", value, found[1]) if found and same(found[0], value) else None
