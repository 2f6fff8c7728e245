"""Waits until objects are ready, one has failed for good, or time is up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from bundler.deploy.progress import OnProgress, Progress
from bundler.deploy.readiness import NEVER_WAITED_FOR, Failed, InProgress, Readiness, Ready
from bundler.deploy.readiness import readiness as by_status
from bundler.deploy.rollout import Limits, Surroundings, troubles
from bundler.errors import NotReady
from bundler.model.changeset import Change, Plan, Wave
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject, ObjectRef, pod_spec
from bundler.ports import ObjectWatcher, Observation

_CLAIM = ("", "PersistentVolumeClaim")
_TICK = 1.0


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
    found = pod_spec(change.desired) if change.desired else None
    if found is None or change.ref.kind == "CronJob":
        return
    for volume in found[1].get("volumes") or ():
        name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if name:
            yield ObjectRef(*_CLAIM, change.ref.namespace, name)


class _View:
    """The objects waited for and what surrounds them, as they were observed last."""

    def __init__(self, refs: Collection[ObjectRef], limits: Limits) -> None:
        self._refs = frozenset(refs)
        self._limits = limits
        self.objects: dict[ObjectRef, KubernetesObject] = {}
        self._around: dict[ObjectRef, KubernetesObject] = {}
        self._since: dict[tuple[ObjectRef, str], float] = {}
        """When a trouble was first seen that is still there."""
        self.states: dict[ObjectRef, Readiness] = dict.fromkeys(
            self._refs, InProgress("was not observed yet")
        )
        self.waiting = set(self._refs)
        """Those that are not ready."""

    @property
    def failed(self) -> Mapping[ObjectRef, str]:
        return {
            ref: state.message for ref, state in self.states.items() if isinstance(state, Failed)
        }

    def see(self, observation: Observation) -> None:
        ref, obj = observation
        if ref in self._refs:
            self._see_subject(ref, obj)
        if ref.kind in ("Pod", "ReplicaSet", "Event"):
            if obj is None:
                self._around.pop(ref, None)
            else:
                self._around[ref] = obj

    def _see_subject(self, ref: ObjectRef, obj: KubernetesObject | None) -> None:
        if obj is not None:
            self.objects[ref] = obj
            self._set(ref, by_status(obj))
        elif not (ref.kind == "Job" and isinstance(self.states[ref], Ready)):
            # A completed Job is removed when its time to live is over: that is no loss.
            self.objects.pop(ref, None)
            self._set(ref, InProgress("is not there"))

    def _set(self, ref: ObjectRef, state: Readiness) -> None:
        self.states[ref] = state
        if isinstance(state, Ready):
            self.waiting.discard(ref)
        else:
            self.waiting.add(ref)

    def judge(self, now: float) -> None:
        """Let what has been wrong for too long fail for good."""
        around = Surroundings.of(self._around)
        present: set[tuple[ObjectRef, str]] = set()
        for ref in self.waiting:
            obj = self.objects.get(ref)
            for trouble in troubles(obj, around, self._limits) if obj else ():
                key = (ref, trouble.sort)
                present.add(key)
                since = self._since.setdefault(key, now)
                if now - since >= trouble.patience and not isinstance(self.states[ref], Failed):
                    self._set(ref, Failed(trouble.message))
        self._since = {key: since for key, since in self._since.items() if key in present}

    def explain(self, ref: ObjectRef) -> str:
        """Why an object is not ready, with its pod and the event where there are such."""
        state, obj = self.states[ref], self.objects.get(ref)
        around = Surroundings.of(self._around)
        causes = troubles(obj, around, self._limits) if obj else ()
        cause = next((each.message for each in causes if each.message), "")
        if not cause and obj:
            cause = around.last_warning(obj)
        words = state.message if isinstance(state, Failed | InProgress) else ""
        return f"{words}; {cause}" if cause and cause not in words else words


def wait(
    watcher: ObjectWatcher,
    refs: Collection[ObjectRef],
    *,
    wave: str,
    limits: Limits,
    deadline: float,
    monotonic: Callable[[], float],
    on_progress: OnProgress,
) -> Mapping[ObjectRef, KubernetesObject]:
    """All of them when all are ready. Raises NotReady naming what is not, its pod and the event."""
    if not refs:
        return {}
    view = _View(refs, limits)
    stream = watcher.watch(refs, max(deadline - monotonic(), _TICK))
    judged = monotonic()
    try:
        for observation in stream:
            if observation is not None:
                _note(view, observation, wave, on_progress)
            if not view.waiting:
                return view.objects
            now = monotonic()
            if now - judged < _TICK and observation is not None:
                continue
            view.judge(now)  # about once a second: by then pods and events were seen too
            judged = now
            if view.failed or now >= deadline:
                break
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()
    raise _not_ready(view, limits)


def _note(view: _View, observation: Observation, wave: str, on_progress: OnProgress) -> None:
    before = view.states.get(observation.ref)
    view.see(observation)
    after = view.states.get(observation.ref)
    if after is not None and after != before:
        word = "ready" if isinstance(after, Ready) else "waiting"
        on_progress(Progress(wave, word, observation.ref, after.message))


def _not_ready(view: _View, limits: Limits) -> NotReady:
    failed = sorted(view.failed)
    named = failed or sorted(view.waiting)
    findings = [
        Finding("not-ready" if not failed else "failed", view.explain(ref), object=str(ref))
        for ref in named
    ]
    first = f"{named[0]}: {findings[0].message}" if named else "the target says no more"
    if failed:
        return NotReady(f"{first}", findings=findings, hint=_hint(named[0]))
    count = len(named)
    return NotReady(
        f"{count} object{'s are' if count > 1 else ' is'} not ready after {limits.timeout:g} s: "
        f"{first}",
        findings=findings,
        hint="give it more time with --timeout, or look at the named objects",
    )


def _hint(ref: ObjectRef) -> str:
    place = f" -n {ref.namespace}" if ref.namespace else ""
    return f"kubectl describe {ref.kind.lower()} {ref.name}{place} shows more"
