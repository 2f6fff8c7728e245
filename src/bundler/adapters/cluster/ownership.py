"""Moves the ownership of fields: `managedFields`, as Kubernetes' structured-merge-diff has them.

What adopting means is what `kubectl apply --server-side` does with its own former objects: the
former manager's fields become ours, so that our next apply removes those that it has not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from bundler.model.claim import Claim
from bundler.model.objects import FIELD_MANAGER, KubernetesObject

Entry = Mapping[str, Any]
Fields = Mapping[str, Any]
_REPLICAS: Fields = {"f:spec": {"f:replicas": {}}}
_OF_CONTROLLERS = ("f:finalizers", "f:ownerReferences")
"""Metadata that whoever made an object has without having said so."""


def entries_of(obj: KubernetesObject) -> list[Entry]:
    return list((obj.get("metadata") or {}).get("managedFields") or ())


def reassigned(live: KubernetesObject, api_version: str, claim: Claim) -> list[Entry]:
    """The entries that an object is to have before it is applied in this version."""
    entries = entries_of(live)
    if claim.adopts:
        entries = _adopted(entries, claim.take_over, api_version)
    if claim.leaves_replicas:
        entries = [
            {**each, "fieldsV1": _without(_fields(each), _REPLICAS)} if _is_ours(each) else each
            for each in entries
        ]
    return entries


def without_leftovers(outcome: KubernetesObject, managers: Collection[str]) -> KubernetesObject:
    """What an apply leaves of an object when nothing is left to these managers alone."""
    entries = entries_of(outcome)
    parts = [_split(_fields(each)) for each in entries if _is_of(each, managers)]
    theirs = _union(taken for taken, _ in parts)
    others = _union(
        [
            *(left for _, left in parts),
            *(_fields(each) for each in entries if not _is_of(each, managers)),
        ]
    )
    kept: KubernetesObject = _kept(outcome, theirs, others)
    return kept


def _adopted(entries: Sequence[Entry], managers: Collection[str], version: str) -> list[Entry]:
    theirs = [each for each in entries if _is_of(each, managers)]
    ours = [each for each in entries if _is_ours(each)]
    if not theirs:
        return list(entries)
    if version not in {each.get("apiVersion") for each in [*ours, *theirs]}:
        version = str([*ours, *theirs][0].get("apiVersion"))
    # Sets of fields of two versions cannot be united; those of the other are nobody's then.
    same = [each for each in theirs if each.get("apiVersion") == version]
    fields = _union([*map(_fields, ours), *(_split(_fields(each))[0] for each in same)])
    rests = ((each, _split(_fields(each))[1]) for each in theirs)
    return [
        *(each for each in entries if not _is_ours(each) and not _is_of(each, managers)),
        *({**each, "fieldsV1": rest} for each, rest in rests if rest),
        {
            "manager": FIELD_MANAGER,
            "operation": "Apply",
            "apiVersion": version,
            "time": max(str(each.get("time") or "") for each in [*ours, *theirs]),
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        },
    ]


def _is_ours(entry: Entry) -> bool:
    is_apply = entry.get("operation") == "Apply" and not entry.get("subresource")
    return is_apply and entry.get("manager") == FIELD_MANAGER


def _is_of(entry: Entry, managers: Collection[str]) -> bool:
    is_named = entry.get("manager") in managers and not entry.get("subresource")
    return is_named and not _is_ours(entry)


def _fields(entry: Entry) -> Fields:
    fields: Fields = entry.get("fieldsV1") or {}
    return fields


# --- sets of fields -----------------------------------------------------------------------------


def _split(fields: Fields) -> tuple[Fields, Fields]:
    """What can be taken over, and what stays with whoever has it."""
    metadata = fields.get("f:metadata") or {}
    left_metadata = {key: metadata[key] for key in _OF_CONTROLLERS if key in metadata}
    left = {"f:metadata": left_metadata} if left_metadata else {}
    left |= {"f:status": fields["f:status"]} if "f:status" in fields else {}
    return _without(fields, left), left


def _union(parts: Iterable[Fields]) -> dict[str, Any]:
    """A leaf (`{}`) is a field itself; `.` stands for it where it has fields inside, too."""
    result: dict[str, Any] = {}
    for part in parts:
        for key, child in part.items():
            if key not in result:
                result[key] = child
            elif result[key] or child:
                both = (each or {".": {}} for each in (result[key], child))
                result[key] = {} if key == "." else _union(both)
    return result


def _without(fields: Fields, taken: Fields) -> dict[str, Any]:
    left = {}
    for key, child in fields.items():
        if key not in taken:
            left[key] = child
        elif child and (rest := _without(child, taken[key])):
            left[key] = rest
    return left


def _kept(value: Any, theirs: Fields, others: Fields) -> Any:
    """A mapping or list without what `theirs` has and `others` has not."""
    if isinstance(value, Mapping):
        rests = {key: _rest(inner, f"f:{key}", theirs, others) for key, inner in value.items()}
        return {key: inner for key, rest in rests.items() for inner in rest}
    if isinstance(value, list):
        return [
            rest for item in value for rest in _rest(item, _element(item, theirs), theirs, others)
        ]
    return value


def _rest(inner: Any, element: str, theirs: Fields, others: Fields) -> list[Any]:
    """What stays of an inner value: one or none."""
    mine = theirs.get(element)
    if mine is None or (not mine and element in others):
        return [inner]
    if element not in others and (not mine or "." in mine):
        return []
    rest = _kept(inner, mine, others.get(element) or {})
    return [rest] if rest or not inner else []


def _element(item: Any, fields: Fields) -> str:
    """The path element that means an item of a list; empty where none does."""
    for element in fields:
        sort, _, text = element.partition(":")
        key: Any = json.loads(text) if sort in ("k", "v") else None
        if sort == "v" and key == item:
            return element
        if sort == "k" and isinstance(item, Mapping) and key.items() <= item.items():
            return element
    return ""
