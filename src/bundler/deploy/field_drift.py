"""Fields of an object that are not as a release has them, found without asking the server.

Only what is wanted counts, and what we own and no longer want. Whatever else stands there is the
server's, as defaults and the status are, or somebody else's, as an injected container is.

`managedFields` tells more than values do. While we own a field nobody has changed it since we
applied it, however differently the server may write it; once we do not, somebody has.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bundler.deploy.fields import find_item, is_same_value
from bundler.model.differences import ABSENT, HIDDEN
from bundler.model.drift import FieldDrift
from bundler.model.field_path import with_item, with_key
from bundler.model.objects import FIELD_MANAGER, KubernetesObject
from bundler.model.sops import is_secret

_NOT_COMPARED = frozenset({"apiVersion", "kind", "status"})
_IDENTITY = frozenset(
    {
        "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
        "managedFields", "selfLink",
    }
)  # fmt: skip
"""Fields of the metadata that name an object, or that the server alone writes."""
_VALUES = ("data", "stringData")


class Suspect(NamedTuple):
    """A field that differs. Where that is not certain, only the server can say."""

    steps: tuple[str, ...]
    drift: FieldDrift
    is_certain: bool


class _Claim(NamedTuple):
    """What a manager owns of an object, or of one field of it."""

    manager: str
    time: str | None
    is_ours: bool
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> _Claim:
        manager, is_applied = str(entry.get("manager")), entry.get("operation") == "Apply"
        is_ours = manager == FIELD_MANAGER and is_applied and not entry.get("subresource")
        return cls(manager, entry.get("time"), is_ours, entry.get("fieldsV1") or {})


class _Place(NamedTuple):
    """A field by its steps, and as people write them."""

    steps: tuple[str, ...] = ()
    path: str = ""

    def key(self, key: str) -> _Place:
        return _Place((*self.steps, key), with_key(self.path, key))

    def item(self, name: str) -> _Place:
        return _Place((*self.steps, name), with_item(self.path, name))


def suspects(wanted: KubernetesObject, live: KubernetesObject) -> tuple[Suspect, ...]:
    """The fields that differ from what is wanted, in its order; no value of a Secret is told."""
    claims = [_Claim.of(entry) for entry in live["metadata"].get("managedFields") or ()]
    is_known = any(claim.is_ours for claim in claims)
    found = _compare(_compared(wanted), _compared(live), claims, _Place())
    # Of an object in which we own nothing it cannot be said what the server rewrote.
    told = (each if is_known else each._replace(is_certain=False) for each in found)
    return tuple(_masked(each) for each in told) if is_secret(wanted) else tuple(told)


def _masked(suspect: Suspect) -> Suspect:
    if suspect.steps[0] not in _VALUES:
        return suspect
    drift = suspect.drift
    wanted, found = (value if value is ABSENT else HIDDEN for value in (drift.wanted, drift.found))
    return suspect._replace(drift=FieldDrift(drift.path, wanted, found, drift.manager, drift.since))


def _compared(obj: KubernetesObject) -> Mapping[str, Any]:
    """What an object says, without its identity; a Secret's texts as the server keeps them."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _IDENTITY}
    rest = {key: value for key, value in obj.items() if key not in _NOT_COMPARED}
    if is_secret(obj) and "stringData" in rest:
        texts = rest.pop("stringData") or {}
        rest["data"] = {**(rest.get("data") or {}), **{k: _encoded(v) for k, v in texts.items()}}
    return {**rest, "metadata": metadata}


def _encoded(text: Any) -> str:
    return base64.b64encode(str(text).encode()).decode()


# --- walking ------------------------------------------------------------------------------------


def _compare(wanted: Any, live: Any, claims: Sequence[_Claim], at: _Place) -> Iterator[Suspect]:
    """`claims` are on this very field: where one names no fields of it, it is owned as a whole."""
    if wanted is None:
        return
    elements = {element for claim in claims for element in claim.fields if element != "."}
    if isinstance(wanted, Mapping) and isinstance(live, Mapping) and (elements or not claims):
        yield from _compare_mappings(wanted, live, claims, at)
    elif isinstance(wanted, list) and isinstance(live, list) and elements:
        yield from _compare_lists(wanted, live, claims, sorted(elements), at)
    else:
        yield from _compare_values(wanted, live, claims, at)


