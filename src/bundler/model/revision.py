"""The record of one apply in one target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

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
    reason: str | None = None
    """Why it was applied, as whoever applied it says."""
    image_registry: str | None = None
    """Where images were pulled from instead of the places that the bundle names."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Image names of the release → names there; empty without an image registry."""
    cluster: str | None = None
    """UID of the cluster's kube-system namespace; None where it is no cluster, or not known."""

    def ended(self, status: Status, **values: object) -> Revision:
        return replace(self, status=status, **values)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, Any]:
        """As schemas/revision.json has it."""
        return {
            "number": self.number,
            "project": self.project,
            "environment": self.environment,
            "target": self.target,
            "tag": self.tag,
            "version": self.version,
            "commit": self.commit,
            "commitTime": self.commit_time,
            "digest": self.digest,
            "reference": self.reference,
            "status": self.status,
            "outcome": self.outcome,
            "started": self.started,
            "finished": self.finished,
            "durationSeconds": self.duration_seconds,
            "lastChecked": self.last_checked,
            "changes": dict(self.changes),
            "who": {
                "authenticated": self.who.authenticated,
                "claimed": self.who.claimed,
                "job": self.who.job,
            },
            "reason": self.reason,
            "imageRegistry": self.image_registry,
            "images": dict(self.images),
            "cluster": self.cluster,
        }

    @classmethod
    def of_dict(cls, value: Mapping[str, Any]) -> Revision:
        """The inverse of `as_dict`; unknown keys are left out. Raises KeyError, TypeError."""
        who = value["who"]
        return cls(
            number=int(value["number"]),
            project=value["project"],
            environment=value["environment"],
            target=value["target"],
            tag=value["tag"],
            version=value["version"],
            commit=value["commit"],
            commit_time=value["commitTime"],
            digest=value["digest"],
            reference=value["reference"],
            status=value["status"],
            outcome=value["outcome"],
            started=value["started"],
            finished=value["finished"],
            duration_seconds=value["durationSeconds"],
            last_checked=value["lastChecked"],
            changes=dict(value["changes"]),
            who=Who(who.get("authenticated"), who.get("claimed"), who.get("job")),
            reason=value.get("reason"),
            image_registry=value.get("imageRegistry"),
            images=dict(value.get("images") or {}),
            cluster=value.get("cluster"),
        )


@dataclass(frozen=True)
class TargetState:
    """All that we know of a target: the inventory and the kept revisions, oldest first."""

    inventory: Inventory = field(default_factory=Inventory)
    revisions: tuple[Revision, ...] = ()
    namespace: str | None = field(default=None, compare=False)
    """Where it was found in a cluster, for those who did not know where to look."""

    @property
    def current(self) -> Revision | None:
        """The last release that succeeded; a failed one is never current."""
        return next((r for r in reversed(self.revisions) if r.status == "succeeded"), None)

    @property
    def latest(self) -> Revision | None:
        return self.revisions[-1] if self.revisions else None

    @property
    def cluster(self) -> str | None:
        """UID of the cluster that the newest revision which has one was recorded on."""
        return next((r.cluster for r in reversed(self.revisions) if r.cluster), None)


def kept(revisions: tuple[Revision, ...]) -> tuple[Revision, ...]:
    """The revisions that stay: the newest, and always the last two that succeeded."""
    succeeded = [r.number for r in revisions if r.status == "succeeded"][-2:]
    newest = {r.number for r in revisions[-KEPT_REVISIONS:]}
    return tuple(r for r in revisions if r.number in newest or r.number in succeeded)
