"""Puts the layers of a target on what its charts and overlays give: values, ConfigMaps, objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from bundler.model.bundle import PinnedTarget
from bundler.model.finding import Finding, json_pointer
from bundler.model.layers import Layer, LayerConflict, find, leaves, merge
from bundler.model.objects import HASH_SUFFIX, KubernetesObject, ObjectRef
from bundler.model.project import Target


class Entry(NamedTuple):
    """A part of a layer that is meant for one object."""

    file: str
    pointer: str


class Layered(NamedTuple):
    objects: Sequence[KubernetesObject]
    findings: Sequence[Finding]
    used: frozenset[Entry]
    """What of the layers was meant for one of the objects."""


# --- values of charts ---------------------------------------------------------------------------


def layered_values(
    place: str, target: Target, values: Mapping[str, Any]
) -> tuple[Mapping[str, Any], list[Finding]]:
    """A chart's values with those of the target's layers over them."""
    findings = []
    for number, layer in enumerate(target.layers):
        try:
            values = merge(values, layer.values)
        except LayerConflict as conflict:
            below = _said_before(target.layers[:number], conflict.steps) or "the chart's values"
            findings.append(_conflict(place, layer, ("values", *conflict.steps), conflict, below))
        findings += _kept_by_helm(place, layer)
    return values, findings


def _kept_by_helm(place: str, layer: Layer) -> Iterator[Finding]:
    """Subcharts go on seeing a global value that is set to `null`: it would be silently kept."""
    for steps, value in leaves(layer.values.get("global", {}), ("global",)):
        if value is None:
            pointer = json_pointer("values", *steps)
            yield Finding(
                "layer-conflict",
                f"{'.'.join(steps)} can be set, and not taken out: helm keeps global values",
                file=layer.file,
                line=layer.line(pointer),
                pointer=pointer,
                environment=place,
            )


def _said_before(layers: Sequence[Layer], steps: Sequence[str]) -> str | None:
    for layer in reversed(layers):
        found = find(layer.values, steps)
        if found is not None and found.value is not None:
            return layer.place(f"/values{found.pointer}")
    return None


def _conflict(
    place: str, layer: Layer, steps: Sequence[str], conflict: LayerConflict, below: str
) -> Finding:
    content = {"values": layer.values, "objects": layer.objects}
    found = find(content, steps)
    pointer = found.pointer if found else None
    return Finding(
        "layer-conflict",
        f"{conflict}, in {below}",
        file=layer.file,
        line=layer.line(pointer or ""),
        pointer=pointer,
        environment=place,
        hint="say null first, in a layer between them, if the shape is to change",
    )


# --- ConfigMaps ---------------------------------------------------------------------------------


def config_maps(target: Target) -> Mapping[str, Mapping[str, str | None]]:
    """ConfigMap → key → value of the highest layer that says one; None takes the key out."""
    merged: dict[str, dict[str, str | None]] = {}
    for layer in target.layers:
        for name, content in layer.config_maps.items():
            merged.setdefault(name, {}).update(content)
    return merged


def settings(target: Target) -> Mapping[str, Mapping[str, str]]:
    """The same without the keys that are taken out: what a generator may be given."""
    kept = {
        name: {key: value for key, value in content.items() if value is not None}
        for name, content in config_maps(target).items()
    }
    return {name: content for name, content in kept.items() if content}


# --- objects ------------------------------------------------------------------------------------


def layered(pinned: PinnedTarget, objects: Sequence[KubernetesObject]) -> Layered:
    """The objects of a target with its layers, and what is wrong with these."""
    if not pinned.target.layers:
        return Layered(objects, (), frozenset())
    with_parts = _with_parts(pinned, objects)
    complete = _with_config_maps(pinned, with_parts.objects)
    findings = (*with_parts.findings, *complete.findings)
    return Layered(complete.objects, findings, with_parts.used | complete.used)


def _with_parts(pinned: PinnedTarget, objects: Sequence[KubernetesObject]) -> Layered:
    """With the parts of objects that the layers have."""
    named: dict[tuple[str, str, str], list[int]] = {}
    for number, obj in enumerate(objects):
        named.setdefault(_name(obj), []).append(number)
    changed = list(objects)
    findings: list[Finding] = []
    used: set[Entry] = set()
    for layer, index, part in _parts(pinned.target):
        for number in named.get(_name(part), ()):
            obj = changed[number]
            if not is_meant(part, obj, pinned.target.namespace):
                continue
            used.add(Entry(layer.file, f"/objects/{index}"))
            try:
                changed[number] = merge(obj, without_identity(part))
            except LayerConflict as conflict:
                steps = ("objects", str(index), *conflict.steps)
                below = str(ObjectRef.of(obj))
                findings.append(_conflict(pinned.place, layer, steps, conflict, below))
    return Layered(changed, findings, frozenset(used))


def _parts(target: Target) -> Iterator[tuple[Layer, int, Mapping[str, Any]]]:
    for layer in target.layers:
        for index, part in enumerate(layer.objects):
            yield layer, index, part


def _with_config_maps(pinned: PinnedTarget, objects: Sequence[KubernetesObject]) -> Layered:
    """With what the layers say for ConfigMaps."""
    changed = list(objects)
    findings: list[Finding] = []
    found: set[str] = set()
    for name, content in config_maps(pinned.target).items():
        for number, obj in enumerate(changed):
            if is_config_map(name, obj):
                found.add(name)
                changed[number], problems = _with_settings(pinned, obj, name, content)
                findings += problems
    used = {
        Entry(layer.file, f"/configMaps{json_pointer(name)}")
        for layer in pinned.target.layers
        for name in layer.config_maps
        if name in found
    }
    return Layered(changed, findings, frozenset(used))


def _name(obj: Mapping[str, Any]) -> tuple[str, str, str]:
    ref = ObjectRef.of(obj)
    return ref.group, ref.kind, ref.name


def is_meant(part: Mapping[str, Any], obj: KubernetesObject, namespace: str) -> bool:
    """Whether a layer's part of an object is for this one, whatever the version of its API."""
    wanted, found = ObjectRef.of(part), ObjectRef.of(obj)
    return (wanted.group, wanted.kind, wanted.name) == (found.group, found.kind, found.name) and (
        (wanted.namespace or namespace) == (found.namespace or namespace)
    )


