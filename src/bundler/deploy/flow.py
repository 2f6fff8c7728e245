"""verified bundle → plan → lock → each wave: apply, wait → record; and back, where that fails.

Killed at any moment, the next run comes to the same end: what is about to be done is recorded
before it is done, and what is left to do is decided by what stands in the target.
"""

from __future__ import annotations

from bundler.deploy import rollback
from bundler.deploy.intent import to_apply, to_uninstall
from bundler.deploy.permissions import state_of
from bundler.deploy.result import Runner, TargetResult
from bundler.deploy.run import Run
from bundler.errors import BundlerError
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Plan
from bundler.model.revision import Kind, TargetState
from bundler.ports import DeployTarget


def apply_to_target(
    bundle: VerifiedBundle,
    environment: str,
    target: str,
    to: DeployTarget,
    runner: Runner,
    *,
    dry_run: bool = False,
    state_namespace: str | None = None,
    kind: Kind = "apply",
) -> TargetResult:
    """Bring a target to what a bundle says. Errors are part of the result.

    Raises UsageError where the bundle has no such target, and what interrupts it, recorded.
    """
    intent = to_apply(bundle, environment, target, runner, state_namespace, kind)
    return _bring(Run(intent, to, runner), to, runner, dry_run)


def uninstall_from_target(
    state: TargetState,
    to: DeployTarget,
    runner: Runner,
    *,
    namespace: str,
    dry_run: bool = False,
    purge: bool = False,
) -> TargetResult:
    """Delete what is recorded as ours; `state` has a revision, and lies in `namespace`.

    With `purge` the state goes as well. Errors are part of the result.
    """
    intent = to_uninstall(state, runner, namespace, purge=purge)
    return _bring(Run(intent, to, runner), to, runner, dry_run)


def _bring(run: Run, to: DeployTarget, runner: Runner, dry_run: bool) -> TargetResult:
    try:
        state = state_of(run.wanted, to, runner.policy)
        plan = run.planned(state)
        is_agreed = runner.on_plan(plan)
        if dry_run or not is_agreed:
            return run.stopped(plan, "planned" if dry_run else "skipped")
        to.prepare()
        with to.held(runner.holder):
            now, again = run.planned_again(state, plan)
            if not run.is_as_shown(plan, again) and not runner.on_plan(again):
                return run.stopped(again, "skipped")
            if run.is_current(now, again):
                return run.check(now, again)
            result = _carry_out(run, now, again)
            if rollback.is_due(run, result, runner.policy):
                return _go_back(run, to, runner, result)
            return result
    except BundlerError as error:
        return run.refused(error)


def _carry_out(run: Run, state: TargetState, plan: Plan) -> TargetResult:
    try:
        run.begin(state, plan)
        return _change(run, state, plan)
    except (KeyboardInterrupt, SystemExit):
        run.interrupted(state)
        raise


def _change(run: Run, state: TargetState, plan: Plan) -> TargetResult:
    try:
        run.intend(state, plan)
        for wave in plan.waves:
            run.send(plan, wave)
            run.wait(plan, wave)
        run.settle(plan)
        return run.end(state, plan)
    except BundlerError as error:
        return run.fail(state, plan, error)


def _go_back(run: Run, to: DeployTarget, runner: Runner, failed: TargetResult) -> TargetResult:
    """The former release again, under the same lock."""
    try:
        state = to.read()
        back = rollback.run_back(run, state, to, runner)
        result = _carry_out(back, state, back.planned(state))
    except BundlerError as error:
        return rollback.not_tried(run, to, failed, error)
    return rollback.tried(run, to, failed, result)
