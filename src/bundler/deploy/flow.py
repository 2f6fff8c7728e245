"""verified bundle → plan → lock → each wave: apply, wait → record.

Killed at any moment, the next run comes to the same end: what is about to be done is recorded
before it is done, and everything is decided by what stands in the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from bundler.deploy import record
from bundler.deploy.apply import DELETIONS, Applied, apply_wave
from bundler.deploy.plan import Wanted, job_digest, make_plan
from bundler.deploy.progress import OnProgress, Progress
from bundler.deploy.readiness import is_true
from bundler.deploy.rollout import Limits
from bundler.deploy.wait import wait, wave_subjects
from bundler.errors import BundlerError, UsageError
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Change, ChangeSet, Plan, Wave
from bundler.model.inventory import Inventory
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.revision import Revision, TargetState, Who
from bundler.ports import DeployTarget

ResultStatus = Literal[
    "planned", "unchanged", "pending", "succeeded", "failed", "interrupted", "skipped"
]


@dataclass(frozen=True)
class TargetResult:
    """What became of one target; `error` is None where nothing went wrong."""

    target: str
    status: ResultStatus
    revision: int | None = None
    outcome: str = ""
    changes: ChangeSet = field(default_factory=ChangeSet)
    not_started: tuple[Change, ...] = ()
    """What an error kept from being sent."""
    seconds: float | None = None
    error: BundlerError | None = None

    def as_dict(self) -> dict[str, Any]:
        """As schemas/result-apply.json has it, without the error, whose form is the command's."""
        return {
            "target": self.target,
            "revision": self.revision,
            "status": self.status,
            "outcome": self.outcome,
            "changes": dict(self.changes.counts()),
            "objects": [change.as_dict() for change in self.changes.changes],
            "notStarted": [str(change.ref) for change in self.not_started],
            "durationSeconds": self.seconds,
        }


@dataclass(frozen=True)
class Runner:
    """Who applies, by which clocks, and whom to tell."""

    who: Who
    holder: str
    """Names us to others who wait for the lock."""
    clock: Callable[[], str]
    """Now, as RFC 3339 in UTC."""
    monotonic: Callable[[], float]
    on_plan: Callable[[Plan], bool]
    """Shows the plan; False stops before anything is changed."""
    on_progress: OnProgress = lambda _: None
    limits: Limits = field(default_factory=Limits)


def apply_to_target(
    bundle: VerifiedBundle,
    environment: str,
    target: str,
    to: DeployTarget,
    runner: Runner,
    *,
    dry_run: bool = False,
    state_namespace: str | None = None,
) -> TargetResult:
    """Bring a target to what a bundle says. Errors are part of the result.

    Raises UsageError where the bundle has no such target, and what interrupts it after that was
    recorded.
    """
    run = _Run(bundle, environment, target, to, runner, state_namespace)
    try:
        state = to.read()
        plan = make_plan(run.wanted, state.inventory, to)
        if not runner.on_plan(plan) or dry_run:
            return run.result("planned" if dry_run else "skipped", plan.changes)
        to.prepare()
        with to.held(runner.holder):
            state, plan = run.planned_again(state, plan)
            if plan is None:
                return run.result("skipped", ())
            if run.is_current(state, plan):
                return run.check(state, plan)
            return run.carry_out(state, plan)
    except BundlerError as error:
        return run.result("failed", (), error=error)


