"""One apply to one target: what it is about, and what it has done so far."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, cast

from bundler.deploy import record
from bundler.deploy.apply import DELETIONS, Applied, apply_wave
from bundler.deploy.events import Event, EventKind
from bundler.deploy.guards import Coming, cluster_of, guarded_plan
from bundler.deploy.image_presence import pullable
from bundler.deploy.plan import Wanted, job_digest
from bundler.deploy.progress import Progress
from bundler.deploy.readiness import is_true
from bundler.deploy.result import ResultStatus, Runner, TargetResult
from bundler.deploy.wait import failing_before, is_ready_already, wait, wave_subjects
from bundler.errors import BundlerError, Refused, UsageError
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Change, ChangeSet, Plan, Wave
from bundler.model.inventory import Inventory
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.revision import Revision, TargetState
from bundler.ports import DeployTarget

PLAN_SECONDS = 30.0
"""A plan that is older when its turn has come is made anew."""


class Run:
    """The steps of `flow`, and what they have in common."""

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
        self._coming = Coming.of(bundle, environment)
        self._to = to
        self._runner = runner
        self._began = runner.monotonic()
        self._revision = _intended(bundle, self.wanted, runner)
        self._planned_at = self._began
        self._made: frozenset[ObjectRef] = frozenset()
        """What we have made since the first plan, to have a lock."""
        self._inventory = Inventory()
        self._done: list[Change] = []
        self._uids: dict[ObjectRef, str] = {}

    # --- before anything changes ----------------------------------------------------------------

    def planned(
        self,
        state: TargetState,
        made: Collection[ObjectRef] = (),
        former: TargetState | None = None,
    ) -> Plan:
        """The plan, if guards and the runner let it pass; `former` is what it was made of first."""
        plan = guarded_plan(
            self._coming, self.wanted, state, self._to, self._runner.policy, former=former
        )
        if self._to.watcher is not None:  # elsewhere nothing is run
            plan = pullable(plan, self._to, self._runner.images)
        self._planned_at = self._runner.monotonic()
        if self._runner.check:
            self._runner.check(plan, made)
        return plan

    def planned_again(self, state: TargetState, plan: Plan) -> tuple[TargetState, Plan]:
        """State and plan as they are under the lock: somebody may have been faster.

        To have a lock, we may have made the namespace that it is in. Time counts from here, not
        from when somebody began to think about the plan, or another target had its turn.
        """
        self._began = self._runner.monotonic()
        self._revision = replace(self._revision, started=self._runner.clock())
        now = self._to.read()
        is_old = self._began - self._planned_at > PLAN_SECONDS
        if now == state and not is_old and not self._runner.check:
            return now, plan
        place = self.wanted.state_place
        self._made = frozenset(
            each.ref for each in plan.changes if each.action == "created" and each.ref == place
        )
        return now, self.planned(now, self._made, former=state)

    def is_as_shown(self, plan: Plan, again: Plan) -> bool:
        """Whether a plan that was made anew would do the same, but for what we made meanwhile."""
        return again.is_same_as(plan, but_for=self._made)

    def is_current(self, state: TargetState, plan: Plan) -> bool:
        """Whether the newest revision is a success of this very release, and all is in place."""
        latest = state.latest
        return (
            plan.is_empty
            and latest is not None
            and latest.status == "succeeded"
            and latest.digest == self._revision.digest
        )

    def check(self, state: TargetState, plan: Plan) -> TargetResult:
        """Nothing is to be done: see that it is ready, and note that we looked."""
        current = replace(cast("Revision", state.latest), cluster=cluster_of(self._to))
        try:
            for wave in plan.waves:
                if not is_ready_already(plan, wave_subjects(plan, wave)):
                    self._ready(plan, wave)
        except BundlerError as error:
            return self._result("failed", plan.changes, revision=current, error=error)
        current = record.checked(self._to, current, self._runner.clock())
        self._tell("unchanged")
        return self._result("unchanged", plan.changes, revision=current)

    # --- carrying it out ------------------------------------------------------------------------

    def begin(self, state: TargetState) -> None:
        # Numbered first: an interruption may come when it is written and we do not know that yet.
        intended = replace(self._revision, cluster=cluster_of(self._to))
        self._revision = record.numbered(state, intended)
        self._revision = record.begin(self._to, state, self._revision)
        self._tell("start")

    def intend(self, state: TargetState, plan: Plan) -> None:
        self._inventory = record.intend(
            self._to, state.inventory, plan, untracked=self.wanted.state_place
        )

    def send(self, wave: Wave) -> None:
        def note(applied: Applied) -> None:
            change, uid = applied
            self._done.append(change)
            self._uids[change.ref] = uid
            self._runner.on_progress(Progress(wave.name, change.action, change.ref, change.reason))

        record.advance(self._to, self._revision, self._done)
        self._tell("wave", wave=wave.name)
        apply_wave(self._to, wave, done=note)

    def wait(self, plan: Plan, wave: Wave) -> None:
        """Return when a wave is ready, and the Jobs that completed are recorded."""
        completed = {
            ref: job_digest(self.wanted.objects[ref])
            for ref, obj in self._ready(plan, wave).items()
            if ref.kind == "Job" and is_true(obj.get("status") or {}, "Complete")
        }
        self._inventory = record.note_completed(self._to, self._inventory, completed)

    def _ready(self, plan: Plan, wave: Wave) -> Mapping[ObjectRef, KubernetesObject]:
        watcher = self._to.watcher
        if watcher is None or wave.name == DELETIONS:
            return {}
        subjects = wave_subjects(plan, wave)
        return wait(
            watcher,
            subjects,
            wave=wave.name,
            limits=self._runner.limits,
            deadline=self._began + self._runner.limits.timeout,
            monotonic=self._runner.monotonic,
            on_progress=self._runner.on_progress,
            before=failing_before(plan, subjects),
        )

    def settle(self, plan: Plan) -> None:
        record.settle(self._to, self._inventory, plan, self._uids, self.wanted.owner)

    # --- ends -----------------------------------------------------------------------------------

    def stopped(self, plan: Plan, status: ResultStatus) -> TargetResult:
        """Nothing was changed, and that was wanted."""
        return self._result(status, plan.changes if status == "planned" else ())

    def refused(self, error: BundlerError) -> TargetResult:
        """Nothing was changed, because something is wrong."""
        self._tell("refused", error.message)
        return self._result("failed", (), error=error)

    def end(self, state: TargetState, plan: Plan) -> TargetResult:
        self._end(state, "succeeded", "written" if self._to.watcher is None else "ready")
        self._tell("success")
        return self._result("succeeded", tuple(self._done), revision=self._revision, plan=plan)

    def fail(self, state: TargetState, plan: Plan, error: BundlerError) -> TargetResult:
        # Where even this cannot be written, the pending revision tells the next run.
        with suppress(BundlerError):
            self._end(state, "failed", error.message)
        self._tell("failure", error.message)
        done = tuple(self._done)
        return self._result("failed", done, revision=self._revision, plan=plan, error=error)

    def interrupted(self, state: TargetState) -> None:
        with suppress(BundlerError):
            # What was on its way may have arrived without our knowing, the success as well.
            arrived = self._to.read() if self._revision.number else TargetState()
            ended = {r.number for r in arrived.revisions if r.status != "pending"}
            if self._revision.number and self._revision.number not in ended:
                self._end(state, "interrupted", "interrupted by whoever ran it")
        self._tell("interrupted")

    def _end(
        self,
        state: TargetState,
        status: Literal["succeeded", "failed", "interrupted"],
        outcome: str,
    ) -> None:
        self._revision = record.end(
            self._to,
            state,
            self._revision,
            status,
            outcome=outcome,
            done=self._done,
            finished=self._runner.clock(),
            seconds=self._seconds(),
        )

    def _result(
        self,
        status: ResultStatus,
        changes: tuple[Change, ...],
        *,
        revision: Revision | None = None,
        plan: Plan | None = None,
        error: BundlerError | None = None,
    ) -> TargetResult:
        begun = {change.ref for change in changes}
        return TargetResult(
            self.wanted.target,
            status,
            revision.number if revision else None,
            error.message if error else revision.outcome if revision else "",
            ChangeSet(changes),
            tuple(c for c in plan.changes if c.ref not in begun) if plan else (),
            self._seconds(),
            error,
        )

    def _tell(self, kind: EventKind, message: str = "", wave: str | None = None) -> None:
        revision = self._revision
        self._runner.on_event(
            Event(
                kind, self._runner.clock(), revision.project, revision.environment,
                revision.target, revision.tag, revision.digest, revision.number or None,
                wave, message, ChangeSet(tuple(self._done)).counts(),
            )
        )  # fmt: skip

    def _seconds(self) -> float:
        return round(self._runner.monotonic() - self._began, 3)


def wanted_of(
    bundle: VerifiedBundle, environment: str, target: str, state_namespace: str | None = None
) -> Wanted:
    """What a bundle has for a target. Raises UsageError, naming what there is."""
    objects = bundle.objects.get((environment, target))
    if bundle.encrypted.get((environment, target)):
        raise Refused(f"{bundle.reference}: Secrets of {environment}/{target} are still encrypted")
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


def _intended(bundle: VerifiedBundle, wanted: Wanted, runner: Runner) -> Revision:
    """The revision that this run means to make; its number is not known yet."""
    release = cast("Mapping[str, Any]", bundle.release.value)
    return Revision(
        number=0,
        project=release["project"],
        environment=wanted.environment,
        target=wanted.target,
        tag=release["tag"],
        version=release["version"],
        commit=release["commit"],
        commit_time=release["commitTime"],
        digest=str(bundle.digest),
        reference=str(bundle.reference),
        status="pending",
        started=runner.clock(),
        who=runner.who,
        reason=runner.reason,
        image_registry=bundle.image_registry,
        images=bundle.images,
    )
