"""Commits as a person recognises them."""

from __future__ import annotations

from typing import NamedTuple


class CommitSummary(NamedTuple):
    """Who changed what, as a person recognises it."""

    subject: str
    author: str
    """Name only."""
    time: int
    """When it was written (author time), in seconds since 1970."""
