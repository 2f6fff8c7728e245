"""verified objects + what stands in the target → a plan: what would be done, before any change.

All that can be known to go wrong is found here, together: foreign objects, missing permissions,
what the server refuses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from bundler.deploy import permissions
from bundler.deploy.adoption import adopted
from bundler.deploy.answers import Coming, settle
from bundler.deploy.apply import DELETIONS
from bundler.deploy.deletions import deletions, refusals, unknown_names
from bundler.deploy.fields import is_unchanged
from bundler.deploy.immutable import JOB, anew
from bundler.deploy.policy import DEFINITION, NAMESPACE, Policy
from bundler.deploy.readiness import is_true
from bundler.deploy.scaling import as_asked, autoscaled, left_to_autoscaler
from bundler.deploy.versions import is_switched, switch_step
from bundler.errors import FieldConflict, OwnershipRefused, PermissionRefused, Refused
from bundler.model.changeset import Change, Plan, Wave
from bundler.model.finding import Finding
from bundler.model.inventory import Inventory, stale
from bundler.model.objects import (
    WAVES,
    KubernetesObject,
    ObjectRef,
    Step,
    owner_of,
    wave_of,
)
from bundler.model.reference import Digest
from bundler.model.revision import TargetState
from bundler.ports import ObjectReader, ObjectWriter, PermissionReader

_DEFAULT = Policy()


class PlanTarget(ObjectReader, ObjectWriter, PermissionReader, Protocol):
    """What planning needs of a target; it writes by dry runs only."""


@dataclass(frozen=True)
class Wanted:
    """What a target is to hold."""

    environment: str
    target: str
    owner: str
    objects: Mapping[ObjectRef, KubernetesObject]
    state_namespace: str
    """Where the state is kept: made before anything else, and never recorded as ours."""

    @property
    def state_place(self) -> ObjectRef:
        return ObjectRef(*NAMESPACE, "", self.state_namespace)

    @property
    def namespaces(self) -> frozenset[str]:
        """Namespaces that the release, or its state, brings with it."""
        named = {ref.name for ref in self.objects if (ref.group, ref.kind) == NAMESPACE}
        return frozenset(named | {self.state_namespace})

    @property
    def kinds(self) -> frozenset[tuple[str, str]]:
        """(group, kind) that the release itself defines."""
        specs = [
            obj.get("spec") or {}
            for ref, obj in self.objects.items()
            if (ref.group, ref.kind) == DEFINITION
        ]
        return frozenset(
            (str(spec.get("group")), str((spec.get("names") or {}).get("kind"))) for spec in specs
        )


def plan_for(wanted: Wanted, state: TargetState, to: PlanTarget, policy: Policy) -> Plan:
    """`make_plan`, and which release it replaces."""
    plan = make_plan(wanted, state.inventory, to, policy)
    return replace(plan, replaces=state.current.tag if state.current else None)


def make_plan(
    wanted: Wanted, recorded: Inventory, to: PlanTarget, policy: Policy = _DEFAULT
) -> Plan:
    """Raises OwnershipRefused, PermissionRefused or Refused with all findings, and Unreachable."""
    old = [ref for ref in stale(recorded, wanted.objects) if ref != wanted.state_place]
    live = _live(wanted, old, to, policy)
    scaled = autoscaled(wanted.objects, live, old, to)
    guesses = [
        _guess(ref, obj, live.get(ref), recorded, policy, is_scaled=ref in scaled)
        for ref, obj in wanted.objects.items()
    ]
    is_busy = bool(old) or any(change.action != "unchanged" for change in guesses)
    warnings = permissions.check(wanted, old, to, policy) if is_busy else ()
    foreign = [finding for change in guesses if (finding := _foreign(change, wanted.owner))]
    changes, refused = _asked(guesses, wanted, live, to, policy)
    gone = deletions(old, live, wanted.objects, recorded, wanted.owner, policy)
    _raise_all([*foreign, *refused, *refusals(gone, wanted.objects, policy)])
    unknown = unknown_names(gone, wanted.objects, policy)
    waves = tuple(_waves(changes, gone))
    return Plan(wanted.environment, wanted.target, waves, warnings=(*warnings, *unknown))


def _live(
    wanted: Wanted, old: Sequence[ObjectRef], to: PlanTarget, policy: Policy
) -> Mapping[ObjectRef, KubernetesObject]:
    versions = {ref: str(obj["apiVersion"]) for ref, obj in wanted.objects.items()}
    try:
        return to.live(versions | dict.fromkeys(old, ""))
    except PermissionRefused:
        permissions.check(wanted, old, to, policy)  # it may be one of many
        raise


# --- one object ---------------------------------------------------------------------------------


def _guess(
    ref: ObjectRef,
    desired: KubernetesObject,
    live: KubernetesObject | None,
    recorded: Inventory,
    policy: Policy,
    *,
    is_scaled: bool,
) -> Change:
    """What can be said without asking the server; `configured` is a guess."""
    if live is None:
        if recorded.completed.get(ref) == job_digest(desired):
            return Change(ref, "unchanged", desired, None, reason="completed before")
        return Change(ref, "created", desired, None)
    change = Change(ref, "configured", desired, live)
    if is_scaled:
        change = left_to_autoscaler(change)
    if live["metadata"].get("deletionTimestamp"):
        return anew(change, "is being deleted")
    if (ref.group, ref.kind) == JOB and is_true(live.get("status") or {}, "Failed"):
        return anew(change, "failed before")
    if is_unchanged(as_asked(change), live):
        return replace(change, action="unchanged", reason="")
    return adopted(change, policy)


def job_digest(job: KubernetesObject) -> str:
    """What tells whether a Job that completed is still the one that is wanted."""
    return str(Digest.of_value(job.get("spec")))


def _foreign(change: Change, owner: str) -> Finding | None:
    """A finding where an object belongs to somebody else."""
    other = owner_of(change.live) if change.live else None
    if other is None or other == owner:
        return None
    return Finding(
        "foreign-owner",
        f"belongs to {other}, not to {owner}",
        object=str(change.ref),
        hint="rename it, or take it out of one of the two",
    )


# --- what the server says -----------------------------------------------------------------------


def _asked(
    guesses: Sequence[Change],
    wanted: Wanted,
    live: Collection[ObjectRef],
    to: ObjectWriter,
    policy: Policy,
) -> tuple[list[Change], list[Finding]]:
    """The guesses, settled where only the server knows."""
    open_ = [change for change in guesses if _is_open(change, wanted.owner)]
    there = {ref.name if (ref.group, ref.kind) == NAMESPACE else ref.namespace for ref in live}
    settled, findings = settle(open_, Coming(wanted.namespaces - there, wanted.kinds), to, policy)
    return [settled.get(change.ref, change) for change in guesses], findings


def _is_open(change: Change, owner: str) -> bool:
    """Whether only the server knows.

    A foreign object is refused anyway; a Pod's admission wants its account to exist, which may
    come with the same release.
    """
    if change.action == "unchanged" or change.recreate or _foreign(change, owner):
        return False
    return change.live is not None or (change.ref.group, change.ref.kind) != ("", "Pod")


def _raise_all(findings: Sequence[Finding]) -> None:
    """One error for all findings, of the kind that says most."""
    if not findings:
        return
    rules = {finding.rule for finding in findings}
    error: type[Refused] = Refused
    if rules & {"foreign-owner", OwnershipRefused.code, FieldConflict.code}:
        error = OwnershipRefused
    elif PermissionRefused.code in rules:
        error = PermissionRefused
    first = findings[0]
    words = (
        first.message if str(first.object) in first.message else f"{first.object}: {first.message}"
    )
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    raise error(
        f"{words}{more}",
        hint=first.hint or "nothing was changed",
        findings=sorted(findings, key=str),
    )


# --- waves --------------------------------------------------------------------------------------


def _waves(changes: Sequence[Change], gone: Iterable[Change]) -> Iterator[Wave]:
    steps: dict[Step, list[Change]] = {}
    switch = switch_step(changes)
    for change in changes:
        step = Step.of(change.desired or {})
        if is_switched(change):
            step = max(step, switch)
        steps.setdefault(step, []).append(change)
    for step, members in sorted(steps.items()):
        yield Wave(step.name, tuple(sorted(members, key=lambda change: change.ref)))
    ordered = sorted(gone, key=lambda c: (-WAVES.index(wave_of(c.ref)), c.ref))
    if ordered:
        yield Wave(DELETIONS, tuple(ordered))