class _Run:
    """One apply to one target: what it is about, and what it has done so far."""

    def __init__(
        self,
        bundle: VerifiedBundle,
        environment: str,
        target: str,
        to: DeployTarget,
        runner: Runner,
        state_namespace: str | None,
    ) -> None:
        self.wanted = wanted_of(bundle, environment, target, state_namespace)
        self._bundle = bundle
        self._to = to
        self._runner = runner
        self._began = runner.monotonic()
        self._deadline = self._began + runner.limits.timeout
        self._done: list[Change] = []
        self._uids: dict[ObjectRef, str] = {}

    def result(
        self,
        status: ResultStatus,
        changes: tuple[Change, ...],
        *,
        revision: Revision | None = None,
        plan: Plan | None = None,
        error: BundlerError | None = None,
    ) -> TargetResult:
        done = {change.ref for change in changes}
        return TargetResult(
            self.wanted.target,
            status,
            revision.number if revision else None,
            revision.outcome if revision else (error.message if error else ""),
            ChangeSet(changes),
            tuple(c for c in plan.changes if c.ref not in done) if plan else (),
            self._seconds(),
            error,
        )

    def _seconds(self) -> float:
        return round(self._runner.monotonic() - self._began, 3)

    def planned_again(self, state: TargetState, plan: Plan) -> tuple[TargetState, Plan | None]:
        """State and plan under the lock; None where somebody changed it and it was not agreed to."""
        now = self._to.read()
        if now == state:
            return now, plan
        again = make_plan(self.wanted, now.inventory, self._to)
        is_same = [c.as_dict() for c in again.changes] == [c.as_dict() for c in plan.changes]
        return now, again if is_same or self._runner.on_plan(again) else None

    def is_current(self, state: TargetState, plan: Plan) -> bool:
        """Whether the newest revision is a success of this very release, and all is in place."""
        latest = state.latest
        return (
            plan.is_empty
            and latest is not None
            and latest.status == "succeeded"
            and latest.digest == str(self._bundle.digest)
        )

    def check(self, state: TargetState, plan: Plan) -> TargetResult:
        """Nothing is to be done: see that it is ready, and note that we looked."""
        current = cast("Revision", state.latest)
        try:
            for wave in plan.waves:
                self._wait(plan, wave)
        except BundlerError as error:
            return self.result("failed", plan.changes, revision=current, error=error)
        current = record.checked(self._to, current, self._runner.clock())
        return self.result("unchanged", plan.changes, revision=current)

    def carry_out(self, state: TargetState, plan: Plan) -> TargetResult:
        """Record what is meant, make the waves, record what became of it."""
        revision = record.begin(self._to, state, self._intended())
        try:
            self._make(revision, state, plan)
            outcome = "written" if self._to.watcher is None else "ready"
            revision = self._end(state, revision, "succeeded", outcome)
            return self.result("succeeded", tuple(self._done), revision=revision)
        except BundlerError as error:
            revision = self._end_badly(state, revision, "failed", error.message)
            done = tuple(self._done)
            return self.result("failed", done, revision=revision, plan=plan, error=error)
        except (KeyboardInterrupt, SystemExit):
            self._end_badly(state, revision, "interrupted", "interrupted by whoever ran it")
            raise

    def _make(self, revision: Revision, state: TargetState, plan: Plan) -> None:
        inventory = record.intend(self._to, state.inventory, plan, self.wanted.state_place)
        new_kinds = self.wanted.new_kinds
        for wave in plan.waves:
            record.advance(self._to, revision, self._done)
            apply_wave(self._to, wave, new_kinds=new_kinds, done=lambda a: self._note(wave, a))
            if wave.name != DELETIONS:
                completed = self._completed(self._wait(plan, wave))
                inventory = record.note_completed(self._to, inventory, completed)
        record.settle(self._to, inventory, plan, self._uids, self.wanted.owner)

    def _note(self, wave: Wave, applied: Applied) -> None:
        self._done.append(applied.change)
        self._uids[applied.change.ref] = applied.uid
        progress = Progress(
            wave.name, applied.change.action, applied.change.ref, applied.change.reason
        )
        self._runner.on_progress(progress)

    def _wait(self, plan: Plan, wave: Wave) -> Mapping[ObjectRef, KubernetesObject]:
        watcher = self._to.watcher
        if watcher is None:
            return {}
        return wait(
            watcher,
            wave_subjects(plan, wave),
            wave=wave.name,
            limits=self._runner.limits,
            deadline=self._deadline,
            monotonic=self._runner.monotonic,
            on_progress=self._runner.on_progress,
        )

    def _completed(self, ready: Mapping[ObjectRef, KubernetesObject]) -> dict[ObjectRef, str]:
        return {
            ref: job_digest(self.wanted.objects[ref])
            for ref, obj in ready.items()
            if ref.kind == "Job" and is_true(obj.get("status") or {}, "Complete")
        }

    def _intended(self) -> Revision:
        release = cast("Mapping[str, Any]", self._bundle.release.value)
        return Revision(
            number=0,
            project=release["project"],
            environment=self.wanted.environment,
            target=self.wanted.target,
            tag=release["tag"],
            version=release["version"],
            commit=release["commit"],
            commit_time=release["commitTime"],
            digest=str(self._bundle.digest),
            reference=str(self._bundle.reference),
            status="pending",
            started=self._runner.clock(),
            who=self._runner.who,
        )

    def _end(
        self,
        state: TargetState,
        revision: Revision,
        status: Literal["succeeded", "failed", "interrupted"],
        outcome: str,
    ) -> Revision:
        return record.end(
            self._to,
            state,
            revision,
            status,
            outcome=outcome,
            done=self._done,
            finished=self._runner.clock(),
            seconds=self._seconds(),
        )

    def _end_badly(
        self,
        state: TargetState,
        revision: Revision,
        status: Literal["failed", "interrupted"],
        outcome: str,
    ) -> Revision:
        """As `_end`; where even that cannot be written, the pending revision tells the next run."""
        try:
            return self._end(state, revision, status, outcome)
        except BundlerError:
            return revision


def wanted_of(
    bundle: VerifiedBundle, environment: str, target: str, state_namespace: str | None = None
) -> Wanted:
    """What a bundle has for a target. Raises UsageError, naming what there is."""
    objects = bundle.objects.get((environment, target))
    if objects is None:
        known = ", ".join(f"{env}/{name}" for env, name in sorted(bundle.objects))
        raise UsageError(
            f"{bundle.reference} has no target {environment}/{target}", hint=f"it has {known}"
        )
    release = cast("Mapping[str, Any]", bundle.release.value)
    namespace = release["environments"][environment]["targets"][target]["namespace"]
    return Wanted(
        environment,
        target,
        f"{release['project']}/{environment}/{target}",
        {ObjectRef.of(obj): obj for obj in objects},
        state_namespace or namespace,
    )
