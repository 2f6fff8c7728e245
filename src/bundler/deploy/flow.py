"""verified bundle → plan → lock → each wave: apply, wait → record.

Killed at any moment, the next run comes to the same end: what is about to be done is recorded
before it is done, and what is left to do is decided by what stands in the target.
"""

from __future__ import annotations

from bundler.deploy.result import Runner, TargetResult
from bundler.deploy.run import Run
from bundler.errors import BundlerError
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Plan
from bundler.model.revision import TargetState
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
) -> TargetResult:
    """Bring a target to what a bundle says. Errors are part of the result.

    Raises UsageError where the bundle has no such target, and what interrupts it, recorded.
    """
    run = Run(bundle, environment, target, to, runner, state_namespace)
    try:
        state = to.read()
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
            return _carry_out(run, now, again)
    except BundlerError as error:
        return run.refused(error)


def _carry_out(run: Run, state: TargetState, plan: Plan) -> TargetResult:
    try:
        run.begin(state)
        return _change(run, state, plan)
    except (KeyboardInterrupt, SystemExit):
        run.interrupted(state)
        raise


def _change(run: Run, state: TargetState, plan: Plan) -> TargetResult:
    try:
        run.intend(state, plan)
        for wave in plan.waves:
            run.send(wave)
            run.wait(plan, wave)
        run.settle(plan)
        return run.end(state, plan)
    except BundlerError as error:
        return run.fail(state, plan, error)
