"""The rules of a chart's .helmignore, as helm reads them (pkg/ignore of helm v3)."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

_ALWAYS = "templates/.?*"

IsIgnored = Callable[[str, bool], bool]
"""(path in the chart, whether it is a folder) → whether helm passes it over."""


def ignore_rules(text: str) -> IsIgnored:
    """The rules in a .helmignore, and helm's own."""
    lines = [line.strip() for line in (*text.splitlines(), _ALWAYS)]
    rules = [line for line in lines if line and not line.startswith("#")]

    def is_ignored(path: str, is_folder: bool) -> bool:
        for rule in rules:
            negates = rule.startswith("!")
            pattern = rule.removeprefix("!")
            if pattern.endswith("/") and not is_folder:
                matches = False
            else:
                matches = _matches(pattern.rstrip("/"), path)
            if matches != negates:  # what a negated rule does not match is ignored: helm's own way
                return True
        return False

    return is_ignored


def _matches(pattern: str, path: str) -> bool:
    """A pattern without a slash is about the name alone; `*` does not cross one."""
    if "/" not in pattern:
        return fnmatchcase(path.rpartition("/")[2], pattern)
    patterns, parts = pattern.removeprefix("/").split("/"), path.split("/")
    return len(patterns) == len(parts) and all(map(fnmatchcase, parts, patterns))
