"""Templates of image tags: `{commit}`, `{short}`, `{short:N}` and `{branch}`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_FIELD = re.compile(r"\{(commit|short|branch)(?::(\d+))?\}")
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]")


def is_template(text: str) -> bool:
    """Whether the text names a commit and has no unknown field."""
    fields = [match[1] for match in _FIELD.finditer(text)]
    rest = _FIELD.sub("", text)
    return ("commit" in fields or "short" in fields) and not re.search(r"[{}]", rest)


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
