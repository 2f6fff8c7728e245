"""What keeps a workload from getting ready, by its pods and the events about them.

Only pods of the workload's present revision count: a former one that crashes is being replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bundler.deploy.readiness import condition, is_true, told
from bundler.model.objects import FIELD_MANAGER, KubernetesObject, ObjectRef

_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"})
_REVISION = "deployment.kubernetes.io/revision"
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


@dataclass(frozen=True)
class Limits:
    """How long a workload may look bad, in seconds, until it counts as failed for good."""

    timeout: float = 600.0
    """For everything together."""
    image: float = 30.0
    """An image that cannot be pulled."""
    restarts: int = 3
    crash: float = 60.0
    """Nothing ready, where a container restarted `restarts` times."""
    refused: float = 10.0
    """Pods that admission or a quota refuses; a new namespace lacks its account for a moment."""


class Trouble(NamedTuple):
    """Something that is wrong now; it has failed for good when `sort` lasts for `patience`."""

    sort: str
    message: str
    patience: float = float("inf")


@dataclass(frozen=True)
class Surroundings:
    """Pods, ReplicaSets and warnings as they were observed last, by the UID they belong to."""

    owned: Mapping[str, tuple[KubernetesObject, ...]] = field(default_factory=dict)
    """UID of an owner → its pods and ReplicaSets."""
    warnings: Mapping[str, tuple[KubernetesObject, ...]] = field(default_factory=dict)
    """UID of an object → warning events about it, oldest first."""

    @classmethod
    def of(cls, objects: Mapping[ObjectRef, KubernetesObject]) -> Surroundings:
        owned: dict[str, list[KubernetesObject]] = {}
        warnings: dict[str, list[KubernetesObject]] = {}
        for ref, obj in objects.items():
            if ref.kind == "Event":
                about = obj.get("involvedObject") or obj.get("regarding") or {}
                warnings.setdefault(str(about.get("uid")), []).append(obj)
            else:
                for owner in obj["metadata"].get("ownerReferences") or ():
                    owned.setdefault(str(owner.get("uid")), []).append(obj)
        return cls(
            {uid: tuple(found) for uid, found in owned.items()},
            {uid: tuple(sorted(found, key=event_time)) for uid, found in warnings.items()},
        )

    def of_kind(self, owner: KubernetesObject, kind: str) -> tuple[KubernetesObject, ...]:
        found = self.owned.get(_uid(owner), ())
        return tuple(obj for obj in found if obj.get("kind") == kind)

    def last_warning(self, obj: KubernetesObject) -> str:
        """The newest warning about an object, in words; empty where there is none."""
        found = self.warnings.get(_uid(obj), ())
        return f"event {event_words(found[-1])}" if found else ""


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
    return max(str(time)[:19] for time in times if time) if any(times) else ""


def event_words(event: KubernetesObject) -> str:
    return f"{event.get('reason')}: {event.get('message') or event.get('note') or ''}"


def new_pods(workload: KubernetesObject, around: Surroundings) -> tuple[KubernetesObject, ...]:
    """The pods of a workload's present revision."""
    kind, metadata = workload.get("kind"), workload["metadata"]
    if kind == "Pod":
        return (workload,)
    if kind == "Deployment":
        revision = (metadata.get("annotations") or {}).get(_REVISION)
        return tuple(
            pod
            for replica_set in around.of_kind(workload, "ReplicaSet")
            if (replica_set["metadata"].get("annotations") or {}).get(_REVISION) == revision
            for pod in around.of_kind(replica_set, "Pod")
        )
    pods = around.of_kind(workload, "Pod")
    label, value = "", None
    if kind == "StatefulSet":
        label = "controller-revision-hash"
        value = (workload.get("status") or {}).get("updateRevision")
    elif kind == "DaemonSet":
        label = "pod-template-generation"
        value = (metadata.get("annotations") or {}).get(_TEMPLATE_GENERATION)
    if not value:
        return pods
    return tuple(pod for pod in pods if (pod["metadata"].get("labels") or {}).get(label) == value)


