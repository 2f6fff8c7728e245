"""The record of one apply in one target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from bundler.model.inventory import Inventory

Status = Literal["pending", "succeeded", "failed", "rolled-back", "interrupted"]

KEPT_REVISIONS = 20


@dataclass(frozen=True)
class Who:
    """Who applied: as the target authenticated it, and as the environment claims it."""

    authenticated: str | None = None
    claimed: str | None = None
    """CI job and actor, or user and machine."""
    job: str | None = None
    """URL of the CI job."""


@dataclass(frozen=True)
class Revision:
    number: int
    project: str
    environment: str
    target: str
    tag: str
    """The release's git tag."""
    version: str
    commit: str
    commit_time: str
    digest: str
    """Digest of the applied artifact."""
    reference: str
    """Where it was pulled from."""
    status: Status
    outcome: str = ""
    """`ready` for a cluster, `written` for a directory; the cause of a failure."""
    started: str = ""
    """RFC 3339, UTC."""
    finished: str | None = None
    duration_seconds: float | None = None
    last_checked: str | None = None
    """When the same release was applied again with nothing to do."""
    changes: Mapping[str, int] = field(default_factory=dict)
    who: Who = field(default_factory=Who)

    def ended(self, status: Status, **values: object) -> Revision:
        return replace(self, status=status, **values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class TargetState:
    """All that we know of a target: the inventory and the kept revisions, oldest first."""

    inventory: Inventory = field(default_factory=Inventory)
    revisions: tuple[Revision, ...] = ()

    @property
    def current(self) -> Revision | None:
        """The last release that succeeded; a failed one is never current."""
        return next((r for r in reversed(self.revisions) if r.status == "succeeded"), None)

    @property
    def latest(self) -> Revision | None:
        return self.revisions[-1] if self.revisions else None


def kept(revisions: tuple[Revision, ...]) -> tuple[Revision, ...]:
    """The revisions that stay: the newest, and always the last two that succeeded."""
    succeeded = [r.number for r in revisions if r.status == "succeeded"][-2:]
    newest = {r.number for r in revisions[-KEPT_REVISIONS:]}
    return tuple(r for r in revisions if r.number in newest or r.number in succeeded)
