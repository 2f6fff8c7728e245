"""A Kubernetes cluster in memory: server-side apply, controllers, watches, state and lock.

Time is its own and passes with each tick of a watch, so that nobody sleeps. `on_call` runs before
every call of a port and may raise: as a kill does, at any moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from bundler.errors import (
    BundlerError,
    FieldConflict,
    ImmutableField,
    Locked,
    NotFound,
    OwnershipRefused,
    PermissionRefused,
    Refused,
)
from bundler.model.claim import NO_CLAIM, Claim
from bundler.model.connection import Identity
from bundler.model.inventory import Inventory
from bundler.model.objects import (
    FIELD_MANAGER,
    KubernetesObject,
    ObjectRef,
    owner_of,
    pod_spec,
)
from bundler.model.revision import Revision, TargetState
from bundler.model.scaling import scaled_by
from bundler.ports import Holder, Need, ObjectWatcher, Observation
from tests.fakes.rollouts import observed, status_of
from tests.fakes.ssa import conflicts, fields_of, member, merged, union, without

IMMUTABLE = {"Job": ("spec", "template"), "Deployment": ("spec", "selector")}
BUILT_IN = frozenset(
    {"", "apps", "autoscaling", "batch", "apiextensions.k8s.io", "rbac.authorization.k8s.io"}
)


class FakeCluster:
    """Implements `bundler.ports.DeployTarget`."""

    def __init__(self, *, namespace: str = "shop") -> None:
        self.namespace = namespace
        self.objects: dict[ObjectRef, dict[str, Any]] = {}
        self.inventory = Inventory()
        self.revisions: dict[int, Revision] = {}
        self.denied: set[tuple[str, str]] = set()
        """(verb, kind) that we may not."""
        self.served: set[str] = set()
        """Further API groups."""
        self.refused: dict[ObjectRef, BundlerError] = {}
        self.calls: list[tuple[str, str]] = []
        self.on_call: Callable[[str, str], None] = lambda _, __: None
        self.uid = "uid-of-kube-system"
        self.seconds = 0.0
        self.holder: str | None = None
        self.restarted: list[str] = []
        """Workloads whose pods were made anew, in order."""
        self.logs: dict[tuple[str, bool], list[str]] = {}
        """Container, and whether of its former run → lines."""
        self._counter = 0
        self._mutex = threading.RLock()

    def clock(self) -> str:
        hours, rest = divmod(int(self.seconds), 3600)
        return f"2026-01-01T{hours:02}:{rest // 60:02}:{rest % 60:02}Z"

    def monotonic(self) -> float:
        return self.seconds

    def _called(self, method: str, subject: object = "") -> None:
        self.on_call(method, str(subject))
        with self._mutex:
            self.calls.append((method, str(subject)))

    def _next(self) -> int:
        self._counter += 1
        return self._counter

    # --- objects --------------------------------------------------------------------------------

    def live(self, wanted: Mapping[ObjectRef, str]) -> Mapping[ObjectRef, KubernetesObject]:
        self._called("live")
        if denied := sorted(ref for ref in wanted if ("list", ref.kind) in self.denied):
            raise PermissionRefused(f"{denied[0]}: may not be read")
        with self._mutex:
            return {ref: deepcopy(self.objects[ref]) for ref in wanted if ref in self.objects}

    def autoscalers(self, namespaces: Collection[str]) -> Mapping[ObjectRef, ObjectRef]:
        self._called("autoscalers")
        with self._mutex:
            found = {ref: scaled_by(obj) for ref, obj in self.objects.items()}
        return {ref: to for ref, to in found.items() if to and ref.namespace in namespaces}

    def apply(
        self, obj: KubernetesObject, *, dry_run: bool = False, claim: Claim = NO_CLAIM
    ) -> KubernetesObject:
        ref = ObjectRef.of(obj)
        self._called("dry-run" if dry_run else "apply", ref)
        with self._mutex:
            self._admit(ref)
            result = self._merge(ref, obj, claim)
            if not dry_run:
                self._store(ref, result)
            return deepcopy(result)

    def _admit(self, ref: ObjectRef) -> None:
        if ref in self.refused:
            raise self.refused[ref]
        if {("patch", ref.kind), ("create", ref.kind)} & self.denied:
            raise PermissionRefused(f"{ref}: forbidden")
        if ref.group not in BUILT_IN | self.served and not self._is_served(ref):
            raise NotFound(f"{ref}: the server does not know {ref.kind}")
        if ref.namespace and ObjectRef("", "Namespace", "", ref.namespace) not in self.objects:
            raise NotFound(f"{ref}: namespace {ref.namespace} not found")

    def _is_served(self, ref: ObjectRef) -> bool:
        return any(
            each["spec"]["group"] == ref.group and each["spec"]["names"]["kind"] == ref.kind
            for other, each in self.objects.items()
            if other.kind == "CustomResourceDefinition"
        )

    def _merge(self, ref: ObjectRef, obj: KubernetesObject, claim: Claim) -> dict[str, Any]:
        live = self.objects.get(ref)
        entries = live["metadata"]["managedFields"] if live else []
        if claim.adopts and live and owner_of(live) not in (None, owner_of(obj)):
            raise OwnershipRefused(f"{ref}: belongs to {owner_of(live)} by now")
        ours = next((e for e in entries if _is_ours(e)), None)
        before = ours["fieldsV1"] if ours else {}
        others = [entry for entry in entries if entry is not ours]
        if claim.adopts:
            before = union(
                [before, *(e["fieldsV1"] for e in others if e["manager"] in claim.take_over)]
            )
            others = [e for e in others if e["manager"] not in claim.take_over]
        if claim.leaves_replicas:
            before = without(before, {"f:spec": {"f:replicas": {}}})
        if live is not None:
            others = _after_conflicts(ref, live, obj, others, claim)
            _refuse_immutable(ref, live, obj)
        foreign = union([entry["fieldsV1"] for entry in others])
        result: dict[str, Any] = (
            deepcopy(dict(obj)) if live is None else merged(live, obj, before, foreign)
        )
        _normalise(result)
        fields = fields_of(obj)
        time = ours["time"] if ours and ours["fieldsV1"] == fields else self.clock()
        result["metadata"]["managedFields"] = [*others, _entry(obj, fields, time)]
        return result

    def _store(self, ref: ObjectRef, result: dict[str, Any]) -> None:
        live = self.objects.get(ref)
        metadata = result["metadata"]
        if live is None:
            number = self._next()
            metadata |= {"uid": f"uid-{number}", "generation": 1, "resourceVersion": str(number)}
        elif live == result:
            return
        else:
            changed = live.get("spec") != result.get("spec")
            metadata["generation"] = live["metadata"]["generation"] + int(changed)
            metadata["resourceVersion"] = str(self._next())
        if pod_spec(result) and (live is None or pod_spec(live) != pod_spec(result)):
            self.restarted.append(str(ref))
        self.objects[ref] = result

    def update(
        self, ref: ObjectRef, manager: str, change: Callable[[dict[str, Any]], None]
    ) -> None:
        """Somebody else changes an object, and owns what is changed."""
        with self._mutex:
            before, after = self.objects[ref], deepcopy(self.objects[ref])
            change(after)
            taken = _difference(fields_of(_bare(after)), before, after)
            for entry in after["metadata"]["managedFields"]:
                entry["fieldsV1"] = without(entry["fieldsV1"], taken)
            after["metadata"]["managedFields"].append(
                {
                    "manager": manager,
                    "operation": "Update",
                    "time": self.clock(),
                    "fieldsV1": taken,
                }
            )
            after["metadata"]["resourceVersion"] = str(self._next())
            self.objects[ref] = after

    def create(self, obj: KubernetesObject, manager: str) -> None:
        """Somebody else makes an object."""
        with self._mutex:
            made: dict[str, Any] = deepcopy(dict(obj))
            made["metadata"] |= {
                "uid": f"uid-{self._next()}",
                "generation": 1,
                "resourceVersion": "1",
                "managedFields": [
                    {"manager": manager, "operation": "Update", "fieldsV1": fields_of(obj)}
                ],
            }
            self.objects[ObjectRef.of(obj)] = made

    def delete(self, ref: ObjectRef, uid: str, owner: str | None = None) -> None:
        self._called("delete", ref)
        with self._mutex:
            if ("delete", ref.kind) in self.denied:
                raise PermissionRefused(f"{ref}: may not be deleted")
            present = self.objects.get(ref)
            if present is None:
                return
            if present["metadata"]["uid"] != uid:
                raise Refused(f"{ref}: another object has taken its name")
            if owner is not None and owner_of(present) != owner:
                raise OwnershipRefused(f"{ref}: belongs to {owner_of(present)} by now")
            del self.objects[ref]

    def missing(self, needs: Iterable[Need]) -> tuple[Need, ...]:
        self._called("missing")
        return tuple(need for need in needs if (need.verb, need.kind) in self.denied)

    # --- readiness ------------------------------------------------------------------------------

    keeps_encrypted = False

    def identity(self) -> Identity:
        return Identity("cluster", self.uid)

    @property
    def watcher(self) -> ObjectWatcher | None:
        return self

    def watch(self, refs: Collection[ObjectRef], seconds: float) -> Iterator[Observation | None]:
        """All as it is, then a tick a second; controllers do their work between two ticks."""
        self._called("watch")
        end = self.seconds + seconds
        while self.seconds < end:
            with self._mutex:
                seen = [
                    each for ref in sorted(refs) for each in observed(ref, self.objects.get(ref))
                ]
                for ref in refs:
                    if ref in self.objects and (status := status_of(self.objects[ref])):
                        self.objects[ref] = {**self.objects[ref], "status": status}
            yield from seen
            yield None
            self.seconds += 1.0

    def around(self, refs: Collection[ObjectRef]) -> Iterator[Observation]:
        for ref in sorted(refs):
            yield from (each for each in observed(ref, self.objects.get(ref)) if each.ref != ref)

    def last_lines(
        self, pod: ObjectRef, container: str, count: int, *, previous: bool
    ) -> Sequence[str]:
        self._called("last_lines", pod)
        return self.logs.get((container, previous), [])[-count:]

    # --- state and lock -------------------------------------------------------------------------

    def read(self) -> TargetState:
        self._called("read")
        return TargetState(
            self.inventory, tuple(self.revisions[number] for number in sorted(self.revisions))
        )

    def prepare(self) -> None:
        self._called("prepare")
        ref = ObjectRef("", "Namespace", "", self.namespace)
        if ref not in self.objects:
            metadata = {"name": self.namespace}
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, "bundler")

    def write_inventory(self, inventory: Inventory) -> None:
        self._called("write_inventory")
        self.inventory = Inventory.of_dicts(inventory.as_dicts())

    def write_revision(self, revision: Revision) -> None:
        self._called("write_revision", revision.status)
        self.revisions[revision.number] = Revision.of_dict(revision.as_dict())

    def drop_revision(self, number: int) -> None:
        self._called("drop_revision", number)
        self.revisions.pop(number, None)

    def drop_inventory(self) -> None:
        self._called("drop_inventory")
        self.inventory = Inventory()

    def authenticated(self) -> str | None:
        return "system:serviceaccount:cd:runner"

    @contextmanager
    def held(self, holder: str) -> Iterator[None]:
        self._called("held", holder)
        if self.holder is not None:
            raise Locked(f"locked by {self.holder}")
        self.holder = holder
        try:
            yield
        finally:
            self.holder = None

    def locked_by(self) -> Holder | None:
        self._called("locked_by")
        return None if self.holder is None else Holder(self.holder, self.clock(), self.clock())

    # --- what tests ask -------------------------------------------------------------------------

    def owned(self, owner: str) -> dict[ObjectRef, dict[str, Any]]:
        """What belongs to an owner, without what differs from one life to the next."""
        return {
            ref: _bare(obj) for ref, obj in sorted(self.objects.items()) if owner_of(obj) == owner
        }

    def sent(self, method: str) -> list[str]:
        return [subject for each, subject in self.calls if each == method]


def _after_conflicts(
    ref: ObjectRef,
    live: KubernetesObject,
    obj: KubernetesObject,
    others: Sequence[dict[str, Any]],
    claim: Claim,
) -> list[dict[str, Any]]:
    """What others still manage when those of the claim have lost what we want otherwise."""
    found = {e["manager"]: conflicts(live, obj, e["fieldsV1"]) for e in others}
    managers = {manager: tuple(paths) for manager, paths in found.items() if paths}
    if not managers.keys() <= claim.take_over:
        told = (f"{manager} manages {', '.join(paths)}" for manager, paths in managers.items())
        raise FieldConflict(f"{ref}: {'; '.join(told)}", managers=managers)
    wanted = fields_of(obj)
    return [
        {**e, "fieldsV1": without(e["fieldsV1"], wanted)} if e["manager"] in managers else e
        for e in others
    ]


def _refuse_immutable(ref: ObjectRef, live: KubernetesObject, obj: KubernetesObject) -> None:
    path = IMMUTABLE.get(ref.kind)
    if path and obj[path[0]].get(path[1]) != live[path[0]].get(path[1]):
        field = ".".join(path)
        raise ImmutableField(f"{ref}: {field}: field is immutable", fields=(field,))


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return bool(entry["manager"] == FIELD_MANAGER and entry["operation"] == "Apply")


def _entry(obj: KubernetesObject, fields: dict[str, Any], time: str) -> dict[str, Any]:
    return {
        "manager": FIELD_MANAGER,
        "operation": "Apply",
        "apiVersion": obj["apiVersion"],
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def _bare(obj: Mapping[str, Any]) -> dict[str, Any]:
    own = ("name", "namespace", "labels", "annotations")
    metadata = {key: value for key, value in obj["metadata"].items() if key in own}
    return {**{k: v for k, v in obj.items() if k != "status"}, "metadata": metadata}


def _difference(fields: Mapping[str, Any], before: Any, after: Any) -> dict[str, Any]:
    """The fields whose values differ."""
    found: dict[str, Any] = {}
    for element, children in fields.items():
        old, new = member(before, element), member(after, element)
        if new is not None and old != new:
            found[element] = _difference(children, old, new)
    return found


def _normalise(obj: dict[str, Any]) -> None:
    """What a server adds and rewrites."""
    if obj["kind"] == "Deployment":
        obj["spec"] = {"progressDeadlineSeconds": 600, **obj["spec"]}
    found = pod_spec(obj)
    for container in found[1].get("containers", ()) if found else ():
        requests = container.get("resources", {}).get("requests", {})
        if requests.get("memory") == "1024Mi":
            requests["memory"] = "1Gi"
