"""Tells without a request whether a server-side apply would change nothing.

`managedFields` says which fields we own (the format of Kubernetes' structured-merge-diff). An
object is unchanged if we own exactly the fields that we want and each has the wanted value. Where
that is not certain the answer is no: then the server is asked by a dry run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from bundler.model.objects import (
    BUILT_IN_GROUPS,
    FIELD_MANAGER,
    KubernetesObject,
    split_api_version,
)

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal("1e3"), "M": Decimal("1e6"), "G": Decimal("1e9"), "T": Decimal("1e12"),
    "P": Decimal("1e15"), "E": Decimal("1e18"), "Ki": Decimal(2**10), "Mi": Decimal(2**20),
    "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_OF_QUANTITIES = frozenset({("limits",), ("requests",), ("hard",), ("capacity",)})
_DEFAULTS: Mapping[tuple[str, str], Any] = {
    ("fieldRef", "apiVersion"): "v1",
    ("ports", "protocol"): "TCP",
    ("resourceFieldRef", "divisor"): "0",
    ("roleRef", "apiGroup"): "rbac.authorization.k8s.io",
    ("rules", "scope"): "*",
    ("serviceAccountToken", "expirationSeconds"): 3600,
    ("spec", "volumeMode"): "Filesystem",
    ("subjects", "apiGroup"): "rbac.authorization.k8s.io",
    ("volumeClaimTemplates", "apiVersion"): "v1",
    ("volumeClaimTemplates", "kind"): "PersistentVolumeClaim",
    ("volumeClaimTemplates", "status"): {"phase": "Pending"},
}
"""(parent, field) → what a server adds within values of its own kinds that are owned as a whole."""


def owned_fields(obj: KubernetesObject) -> Mapping[str, Any] | None:
    """The fields that we own by server-side apply; None where we own none."""
    for entry in (obj.get("metadata") or {}).get("managedFields") or ():
        is_ours = entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        if is_ours and not entry.get("subresource"):
            fields: Mapping[str, Any] = entry.get("fieldsV1") or {}
            return {"apiVersion": entry.get("apiVersion"), **fields}
    return None


def is_unchanged(desired: KubernetesObject, live: KubernetesObject) -> bool:
    """Whether applying the desired object is certain to change nothing."""
    owned = owned_fields(live)
    if owned is None or owned["apiVersion"] != desired["apiVersion"]:
        return False
    metadata = {k: v for k, v in desired["metadata"].items() if k not in ("name", "namespace")}
    wanted = {k: v for k, v in desired.items() if k not in ("apiVersion", "kind")}
    fields = {key: children for key, children in owned.items() if key != "apiVersion"}
    group, _ = split_api_version(desired["apiVersion"])
    return _is_same(fields, wanted | {"metadata": metadata}, live, (group,))


def is_same_outcome(result: KubernetesObject, live: KubernetesObject) -> bool:
    """Whether a dry run's result is what stands there already, in our fields' ownership too."""
    return lasting(result) == lasting(live) and owned_fields(result) == owned_fields(live)


def lasting(obj: KubernetesObject) -> Mapping[str, Any]:
    """An object without its status and what the server keeps account by."""
    unstable = ("managedFields", "resourceVersion", "generation")
    metadata = {key: value for key, value in obj["metadata"].items() if key not in unstable}
    rest = {key: value for key, value in obj.items() if key not in ("status", "metadata")}
    return {**rest, "metadata": metadata}


def _is_same(owned: Mapping[str, Any], desired: Any, live: Any, path: tuple[str, ...]) -> bool:
    """`path` is the API group, and the fields that lead here."""
    children = {key: value for key, value in owned.items() if key != "."}
    if not children:
        return is_same_value(desired, live, path) or (
            path[0] in BUILT_IN_GROUPS and _is_completed(desired, live, path[-1])
        )
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        return children.keys() == {f"f:{name}" for name in desired} and all(
            name in live and _is_same(children[f"f:{name}"], value, live[name], (*path, name))
            for name, value in desired.items()
        )
    if isinstance(desired, list) and isinstance(live, list):
        return _is_same_list(children, desired, live, path)
    return False


def _is_same_list(
    owned: Mapping[str, Any], desired: Sequence[Any], live: Sequence[Any], path: tuple[str, ...]
) -> bool:
    """A list of items with keys, or a set: each item owned and there, in the wanted order."""
    matches = sorted(_matches(owned, desired, live))
    if len(matches) != len(owned) or [wanted for wanted, _, _ in matches] != [*range(len(desired))]:
        return False
    positions = [there for _, there, _ in matches]
    return positions == sorted(positions) and all(
        _is_same(owned[key], desired[wanted], live[there], (*path, key))
        for wanted, there, key in matches
    )


def _matches(
    owned: Mapping[str, Any], desired: Sequence[Any], live: Sequence[Any]
) -> Iterator[tuple[int, int, str]]:
    """(index in desired, index in live, path element) of each owned item that is in both."""
    for element in owned:
        wanted, there = find_item(element, desired), find_item(element, live)
        if wanted is not None and there is not None:
            yield wanted, there, element


def find_item(element: str, items: Sequence[Any]) -> int | None:
    """Index of the item that `k:{…}` or `v:…` means; None where there is none, or no single one.

    Keys may have defaults that a manifest leaves out (a port's protocol): an item without them
    counts where no item has them all.
    """
    sort, _, text = element.partition(":")
    key = json.loads(text) if sort in ("k", "v") else None
    if sort == "v":
        return next((i for i, item in enumerate(items) if item == key), None)
    if not isinstance(key, Mapping) or not all(isinstance(item, Mapping) for item in items):
        return None
    exact = [i for i, item in enumerate(items) if all(item.get(k) == v for k, v in key.items())]
    loose = [
        i
        for i, item in enumerate(items)
        if any(k in item for k in key) and all(item.get(k, v) == v for k, v in key.items())
    ]
    found = exact or loose
    return found[0] if len(found) == 1 else None


def _is_completed(desired: Any, live: Any, parent: str) -> bool:
    """Whether a value is the wanted one and defaults, of the fields of `parent` and below."""
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        return desired.keys() <= live.keys() and all(
            _is_completed(desired[key], value, key)
            if key in desired
            else _DEFAULTS.get((parent, key)) == value
            for key, value in live.items()
        )
    if isinstance(desired, list) and isinstance(live, list):
        return len(desired) == len(live) and all(
            _is_completed(wanted, there, parent)
            for wanted, there in zip(desired, live, strict=True)
        )
    return type(desired) is type(live) and bool(desired == live)


def is_same_value(desired: Any, live: Any, path: tuple[str, ...]) -> bool:
    """Whether both are equal, or two ways to write one quantity where the path leads to one."""
    if type(desired) is type(live) and desired == live:
        return True
    return path[-2:-1] in _OF_QUANTITIES and _is_same_quantity(desired, live)


def _is_same_quantity(first: Any, second: Any) -> bool:
    left, right = _quantity(first), _quantity(second)
    return left is not None and left == right


def _quantity(value: Any) -> Decimal | None:
    """The number behind a Kubernetes quantity such as `500m` or `1Gi`."""
    text = str(value)
    number = text.rstrip("numkMGTPEi")
    try:
        return Decimal(number) * _SUFFIXES[text[len(number) :]]
    except (InvalidOperation, KeyError):
        return None
