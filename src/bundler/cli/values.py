"""Values of fields, as people see them."""

from __future__ import annotations

import json
from itertools import takewhile
from typing import Any

_LONGEST = 80
_BEFORE = 20
"""How much of what two long values have in common is shown before they differ."""


def one_line(value: Any) -> str:
    """As JSON; what could drive a terminal is escaped."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def cut(text: str, start: int = 0) -> str:
    """At most 80 characters of a text, from a place on."""
    shown = f"…{text[start + 1 :]}" if start else text
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def cut_where_they_differ(one: str, other: str) -> tuple[str, str]:
    """Two texts, each cut, so that the first difference is seen."""
    pairs = zip(one, other, strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    start = max(common - _BEFORE, 0) if max(len(one), len(other)) > _LONGEST else 0
    return cut(one, start), cut(other, start)
