"""Server-side apply in small: ownership of fields, merging and conflicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

MERGE_KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "ports": ("containerPort", "protocol"),
}
"""Lists whose items have keys; every other list is replaced as a whole. A Service's ports too."""


def fields_of(obj: Mapping[str, Any]) -> dict[str, Any]:
    """`fieldsV1` of an applied object."""
    metadata = {k: v for k, v in obj.get("metadata", {}).items() if k not in ("name", "namespace")}
    rest = {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata")}
    return _fields({**rest, **({"metadata": metadata} if metadata else {})}, "")


def _fields(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {f"f:{key}": _fields(child, key) for key, child in value.items()}
    if _is_keyed(value, name):
        return {_key(item, name): {".": {}, **_fields(item, "")} for item in value}
    return {}


def _is_keyed(value: Any, name: str) -> bool:
    if not isinstance(value, list) or name not in MERGE_KEYS:
        return False
    return all(isinstance(item, Mapping) and MERGE_KEYS[name][0] in item for item in value)


def _key(item: Mapping[str, Any], name: str) -> str:
    key = {field: item.get(field, "TCP") for field in MERGE_KEYS[name]}
    return "k:" + json.dumps(key, separators=(",", ":"))


def member(value: Any, element: str) -> Any:
    """What an element of `fieldsV1` means in a value; None where it is not there."""
    if element.startswith("f:"):
        return value.get(element.removeprefix("f:")) if isinstance(value, Mapping) else None
    if not element.startswith("k:") or not isinstance(value, list):
        return None
    key = json.loads(element.removeprefix("k:"))
    found = (i for i in value if all(i.get(k, "TCP") == wanted for k, wanted in key.items()))
    return next(found, None)


def merged(
    live: Any, desired: Any, before: Mapping[str, Any], others: Mapping[str, Any], name: str = ""
) -> Any:
    """`live` with what is applied; what we applied `before` and no longer do goes away."""
    if isinstance(live, Mapping) and isinstance(desired, Mapping):
        result = dict(live)
        for element in before:
            key = element.removeprefix("f:")
            if element != "." and key not in desired and element not in others:
                result.pop(key, None)
        for key, value in desired.items():
            ours, theirs = _child(before, f"f:{key}"), _child(others, f"f:{key}")
            old = live.get(key)
            result[key] = deepcopy(value) if old is None else merged(old, value, ours, theirs, key)
        return result
    if _is_keyed(live, name) and _is_keyed(desired, name):
        there = {_key(item, name): item for item in live}
        wanted = {_key(item, name): item for item in desired}
        return [
            merged(there[key], item, _child(before, key), _child(others, key))
            if key in there
            else deepcopy(item)
            for key, item in wanted.items()
        ] + [item for key, item in there.items() if key not in wanted and key not in before]
    return deepcopy(desired)


def _child(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    child: Mapping[str, Any] = fields.get(key, {})
    return child


def conflicts(
    live: Any, desired: Any, others: Mapping[str, Any], name: str = "", path: str = ""
) -> list[str]:
    """Paths that somebody else owns and that would get another value."""
    if not others:
        return []
    if isinstance(live, Mapping) and isinstance(desired, Mapping):
        pairs = [(f"f:{key}", key, live.get(key), value) for key, value in desired.items()]
    elif _is_keyed(live, name) and _is_keyed(desired, name):
        there = {_key(item, name): item for item in live}
        pairs = [(_key(item, name), "", there.get(_key(item, name)), item) for item in desired]
    else:
        pairs = []
    found = []
    for element, key, old, new in pairs:
        if element in others:
            if not others[element] and old != new:
                found.append(f"{path}.{key}")
            found += conflicts(old, new, others[element], key, f"{path}.{key}")
    return found


def union(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for part in parts:
        for key, child in part.items():
            result[key] = union([result.get(key, {}), child])
    return result


def without(fields: Mapping[str, Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are left when somebody else has taken some."""
    left = {}
    for key, child in fields.items():
        if key not in taken:
            left[key] = child
        elif child and (rest := without(child, taken[key])):
            left[key] = rest
    return left
