"""What an apply changes in an object, field by field, and what of an object counts as its state.

No value of a Secret comes out of here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bundler.deploy.fields import lasting
from bundler.model.differences import ABSENT, HIDDEN, Difference, FieldChange, differences
from bundler.model.objects import LAST_APPLIED, KubernetesObject
from bundler.model.reference import Digest
from bundler.model.sops import is_secret

_VALUES = ("data", "stringData")


def field_changes(live: KubernetesObject, outcome: KubernetesObject) -> tuple[FieldChange, ...]:
    """From what stands there to what the server says would."""
    return _told(live, differences(_shown(live), _shown(outcome)))


def wanted_changes(live: KubernetesObject, desired: KubernetesObject) -> tuple[FieldChange, ...]:
    """Where the server was not asked: the wanted fields that have another value."""
    found = differences(_shown(live), _shown(desired))
    return _told(live, (each for each in found if each.other is not ABSENT))


def state_of(live: KubernetesObject) -> Digest:
    """A digest of all that others could have changed and a plan is about.

    The status is not in it, nor what the server keeps account by, nor what is written through a
    subresource: a Deployment's revision, replicas that an autoscaler sets. The values of a Secret
    are not either, as a digest lets short ones be guessed: its resourceVersion stands for them.
    """
    shown = _shown(live)
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("subresource"):
            shown = _without(shown, entry.get("fieldsV1") or {})
    if is_secret(live):
        others = {key: value for key, value in shown.items() if key not in _VALUES}
        shown = {**others, "version": live["metadata"].get("resourceVersion")}
    return Digest.of_value(shown)


def _shown(obj: KubernetesObject) -> Mapping[str, Any]:
    """What lasts of an object; kubectl keeps a Secret's values in an annotation, too."""
    kept = lasting(obj)
    annotations = kept["metadata"].get("annotations") or {}
    if not (is_secret(obj) and LAST_APPLIED in annotations):
        return kept
    others = {key: value for key, value in annotations.items() if key != LAST_APPLIED}
    return {**kept, "metadata": {**kept["metadata"], "annotations": others}}


def _told(obj: KubernetesObject, found: Iterator[Difference]) -> tuple[FieldChange, ...]:
    hides = is_secret(obj)
    return tuple(
        FieldChange(each.path, _hidden(each.one), _hidden(each.other))
        if hides and each.steps[0] in _VALUES
        else FieldChange(each.path, each.one, each.other)
        for each in found
    )


def _hidden(value: Any) -> Any:
    return value if value is ABSENT else HIDDEN


def _without(value: Mapping[str, Any], fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without the fields that are named as `managedFields` names them; lists stay whole."""
    kept = {}
    for key, inner in value.items():
        children = fields.get(f"f:{key}")
        if children is None or (children and not isinstance(inner, Mapping)):
            kept[key] = inner
        elif children and (rest := _without(inner, children)):
            kept[key] = rest
    return kept
