"""Pods, ReplicaSets and warnings around workloads, found by whom they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bundler.deploy.readiness import is_true
from bundler.model.objects import FIELD_MANAGER, KubernetesObject, ObjectRef
from bundler.ports import Observation

_KINDS = frozenset({("", "Pod"), ("apps", "ReplicaSet"), ("", "Event"), ("events.k8s.io", "Event")})
_REVISION = "deployment.kubernetes.io/revision"
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_METADATA = (
    "name", "namespace", "uid", "labels", "annotations", "ownerReferences", "creationTimestamp",
    "deletionTimestamp",
)  # fmt: skip


class Surroundings:
    """What was observed last. To see one more costs the same, however many there are."""

    def __init__(self) -> None:
        self._objects: dict[ObjectRef, KubernetesObject] = {}
        self._of: dict[str, dict[ObjectRef, KubernetesObject]] = {}
        """UID of an owner, or of what an event is about → what belongs to it."""

    def see(self, observation: Observation) -> None:
        ref, obj = observation
        if (ref.group, ref.kind) not in _KINDS:
            return
        if (former := self._objects.pop(ref, None)) is not None:
            for uid in _belongs_to(former):
                self._of[uid].pop(ref, None)
        if obj is not None:
            self._objects[ref] = kept = _slim(obj)
            for uid in _belongs_to(kept):
                self._of.setdefault(uid, {})[ref] = kept

    def of_kind(self, owner: KubernetesObject, kind: str) -> tuple[KubernetesObject, ...]:
        found = self._of.get(_uid(owner), {})
        return tuple(obj for ref, obj in found.items() if ref.kind == kind)

    def warnings(self, obj: KubernetesObject) -> list[KubernetesObject]:
        """Warning events about an object, oldest first."""
        return sorted(self.of_kind(obj, "Event"), key=event_time)

    def last_warning(self, obj: KubernetesObject) -> str:
        """The newest warning about an object, in words; empty where there is none."""
        found = self.warnings(obj)
        return f"event {event_words(found[-1])}" if found else ""

    def new_replica_set(self, deployment: KubernetesObject) -> KubernetesObject | None:
        """The one of a Deployment's present revision, if it was seen."""
        revision = _annotation(deployment, _REVISION)
        return next(
            (
                each
                for each in self.of_kind(deployment, "ReplicaSet")
                if _annotation(each, _REVISION) == revision
            ),
            None,
        )

    def new_pods(self, workload: KubernetesObject) -> tuple[KubernetesObject, ...]:
        """The pods of a workload's present revision that are to stay."""
        if workload.get("kind") == "Pod":
            return (workload,)
        if workload.get("kind") == "Deployment":
            replica_set = self.new_replica_set(workload)
            pods = self.of_kind(replica_set, "Pod") if replica_set else ()
        else:
            pods = tuple(
                pod for pod in self.of_kind(workload, "Pod") if not _is_former(pod, workload)
            )
        is_job = workload.get("kind") == "Job"  # the pods of one that failed are all deleted
        return tuple(pod for pod in pods if is_job or not pod["metadata"].get("deletionTimestamp"))

    def former_pods(self, workload: KubernetesObject) -> tuple[KubernetesObject, ...]:
        """Those that are still to be replaced."""
        if workload.get("kind") != "Deployment":
            pods = self.of_kind(workload, "Pod")
            return tuple(pod for pod in pods if _is_former(pod, workload))
        new = self.new_replica_set(workload)
        return tuple(
            pod
            for replica_set in self.of_kind(workload, "ReplicaSet")
            if new is None or _uid(replica_set) != _uid(new)
            for pod in self.of_kind(replica_set, "Pod")
        )


def event_time(event: KubernetesObject) -> str:
    """When an event happened last, to the second, so that times compare as text."""
    series = event.get("series") or {}
    times = (
        event.get("lastTimestamp"),
        event.get("deprecatedLastTimestamp"),
        series.get("lastObservedTime"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    )
    return max((str(time)[:19] for time in times if time), default="")


def event_words(event: KubernetesObject) -> str:
    return f"{event.get('reason')}: {event.get('message') or event.get('note') or ''}"


def made_at(obj: KubernetesObject) -> str:
    return str(obj["metadata"].get("creationTimestamp") or "")[:19]


def applied_at(obj: KubernetesObject) -> str:
    """When we changed an object last, by the server's clock; what is older is about the past."""
    times = [
        str(entry.get("time"))[:19]
        for entry in obj["metadata"].get("managedFields") or ()
        if entry.get("manager") == FIELD_MANAGER and entry.get("time")
    ]
    return max(times, default="")


def is_ready(pod: KubernetesObject) -> bool:
    status = pod.get("status") or {}
    return status.get("phase") == "Succeeded" or is_true(status, "Ready")


def _is_former(pod: KubernetesObject, workload: KubernetesObject) -> bool:
    label, value = "", None
    if workload.get("kind") == "StatefulSet":
        label = "controller-revision-hash"
        value = (workload.get("status") or {}).get("updateRevision")
    elif workload.get("kind") == "DaemonSet":
        label = "pod-template-generation"
        value = _annotation(workload, _TEMPLATE_GENERATION)
    return bool(value) and (pod["metadata"].get("labels") or {}).get(label) != value


def _belongs_to(obj: KubernetesObject) -> Iterator[str]:
    if obj.get("kind") == "Event":
        yield str((obj.get("involvedObject") or obj.get("regarding") or {}).get("uid"))
    else:
        for owner in obj["metadata"].get("ownerReferences") or ():
            yield str(owner.get("uid"))


def _slim(obj: KubernetesObject) -> KubernetesObject:
    """Without what nobody asks for, as namespaces may have thousands of pods."""
    metadata: Mapping[str, Any] = obj["metadata"]
    kept = {key: metadata[key] for key in _METADATA if key in metadata}
    rest = {key: value for key, value in obj.items() if key not in ("metadata", "spec")}
    return {**rest, "metadata": kept}


def _annotation(obj: KubernetesObject, name: str) -> Any:
    return (obj["metadata"].get("annotations") or {}).get(name)


def _uid(obj: KubernetesObject) -> str:
    return str(obj["metadata"].get("uid"))
