"""What a target holds of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bundler.model.objects import ObjectRef


@dataclass(frozen=True)
class Inventory:
    """Objects recorded as ours since and including the last successful release.

    Written before the first change as the union of what was and what will be, and after the last
    deletion as what is: at every moment it contains all that we own.
    """

    objects: Mapping[ObjectRef, str] = field(default_factory=dict)
    """Object → UID; empty where it is not known yet."""

    def union(self, wanted: Iterable[ObjectRef]) -> Inventory:
        return Inventory(dict.fromkeys(wanted, "") | dict(self.objects))


def stale(recorded: Inventory, wanted: Iterable[ObjectRef]) -> tuple[ObjectRef, ...]:
    """Recorded as ours and no longer wanted: to be deleted, sorted."""
    return tuple(sorted(recorded.objects.keys() - set(wanted)))