def without_identity(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a layer's part changes."""
    metadata = {k: v for k, v in part["metadata"].items() if k not in ("name", "namespace")}
    rest = {k: v for k, v in part.items() if k not in ("apiVersion", "kind", "metadata")}
    return rest | ({"metadata": metadata} if metadata else {})


def is_config_map(name: str, obj: KubernetesObject) -> bool:
    if obj.get("kind") != "ConfigMap":
        return False
    ref = ObjectRef.of(obj)
    return ref.group == "" and name in (ref.name, HASH_SUFFIX.sub("", ref.name))


def _with_settings(
    pinned: PinnedTarget, obj: KubernetesObject, name: str, content: Mapping[str, str | None]
) -> tuple[KubernetesObject, list[Finding]]:
    """A plain ConfigMap with what the layers say. A generated one was given it before its hash."""
    data = obj.get("data")
    present = data if isinstance(data, Mapping) else {}
    if ObjectRef.of(obj).name == name:
        kept = {key: value for key, value in {**present, **content}.items() if value is not None}
        return {**obj, "data": kept}, []
    findings = []
    for key in (key for key, value in content.items() if present.get(key) != value):
        layer = _last_with(pinned.target, name, key)
        pointer = json_pointer("configMaps", name, key)
        findings.append(
            Finding(
                "layer-conflict",
                f"{key} of a generated ConfigMap can be set, and not taken out",
                file=layer.file,
                line=layer.line(pointer),
                pointer=pointer,
                object=str(ObjectRef.of(obj)),
                environment=pinned.place,
            )
        )
    return obj, findings


def _last_with(target: Target, name: str, key: str) -> Layer:
    return next(x for x in reversed(target.layers) if key in x.config_maps.get(name, {}))


def unmatched(targets: Sequence[tuple[PinnedTarget, Layered]]) -> Iterator[Finding]:
    """What no target with the layer has an object for, each told once."""
    if not any(pinned.target.layers for pinned, _ in targets):
        return
    told = {entry for _, each in targets for entry in each.used}
    known = {
        ObjectRef.of(obj)._replace(namespace="") for _, each in targets for obj in each.objects
    }
    for pinned, _ in targets:
        for layer in pinned.target.layers:
            for pointer, ref in _meant_for(layer):
                if (entry := Entry(layer.file, pointer)) in told:
                    continue
                told.add(entry)
                yield Finding(
                    "unmatched-layer-object",
                    "there is no such object in any target with this layer",
                    file=layer.file,
                    line=layer.line(pointer),
                    pointer=pointer,
                    object=str(ref),
                    environment=pinned.place,
                    hint=_nearest(ref, known),
                )


def _meant_for(layer: Layer) -> Iterator[tuple[str, ObjectRef]]:
    for index, part in enumerate(layer.objects):
        yield f"/objects/{index}", ObjectRef.of(part)
    for name in layer.config_maps:
        yield f"/configMaps{json_pointer(name)}", ObjectRef("", "ConfigMap", "", name)


def _nearest(ref: ObjectRef, known: Iterable[ObjectRef]) -> str | None:
    spelled = {str(each): each for each in known}
    close = get_close_matches(str(ref._replace(namespace="")), sorted(spelled), n=1)
    if not close:
        return None
    found = spelled[close[0]]
    group = f" ({found.group})" if found.group != ref.group else ""
    return f"did you mean {found}{group}?"
