"""Writes what a target keeps of a run: inventory and revisions. Nothing else writes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace

from bundler.errors import BundlerError
from bundler.model.changeset import Change, ChangeSet, Plan
from bundler.model.inventory import Inventory
from bundler.model.migrations import Migrations, with_begun
from bundler.model.objects import ObjectRef, owner_of
from bundler.model.revision import Revision, Status, TargetState, kept
from bundler.ports import StateWriter


def numbered(state: TargetState, intended: Revision) -> Revision:
    """The next revision, or the pending one of the same digest, which is continued."""
    latest = state.latest
    if latest and latest.status == "pending" and latest.is_same_as(intended):
        return replace(
            intended,
            number=latest.number,
            started=latest.started,
            replaces=latest.replaces,
            migrations=_both(intended, latest),
        )
    numbers = (revision.number for revision in state.revisions)
    return replace(intended, number=max(numbers, default=0) + 1)


def _both(intended: Revision, latest: Revision) -> Migrations | None:
    """What had begun before it was cut off has begun."""
    if intended.migrations is None or latest.migrations is None:
        return intended.migrations
    begun = {service for service, each in latest.migrations.items() if each.begun}
    return with_begun(intended.migrations, frozenset(begun))


def begin(writer: StateWriter, state: TargetState, intended: Revision) -> Revision:
    """Write a numbered revision as pending, before anything changes.

    Any other pending one was interrupted.
    """
    for revision in state.revisions:
        if revision.status == "pending" and revision.number != intended.number:
            writer.write_revision(
                revision.ended(
                    "interrupted", outcome=_overtaken(intended), finished=intended.started
                )
            )
    who = replace(intended.who, authenticated=writer.authenticated())
    revision = replace(intended, who=who, status="pending")
    writer.write_revision(revision)
    return revision


def _overtaken(by: Revision) -> str:
    if by.kind == "uninstall":
        return "it was uninstalled"
    return "another release was applied"


def intend(writer: StateWriter, recorded: Inventory, plan: Plan, untracked: ObjectRef) -> Inventory:
    """Write the union of what was and what will be; returns it.

    What is about to be made anew has no UID and no completion yet. `untracked`, the namespace of
    the state itself, is never recorded.
    """
    desired = [change.ref for change in plan.changes if change.desired is not None]
    anew = {c.ref for c in plan.changes if c.desired and (c.live is None or c.recreate)} - {
        c.ref for c in plan.changes if c.action == "unchanged"
    }
    union = recorded.union(ref for ref in desired if ref != untracked)
    inventory = Inventory(
        {ref: "" if ref in anew else uid for ref, uid in union.objects.items()},
        {ref: digest for ref, digest in union.completed.items() if ref not in anew},
    )
    writer.write_inventory(inventory)
    return inventory


def note_completed(
    writer: StateWriter, inventory: Inventory, completed: Mapping[ObjectRef, str]
) -> Inventory:
    """Record Jobs that have completed, where that is news; returns the inventory."""
    if completed.items() <= inventory.completed.items():
        return inventory
    noted = replace(inventory, completed={**inventory.completed, **completed})
    writer.write_inventory(noted)
    return noted


def advance(
    writer: StateWriter, revision: Revision, done: Collection[Change], begun: frozenset[str]
) -> Revision:
    """Write the revision ahead of a wave that the migrations of some services may begin with.

    Raises Locked where somebody else wrote it meanwhile.
    """
    advanced = replace(
        revision,
        changes=ChangeSet(tuple(done)).counts(),
        migrations=with_begun(revision.migrations or {}, begun),
    )
    writer.write_revision(advanced)
    return advanced


def settle(
    writer: StateWriter,
    inventory: Inventory,
    plan: Plan,
    uids: Mapping[ObjectRef, str],
    owner: str,
) -> None:
    """Write the inventory of a run that succeeded: what is wanted, and what was kept of ours."""
    remaining = {
        change.ref
        for change in plan.changes
        if change.desired is not None
        or (change.action == "skipped" and change.live and owner_of(change.live) == owner)
    } & inventory.objects.keys()
    writer.write_inventory(
        Inventory(
            {ref: uids.get(ref) or inventory.objects[ref] for ref in remaining},
            {ref: text for ref, text in inventory.completed.items() if ref in remaining},
        )
    )


def end(
    writer: StateWriter,
    state: TargetState,
    revision: Revision,
    status: Status,
    *,
    outcome: str,
    done: Collection[Change],
    finished: str,
    seconds: float,
) -> Revision:
    """Write the outcome, then drop the revisions that are too old.

    Those that cannot be dropped are the next run's: what became of this one is written.
    """
    ended = revision.ended(
        status,
        outcome=outcome,
        changes=ChangeSet(tuple(done)).counts(),
        finished=finished,
        duration_seconds=round(seconds, 3),
    )
    writer.write_revision(ended)
    revisions = (*(r for r in state.revisions if r.number != ended.number), ended)
    staying = {each.number for each in kept(revisions)}
    with suppress(BundlerError):
        for each in revisions:
            if each.number not in staying:
                writer.drop_revision(each.number)
    return ended


def undone(writer: StateWriter, failed: Revision) -> None:
    """Note that the release before a failed one is back, and ready."""
    writer.write_revision(failed.ended("rolled-back"))


def left(writer: StateWriter, failed: Revision, outcome: str) -> None:
    """Note why a failed release was not gone back from."""
    writer.write_revision(failed.ended("failed", outcome=outcome))


def forget(writer: StateWriter, state: TargetState) -> None:
    """Remove all of the state; the newest revision last, so that it can be gone on with."""
    writer.drop_inventory()
    for revision in state.revisions:
        writer.drop_revision(revision.number)


def checked(writer: StateWriter, current: Revision, now: str) -> Revision:
    """Note that the current release was applied again with nothing to do."""
    noted = replace(current, last_checked=now)
    writer.write_revision(noted)
    return noted
