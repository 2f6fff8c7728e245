"""Spans of time as people write them."""

from __future__ import annotations

import re

_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_DURATION = re.compile(
    rf"(?P<plain>{_NUMBER})|(?:(?P<h>{_NUMBER})h)?(?:(?P<m>{_NUMBER})m)?(?:(?P<s>{_NUMBER})s)?"
)


class InvalidDuration(ValueError):
    """Its text says what was given."""


def seconds(text: str | float) -> float:
    """Seconds of `90s`, `10m`, `1h30m` or a plain number. Raises InvalidDuration."""
    parts = _DURATION.fullmatch(str(text))
    if not parts or not str(text):
        raise InvalidDuration(f"{text!r} is no duration")
    if parts["plain"]:
        return float(parts["plain"])
    hours, minutes, seconds = (float(parts[unit] or 0) for unit in "hms")
    return hours * 3600 + minutes * 60 + seconds
