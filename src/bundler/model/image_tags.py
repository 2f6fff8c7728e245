"""Templates of image tags: `{commit}`, `{short}`, `{short:N}` and `{branch}`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bundler.model.reference import is_tag

_FIELD = re.compile(r"\{(commit|short|branch)(?::(\d+))?\}")
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]")
SHORTEST = 4
"""Digits of a commit id: fewer are no abbreviation to git either (core.abbrev)."""


def is_template(text: str) -> bool:
    """Whether the text names a commit, has no unknown field and makes legal tags."""
    fields = list(_FIELD.finditer(text))
    names_commit = any(match[1] != "branch" for match in fields)
    too_short = any(int(match[2] or SHORTEST) < SHORTEST for match in fields)
    [example] = image_tags(text, "0" * 40, ["main"])
    return names_commit and not too_short and is_tag(example)


def image_tags(template: str, commit: str, branches: Sequence[str]) -> Iterator[str]:
    """The tags that a commit's image may have: one, or one for each branch where it matters."""

    def fill(branch: str) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1] == "branch":
                return _NOT_IN_TAG.sub("-", branch)
            return commit if match[1] == "commit" else commit[: int(match[2] or 7)]

        return _FIELD.sub(value, template)

    if "{branch}" in template:
        yield from (fill(branch) for branch in branches)
    else:
        yield fill("")
