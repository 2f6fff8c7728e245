"""The record of a version that was given other content, kept beside what replaced it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundler.model.reference import Digest
from bundler.model.revision import Who

REPLACEMENT = "application/vnd.release-bundler.replacement.v1+json"
"""Of the artifact and of its configuration, which is the record."""


@dataclass(frozen=True)
class Replacement:
    tag: str
    """The release's git tag."""
    digest: Digest
    """What was there before."""
    commit: str
    """What it was made from."""
    reason: str
    who: Who
    """As the environment claims it: a registry does not say."""
    when: str
    """RFC 3339, UTC."""

    def as_dict(self) -> dict[str, object]:
        who = {"claimed": self.who.claimed, "job": self.who.job}
        return {
            "apiVersion": "bundler/v1",
            "kind": "Replacement",
            "tag": self.tag,
            "replaced": {"digest": str(self.digest), "commit": self.commit},
            "reason": self.reason,
            "who": {key: value for key, value in who.items() if value is not None},
            "when": self.when,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Replacement:
        """Of a value that its schema was checked for."""
        replaced, who = value["replaced"], value["who"]
        return cls(
            value["tag"],
            Digest.parse(replaced["digest"]),
            replaced["commit"],
            value["reason"],
            Who(claimed=who.get("claimed"), job=who.get("job")),
            value["when"],
        )
