"""Guesses → what the server says to them, by dry runs that change nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from bundler.deploy import adoption, immutable
from bundler.deploy.apply import Question, dry_run
from bundler.deploy.field_changes import field_changes, wanted_changes
from bundler.deploy.fields import is_same_outcome
from bundler.deploy.policy import Policy
from bundler.deploy.scaling import as_asked
from bundler.errors import BundlerError, FieldConflict, ImmutableField, NotFound, Refused
from bundler.model.changeset import Change
from bundler.model.claim import NO_CLAIM, Claim
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject, ObjectRef, images_in, owner_of
from bundler.ports import ObjectWriter

Answer = KubernetesObject | BundlerError


class Coming(NamedTuple):
    """What is not there yet, and will be when it is needed."""

    namespaces: Collection[str]
    kinds: Collection[tuple[str, str]]

    def has_place_for(self, ref: ObjectRef) -> bool:
        return ref.namespace in self.namespaces or (ref.group, ref.kind) in self.kinds


def settle(
    open_: Sequence[Change], coming: Coming, to: ObjectWriter, policy: Policy
) -> tuple[dict[ObjectRef, Change], list[Finding]]:
    """Ask for all at once, then again for those that take something over.

    What is to be in a namespace that is not there stays a guess.
    """
    missing = _missing(open_, coming, to)
    asked = [change for change in open_ if change.ref.namespace not in missing]
    answers = dry_run(to, [_question(change, NO_CLAIM) for change in asked])
    pairs = list(zip(asked, answers, strict=True))
    taking = [
        adoption.taking(change, answer if isinstance(answer, FieldConflict) else None)
        for change, answer in pairs
        if _takes(change, answer, policy)
    ]
    others = [pair for pair in pairs if not _takes(*pair, policy)]
    again = dry_run(to, [_question(change, change.claim) for change in taking])
    settled: dict[ObjectRef, Change] = {}
    findings: list[Finding] = []
    for change, answer in [*others, *zip(taking, again, strict=True)]:
        outcome = _outcome(change, answer, coming, policy)
        if isinstance(outcome, Finding):
            findings.append(outcome)
        else:
            settled[change.ref] = outcome
    return settled, findings


def _missing(open_: Sequence[Change], coming: Coming, to: ObjectWriter) -> frozenset[str]:
    """The coming namespaces that are not there, as one object of each shows.

    For objects in a missing one a server has no answer, and takes twenty times as long to say so.
    """
    first = {
        change.ref.namespace: _question(change, NO_CLAIM)
        for change in open_
        if change.ref.namespace in coming.namespaces
    }
    answers = dry_run(to, list(first.values()))
    return frozenset(
        namespace
        for namespace, answer in zip(first, answers, strict=True)
        if isinstance(answer, NotFound)
    )


def _question(change: Change, claim: Claim) -> Question:
    return Question(as_asked(change), claim)


def _takes(change: Change, answer: Answer, policy: Policy) -> bool:
    if isinstance(answer, FieldConflict):
        return adoption.may_take(answer.managers, policy)
    return change.claim.adopts and not isinstance(answer, BundlerError)


def _outcome(change: Change, answer: Answer, coming: Coming, policy: Policy) -> Change | Finding:
    if isinstance(answer, BundlerError):
        return _refused(change, answer, coming, policy)
    if change.live is not None and is_same_outcome(answer, change.live):
        return replace(change, action="unchanged", reason="")
    return _foreign_images(change, answer) or _asked(change, answer)


def _refused(
    change: Change, error: BundlerError, coming: Coming, policy: Policy
) -> Change | Finding:
    if isinstance(error, NotFound) and coming.has_place_for(change.ref):
        return unasked(change)
    if isinstance(error, Refused) and "does not support dry run" in error.message:
        return unasked(change)
    if isinstance(error, ImmutableField):
        return immutable.settled(change, error, policy)
    if isinstance(error, FieldConflict):
        return adoption.refused(change, error, policy)
    message = error.message.removeprefix(f"{change.ref}: ")
    return Finding(error.code, message, object=str(change.ref), hint=error.hint)


def unasked(change: Change) -> Change:
    """With the fields that can be told without the server's word."""
    if change.live is None or change.desired is None:
        return change
    return replace(change, fields=wanted_changes(change.live, change.desired))


def _asked(change: Change, outcome: KubernetesObject) -> Change:
    if change.live is None:
        return change
    return replace(change, fields=field_changes(change.live, outcome))


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