def troubles(workload: KubernetesObject, around: Surroundings, limits: Limits) -> Iterator[Trouble]:
    """What is wrong with a workload that is not ready, the worst first."""
    status = workload.get("status") or {}
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0) and (
        "observedGeneration" in status
    ):
        return  # its pods are those of its former generation
    pods = new_pods(workload, around)
    for pod in pods:
        for name, container in _containers(pod):
            yield from _pulling(_place(pod, name), container, around.last_warning(pod), limits)
    yield from _crashing(pods, around, limits)
    yield from _refused(workload, pods, around, limits)
    for pod in pods:
        scheduled = condition(pod.get("status") or {}, "PodScheduled")
        if scheduled.get("status") == "False":
            yield Trouble("unscheduled", f"{ObjectRef.of(pod)}: {told(scheduled)}")
        elif not _is_ready(pod) and (warning := around.last_warning(pod)):
            yield Trouble("warning", f"{ObjectRef.of(pod)}: {warning}")


def _pulling(
    place: str, container: Mapping[str, Any], warning: str, limits: Limits
) -> Iterator[Trouble]:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason")
    words = "; ".join(part for part in (f"{place}: {told(waiting)}", warning) if part)
    if reason == "InvalidImageName":
        yield Trouble("image-name", words, 0.0)
    elif reason in _PULLING:
        yield Trouble("image", words, limits.image)
    elif reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        yield Trouble("container", words)


def _crashing(
    pods: tuple[KubernetesObject, ...], around: Surroundings, limits: Limits
) -> Iterator[Trouble]:
    """Crashes count only while nothing is ready: one bad pod of many may recover."""
    if any(_is_ready(pod) for pod in pods):
        return
    yield Trouble("nothing-ready", "")
    for pod in pods:
        for name, container in _containers(pod):
            restarts = int(container.get("restartCount") or 0)
            if restarts >= limits.restarts:
                last = (container.get("lastState") or {}).get("terminated") or {}
                waiting = (container.get("state") or {}).get("waiting") or {}
                words = (
                    f"{_place(pod, name)}: restarted {restarts} times",
                    f"exit code {last['exitCode']}" if "exitCode" in last else "",
                    told(waiting),
                    around.last_warning(pod),
                )
                yield Trouble(
                    "nothing-ready", "; ".join(part for part in words if part), limits.crash
                )


def _refused(
    workload: KubernetesObject,
    pods: tuple[KubernetesObject, ...],
    around: Surroundings,
    limits: Limits,
) -> Iterator[Trouble]:
    """Pods that could not be made. A Deployment says so itself; of others there are events."""
    status = workload.get("status") or {}
    if is_true(status, "ReplicaFailure"):
        yield Trouble("refused", told(condition(status, "ReplicaFailure")), limits.refused)
        return
    times = (pod["metadata"].get("creationTimestamp") for pod in pods)
    made = max((str(time)[:19] for time in times if time), default="")
    for event in reversed(around.warnings.get(_uid(workload), ())):
        if event.get("reason") == "FailedCreate" and event_time(event) > max(
            made, applied_at(workload)
        ):
            yield Trouble("refused", f"event {event_words(event)}", limits.refused)
            return


def applied_at(obj: KubernetesObject) -> str:
    """When we changed an object last, by the server's clock; older events are about the past."""
    times = [
        str(entry.get("time"))[:19]
        for entry in obj["metadata"].get("managedFields") or ()
        if entry.get("manager") == FIELD_MANAGER and entry.get("time")
    ]
    return max(times, default="")


def _containers(pod: KubernetesObject) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and status of a pod's containers."""
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(key) or ():
            yield str(each.get("name")), each


def _is_ready(pod: KubernetesObject) -> bool:
    status = pod.get("status") or {}
    return status.get("phase") == "Succeeded" or is_true(status, "Ready")


def _place(pod: KubernetesObject, container: str) -> str:
    return f"{ObjectRef.of(pod)}, container {container}"


def _uid(obj: KubernetesObject) -> str:
    return str(obj["metadata"].get("uid"))
