"""verified objects + what stands in the target → a plan: what would be done, before any change.

All that can be known to go wrong is found here, together: foreign objects, missing permissions,
what the server refuses.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from bundler.deploy import permissions
from bundler.deploy.apply import DELETIONS, dry_run, uid_of
from bundler.deploy.field_changes import field_changes, wanted_changes
from bundler.deploy.fields import is_same_outcome, is_unchanged
from bundler.deploy.permissions import KEPT_KINDS
from bundler.deploy.policy import Policy
from bundler.deploy.readiness import is_true
from bundler.errors import BundlerError, NotFound, OwnershipRefused, PermissionRefused, Refused
from bundler.model.changeset import Change, Plan, Wave
from bundler.model.finding import Finding
from bundler.model.inventory import Inventory, stale
from bundler.model.objects import (
    WAVES,
    KubernetesObject,
    ObjectRef,
    Step,
    images_in,
    owner_of,
    wave_of,
)
from bundler.model.reference import Digest
from bundler.model.revision import TargetState
from bundler.ports import ObjectReader, ObjectWriter, PermissionReader

_NAMESPACE = ("", "Namespace")
_DEFINITION = ("apiextensions.k8s.io", "CustomResourceDefinition")
_JOB = ("batch", "Job")
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
        return ObjectRef(*_NAMESPACE, "", self.state_namespace)

    @property
    def namespaces(self) -> frozenset[str]:
        """Namespaces that the release, or its state, brings with it."""
        named = {ref.name for ref in self.objects if (ref.group, ref.kind) == _NAMESPACE}
        return frozenset(named | {self.state_namespace})

    @property
    def kinds(self) -> frozenset[tuple[str, str]]:
        """(group, kind) that the release itself defines."""
        specs = [
            obj.get("spec") or {}
            for ref, obj in self.objects.items()
            if (ref.group, ref.kind) == _DEFINITION
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
    old = stale(recorded, wanted.objects)
    warnings = permissions.check(wanted, old, to)
    versions = {ref: str(obj["apiVersion"]) for ref, obj in wanted.objects.items()}
    live = to.live(versions | dict.fromkeys(old, ""))
    guesses = [_guess(ref, obj, live.get(ref), recorded) for ref, obj in wanted.objects.items()]
    foreign = [finding for change in guesses if (finding := _foreign(change, wanted.owner))]
    changes, refused = _ask(guesses, wanted, live, to)
    _raise_all([*foreign, *refused])
    deletions = list(_deletions(old, live, recorded, wanted.owner, policy))
    waves = tuple(_waves(changes, deletions))
    return Plan(wanted.environment, wanted.target, waves, warnings=warnings)


# --- one object ---------------------------------------------------------------------------------


def _guess(
    ref: ObjectRef, desired: KubernetesObject, live: KubernetesObject | None, recorded: Inventory
) -> Change:
    """What can be said without asking the server; `configured` is a guess."""
    if live is None:
        if recorded.completed.get(ref) == job_digest(desired):
            return Change(ref, "unchanged", desired, None, reason="completed before")
        return Change(ref, "created", desired, None)
    if live["metadata"].get("deletionTimestamp"):
        return _anew(Change(ref, "configured", desired, live), "is being deleted")
    if (ref.group, ref.kind) == _JOB and is_true(live.get("status") or {}, "Failed"):
        return _anew(Change(ref, "configured", desired, live), "failed before")
    if is_unchanged(desired, live):
        return Change(ref, "unchanged", desired, live)
    adopted = "" if owner_of(live) else "adopted: it was not ours"
    return Change(ref, "configured", desired, live, reason=adopted)


def _anew(change: Change, reason: str) -> Change:
    """To be deleted and created again."""
    return replace(_unasked(change), recreate=True, reason=reason)


def _unasked(change: Change) -> Change:
    """With the fields that can be told without the server's word."""
    if change.live is None or change.desired is None:
        return change
    return replace(change, fields=wanted_changes(change.live, change.desired))


def job_digest(job: KubernetesObject) -> str:
    """What tells whether a Job that completed is still the one that is wanted."""
    spec = json.dumps(job.get("spec"), sort_keys=True, separators=(",", ":"))
    return str(Digest.of(spec.encode()))


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


def _foreign_images(change: Change, outcome: KubernetesObject) -> Finding | None:
    """A finding where an adopted workload would keep images that the release has not."""
    if change.live is None or change.desired is None or owner_of(change.live):
        return None
    wanted = {use.image for use in images_in(change.desired)}
    foreign = sorted({use.image for use in images_in(outcome)} - wanted)
    if not foreign:
        return None
    return Finding(
        "foreign-image",
        f"stands there already, not ours, and would go on running {', '.join(foreign)}",
        object=str(change.ref),
        hint="delete it first, or rename the release's",
    )


# --- what the server says -----------------------------------------------------------------------


