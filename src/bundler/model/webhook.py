"""Where events are posted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EVENTS = frozenset({"start", "wave", "success", "failure", "rollback"})
"""What is posted where nothing else is said."""


@dataclass(frozen=True)
class Webhook:
    url: str = field(repr=False)
    """Often a secret as a whole: only `host` is ever told."""
    host: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: bytes | None = field(default=None, repr=False)
    """Signs what is posted, with HMAC-SHA256."""
    events: frozenset[str] = EVENTS
