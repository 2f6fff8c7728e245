"""What is known of the objects that are waited for, and how long it has been so."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from bundler.deploy.limits import Limits
from bundler.deploy.pods import Log, Trouble
from bundler.deploy.readiness import Failed, InProgress, Readiness, Ready, readiness
from bundler.deploy.rollout import is_former_verdict, stage, troubles
from bundler.deploy.surroundings import Surroundings
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.ports import Observation

_TELL_AFTER = 3.0
"""What is over within so many seconds, as of every pod that starts, is not worth telling."""

_GONE = InProgress("is not there")


class Cause(NamedTuple):
    """Why an object is not ready, in words, and whose log may say more."""

    message: str
    log: Log | None = None


class View:
    """The objects waited for, and what surrounds them, as they were observed last."""

    def __init__(
        self,
        refs: Collection[ObjectRef],
        limits: Limits,
        before: Mapping[ObjectRef, str],
        now: float,
    ) -> None:
        self._refs = frozenset(refs)
        self._limits = limits
        self._before = before
        self.objects: dict[ObjectRef, KubernetesObject] = {}
        self._around = Surroundings()
        self._since: dict[tuple[ObjectRef, str], float] = {}
        """When a trouble was first seen that is still there."""
        self._told: set[tuple[ObjectRef, str]] = set()
        self._steps: set[tuple[ObjectRef, Any]] = set()
        """All that objects and their pods have been through: going round in circles is no move."""
        self.moved_at = now
        self.states: dict[ObjectRef, Readiness] = dict.fromkeys(
            self._refs, InProgress("was not observed yet")
        )
        self.waiting = set(self._refs)
        """Those that are not ready."""

    @property
    def failed(self) -> list[ObjectRef]:
        return sorted(ref for ref, state in self.states.items() if isinstance(state, Failed))

    def see(self, observation: Observation) -> bool:
        """Take in what was observed; whether an object waited for says something else now."""
        ref, obj = observation
        self._around.see(observation)
        if ref not in self._refs:
            return False
        former = self.states[ref]
        if obj is not None:
            self.objects[ref] = obj
            self._set(ref, _own_word(obj))
        elif not (ref.kind == "Job" and isinstance(former, Ready)):
            # A completed Job is removed when its time to live is over: that is no loss.
            self.objects.pop(ref, None)
            self._set(ref, _GONE)
        return self.states[ref] != former

    def _set(self, ref: ObjectRef, state: Readiness) -> None:
        self.states[ref] = state
        if isinstance(state, Ready):
            self.waiting.discard(ref)
        else:
            self.waiting.add(ref)

    def judge(self, now: float) -> Iterator[tuple[ObjectRef, str]]:
        """Let what was wrong for too long fail for good; what is wrong and was not told yet."""
        present: set[tuple[ObjectRef, str]] = set()
        for ref in sorted(self.waiting):
            self._note_step(ref, now)
            for trouble in self._troubles(ref):
                key = (ref, trouble.sort)
                present.add(key)
                lasted = now - self._since.setdefault(key, now)
                if lasted >= trouble.patience and not isinstance(self.states[ref], Failed):
                    self._set(ref, Failed(trouble.message))
                elif lasted >= _TELL_AFTER and trouble.message and key not in self._told:
                    self._told.add(key)
                    yield ref, trouble.message
        self._since = {key: since for key, since in self._since.items() if key in present}

    def _note_step(self, ref: ObjectRef, now: float) -> None:
        obj = self.objects.get(ref)
        step = (ref, (self.states[ref], stage(obj, self._around) if obj else ()))
        if step not in self._steps:
            self._steps.add(step)
            self.moved_at = now

    def _troubles(self, ref: ObjectRef) -> Iterator[Trouble]:
        if obj := self.objects.get(ref):
            yield from troubles(obj, self._around, self._limits)
        elif self.states[ref] == _GONE:  # nobody but us makes it again
            yield Trouble("gone", "is not there: somebody has deleted it", self._limits.refused)

    def cause(self, ref: ObjectRef) -> Cause:
        """Why an object is not ready, with its pod and the event where there are such."""
        state, obj = self.states[ref], self.objects.get(ref)
        words = "" if isinstance(state, Ready) else state.message
        found = [each for each in self._troubles(ref) if each.message]
        named = next((each for each in found if each.message == words), None)
        trouble = named or next(iter(found), None)
        said = trouble.message if trouble else self._around.last_warning(obj) if obj else ""
        parts = [words, "" if said in words else said]
        if ref in self._before:
            parts.append(f"it was not ready before this apply: {self._before[ref]}")
        log = (trouble.log if trouble else None) or next((t.log for t in found if t.log), None)
        return Cause("; ".join(part for part in parts if part), log)


def _own_word(obj: KubernetesObject) -> Readiness:
    """What an object says of itself, unless that may still be about what it was before."""
    state = readiness(obj)
    if isinstance(state, Failed) and is_former_verdict(obj):
        return InProgress(state.message)
    return state
