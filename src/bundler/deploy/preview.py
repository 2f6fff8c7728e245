"""verified bundle + target → what an apply would do. No lock is taken, nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from bundler.deploy.former import foreseen
from bundler.deploy.guards import Coming, guarded_plan
from bundler.deploy.image_presence import pullable
from bundler.deploy.intent import revision_of, wanted_of
from bundler.deploy.permissions import state_of
from bundler.deploy.policy import Policy
from bundler.deploy.result import error_value
from bundler.errors import BundlerError
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Action, Change, ChangeSet, Plan
from bundler.ports import DeployTarget

_REASONS: dict[Action, str] = {
    "created": "it is not there yet",
    "configured": "its fields differ",
    "unchanged": "it is as wanted",
    "deleted": "the release does not have it any more",
    "skipped": "",
}
_SAME_VALUES = "its values stay; their order differs, or whose fields they are"


@dataclass(frozen=True)
class Preview:
    """What would be done in one target, or why that cannot be said."""

    target: str
    state_namespace: str
    plan: Plan | None = None
    error: BundlerError | None = None

    @property
    def has_changes(self) -> bool:
        return self.plan is not None and not self.plan.is_empty

    def as_dict(self) -> dict[str, Any]:
        """As schemas/result-plan.json has it."""
        changes = self.plan.changes if self.plan else ()
        status: Literal["planned", "failed"] = "failed" if self.error else "planned"
        return {
            "target": self.target,
            "status": status,
            "replaces": self.plan.replaces if self.plan else None,
            "warnings": [each.as_dict() for each in self.plan.warnings] if self.plan else [],
            "changes": dict(ChangeSet(changes).counts()),
            "objects": [_object(change) for change in changes],
            "error": error_value(self.error) if self.error else None,
        }


def preview(
    bundle: VerifiedBundle,
    environment: str,
    target: str,
    to: DeployTarget,
    state_namespace: str | None = None,
    policy: Policy | None = None,
) -> Preview:
    """Errors are part of the result. Raises UsageError where the bundle has no such target."""
    wanted = wanted_of(bundle, environment, target, state_namespace)
    policy = policy or Policy()
    try:
        state = state_of(wanted, to, policy)
        coming = Coming.of(bundle, environment)
        plan = guarded_plan(coming, wanted, state, to, policy, is_preview=True)
        if to.watcher is not None:  # elsewhere nothing is run
            plan = pullable(plan, to, None)
        barriers = foreseen(revision_of(bundle, environment, target), state, policy)
        plan = replace(plan, warnings=(*plan.warnings, *barriers))
    except BundlerError as error:
        return Preview(target, wanted.state_namespace, error=error)
    return Preview(target, wanted.state_namespace, plan)


def reason_of(change: Change) -> str:
    """Why an object gets its action, in words."""
    if change.reason:
        return change.reason
    if change.action == "configured" and not change.fields:
        return _SAME_VALUES
    return _REASONS[change.action]


def _object(change: Change) -> dict[str, Any]:
    return {
        "ref": str(change.ref),
        "action": change.action,
        "recreate": change.recreate,
        "reason": reason_of(change),
        "fields": [each.as_dict() for each in change.fields],
    }
