"""How what stands in a target differs from the release that is current there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bundler.model.differences import ABSENT
from bundler.model.objects import ObjectRef

Kind = Literal["missing", "changed", "extra"]
KINDS: tuple[Kind, ...] = ("missing", "changed", "extra")


@dataclass(frozen=True)
class FieldDrift:
    """A field, what the release has there, and what stands there; `ABSENT` where one has none."""

    path: str
    wanted: Any = field(repr=False)
    found: Any = field(repr=False)
    manager: str | None = None
    """Who owns the field now, where the target knows."""
    since: str | None = None
    """When that manager last changed the object."""

    def as_dict(self) -> dict[str, Any]:
        """As schemas/result-drift.json has it: a side without the field has no key."""
        sides = {"wanted": self.wanted, "found": self.found}
        told = {key: value for key, value in sides.items() if value is not ABSENT}
        return {"path": self.path, **told, "manager": self.manager, "since": self.since}


@dataclass(frozen=True)
class ObjectDrift:
    ref: ObjectRef
    kind: Kind
    """Not there; there with other values; or recorded as ours and not in the release."""
    reason: str = ""
    fields: tuple[FieldDrift, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "ref": str(self.ref),
            "drift": self.kind,
            "reason": self.reason,
            "fields": [each.as_dict() for each in self.fields],
        }


@dataclass(frozen=True)
class Drift:
    """What was found in one target."""

    compared: int
    """How many objects of the release were looked for, and compared where they are there."""
    objects: tuple[ObjectDrift, ...] = ()
    not_compared: Mapping[ObjectRef, str] = field(default_factory=dict)
    """Objects that could not be compared, and why; whether they are there may not be known."""

    def counts(self) -> Mapping[str, int]:
        counted = Counter(each.kind for each in self.objects)
        return {kind: counted[kind] for kind in KINDS}
