"""A release: the git tag, the version that it becomes in a registry, and the commit behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from bundler.model.reference import is_tag

_SEMVER = re.compile(
    r"v?(?P<core>(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*))"
    r"(?:-(?P<pre>(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)
# Names are arguments of git and parts of URLs: nothing that either could take for something else.
_GIT_TAG = re.compile(r"(?!-)[A-Za-z0-9._/+-]{1,200}")


class InvalidTag(ValueError):
    """A tag name that cannot be a release; the message says why."""


@total_ordering
@dataclass(frozen=True)
class SemVer:
    """A semantic version (semver.org 2.0.0), ordered by precedence; build metadata has none."""

    core: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> SemVer | None:
        """The version of `1.2.3` or `v1.2.3-rc.1+b7`; None for any other text.

        An OCI tag writes `_` for `+`, so `1.2.3_b7` is read too.
        """
        match = _SEMVER.fullmatch(text.replace("_", "+", 1))
        if not match:
            return None
        major, minor, patch = (int(part) for part in match["core"].split("."))
        return cls((major, minor, patch), tuple(match["pre"].split(".")) if match["pre"] else ())

    def _precedence(self) -> tuple[object, ...]:
        fields = tuple((0, int(f), "") if f.isdecimal() else (1, 0, f) for f in self.pre)
        return (self.core, not self.pre, fields)

    def __lt__(self, other: SemVer) -> bool:
        return self._precedence() < other._precedence()


@dataclass(frozen=True)
class ReleaseTag:
    """The name of a release's git tag, such as `v1.4.2`."""

    name: str

    @classmethod
    def parse(cls, text: str) -> ReleaseTag:
        """Raises InvalidTag for a name that git or a registry could misread."""
        name = text.removeprefix("refs/tags/")
        forbidden = next((part for part in ("..", "@{", "//") if part in name), None)
        if not _GIT_TAG.fullmatch(name) or forbidden or name.endswith((".lock", "/", ".")):
            raise InvalidTag(f"{text!r} is not a tag name that can be published")
        return cls(name)

    @property
    def version(self) -> str:
        """The tag in the deploy registry: `+` becomes `_`. Raises InvalidTag if it is illegal."""
        version = self.name.replace("+", "_")
        if not is_tag(version):
            raise InvalidTag(f"tag {self.name!r} is not a legal tag in a registry")
        return version

    @property
    def semver(self) -> SemVer | None:
        return SemVer.parse(self.name)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class SourceRevision:
    """A tag and the commit that it points at: `v1.4.2@sha1:<commit>`, as Flux writes it."""

    tag: ReleaseTag
    commit: str
    commit_time: int
    """Committer time in seconds since 1970."""

    def __str__(self) -> str:
        return f"{self.tag}@sha1:{self.commit}"
