"""What is asked of a target: its objects, its state, its lock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from bundler.model.claim import NO_CLAIM, Claim
from bundler.model.connection import Identity
from bundler.model.inventory import Inventory
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.revision import Revision, TargetState


class Need(NamedTuple):
    """A permission that an apply needs."""

    verb: str
    group: str
    kind: str
    namespace: str
    name: str = ""
    """Of the one object that it is about; empty for all of the kind."""

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        group = f".{self.group}" if self.group else ""
        name = f" {self.name}" if self.name else ""
        return f"{self.verb} {self.kind}{group}{name}{where}"


CAUSES = (("", "Pod"), ("apps", "ReplicaSet"), ("", "Event"))
"""(group, kind) of what is observed beside the objects that are waited for: it tells why one of
them does not get ready."""


class Observation(NamedTuple):
    """An object as a watch saw it; None when it is gone."""

    ref: ObjectRef
    object: KubernetesObject | None


class Holder(NamedTuple):
    """Who holds a target's lock, by what he wrote there."""

    name: str
    since: str
    """RFC 3339, UTC, by his clock."""
    renewed: str | None
    """When he last showed that he is alive; None where the target itself knows that he is."""


class ObjectReader(Protocol):
    def live(self, wanted: Mapping[ObjectRef, str]) -> Mapping[ObjectRef, KubernetesObject]:
        """The wanted objects that exist, read by kind and namespace.

        `wanted` maps an object to its apiVersion, empty for the server's preferred one. Kinds
        that the target does not know have no objects. Raises Unreachable, PermissionRefused.
        """
        ...

    def autoscalers(self, namespaces: Collection[str]) -> Mapping[ObjectRef, ObjectRef]:
        """Every HorizontalPodAutoscaler of these namespaces that we may see, and what it scales.

        Raises Unreachable.
        """
        ...


class ObjectWriter(Protocol):
    def apply(
        self, obj: KubernetesObject, *, dry_run: bool = False, claim: Claim = NO_CLAIM
    ) -> KubernetesObject:
        """Server-side apply as field manager `bundler`; the object that results.

        Nothing is taken from any manager but those of the claim, whoever writes meanwhile.

        Raises FieldConflict, OwnershipRefused (what was to be adopted has an owner by now),
        PermissionRefused, ImmutableField (it would be accepted if it was made anew), Refused
        (admission, quota, invalid), NotFound (namespace or kind is not there yet), Unreachable.
        """
        ...

    def delete(self, ref: ObjectRef, uid: str, owner: str | None = None) -> None:
        """Delete if it still has this UID, and this owner where one is named, and wait until it is
        gone; absent is success.

        Raises Refused where another object has taken the name, OwnershipRefused where it belongs
        to another owner by now, NotReady where it does not go away, PermissionRefused, Unreachable.
        """
        ...


class PermissionReader(Protocol):
    def missing(self, needs: Iterable[Need]) -> tuple[Need, ...]:
        """Those of the needed permissions that we have not; empty where all is allowed."""
        ...


class LogReader(Protocol):
    def last_lines(
        self, pod: ObjectRef, container: str, count: int, *, previous: bool
    ) -> Sequence[str]:
        """What a container wrote last, `previous` in the run before its last restart.

        Nothing where there is no log, or none for us: never raises.
        """
        ...


class ObjectWatcher(LogReader, Protocol):
    def watch(self, refs: Collection[ObjectRef], seconds: float) -> Iterator[Observation | None]:
        """What the target says of these objects: as they are now, then every change.

        Pods, ReplicaSets and warning Events of the same namespaces are observed too, where it
        takes more than a few seconds. None comes about once a second, so that the caller can look
        at its clock. Ends after `seconds`. One watch a kind and namespace; broken watches are
        resumed. Raises Unreachable, and Locked where the lock was lost that is held meanwhile.
        """
        ...

    def around(self, refs: Collection[ObjectRef]) -> Iterator[Observation]:
        """These Pods, ReplicaSets and Events as they are now, as far as they can be had."""
        ...


class StateReader(Protocol):
    def read(self) -> TargetState:
        """Inventory and revisions; empty where nothing was applied yet."""
        ...


class StateWriter(Protocol):
    def prepare(self) -> None:
        """Make sure that the place of the state exists (the namespace, the folder).

        Raises Refused where it is being deleted.
        """
        ...

    def write_inventory(self, inventory: Inventory) -> None: ...

    def write_revision(self, revision: Revision) -> None:
        """Create or replace by number. Raises Locked where somebody else wrote it meanwhile."""
        ...

    def drop_revision(self, number: int) -> None: ...

    def drop_inventory(self) -> None: ...

    def authenticated(self) -> str | None:
        """Who we are as the target authenticated us; None where it cannot say."""
        ...


class TargetLock(Protocol):
    def held(self, holder: str) -> AbstractContextManager[None]:
        """Hold the target's lock. Raises Locked, naming the holder, where somebody else has it."""
        ...

    def locked_by(self) -> Holder | None:
        """Who holds the lock now; None where it is free. Raises PermissionRefused, Unreachable."""
        ...


class Decrypter(Protocol):
    def decrypt(self, content: bytes) -> KubernetesObject:
        """The document in clear of one that SOPS encrypted. Thread-safe.

        Raises KeyNeeded, ToolMissing, VerificationFailed (it was changed after it was encrypted),
        CouldNotCheck (no answer in time), Refused. No error holds anything of the document.
        """
        ...


class Identified(Protocol):
    def identity(self) -> Identity:
        """Which cluster or folder it is. Raises PermissionRefused, Unreachable."""
        ...


class DeployTarget(
    ObjectReader,
    ObjectWriter,
    PermissionReader,
    StateReader,
    StateWriter,
    TargetLock,
    Identified,
    Protocol,
):
    """A place that releases are applied to."""

    @property
    def watcher(self) -> ObjectWatcher | None:
        """Observes readiness; None for a target that cannot (a directory)."""
        ...

    @property
    def keeps_encrypted(self) -> bool:
        """Whether it takes what is encrypted as it was committed (`CommittedObject`), for others
        to decrypt; else it gets it in clear."""
        ...
