"""Paths to fields as people write them: `spec.template.spec.containers[cart].image`.

In a list a step is a name or a number in brackets; a key with other characters than letters,
digits, `-` and `_` stands in brackets and quotes: `metadata.annotations["example.com/team"]`. What
begins with `/` has slashes between its steps instead.
"""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_STEP = re.compile(
    r"""\[(?P<quoted>"(?:[^"\\]|\\.)*")\]      # ["a key"]
      | \[(?P<item>[^\[\]"]+)\]                # [name] or [0]
      | (?:^|\.)(?P<key>[^.\[\]"]+)            # .key
    """,
    re.VERBOSE,
)
_SLASHED = re.compile(r"/(?P<key>[^/\[\]]+)|\[(?P<item>[^\[\]]+)\]")


def parse_path(text: str) -> tuple[str, ...]:
    """The steps of a path. Raises ValueError."""
    steps: list[str] = []
    position = 0
    pattern = _SLASHED if text.startswith("/") else _STEP
    while position < len(text):
        match = pattern.match(text, position)
        if match is None:
            raise ValueError(f"{text!r} is no path, from {text[position:]!r} on")
        found = match.groupdict()
        if quoted := found.get("quoted"):
            steps.append(json.loads(quoted))
        else:
            steps.append((found["key"] or found["item"]).replace("~1", "/").replace("~0", "~"))
        position = match.end()
    return tuple(steps)


def with_key(path: str, key: str) -> str:
    if not _PLAIN.fullmatch(key):
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key


def with_item(path: str, item: str) -> str:
    """A step into a list, by name or number."""
    return f"{path}[{item}]"
