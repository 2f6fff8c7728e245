"""Sends objects to a target: the only module that applies or deletes.

Requests run side by side. The first error stops whatever was not sent yet; what is on its way is
waited for, so that nothing happens behind the back of what comes next. After an interruption that
is not for long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import as_completed, wait
from itertools import groupby
from threading import Event
from typing import Any, NamedTuple, TypeVar

from bundler.errors import BundlerError, NotReady, Refused, TryAgain
from bundler.model.changeset import Change, Wave
from bundler.model.claim import NO_CLAIM, Claim
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject, owner_of, wave_of
from bundler.parallel import threads
from bundler.ports import ObjectWriter

PARALLEL = 16
DELETIONS = "deletions"
_LAST_ANSWERS_SECONDS = 2.0
"""How long an interruption waits for them."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Applied(NamedTuple):
    """A change that was made, and the UID of the object that stands there now."""

    change: Change
    uid: str


class Question(NamedTuple):
    """What would become of an object if it was applied so?"""

    desired: KubernetesObject
    claim: Claim = NO_CLAIM


def dry_run(
    writer: ObjectWriter, questions: Sequence[Question]
) -> tuple[KubernetesObject | BundlerError, ...]:
    """What the server says to each, in their order; changes nothing. Raises TryAgain."""

    def ask(numbered: tuple[int, Question]) -> tuple[int, KubernetesObject | BundlerError]:
        number, (desired, claim) = numbered
        try:
            return number, writer.apply(desired, dry_run=True, claim=claim)
        except TryAgain:
            raise
        except BundlerError as error:
            return number, error

    answers: dict[int, KubernetesObject | BundlerError] = {}
    _side_by_side(list(enumerate(questions)), ask, lambda each: answers.update([each]), Event())
    return tuple(answers[number] for number in range(len(questions)))


def apply_wave(
    writer: ObjectWriter,
    wave: Wave,
    *,
    done: Callable[[Applied], None],
    failed: Callable[[Change], None] = lambda _: None,
) -> None:
    """Make a wave's changes; `done` is told of each one, also where the wave then fails, and
    `failed` of those that were refused."""
    stop = Event()
    for change in wave.changes:
        if change.action in ("unchanged", "skipped"):
            done(Applied(change, uid_of(change.live)))

    def send(change: Change) -> Applied:
        try:
            return _send(writer, change)
        except BundlerError:
            failed(change)
            raise

    for changes in _in_order(wave):
        _side_by_side(changes, send, done, stop)


def uid_of(obj: KubernetesObject | None) -> str:
    return str(obj["metadata"].get("uid") or "") if obj else ""


def _in_order(wave: Wave) -> Iterable[list[Change]]:
    """What goes out together. Deletions come in the reverse order of applying, as planned."""
    to_do = [change for change in wave.changes if change.action not in ("unchanged", "skipped")]
    if wave.name != DELETIONS:
        return [to_do]
    return [list(group) for _, group in groupby(to_do, key=lambda change: wave_of(change.ref))]


def _send(writer: ObjectWriter, change: Change) -> Applied:
    if change.live is not None and (change.desired is None or change.recreate):
        writer.delete(change.ref, uid_of(change.live), owner_of(change.live))
    if change.desired is None:
        return Applied(change, "")
    return Applied(change, uid_of(writer.apply(change.desired, claim=change.claim)))


def _side_by_side(
    items: Sequence[Item],
    act: Callable[[Item], Result],
    done: Callable[[Result], Any],
    stop: Event,
) -> None:
    """Act on all items; raises one error for all, after what had begun is over."""

    def unless_stopped(item: Item) -> tuple[Result, ...]:
        if stop.is_set():
            return ()
        try:
            return (act(item),)
        except BaseException:
            stop.set()
            raise

    errors: list[BundlerError] = []
    with threads(min(PARALLEL, max(len(items), 1))) as pool:
        futures = [pool.submit(unless_stopped, item) for item in items]
        try:
            for future in as_completed(futures):
                try:
                    for result in future.result():
                        done(result)
                except BundlerError as error:
                    errors.append(error)
        except BaseException:  # an interruption reaches this thread only: nothing more is sent
            stop.set()
            wait(futures, _LAST_ANSWERS_SECONDS)
            raise
    if errors:
        raise _together(errors)


def _together(errors: Sequence[BundlerError]) -> BundlerError:
    """One error for all, of the kind that says most, with a finding for each."""
    if len(errors) == 1:
        return errors[0]

    def order(error: BundlerError) -> tuple[bool, ...]:
        return (
            isinstance(error, TryAgain),
            not isinstance(error, NotReady),
            not isinstance(error, Refused),
        )

    first, *others = sorted(errors, key=order)
    return first.reworded(
        f"{first.message} (and {len(others)} more)",
        findings=[
            finding
            for error in (first, *others)
            for finding in error.findings or [Finding(error.code, error.message, hint=error.hint)]
        ],
    )
