"""Waits until objects are ready, one has failed for good, or time is up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from bundler.deploy.limits import Limits
from bundler.deploy.pods import Log
from bundler.deploy.progress import LOG, READY, STILL, WAITING, OnProgress, Progress
from bundler.deploy.readiness import NEVER_WAITED_FOR, Ready, readiness
from bundler.deploy.view import View
from bundler.errors import NotReady
from bundler.model.changeset import Change, Plan, Wave
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.references import claims_of
from bundler.ports import LogReader, ObjectWatcher

_CLAIM = ("", "PersistentVolumeClaim")
_TICK = 1.0
_HEARTBEAT = 30.0
"""After so many silent seconds it is told what is waited for."""
_LOGS, _LINES = 3, 10
"""So many containers' logs are shown, and so many last lines of each."""


def wave_subjects(plan: Plan, wave: Wave) -> frozenset[ObjectRef]:
    """What is waited for after a wave; unchanged objects too, as an interrupted run leaves them.

    A volume claim may be bound only when its first consumer is scheduled, so claims are waited for
    with the last wave that applies anything, and only those that something of the release uses.
    """
    wanted = {
        change.ref
        for change in wave.changes
        if change.desired is not None and change.action != "skipped" and not _is_completed(change)
    }
    subjects = {
        ref
        for ref in wanted
        if (ref.group, ref.kind) not in NEVER_WAITED_FOR and (ref.group, ref.kind) != _CLAIM
    }
    applying = [each for each in plan.waves if any(c.desired is not None for c in each.changes)]
    if applying and wave == applying[-1]:
        subjects |= _used_claims(plan)
    return frozenset(subjects)


def _is_completed(change: Change) -> bool:
    """A Job that ran before and was removed since: nothing to wait for."""
    return change.ref.kind == "Job" and change.action == "unchanged" and change.live is None


def _used_claims(plan: Plan) -> set[ObjectRef]:
    claims = {change.ref for change in plan.changes if change.desired and _is_claim(change.ref)}
    return claims & {used for change in plan.changes for used in _claims_of(change)}


def _is_claim(ref: ObjectRef) -> bool:
    return (ref.group, ref.kind) == _CLAIM


def _claims_of(change: Change) -> Iterator[ObjectRef]:
    """The claims that a workload's pods mount; a CronJob's pods may come much later."""
    if change.desired and change.ref.kind != "CronJob":
        for name in claims_of(change.desired):
            yield ObjectRef(*_CLAIM, change.ref.namespace, name)


def failing_before(plan: Plan, refs: Collection[ObjectRef]) -> Mapping[ObjectRef, str]:
    """Those that were not ready before anything was changed, with what they said then."""
    states = {c.ref: readiness(c.live) for c in plan.changes if c.ref in refs and c.live}
    return {ref: state.message for ref, state in states.items() if not isinstance(state, Ready)}


def is_ready_already(plan: Plan, refs: Collection[ObjectRef]) -> bool:
    """Whether all were ready when the plan was made."""
    states = [readiness(c.live) for c in plan.changes if c.ref in refs and c.live]
    return len(states) == len(refs) and all(isinstance(state, Ready) for state in states)


def wait(
    watcher: ObjectWatcher,
    refs: Collection[ObjectRef],
    *,
    wave: str,
    limits: Limits,
    deadline: float,
    monotonic: Callable[[], float],
    on_progress: OnProgress,
    before: Mapping[ObjectRef, str] | None = None,
) -> Mapping[ObjectRef, KubernetesObject]:
    """All of them when all are ready. Raises NotReady naming what is not, its pod and the event.

    `before` is what `failing_before` found.
    """
    if not refs:
        return {}
    start = monotonic()
    view = View(refs, limits, before or {}, start)
    voice = _Voice(wave, monotonic, on_progress)
    stream = watcher.watch(refs, max(deadline - start, _TICK))
    judged = start
    try:
        for observation in stream:
            if observation is not None and view.see(observation):
                voice.tell(view, observation.ref)
            if not view.waiting:
                return view.objects
            now = monotonic()
            if now - judged < _TICK and observation is not None:
                continue
            # About once a second: by then pods and events were seen too.
            voice.tell_troubles(view, view.judge(now))
            judged = now
            if view.failed or now >= deadline or now - view.moved_at >= limits.stall:
                break
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()
    for observation in watcher.around(refs):  # it may have ended before any of it was watched
        view.see(observation)
    raise _not_ready(view, watcher, voice, limits, is_over=monotonic() >= deadline)


class _Voice:
    """Tells whoever looks on what changes, and from time to time that nothing does."""

    def __init__(self, wave: str, monotonic: Callable[[], float], on_progress: OnProgress) -> None:
        self._wave = wave
        self._monotonic = monotonic
        self._on_progress = on_progress
        self._spoke_at = monotonic()

    def say(self, word: str, ref: ObjectRef, message: str) -> None:
        self._spoke_at = self._monotonic()
        self._on_progress(Progress(self._wave, word, ref, message))

    def tell(self, view: View, ref: ObjectRef) -> None:
        state = view.states[ref]
        self.say(READY if isinstance(state, Ready) else WAITING, ref, state.message)

    def tell_troubles(self, view: View, found: Iterable[tuple[ObjectRef, str]]) -> None:
        for ref, message in found:
            self.say(WAITING, ref, message)
        if view.waiting and self._monotonic() - self._spoke_at >= _HEARTBEAT:
            first, *others = sorted(view.waiting)
            more = f"; and for {len(others)} more" if others else ""
            self.say(STILL, first, view.cause(first).message + more)


def _not_ready(
    view: View, watcher: LogReader, voice: _Voice, limits: Limits, *, is_over: bool
) -> NotReady:
    failed = view.failed
    named = failed or sorted(view.waiting)
    causes = {ref: view.cause(ref) for ref in named}
    _show_logs(watcher, voice, [cause.log for cause in causes.values() if cause.log])
    rule = "failed" if failed else "not-ready"
    findings = [Finding(rule, cause.message, object=str(ref)) for ref, cause in causes.items()]
    first = f"{named[0]}: {findings[0].message}" if named else "the target says no more"
    if failed:
        return NotReady(first, findings=findings, hint=_hint(named[0]))
    many = f"{len(named)} object{'s are' if len(named) > 1 else ' is'} not ready"
    if is_over:
        many, hint = f"{many} after {limits.timeout:g} s", "give it more time with --timeout"
    else:
        many = f"{many}, and nothing has moved for {limits.stall:g} s"
        hint = "give it more time with --stall-timeout"
    return NotReady(
        f"{many}: {first}", findings=findings, hint=f"{hint}, or look at the named objects"
    )


def _show_logs(watcher: LogReader, voice: _Voice, logs: list[Log]) -> None:
    for log in list(dict.fromkeys(logs))[:_LOGS]:
        lines = watcher.last_lines(log.pod, log.container, _LINES, previous=log.previous)
        for line in lines:
            voice.say(LOG, log.pod, f"{log.container}: {line}")


def _hint(ref: ObjectRef) -> str:
    place = f" -n {ref.namespace}" if ref.namespace else ""
    return f"kubectl describe {ref.kind.lower()} {ref.name}{place} shows more"
