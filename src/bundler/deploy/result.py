"""What a run is given besides the bundle and the target, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bundler.deploy.events import OnEvent
from bundler.deploy.limits import Limits
from bundler.deploy.policy import Policy
from bundler.deploy.progress import OnProgress
from bundler.errors import BundlerError
from bundler.model.barriers import Barrier
from bundler.model.changeset import Change, ChangeSet, Plan
from bundler.model.objects import ObjectRef
from bundler.model.revision import Who
from bundler.ports import FormerReleases

ResultStatus = Literal[
    "planned", "unchanged", "succeeded", "failed", "rolled-back", "interrupted", "skipped"
]


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
    reason: str | None = None
    """Why, for the record."""
    check: Callable[[Plan, Collection[ObjectRef]], None] | None = None
    """Sees every plan before it is shown, the last under the lock, and what we have made ourselves
    until then. Raises Refused where a plan must not be so."""
    images: Callable[[Plan], None] | None = None
    """Asks for the images that a plan would run. Raises ImagesRefused, CouldNotCheck."""
    policy: Policy = field(default_factory=Policy)
    on_event: OnEvent = lambda _: None
    former: FormerReleases | None = None
    """Where the release before comes from, should it have to be restored."""
    on_barriers: Callable[[Sequence[Barrier]], bool] = lambda _: False
    """Whether to go back behind migrations, asked where the policy does not say so."""


@dataclass(frozen=True)
class Restoration:
    """What became of the way back from a release that failed."""

    release: str | None
    """Tag of the former release; None where there was none."""
    message: str
    """That it was restored, or why not."""
    result: TargetResult | None = None
    """Of applying the former release; None where that was not tried."""

    @property
    def is_restored(self) -> bool:
        return self.result is not None and self.result.error is None

    def as_dict(self) -> dict[str, Any]:
        result = self.result.as_dict() if self.result else {}
        return {
            "release": self.release,
            "restored": self.is_restored,
            "message": self.message,
            "revision": result.get("revision"),
            "changes": result.get("changes", {}),
            "objects": result.get("objects", []),
            "failed": result.get("failed", []),
            "notStarted": result.get("notStarted", []),
            "durationSeconds": result.get("durationSeconds"),
            "error": result.get("error"),
        }


@dataclass(frozen=True)
class TargetResult:
    """What became of one target; `error` is None where nothing went wrong."""

    target: str
    status: ResultStatus
    revision: int | None = None
    outcome: str = ""
    """`ready`, `written`, or the cause of a failure."""
    changes: ChangeSet = field(default_factory=ChangeSet)
    not_started: tuple[Change, ...] = ()
    """What an error kept from being sent."""
    seconds: float | None = None
    error: BundlerError | None = None
    failed: tuple[str, ...] = ()
    """Objects that were refused, or did not get ready."""
    rollback: Restoration | None = None
    """Where the policy asks for one and the release failed."""

    def as_dict(self) -> dict[str, Any]:
        """As schemas/result-apply.json has it."""
        return {
            "target": self.target,
            "revision": self.revision,
            "status": self.status,
            "outcome": self.outcome,
            "changes": dict(self.changes.counts()),
            "objects": [change.as_dict() for change in self.changes.changes],
            "notStarted": [str(change.ref) for change in self.not_started],
            "failed": list(self.failed),
            "durationSeconds": self.seconds,
            "error": error_value(self.error) if self.error else None,
            "rollback": self.rollback.as_dict() if self.rollback else None,
        }


def error_value(error: BundlerError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "findings": [finding.as_dict() for finding in error.findings],
    }
