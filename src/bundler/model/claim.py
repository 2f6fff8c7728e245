"""What an apply says about fields that others manage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    take_over: frozenset[str] = frozenset()
    """Managers whose fields become ours where they conflict; a conflict with others is refused."""
    adopts: bool = False
    """All else that these managers have becomes ours too: what is not applied of it goes."""
    leaves_replicas: bool = False
    """`spec.replicas` is ours no more, and keeps its value."""


NO_CLAIM = Claim()