class _Coming(NamedTuple):
    """What is not there yet, and will be when it is needed."""

    namespaces: frozenset[str]
    kinds: frozenset[tuple[str, str]]

    def has_place_for(self, ref: ObjectRef) -> bool:
        return ref.namespace in self.namespaces or (ref.group, ref.kind) in self.kinds


def _ask(
    guesses: Sequence[Change],
    wanted: Wanted,
    live: Collection[ObjectRef],
    to: ObjectWriter,
) -> tuple[list[Change], list[Finding]]:
    """Settle the guesses by dry runs, all at once."""
    there = {ref.name if (ref.group, ref.kind) == _NAMESPACE else ref.namespace for ref in live}
    coming = _Coming(wanted.namespaces - there, wanted.kinds)
    asked = [change for change in guesses if _is_open(change, wanted.owner)]
    missing = _missing(asked, coming, to)
    open_ = [change for change in asked if change.ref.namespace not in missing]
    answers = dry_run(to, [change.desired for change in open_ if change.desired is not None])
    settled: dict[ObjectRef, Change] = {}
    findings: list[Finding] = []
    for change, answer in zip(open_, answers, strict=True):
        outcome = _outcome(change, answer, coming)
        if isinstance(outcome, Finding):
            findings.append(outcome)
        else:
            settled[change.ref] = outcome
    return [settled.get(change.ref, change) for change in guesses], findings


def _missing(open_: Sequence[Change], coming: _Coming, to: ObjectWriter) -> frozenset[str]:
    """The coming namespaces that are not there, as one object of each shows.

    For objects in a missing one a server has no answer, and takes twenty times as long to say so.
    """
    first = {
        change.ref.namespace: change.desired
        for change in open_
        if change.ref.namespace in coming.namespaces and change.desired is not None
    }
    answers = dry_run(to, list(first.values()))
    return frozenset(
        namespace
        for namespace, answer in zip(first, answers, strict=True)
        if isinstance(answer, NotFound)
    )


def _is_open(change: Change, owner: str) -> bool:
    """Whether only the server knows.

    A foreign object is refused anyway; a Pod's admission wants its account to exist, which may
    come with the same release.
    """
    if change.action == "unchanged" or change.recreate or _foreign(change, owner):
        return False
    return change.live is not None or (change.ref.group, change.ref.kind) != ("", "Pod")


def _outcome(
    change: Change, answer: KubernetesObject | BundlerError, coming: _Coming
) -> Change | Finding:
    if not isinstance(answer, BundlerError):
        if change.live is not None and is_same_outcome(answer, change.live):
            return replace(change, action="unchanged")
        return _foreign_images(change, answer) or _asked(change, answer)
    ref = change.ref
    if isinstance(answer, NotFound) and coming.has_place_for(ref):
        return _unasked(change)
    if isinstance(answer, Refused) and "does not support dry run" in answer.message:
        return _unasked(change)
    is_immutable = type(answer) is Refused and "immutable" in answer.message
    if is_immutable and (ref.group, ref.kind) == _JOB:
        return _anew(change, "its template changed")
    return Finding(answer.code, answer.message, object=str(ref), hint=answer.hint)


def _asked(change: Change, outcome: KubernetesObject) -> Change:
    if change.live is None:
        return change
    return replace(change, fields=field_changes(change.live, outcome))


def _raise_all(findings: Sequence[Finding]) -> None:
    """One error for all findings, of the kind that says most."""
    if not findings:
        return
    rules = {finding.rule for finding in findings}
    error: type[Refused] = Refused
    if rules & {"foreign-owner", OwnershipRefused.code}:
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


# --- deletions and waves ------------------------------------------------------------------------


def _deletions(
    old: Iterable[ObjectRef],
    live: Mapping[ObjectRef, KubernetesObject],
    recorded: Inventory,
    owner: str,
    policy: Policy,
) -> Iterator[Change]:
    """What is recorded as ours, not wanted and still there."""
    for ref in old:
        obj = live.get(ref)
        if obj is None:
            continue
        uid = recorded.objects[ref]
        reason = ""
        if owner_of(obj) != owner:
            reason = f"belongs to {owner_of(obj) or 'nobody'} by now"
        elif uid and uid != uid_of(obj):
            reason = "was made anew by somebody else"
        elif (ref.group, ref.kind) in KEPT_KINDS:
            reason = f"a {ref.kind} is never deleted"
        elif not policy.prune:
            reason = "what is stale was to be kept"
        yield Change(ref, "skipped" if reason else "deleted", None, obj, reason=reason)


def _waves(changes: Iterable[Change], deletions: Iterable[Change]) -> Iterator[Wave]:
    steps: dict[Step, list[Change]] = {}
    for change in changes:
        steps.setdefault(Step.of(change.desired or {}), []).append(change)
    for step, members in sorted(steps.items()):
        yield Wave(step.name, tuple(sorted(members, key=lambda change: change.ref)))
    ordered = sorted(deletions, key=lambda c: (-WAVES.index(wave_of(c.ref)), c.ref))
    if ordered:
        yield Wave(DELETIONS, tuple(ordered))
