"""What is said where a version has other content than it may have; every registry's words."""

from __future__ import annotations

from bundler.errors import Refused, VersionExists
from bundler.model.reference import Digest


def other_content(place: str, present: Digest | None, replaces: Digest | None) -> Refused:
    """Why `place` (`REPOSITORY:TAG`) is left as it is; `replaces` is what was to be there."""
    if replaces is None:
        return VersionExists(f"{place} is published with other content ({present})")
    hint = "run it again, and look at what it would replace now"
    if present is None:
        return Refused(f"{place} is not there any more: it was {replaces}", hint=hint)
    return VersionExists(
        f"{place} has other content now ({present}) than what was to be replaced ({replaces})",
        hint=hint,
    )
