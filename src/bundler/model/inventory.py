"""What a target holds of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bundler.model.objects import ObjectRef


@dataclass(frozen=True)
class Inventory:
    """Objects recorded as ours since and including the last successful release.

    Written before the first change as the union of what was and what will be, and after the last
    deletion as what is: at every moment it contains all that we own.
    """

    objects: Mapping[ObjectRef, str] = field(default_factory=dict)
    """Object → UID; empty where it is not known yet."""
    completed: Mapping[ObjectRef, str] = field(default_factory=dict)
    """Job that ran to its end → digest of what it was made from: it is not run a second time,
    even when its time to live removed it."""

    def union(self, wanted: Iterable[ObjectRef]) -> Inventory:
        return Inventory(dict.fromkeys(wanted, "") | dict(self.objects), self.completed)

    def as_dicts(self) -> list[dict[str, str]]:
        """The objects as schemas/inventory.json has them, sorted."""
        return [
            {**ref._asdict(), "uid": self.objects[ref]}
            | ({"completed": self.completed[ref]} if ref in self.completed else {})
            for ref in sorted(self.objects)
        ]

    @classmethod
    def of_dicts(cls, entries: Iterable[Mapping[str, Any]]) -> Inventory:
        """The inverse of `as_dicts`."""
        objects: dict[ObjectRef, str] = {}
        completed: dict[ObjectRef, str] = {}
        for entry in entries:
            ref = ObjectRef(*(str(entry[key]) for key in ObjectRef._fields))
            objects[ref] = str(entry["uid"])
            if entry.get("completed"):
                completed[ref] = str(entry["completed"])
        return cls(objects, completed)


def stale(recorded: Inventory, wanted: Iterable[ObjectRef]) -> tuple[ObjectRef, ...]:
    """Recorded as ours and no longer wanted: to be deleted, sorted."""
    return tuple(sorted(recorded.objects.keys() - set(wanted)))
