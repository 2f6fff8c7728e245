"""What becomes of a run, told to other programs while it happens (docs/events.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

EventKind = Literal[
    "start", "wave", "success", "unchanged", "failure", "rollback", "interrupted", "refused"
]


@dataclass(frozen=True)
class Event:
    kind: EventKind
    at: str
    """RFC 3339, UTC."""
    project: str
    environment: str
    target: str
    release: str
    """The release's git tag."""
    digest: str
    revision: int | None = None
    wave: str | None = None
    message: str = ""
    """The cause of a failure; what is restored."""
    changes: Mapping[str, int] = field(default_factory=dict)
    """Action → how many objects so far."""

    def as_dict(self) -> dict[str, Any]:
        """As schemas/event.json has it."""
        return {
            "apiVersion": "bundler/v1",
            "kind": "Event",
            "event": self.kind,
            "at": self.at,
            "project": self.project,
            "environment": self.environment,
            "target": self.target,
            "release": self.release,
            "digest": self.digest,
            "revision": self.revision,
            "wave": self.wave,
            "message": self.message,
            "changes": dict(self.changes),
        }


OnEvent = Callable[[Event], None]
"""Never raises: whom nobody can tell anything stops no apply."""
