"""Migrations of stored data, as releases declare them and as targets remember them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Migration:
    """What a service of a release does to stored data."""

    tree_digest: str
    """Of the files that it is made of: the same digest, the same migration."""
    reversible: bool
    """Whether an older release can go on with what it leaves."""
    job: str | None = None
    """Name of the Job that does it; None where the service itself does, when it starts."""
    begun: bool = True
    """Whether it may have run in the target."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "treeDigest": self.tree_digest,
            "reversible": self.reversible,
            "job": self.job,
            "begun": self.begun,
        }

    @classmethod
    def of_dict(cls, value: Mapping[str, Any]) -> Migration:
        """The inverse of `as_dict`; also of what a release document says, which has not begun."""
        return cls(
            str(value["treeDigest"]),
            bool(value["reversible"]),
            value.get("job"),
            bool(value.get("begun", False)),
        )


Migrations = Mapping[str, Migration]
"""Service → its migration."""


def with_begun(migrations: Migrations, services: frozenset[str]) -> Migrations:
    """The same, those of some services begun."""
    return {
        service: replace(each, begun=each.begun or service in services)
        for service, each in migrations.items()
    }
