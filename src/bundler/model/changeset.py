"""A plan made before any change, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bundler.model.claim import NO_CLAIM, Claim
from bundler.model.differences import FieldChange
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject, ObjectRef

Action = Literal["created", "configured", "unchanged", "deleted", "skipped"]
ACTIONS: tuple[Action, ...] = ("created", "configured", "unchanged", "deleted", "skipped")


@dataclass(frozen=True)
class Change:
    """One object and what is to be done, or was done, with it."""

    ref: ObjectRef
    action: Action
    desired: KubernetesObject | None = field(default=None, repr=False)
    """None for deletions."""
    live: KubernetesObject | None = field(default=None, repr=False)
    """What stood in the target when the plan was made."""
    recreate: bool = False
    """The object cannot be changed in place (a Job's template): delete it, then create it."""
    reason: str = ""
    """Why an object is skipped, or recreated."""
    fields: tuple[FieldChange, ...] = field(default=(), repr=False)
    """What `configured` changes; of a Secret without the values."""
    is_scaled: bool = False
    """An autoscaler decides its number of replicas, so that `desired` has none."""
    claim: Claim = NO_CLAIM
    """What becomes of fields that others manage, or that we leave to them."""

    def as_dict(self) -> dict[str, str]:
        reason = {"reason": self.reason} if self.reason else {}
        return {"ref": str(self.ref), "action": self.action} | reason


@dataclass(frozen=True)
class Wave:
    name: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Plan:
    """Waves in the order of their apply; the last one holds the deletions.

    A wave whose objects have different weights stands here once for each of them.
    """

    environment: str
    target: str
    waves: tuple[Wave, ...]
    replaces: str | None = None
    """Tag of the release that is current there."""
    warnings: tuple[Finding, ...] = ()
    """What whoever applies should know first."""

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(change for wave in self.waves for change in wave.changes)

    @property
    def is_empty(self) -> bool:
        """Whether applying it would change nothing."""
        return all(change.action in ("unchanged", "skipped") for change in self.changes)

    def is_same_as(self, other: Plan, but_for: Collection[ObjectRef] = ()) -> bool:
        """Whether both would do the same to the same objects, but for some."""
        mine, others = (
            [(c.ref, c.action, c.recreate) for c in plan.changes if c.ref not in but_for]
            for plan in (self, other)
        )
        return mine == others


@dataclass(frozen=True)
class ChangeSet:
    """What an apply did, also when it stopped half-way."""

    changes: tuple[Change, ...] = ()

    def counts(self) -> Mapping[str, int]:
        counted = Counter(change.action for change in self.changes)
        return {action: counted[action] for action in ACTIONS}
