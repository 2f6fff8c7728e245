"""One run in one target: what it is to bring about, and what it has done so far."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Literal, cast

from bundler.deploy import former as former_releases
from bundler.deploy import record
from bundler.deploy.apply import DELETIONS, Applied, apply_wave
from bundler.deploy.events import Event, EventKind
from bundler.deploy.former import WayBack
from bundler.deploy.guards import cluster_of, guarded_plan
from bundler.deploy.image_presence import pullable
from bundler.deploy.intent import Intent, begun_by
from bundler.deploy.plan import job_digest
from bundler.deploy.progress import Progress
from bundler.deploy.readiness import is_true
from bundler.deploy.result import ResultStatus, Runner, TargetResult
from bundler.deploy.wait import failing_before, is_ready_already, wait, wave_subjects
from bundler.errors import BundlerError, Locked
from bundler.model.barriers import Barrier
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
        self, intent: Intent, to: DeployTarget, runner: Runner, undoes: Revision | None = None
    ) -> None:
        """`undoes` is the failed revision that a rollback follows at once."""
        self.wanted = intent.wanted
        self._coming = intent.coming
        self.way_back = WayBack()
        self.has_changed = False
        """Whether anything may have been sent."""
        self.is_through = False
        """Whether all that was sent is ready; what is left is to write that down."""
        self._to = to
        self._runner = runner
        self._undoes = undoes
        self._began = runner.monotonic()
        self._revision = intent.revision
        self._purge = intent.purge
        self._agreed: frozenset[Barrier] = frozenset()
        self._planned_at = self._began
        self._made: frozenset[ObjectRef] = frozenset()
        """What we have made since the first plan, to have a lock."""
        self._inventory = Inventory()
        self._done: list[Change] = []
        self._refused: list[Change] = []
        self._uids: dict[ObjectRef, str] = {}

    @property
    def revision(self) -> Revision:
        """As it was written last."""
        return self._revision

    # --- before anything changes ----------------------------------------------------------------

    def planned(
        self,
        state: TargetState,
        made: Collection[ObjectRef] = (),
        former: TargetState | None = None,
    ) -> Plan:
        """The plan, if guards and the runner let it pass; the way back is made sure of.

        `former` is what it was made of first.
        """
        self._pass_barriers(state)
        plan = guarded_plan(
            self._coming, self.wanted, state, self._to, self._runner.policy, former=former
        )
        if self._to.watcher is not None:  # elsewhere nothing is run
            plan = pullable(plan, self._to, self._runner.images)
        if self._needs_way_back(state, plan):
            self.way_back = self._found_way_back(state)
            plan = replace(plan, warnings=(*plan.warnings, *self.way_back.warnings))
        self._planned_at = self._runner.monotonic()
        if self._runner.check:
            self._runner.check(plan, made)
        return plan

    def _pass_barriers(self, state: TargetState) -> None:
        if self._runner.policy.past_migrations or self._revision.kind == "uninstall":
            return
        found = former_releases.barriers_before(self._revision, state, self._runner.former)
        if self._agreed.issuperset(found):
            return
        if not self._runner.on_barriers(found):
            former_releases.refuse(self._revision, found)
        self._agreed = frozenset(found)

    def _needs_way_back(self, state: TargetState, plan: Plan) -> bool:
        """Where a release is only left as it is when it fails, a way back is mere comfort."""
        if self._revision.kind != "apply" or self.is_current(state, plan):
            return False
        return self._runner.policy.on_failure == "rollback" or not plan.is_empty

    def _found_way_back(self, state: TargetState) -> WayBack:
        known, current = self.way_back.revision, state.current
        if known and current and known.number == current.number:
            return self.way_back
        return former_releases.way_back(
            self._revision, state, self._to, self._runner.policy, self._runner.former
        )

    def planned_again(self, state: TargetState, plan: Plan) -> tuple[TargetState, Plan]:
        """State and plan as they are under the lock: somebody may have been faster.

        A run that is pending changes objects without changing the state each time; it may have
        been at work while we planned, also where it was killed since. To have a lock, we may have
        made the namespace that it is in. Time counts from here, not from when somebody began to
        think about the plan, or another target had its turn.
        """
        self._began = self._runner.monotonic()
        self._revision = replace(self._revision, started=self._runner.clock())
        now = self._to.read()
        is_old = self._began - self._planned_at > PLAN_SECONDS
        is_at_rest = all(revision.status != "pending" for revision in state.revisions)
        if now == state and is_at_rest and not is_old and not self._runner.check:
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
            and latest.is_same_as(self._revision)
        )

    def check(self, state: TargetState, plan: Plan) -> TargetResult:
        """Nothing is to be done: see that it is ready, and note that we looked."""
        current = replace(cast("Revision", state.latest), cluster=cluster_of(self._to))
        try:
            for wave in plan.waves:
                if not is_ready_already(plan, wave_subjects(plan, wave)):
                    self._ready(plan, wave)
        except BundlerError as error:
            self._tell("failure", error.message)
            return self._result("failed", plan.changes, revision=current, error=error)
        current = record.checked(self._to, current, self._runner.clock())
        self._forget()
        self._tell("unchanged")
        return self._result("unchanged", plan.changes, revision=current)

    # --- carrying it out ------------------------------------------------------------------------

    def begin(self, state: TargetState, plan: Plan) -> None:
        # Numbered first: an interruption may come when it is written and we do not know that yet.
        intended = replace(
            self._revision,
            cluster=cluster_of(self._to),
            replaces=self._replaced(state),
            planned=ChangeSet(plan.changes).counts(),
        )
        self._revision = record.numbered(state, intended)
        self._revision = record.begin(self._to, state, self._revision)
        is_rollback = self._revision.kind == "rollback"
        self._tell("rollback" if is_rollback else "start", self._revision.title)

    def _replaced(self, state: TargetState) -> str | None:
        """Tag of what was there; a rollback leaves what was tried last."""
        if self._revision.kind != "rollback":
            return state.current.tag if state.current else None
        left = self._undoes or state.latest
        return left.tag if left else None

    def intend(self, state: TargetState, plan: Plan) -> None:
        self._inventory = record.intend(
            self._to, state.inventory, plan, untracked=self.wanted.state_place
        )

    def send(self, plan: Plan, wave: Wave) -> None:
        def note(applied: Applied) -> None:
            change, uid = applied
            self._done.append(change)
            self._uids[change.ref] = uid
            self._runner.on_progress(Progress(wave.name, change.action, change.ref, change.reason))

        begun = begun_by(wave, plan, self._revision.migrations or {})
        self._revision = record.advance(self._to, self._revision, self._done, begun)
        self._tell("wave", wave=wave.name)
        self.has_changed = True
        apply_wave(self._to, wave, done=note, failed=self._refused.append)

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
        self.is_through = True
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
        if self._undoes:
            record.undone(self._to, self._undoes)
        self._end(state, "succeeded", self._success())
        self._forget()
        self._tell("success")
        return self._result("succeeded", tuple(self._done), revision=self._revision, plan=plan)

    def _forget(self) -> None:
        if self._purge:
            record.forget(self._to, self._to.read())

    def _success(self) -> str:
        if self._revision.kind == "uninstall":
            return "uninstalled"
        return "written" if self._to.watcher is None else "ready"

    def fail(self, state: TargetState, plan: Plan, error: BundlerError) -> TargetResult:
        # Where even this cannot be written, the pending revision tells the next run.
        try:
            self._end(state, "failed", error.message)
        except BundlerError:
            self._revision = self._revision.ended("failed", outcome=error.message)
        self._tell("failure", error.message)
        done = tuple(self._done)
        return self._result("failed", done, revision=self._revision, plan=plan, error=error)

    def interrupted(self, state: TargetState) -> None:
        with suppress(BundlerError):
            try:
                self._end_interrupted(state)
            except Locked:  # what was on its way has arrived between reading and writing
                self._end_interrupted(state)
        self._tell("interrupted")

    def _end_interrupted(self, state: TargetState) -> None:
        """What was on its way may have arrived without our knowing, the success as well."""
        arrived = self._to.read() if self._revision.number else TargetState()
        ended = {r.number for r in arrived.revisions if r.status != "pending"}
        if self._revision.number and self._revision.number not in ended:
            self._end(state, "interrupted", "interrupted by whoever ran it")

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
        begun = {change.ref for change in (*changes, *self._refused)}
        found = [finding.object for finding in error.findings] if revision and error else []
        failed = dict.fromkeys([*(str(c.ref) for c in self._refused), *filter(None, found)])
        return TargetResult(
            self.wanted.target,
            status,
            revision.number if revision else None,
            error.message if error else revision.outcome if revision else "",
            ChangeSet(changes),
            tuple(c for c in plan.changes if c.ref not in begun) if plan else (),
            self._seconds(),
            error,
            tuple(failed),
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
