"""How two targets differ: which objects only one has, and which fields have which two values.

What differs because they are two targets is left out: their namespaces, our labels and owner, and
the hashes in the names of generated ConfigMaps and Secrets, and of Deployments that keep versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bundler.model.bundle import RenderedTarget
from bundler.model.differences import ABSENT, HIDDEN, differences
from bundler.model.objects import (
    COMMIT,
    ENVIRONMENT,
    HASH_SUFFIX,
    MANAGED_BY,
    OWNER,
    PART_OF,
    KubernetesObject,
    ObjectRef,
)
from bundler.model.versions import VERSION, VERSION_OF, as_written
from bundler.publish.examine.origins import Said, said

OURS = frozenset({PART_OF, MANAGED_BY, ENVIRONMENT, COMMIT, OWNER, VERSION, VERSION_OF})
_GENERATED = {("", "ConfigMap"), ("", "Secret")}


class Side(NamedTuple):
    value: Any
    layer: Said | None = None
    """The layer that says so."""


@dataclass(frozen=True)
class FieldDifference:
    path: str
    one: Side
    other: Side


@dataclass(frozen=True)
class ObjectDifference:
    object: ObjectRef
    fields: tuple[FieldDifference, ...]


@dataclass(frozen=True)
class Comparison:
    one: str
    other: str
    only_in_one: tuple[ObjectRef, ...]
    only_in_other: tuple[ObjectRef, ...]
    changed: tuple[ObjectDifference, ...]


def compare(one: RenderedTarget, other: RenderedTarget) -> Comparison:
    left, right = _comparable(one), _comparable(other)
    changed = []
    for ref in sorted(left.keys() & right.keys()):
        fields = tuple(_fields(ref, one, left[ref], other, right[ref]))
        if fields:
            changed.append(ObjectDifference(ref, fields))
    return Comparison(
        one.place,
        other.place,
        tuple(sorted(left.keys() - right.keys())),
        tuple(sorted(right.keys() - left.keys())),
        tuple(changed),
    )


class _Comparable(NamedTuple):
    original: KubernetesObject
    neutral: KubernetesObject


def _comparable(target: RenderedTarget) -> dict[ObjectRef, _Comparable]:
    """The objects by what they are called in both targets, without what has to differ."""
    own = target.target.namespace
    generated = {
        ref.name: HASH_SUFFIX.sub("", ref.name)
        for ref in map(ObjectRef.of, target.objects)
        if (ref.group, ref.kind) in _GENERATED
    }
    found = {}
    for obj in map(as_written, target.objects):
        ref = ObjectRef.of(obj)
        name = ref.name
        if (ref.group, ref.kind) in _GENERATED:
            name = generated[name]
        elif (ref.group, ref.kind, name) == ("", "Namespace", own):
            name = "(the target's own)"
        namespace = "" if ref.namespace == own else ref.namespace
        neutral = _neutral(obj, own, generated)
        found[ref._replace(name=name, namespace=namespace)] = _Comparable(obj, neutral)
    return found


def _neutral(value: Any, namespace: str, generated: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {
            key: neutral
            for key, inner in value.items()
            if key not in OURS and not (key == "namespace" and inner == namespace)
            for neutral in [_neutral(inner, namespace, generated)]
            if not (key in ("labels", "annotations") and inner and not neutral)
        }
    if isinstance(value, list):
        return [_neutral(item, namespace, generated) for item in value]
    return generated.get(value, value) if isinstance(value, str) else value


def _fields(
    ref: ObjectRef,
    one: RenderedTarget,
    left: _Comparable,
    other: RenderedTarget,
    right: _Comparable,
) -> Iterator[FieldDifference]:
    is_secret = (ref.group, ref.kind) == ("", "Secret")
    for steps, path, before, after in differences(left.neutral, right.neutral):
        if steps == ("metadata", "name"):
            continue
        hidden = is_secret and steps[0] in ("data", "stringData")
        yield FieldDifference(
            path,
            Side(_shown(before, hidden), _layer(one, left.original, steps)),
            Side(_shown(after, hidden), _layer(other, right.original, steps)),
        )


def _shown(value: Any, hidden: bool) -> Any:
    return HIDDEN if hidden and value is not ABSENT else value


def _layer(target: RenderedTarget, obj: KubernetesObject, steps: Sequence[str]) -> Said | None:
    found = said(target.target, obj, steps)
    return found[-1] if found else None
