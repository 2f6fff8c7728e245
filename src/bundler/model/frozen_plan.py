"""A plan as a document: what was reviewed, and may be applied as long as it is still so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bundler.model.changeset import Action
from bundler.model.connection import Identity
from bundler.model.differences import FieldChange
from bundler.model.objects import ObjectRef
from bundler.model.reference import Digest


@dataclass(frozen=True)
class PlannedObject:
    """What would be done with an object, and how it stood there; all None where it did not."""

    ref: ObjectRef
    action: Action
    recreate: bool = False
    reason: str = ""
    uid: str | None = None
    resource_version: str | None = None
    state: str | None = None
    """Digest of all that counts as a change of it; None for what is not touched."""
    fields: tuple[FieldChange, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.ref._asdict(),
            "action": self.action,
            "recreate": self.recreate,
            "reason": self.reason,
            "uid": self.uid,
            "resourceVersion": self.resource_version,
            "state": self.state,
            "fields": [each.as_dict() for each in self.fields],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> PlannedObject:
        return cls(
            ObjectRef(*(value[key] for key in ObjectRef._fields)),
            value["action"],
            value["recreate"],
            value["reason"],
            value["uid"],
            value["resourceVersion"],
            value["state"],
            tuple(map(FieldChange.from_dict, value["fields"])),
        )


@dataclass(frozen=True)
class PlannedTarget:
    target: str
    identity: Identity
    state_namespace: str
    replaces: str | None
    """Tag of the release that is current there."""
    objects: tuple[PlannedObject, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "target": self.target,
            self.identity.kind: self.identity.value,
            "stateNamespace": self.state_namespace,
            "replaces": self.replaces,
            "objects": [each.as_dict() for each in self.objects],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> PlannedTarget:
        kinds: tuple[Literal["cluster", "directory", "git"], ...] = ("cluster", "directory", "git")
        kind = next(kind for kind in kinds if kind in value)
        return cls(
            value["target"],
            Identity(kind, value[kind]),
            value["stateNamespace"],
            value["replaces"],
            tuple(map(PlannedObject.from_dict, value["objects"])),
        )


@dataclass(frozen=True)
class FrozenPlan:
    release: str
    """The release's git tag."""
    digest: str
    """Digest of the bundle."""
    environment: str
    image_registry: str | None
    made_at: str
    good_until: str
    """Both RFC 3339, UTC, in seconds: their order is that of the texts."""
    targets: tuple[PlannedTarget, ...]

    @property
    def own_digest(self) -> Digest:
        """Tells whether a document is still as it was written."""
        return _digest(self._content())

    def as_dict(self) -> dict[str, Any]:
        """As schemas/plan.json has it."""
        return {**self._content(), "planDigest": str(self.own_digest)}

    def _content(self) -> dict[str, Any]:
        return {
            "apiVersion": "bundler/v1",
            "kind": "Plan",
            "release": self.release,
            "digest": self.digest,
            "environment": self.environment,
            "imageRegistry": self.image_registry,
            "madeAt": self.made_at,
            "goodUntil": self.good_until,
            "targets": [each.as_dict() for each in self.targets],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> FrozenPlan:
        """Of a value that its schema was checked for. Raises ValueError where it was changed."""
        content = {key: inner for key, inner in value.items() if key != "planDigest"}
        if str(_digest(content)) != value["planDigest"]:
            raise ValueError("it is not as it was written")
        return cls(
            value["release"],
            value["digest"],
            value["environment"],
            value["imageRegistry"],
            value["madeAt"],
            value["goodUntil"],
            tuple(map(PlannedTarget.from_dict, value["targets"])),
        )


def _digest(content: Mapping[str, Any]) -> Digest:
    return Digest.of_value(content)
