"""A release that failed → the former one again: when, how, and what is told of both."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from bundler.deploy import former, record
from bundler.deploy.intent import to_apply
from bundler.deploy.policy import Policy
from bundler.deploy.result import Restoration, Runner, TargetResult
from bundler.deploy.run import Run
from bundler.errors import BundlerError, Locked, NotReady, Refused
from bundler.model.revision import TargetState
from bundler.ports import DeployTarget

_IN_BETWEEN = "the target is between two releases: apply again, or another release"


def is_due(run: Run, result: TargetResult, policy: Policy) -> bool:
    """Whether the former release is to be restored; never by who lost the lock, and not because
    the success of one that is ready could not be written."""
    if result.error is None or isinstance(result.error, Locked) or run.is_through:
        return False
    return policy.on_failure == "rollback" and run.has_changed


def run_back(run: Run, state: TargetState, to: DeployTarget, runner: Runner) -> Run:
    """The run that restores the former release.

    Raises Refused where there is none, MigrationBarrier where it is behind one.
    """
    way, failed = run.way_back, run.revision
    if way.revision is None or way.bundle is None:
        raise Refused(way.obstacle)
    if not runner.policy.past_migrations:
        found = former.barriers_before(way.revision, state, runner.former)
        if found:
            former.refuse(way.revision, found)
    by = replace(
        runner,
        on_plan=lambda _: True,
        check=None,
        images=None,
        policy=_policy_back(runner.policy),
    )
    intent = to_apply(
        way.bundle, failed.environment, failed.target, by, run.wanted.state_namespace, "rollback"
    )
    return Run(intent, to, by, undoes=failed)


def _policy_back(policy: Policy) -> Policy:
    """What was asked for going on is no obstacle for going back."""
    return replace(
        policy,
        on_failure="halt",
        changed_jobs="recreate",
        max_deletions=None,
        delete=frozenset(),
        allow_downgrade=True,
        past_migrations=True,
    )


def tried(run: Run, to: DeployTarget, failed: TargetResult, result: TargetResult) -> TargetResult:
    """What is told of a release that failed, and of the former one that was applied again."""
    tag = _former_tag(run)
    if result.error is None:
        return _both(failed, Restoration(tag, f"{tag} is restored", result))
    message = f"{tag} could not be restored: {result.error.message}"
    return _left(run, to, _both(failed, Restoration(tag, message, result), result.error))


def not_tried(
    run: Run, to: DeployTarget, failed: TargetResult, error: BundlerError
) -> TargetResult:
    """What is told where the former release was not applied again."""
    tag = _former_tag(run)
    message = (
        f"{tag} is not restored: {error.message}"
        if tag
        else f"there is no way back: {error.message}"
    )
    return _left(run, to, _both(failed, Restoration(tag, message), error))


def _former_tag(run: Run) -> str | None:
    return run.way_back.revision.tag if run.way_back.revision else None


def _both(
    failed: TargetResult, restoration: Restoration, second: BundlerError | None = None
) -> TargetResult:
    """Cause and consequence; whatever the cause is, the release is not there, or not ready."""
    cause = failed.error or NotReady("the release failed")
    message = f"{cause.message}; {restoration.message}"
    findings = (*cause.findings, *(second.findings if second else ()))
    hint = second.hint if second and second.hint else cause.hint
    if restoration.result and second:
        hint = _IN_BETWEEN
    return replace(
        failed,
        status="failed" if second else "rolled-back",
        outcome=message if second else failed.outcome,
        error=NotReady(message, hint=hint, findings=findings),
        rollback=restoration,
    )


def _left(run: Run, to: DeployTarget, result: TargetResult) -> TargetResult:
    with suppress(BundlerError):  # the run itself has recorded that it failed
        record.left(to, run.revision, result.outcome)
    return result
