"""What a check found, with its place, so that a person can go there and a machine can sort."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

Severity = Literal["error", "warning"]


def json_pointer(*steps: object) -> str:
    """A JSON pointer (RFC 6901) that goes these steps down from a document's root."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def pointer_steps(pointer: str) -> list[str]:
    """The steps of a JSON pointer."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


@dataclass(frozen=True)
class Finding:
    rule: str
    message: str
    severity: Severity = "error"
    file: str | None = None
    line: int | None = None
    pointer: str | None = None
    """JSON pointer (RFC 6901) into the document."""
    object: str | None = None
    """`Kind/namespace/name` of the rendered object."""
    service: str | None = None
    environment: str | None = None
    """`environment/target`, or the environment alone."""
    hint: str | None = None

    def as_dict(self) -> dict[str, str | int | None]:
        """All ten keys of a finding in machine-readable results; absent ones are null."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        file = f"{self.file}:{self.line}" if self.file and self.line else self.file
        place = " ".join(
            part
            for part in (self.environment, self.object, self.service, file, self.pointer)
            if part
        )
        line = f":{self.line}" if self.line and not self.file else ""
        return f"{place}{line}: {self.message}" if place else self.message
