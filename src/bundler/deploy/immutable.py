"""Objects that cannot be changed in place: made anew where the policy says so, else refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bundler.deploy.field_changes import wanted_changes
from bundler.deploy.policy import KEPT_KINDS, Policy, is_named
from bundler.errors import ImmutableField
from bundler.model.changeset import Change
from bundler.model.claim import NO_CLAIM
from bundler.model.finding import Finding
from bundler.model.objects import ObjectRef, owner_of, pod_spec
from bundler.model.scaling import replicas_of, with_replicas

JOB = ("batch", "Job")
_MUTABLE = {
    ("apps", "StatefulSet"): (
        "spec.minReadySeconds", "spec.ordinals", "spec.persistentVolumeClaimRetentionPolicy",
        "spec.replicas", "spec.revisionHistoryLimit", "spec.template", "spec.updateStrategy",
    ),
    ("", "PersistentVolumeClaim"): ("spec.resources", "spec.volumeAttributesClassName"),
}  # fmt: skip
"""What may change where the server says only that `spec` may not."""
_MOST_FIELDS = 10


def anew(change: Change, reason: str) -> Change:
    """To be deleted and created again; what an autoscaler has set stays."""
    desired, live = change.desired, change.live
    if desired is None or live is None:
        return change
    if change.is_scaled:
        desired = with_replicas(desired, replicas_of(live))
    return replace(
        change,
        desired=desired,
        recreate=True,
        reason="; ".join(filter(None, [change.reason, reason])),
        claim=NO_CLAIM,
        fields=wanted_changes(live, desired),
    )


def settled(change: Change, error: ImmutableField, policy: Policy) -> Change | Finding:
    ref = change.ref
    is_job = (ref.group, ref.kind) == JOB
    fields = _changed(change, error) or list(error.fields)
    may = is_named(ref, policy.recreate) and (ref.group, ref.kind) not in KEPT_KINDS
    if may and not is_job:
        return anew(change, _outage(change, fields))
    is_ours = change.live is not None and owner_of(change.live) is not None
    is_template = bool(error.fields) and all(each.startswith("spec") for each in error.fields)
    if may or (is_job and is_ours and is_template and policy.changed_jobs == "recreate"):
        return anew(change, "its template changed")
    more = f" ({', '.join(fields)})" if set(fields) - set(error.fields) else ""
    return Finding(ImmutableField.code, f"{error.message}{more}", object=str(ref), hint=_hint(ref))


def _hint(ref: ObjectRef) -> str:
    if (ref.group, ref.kind) in KEPT_KINDS:
        return "take the change back, or give the new one another name"
    return (
        "take the change back, give the new one another name, or have it deleted and made anew: "
        f"--recreate {ref.kind}/{ref.name}"
    )


def _outage(change: Change, fields: list[str]) -> str:
    told = f"{', '.join(fields) or 'this'} cannot be changed in place"
    runs = change.desired is not None and pod_spec(change.desired) is not None
    return f"{told}; an outage: none of its pods runs meanwhile" if runs else told


def _changed(change: Change, error: ImmutableField) -> list[str]:
    """The fields that the release changes, of those that the server speaks of."""
    if change.live is None or change.desired is None:
        return []
    key = (change.ref.group, change.ref.kind)
    paths = [
        each.path
        for each in wanted_changes(change.live, change.desired)
        if any(_is_in(each.path, field) for field in error.fields)
        and not any(_is_in(each.path, field) for field in _MUTABLE.get(key, ()))
        and not _is_within(each.after, each.before)
    ]
    return paths[:_MOST_FIELDS]


def _is_in(path: str, field: str) -> bool:
    return path == field or path.startswith((f"{field}.", f"{field}["))


def _is_within(wanted: Any, there: Any) -> bool:
    """Whether all that is wanted is there; a server adds defaults."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return all(key in there and _is_within(value, there[key]) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list):
        return len(wanted) == len(there) and all(map(_is_within, wanted, there))
    return bool(wanted == there)