def _compare_mappings(
    wanted: Mapping[str, Any], live: Mapping[str, Any], claims: Sequence[_Claim], at: _Place
) -> Iterator[Suspect]:
    for key, value in wanted.items():
        below = _below(claims, f"f:{key}")
        yield from _compare(value, live.get(key, ABSENT), below, at.key(key))
    for key in live.keys() - wanted.keys():
        yield from _left_over(live[key], _below(claims, f"f:{key}"), at.key(key))


def _compare_lists(
    wanted: Sequence[Any],
    live: Sequence[Any],
    claims: Sequence[_Claim],
    elements: Iterable[str],
    at: _Place,
) -> Iterator[Suspect]:
    """A list whose items have keys, or a set."""
    missing = dict(enumerate(wanted))
    fields: tuple[str, ...] = ()
    for element in elements:
        name, fields = _item_name(element)
        index, there = find_item(element, wanted), find_item(element, live)
        if there is None:
            continue
        below = _below(claims, element)
        if index is None:
            yield from _left_over(live[there], below, at.item(name))
        else:
            missing.pop(index, None)
            yield from _compare(wanted[index], live[there], below, at.item(name))
    for item in missing.values():
        keys = [str(item[key]) for key in fields if key in item] if fields else [str(item)]
        yield from _compare_values(item, ABSENT, (), at.item("/".join(keys)))


def _below(claims: Iterable[_Claim], element: str) -> list[_Claim]:
    return [
        claim._replace(fields=claim.fields[element]) for claim in claims if element in claim.fields
    ]


def _item_name(element: str) -> tuple[str, tuple[str, ...]]:
    """How people call the item that `k:{…}` or `v:…` means, and which of its fields say so."""
    _, _, text = element.partition(":")
    key = json.loads(text)
    if not isinstance(key, Mapping):
        return str(key), ()
    return "/".join(map(str, key.values())), tuple(key)


# --- one field ----------------------------------------------------------------------------------


def _compare_values(
    wanted: Any, live: Any, claims: Sequence[_Claim], at: _Place
) -> Iterator[Suspect]:
    ours = [claim for claim in claims if claim.is_ours]
    others = [claim for claim in claims if not claim.is_ours]
    if ours:
        is_same = _covers(wanted, live, at.steps)
    elif others:
        is_same = is_same_value(wanted, live, at.steps)
    elif live is ABSENT:  # the server drops these where they are set, and they say the same
        is_same = wanted in ([], "")
    else:
        is_same = _covers(wanted, live, at.steps)
    if not is_same:
        owner = max(ours or others, key=lambda claim: claim.time or "", default=None)
        yield _suspect(wanted, live, owner, at, is_certain=not ours)


def _left_over(live: Any, claims: Sequence[_Claim], at: _Place) -> Iterator[Suspect]:
    """What we own and do not want, where nobody else owns it too: a later apply has brought it."""
    ours = [claim for claim in claims if claim.is_ours]
    if not ours:
        return
    if len(ours) == len(claims):
        yield _suspect(ABSENT, live, ours[0], at, is_certain=False)
    elif isinstance(live, Mapping):
        for key in live:
            yield from _left_over(live[key], _below(claims, f"f:{key}"), at.key(key))


def _suspect(
    wanted: Any, found: Any, owner: _Claim | None, at: _Place, *, is_certain: bool
) -> Suspect:
    manager, since = (owner.manager, owner.time) if owner else (None, None)
    return Suspect(at.steps, FieldDrift(at.path, wanted, found, manager, since), is_certain)


def _covers(wanted: Any, live: Any, steps: tuple[str, ...]) -> bool:
    """Whether a value is the wanted one, but for what a server adds to it and drops from it."""
    if wanted is None or (live is ABSENT and not wanted):
        return True
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        return all(
            _covers(value, live.get(key, ABSENT), (*steps, key)) for key, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(live, list):
        return len(wanted) == len(live) and all(
            _covers(one, other, (*steps, "")) for one, other in zip(wanted, live, strict=True)
        )
    return is_same_value(wanted, live, steps)
