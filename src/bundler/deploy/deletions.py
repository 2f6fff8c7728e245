"""What is recorded as ours and no longer wanted → what becomes of it, and what must not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bundler.deploy.apply import uid_of
from bundler.deploy.policy import KEPT_KINDS, NAMESPACE, Policy, is_named
from bundler.deploy.versions import kept_versions
from bundler.model.changeset import Change
from bundler.model.finding import Finding
from bundler.model.inventory import Inventory
from bundler.model.objects import HELM_RESOURCE_POLICY, PRUNE, KubernetesObject, ObjectRef, owner_of

Objects = Mapping[ObjectRef, KubernetesObject]


def deletions(
    old: Iterable[ObjectRef],
    live: Objects,
    wanted: Objects,
    recorded: Inventory,
    owner: str,
    policy: Policy,
) -> list[Change]:
    """`deleted` or `skipped`, with the reason; nothing for what is gone.

    What is skipped as ours stays recorded. An object that is wanted under another API group is the
    same one (its UID is): it is neither deleted nor recorded twice.
    """
    moved = {uid_of(live[ref]) for ref in wanted.keys() & live.keys()} - {""}
    present = [(ref, live[ref]) for ref in old if ref in live and uid_of(live[ref]) not in moved]
    stays = [ref for ref, _ in present if not is_named(ref, policy.delete)]
    versions = kept_versions(stays, live, wanted, recorded)
    changes = []
    for ref, obj in present:
        reason = (
            _not_ours(obj, recorded.objects[ref], owner)
            or _kept(ref, obj, wanted, policy)
            or versions.get(ref, "")
        )
        note = reason or _warning(ref)
        changes.append(Change(ref, "skipped" if reason else "deleted", None, obj, reason=note))
    return changes


def refusals(
    changes: Sequence[Change], wanted: Iterable[ObjectRef], policy: Policy
) -> list[Finding]:
    """Findings where more would be deleted than may be, or what the release has."""
    deleted = [change.ref for change in changes if change.action == "deleted"]
    return [*_too_many(deleted, policy), *_wanted(wanted, policy)]


def unknown_names(
    changes: Sequence[Change], wanted: Iterable[ObjectRef], policy: Policy
) -> Iterator[Finding]:
    """Warnings of names that no option can mean: a slip of the pen, or done before."""
    gone, kept = [change.ref for change in changes], list(wanted)
    for option, names, refs, why in (
        ("--delete", policy.delete, [*gone, *kept], "nothing that is stale has this name"),
        ("--recreate", policy.recreate, kept, "no object of the release has this name"),
    ):
        for name in sorted(names):
            if not any(is_named(ref, {name}) for ref in refs):
                yield Finding("unknown-name", f"{option} {name}: {why}", "warning")


def _too_many(deleted: Sequence[ObjectRef], policy: Policy) -> Iterator[Finding]:
    if policy.max_deletions is None or len(deleted) <= policy.max_deletions:
        return
    for ref in deleted:
        yield Finding(
            "max-deletions",
            f"would be deleted, one of {len(deleted)}, and at most {policy.max_deletions} may be",
            object=str(ref),
            hint="allow more with --max-deletions, or delete nothing with --no-prune",
        )


def _wanted(wanted: Iterable[ObjectRef], policy: Policy) -> Iterator[Finding]:
    for ref in sorted(wanted):
        if is_named(ref, policy.delete):
            yield Finding(
                "delete-wanted",
                "is to be deleted, and the release has it",
                object=str(ref),
                hint="--delete is for what the release does not have any more",
            )


def _not_ours(obj: KubernetesObject, uid: str, owner: str) -> str:
    if owner_of(obj) != owner:
        return f"belongs to {owner_of(obj) or 'nobody'} by now"
    if uid and uid != uid_of(obj):
        return "was made anew by somebody else"
    return ""


def _kept(ref: ObjectRef, obj: KubernetesObject, wanted: Objects, policy: Policy) -> str:
    annotations = obj["metadata"].get("annotations") or {}
    if not policy.prune:
        return "what is stale was to be kept"
    if (ref.group, ref.kind) == NAMESPACE and any(each.namespace == ref.name for each in wanted):
        return "objects of the release are in it"
    if is_named(ref, policy.delete):
        return ""
    named = f"--delete {ref.kind}/{ref.name} does"
    if (ref.group, ref.kind) in KEPT_KINDS:
        return f"a {ref.kind} is not deleted by itself; {named}"
    for annotation in (PRUNE, HELM_RESOURCE_POLICY):
        if annotations.get(annotation) == "keep":
            return f"its annotation {annotation} says keep; {named}"
    return ""


def _warning(ref: ObjectRef) -> str:
    if (ref.group, ref.kind) not in KEPT_KINDS:
        return ""
    return "named to be deleted, with everything that it holds"
