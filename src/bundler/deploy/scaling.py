"""Leaves `spec.replicas` to autoscalers.

An apply that no longer has a field which only we manage removes it, and the server would set the
default: one replica. So we first stop managing it (`Claim.leaves_replicas`), then apply without.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from bundler.deploy.fields import owned_fields
from bundler.model.changeset import Change
from bundler.model.claim import Claim
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.scaling import replicas_of, scaled_by, with_replicas
from bundler.ports import ObjectReader

Objects = Mapping[ObjectRef, KubernetesObject]
LEFT = "its replicas are left to its autoscaler"


def autoscaled(
    wanted: Objects, live: Objects, old: Collection[ObjectRef], to: ObjectReader
) -> frozenset[ObjectRef]:
    """What an autoscaler scales, one of the release or another one that is not about to go.

    Others are looked for only where an apply would change a number of replicas.
    """
    own = {target for obj in wanted.values() if (target := scaled_by(obj))}
    asked = {ref.namespace for ref in _rescaled(wanted, live) if ref not in own}
    others = to.autoscalers(asked) if asked else {}
    gone = {*old, *wanted}
    return frozenset(own | {target for ref, target in others.items() if ref not in gone})


def _rescaled(wanted: Objects, live: Objects) -> Iterator[ObjectRef]:
    for ref, obj in wanted.items():
        there = live.get(ref)
        present = replicas_of(there) if there else None
        if there is None or present is None:
            continue
        if replicas_of(obj) != present and (replicas_of(obj) is not None or _manages(there)):
            yield ref


def _manages(live: KubernetesObject) -> bool:
    """Whether `spec.replicas` is ours."""
    return "f:replicas" in ((owned_fields(live) or {}).get("f:spec") or {})


def left_to_autoscaler(change: Change) -> Change:
    """A change of a workload that is scaled; one that is not there yet gets what is declared."""
    desired, live = change.desired, change.live
    if desired is None or live is None:
        return change
    reason = LEFT if replicas_of(desired) not in (None, replicas_of(live)) else ""
    return replace(
        change,
        desired=with_replicas(desired, None),
        is_scaled=True,
        claim=Claim(leaves_replicas=_manages(live)),
        reason=reason,
    )


def as_asked(change: Change) -> KubernetesObject:
    """What is compared and tried: as long as the replicas are ours, they are as they are."""
    desired = change.desired or {}
    if change.live is None or not change.claim.leaves_replicas:
        return desired
    return with_replicas(desired, replicas_of(change.live))
