"""Fields and objects that are taken over from others, and what is said of it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace

from bundler.deploy.policy import Policy
from bundler.errors import FieldConflict
from bundler.model.changeset import Change
from bundler.model.finding import Finding
from bundler.model.objects import HELM_NAMESPACE, HELM_RELEASE, KubernetesObject, owner_of

Managers = Mapping[str, Collection[str]]


def adopted(change: Change, policy: Policy) -> Change:
    """A change of an object of nobody's, with what we take over of those who are named."""
    if change.live is None or owner_of(change.live):
        return change
    entries = change.live["metadata"].get("managedFields") or ()
    managers = {str(each.get("manager")) for each in entries if not each.get("subresource")}
    named = policy.take_over & managers
    claim = replace(change.claim, take_over=named, adopts=bool(named))
    return replace(change, claim=claim, reason=_reason(change.live, claim.take_over))


def taking(change: Change, conflict: FieldConflict | None) -> Change:
    """A change that also takes the fields that are in conflict."""
    if conflict is None:
        return change
    claim = replace(change.claim, take_over=change.claim.take_over | frozenset(conflict.managers))
    told = (f"takes {', '.join(paths)} from {name}" for name, paths in conflict.managers.items())
    reasons = (*filter(None, [change.reason]), *told)
    return replace(change, claim=claim, reason="; ".join(reasons))


def may_take(managers: Managers, policy: Policy) -> bool:
    return managers.keys() <= policy.take_over


def refused(change: Change, conflict: FieldConflict, policy: Policy) -> Finding:
    unnamed = sorted(conflict.managers.keys() - policy.take_over)
    flags = " ".join(f"--take-over {shlex.quote(name)}" for name in unnamed)
    return Finding(
        FieldConflict.code,
        conflict.message.removeprefix(f"{change.ref}: "),
        object=str(change.ref),
        hint=f"leave these fields out of the manifests, or take them over: {flags}",
    )


def _reason(live: KubernetesObject, managers: Collection[str]) -> str:
    reasons = ["adopted: it was not ours"]
    if managers:
        reasons.append(f"what {', '.join(sorted(managers))} set and the release has not goes")
    annotations = live["metadata"].get("annotations") or {}
    if HELM_RELEASE in annotations:
        name = annotations[HELM_RELEASE]
        namespace = annotations.get(HELM_NAMESPACE) or live["metadata"].get("namespace") or ""
        reasons.append(
            f"helm uninstall {name} would still delete it, until helm forgets the release: "
            f"kubectl delete secret -n {namespace} -l owner=helm,name={name}"
        )
    return "; ".join(reasons)
