"""current release + what stands in the target → drift. Nothing is changed, no lock is taken.

Values are compared here, by what `fields` and `field_drift` know of a server. Only where a field is
still ours and yet differs does a dry run say whether the server wrote it so, if it may be asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from bundler.deploy.apply import Question, dry_run
from bundler.deploy.decrypt import encrypted_in, with_secrets
from bundler.deploy.deletions import deletions
from bundler.deploy.field_changes import field_changes
from bundler.deploy.field_drift import Suspect, suspects
from bundler.deploy.fields import is_unchanged
from bundler.deploy.intent import wanted_of
from bundler.deploy.plan import Wanted, job_digest
from bundler.deploy.policy import KEPT_KINDS, Policy
from bundler.deploy.scaling import autoscaled
from bundler.errors import (
    BundlerError,
    CouldNotCheck,
    KeyNeeded,
    PermissionRefused,
    ToolMissing,
)
from bundler.model.bundle import VerifiedBundle
from bundler.model.drift import Drift, FieldDrift, ObjectDrift
from bundler.model.inventory import Inventory, stale
from bundler.model.objects import FIELD_MANAGER, KubernetesObject, ObjectRef
from bundler.model.revision import TargetState
from bundler.ports import Decrypter, DeployTarget, ObjectReader

AUTOSCALERS = frozenset({"kube-controller-manager", "keda"})
"""Field managers that set the number of replicas, told where autoscalers may not be listed."""
_REPLICAS = ("spec", "replicas")


def drift_from(
    bundle: VerifiedBundle,
    environment: str,
    target: str,
    state: TargetState,
    to: DeployTarget,
    decrypter: Decrypter,
) -> Drift:
    """How a target differs from a bundle, which is that of its current release.

    Encrypted Secrets are compared where they can be decrypted here. Raises UsageError where the
    bundle has no such target, VerificationFailed or Refused for a Secret that was tampered with
    and for a damaged file of a folder, PermissionRefused, Unreachable.
    """
    unreadable: Mapping[ObjectRef, str] = {}
    try:
        bundle = with_secrets(bundle, environment, {target: to}, decrypter)
    except (KeyNeeded, ToolMissing, CouldNotCheck) as error:
        names = encrypted_in(bundle, environment, target)
        unreadable = dict.fromkeys(names, f"not decrypted: {error.message}")
        bundle = replace(bundle, encrypted={})
    return find_drift(wanted_of(bundle, environment, target), state, to, unreadable)


def find_drift(
    wanted: Wanted, state: TargetState, to: DeployTarget, unreadable: Mapping[ObjectRef, str]
) -> Drift:
    """How a target differs from what is wanted there.

    Of `unreadable` objects, with the reasons, only the existence is looked at. Of kinds that may
    not be read nothing is said; raises PermissionRefused where that is all of them.
    """
    old = _stale(state.inventory, [*wanted.objects, *unreadable])
    versions = {ref: str(obj["apiVersion"]) for ref, obj in wanted.objects.items()}
    live, unseen = _live(to, versions | dict.fromkeys([*unreadable, *old], ""))
    sought = [ref for ref in (*wanted.objects, *unreadable) if ref not in unseen]
    found = [
        *_missing(sought, wanted.objects, live, state.inventory),
        *_changed(wanted, live, autoscaled(wanted.objects, live, old, to), state, to),
        *_extra(old, live, wanted, state.inventory),
    ]
    hidden = {ref: why for ref, why in unreadable.items() if ref in live}
    not_compared = hidden | {ref: why for ref, why in unseen.items() if ref not in old}
    return Drift(
        compared=len(sought) - len(hidden),
        objects=tuple(sorted(found, key=lambda each: each.ref)),
        not_compared=not_compared,
    )


def _live(
    to: ObjectReader, versions: Mapping[ObjectRef, str]
) -> tuple[Mapping[ObjectRef, KubernetesObject], Mapping[ObjectRef, str]]:
    """What stands there; and what may not be read, of which nothing can be said, and why.

    Raises PermissionRefused where nothing may be read.
    """
    try:
        return to.live(versions), {}
    except PermissionRefused as error:
        refused = error
    live: dict[ObjectRef, KubernetesObject] = {}
    unseen: dict[ObjectRef, str] = {}
    for kind in sorted({(ref.group, ref.kind, ref.namespace) for ref in versions}):
        members = {ref: text for ref, text in versions.items() if ref[:3] == kind}
        try:
            live |= to.live(members)
        except PermissionRefused as error:
            unseen |= dict.fromkeys(members, error.message)
    if len(unseen) == len(versions):
        raise refused
    return live, unseen


def _stale(recorded: Inventory, wanted: Iterable[ObjectRef]) -> list[ObjectRef]:
    """What an apply of the release might delete; the kinds that it never does are not asked for."""
    return [ref for ref in stale(recorded, wanted) if (ref.group, ref.kind) not in KEPT_KINDS]


def _extra(
    old: Iterable[ObjectRef],
    live: Mapping[ObjectRef, KubernetesObject],
    wanted: Wanted,
    recorded: Inventory,
) -> Iterator[ObjectDrift]:
    """What an apply of the release would delete."""
    for change in deletions(old, live, wanted.objects, recorded, wanted.owner, Policy()):
        if change.action == "deleted":
            yield ObjectDrift(change.ref, "extra", "recorded as ours, and not in the release")


def _missing(
    sought: Iterable[ObjectRef],
    wanted: Mapping[ObjectRef, KubernetesObject],
    live: Mapping[ObjectRef, KubernetesObject],
    recorded: Inventory,
) -> Iterator[ObjectDrift]:
    for ref in sought:
        if ref in live:
            if live[ref]["metadata"].get("deletionTimestamp"):
                yield ObjectDrift(ref, "missing", "it is being deleted")
        elif ref not in recorded.completed or recorded.completed[ref] != job_digest(wanted[ref]):
            yield ObjectDrift(ref, "missing", "it is not there")


# --- changed ------------------------------------------------------------------------------------


def _changed(
    wanted: Wanted,
    live: Mapping[ObjectRef, KubernetesObject],
    scaled: frozenset[ObjectRef],
    state: TargetState,
    to: DeployTarget,
) -> Iterator[ObjectDrift]:
    pairs = {
        ref: (obj, live[ref])
        for ref, obj in wanted.objects.items()
        if ref in live and not live[ref]["metadata"].get("deletionTimestamp")
    }
    if to.watcher is None:  # what is written there stays as it is written
        found = _changed_files(pairs, to)
    else:
        found = _changed_objects(pairs, scaled, state, to)
    for ref, fields in found.items():
        if fields:
            yield ObjectDrift(ref, "changed", fields=tuple(fields))


def _changed_files(
    pairs: Mapping[ObjectRef, tuple[KubernetesObject, KubernetesObject]], to: DeployTarget
) -> dict[ObjectRef, list[FieldDrift]]:
    """All of a file is ours, so every difference counts."""
    answers = dry_run(to, [Question(obj) for obj, _ in pairs.values()])
    return {
        ref: [
            FieldDrift(each.path, wanted=each.after, found=each.before)
            for each in field_changes(live, obj if isinstance(answer, BundlerError) else answer)
            if each.path != "metadata.uid"  # which no file has
        ]
        for (ref, (obj, live)), answer in zip(pairs.items(), answers, strict=True)
    }


def _changed_objects(
    pairs: Mapping[ObjectRef, tuple[KubernetesObject, KubernetesObject]],
    scaled: frozenset[ObjectRef],
    state: TargetState,
    to: DeployTarget,
) -> dict[ObjectRef, list[FieldDrift]]:
    found = {
        ref: _without_scaling(suspects(obj, live), is_scaled=ref in scaled)
        for ref, (obj, live) in pairs.items()
        if not is_unchanged(obj, live)
    }
    doubtful = [ref for ref, each in found.items() if not all(s.is_certain for s in each)]
    answers = dict(
        zip(doubtful, dry_run(to, [Question(pairs[ref][0]) for ref in doubtful]), strict=True)
    )
    is_settled = state.latest == state.current
    return {
        ref: [
            each.drift
            for each in members
            if each.is_certain or _is_so(each, pairs[ref][1], answers[ref], is_settled=is_settled)
        ]
        for ref, members in found.items()
    }


def _is_so(
    suspect: Suspect,
    live: KubernetesObject,
    answer: KubernetesObject | BundlerError,
    *,
    is_settled: bool,
) -> bool:
    """Whether an apply would change the field.

    Where the server does not say, one that we own is as the last apply left it.
    """
    if isinstance(answer, BundlerError):
        return suspect.drift.manager != FIELD_MANAGER or not is_settled
    path = suspect.drift.path
    changed = (each.path for each in field_changes(live, answer))
    return any(path.startswith(each) or each.startswith(path) for each in changed)


# --- replicas -----------------------------------------------------------------------------------


def _without_scaling(found: Sequence[Suspect], *, is_scaled: bool) -> list[Suspect]:
    """Replicas are an autoscaler's where there is one, and a person's where somebody scaled."""
    return [
        each
        for each in found
        if each.steps != _REPLICAS or not (is_scaled or each.drift.manager in AUTOSCALERS)
    ]
