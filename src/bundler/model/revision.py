"""The record of one apply in one target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bundler.model.inventory import Inventory
from bundler.model.migrations import Migration, Migrations
from bundler.model.release import SemVer

Status = Literal["pending", "succeeded", "failed", "rolled-back", "interrupted"]
Kind = Literal["apply", "rollback", "uninstall"]

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
    kind: Kind = "apply"
    """`rollback`: this release was gone back to; `uninstall`: it was removed."""
    replaces: str | None = None
    """Tag of the release that was there before; of a rollback the one that was left."""
    planned: Mapping[str, int] = field(default_factory=dict)
    """Action → how many objects the plan had, of which `changes` were done."""
    migrations: Migrations | None = None
    """None in revisions that were written before migrations were recorded."""

    @property
    def title(self) -> str:
        """What happened, in words; empty for an apply as usual."""
        if self.kind == "uninstall":
            return f"{self.tag} uninstalled"
        if self.kind == "rollback":
            return f"rolled back to {self.tag}" + (f" from {self.replaces}" * bool(self.replaces))
        return ""

    def is_same_as(self, other: Revision) -> bool:
        """Whether both bring a target to the same."""
        is_removal = self.kind == "uninstall"
        return self.digest == other.digest and is_removal == (other.kind == "uninstall")

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
            "kind": self.kind,
            "replaces": self.replaces,
            "planned": dict(self.planned),
            "migrations": None
            if self.migrations is None
            else {service: each.as_dict() for service, each in self.migrations.items()},
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
            kind=value.get("kind") or "apply",
            replaces=value.get("replaces"),
            planned=dict(value.get("planned") or {}),
            migrations=_migrations(value.get("migrations")),
        )


def is_older(tag: str, commit_time: str, than: Revision) -> bool:
    """Whether a release comes before another one: by SemVer, then by the time of its commit.

    Times are RFC 3339 in UTC, to the second: their text has their order.
    """
    version, other = SemVer.parse(tag), SemVer.parse(than.tag)
    if version and other and version != other:
        return version < other
    return commit_time < than.commit_time


def _migrations(value: Mapping[str, Any] | None) -> Migrations | None:
    if value is None:
        return None
    return {service: Migration.of_dict(each) for service, each in value.items()}


@dataclass(frozen=True)
class TargetState:
    """All that we know of a target: the inventory and the kept revisions, oldest first."""

    inventory: Inventory = field(default_factory=Inventory)
    revisions: tuple[Revision, ...] = ()
    namespace: str | None = field(default=None, compare=False)
    """Where it was found in a cluster, for those who did not know where to look."""

    @property
    def current(self) -> Revision | None:
        """The last release that succeeded; a failed one is never current. None once uninstalled."""
        last = next((r for r in reversed(self.revisions) if r.status == "succeeded"), None)
        return last if last and last.kind != "uninstall" else None

    @property
    def latest(self) -> Revision | None:
        return self.revisions[-1] if self.revisions else None

    @property
    def cluster(self) -> str | None:
        """UID of the cluster that the newest revision which has one was recorded on."""
        return next((r.cluster for r in reversed(self.revisions) if r.cluster), None)


def kept(revisions: tuple[Revision, ...]) -> tuple[Revision, ...]:
    """The revisions that stay: the newest, the last two that succeeded, and the last success of
    another release than the current one, to go back to."""
    succeeded = [r for r in revisions if r.status == "succeeded" and r.kind != "uninstall"]
    others = [r for r in succeeded if r.digest != succeeded[-1].digest]
    staying = {r.number for r in (*succeeded[-2:], *others[-1:], *revisions[-KEPT_REVISIONS:])}
    return tuple(r for r in revisions if r.number in staying)
