"""What keeps a workload from getting ready, by its pods and the events about them.

Only pods of the workload's present revision count: a former one that crashes is being replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bundler.deploy.limits import FOREVER, Limits
from bundler.deploy.pods import (
    Container,
    Trouble,
    containers,
    crash_words,
    pod_troubles,
)
from bundler.deploy.readiness import condition, is_true, told
from bundler.deploy.surroundings import (
    Surroundings,
    applied_at,
    event_time,
    event_words,
    is_ready,
    made_at,
)
from bundler.model.objects import KubernetesObject, ObjectRef

Pods = tuple[KubernetesObject, ...]


def troubles(workload: KubernetesObject, around: Surroundings, limits: Limits) -> Iterator[Trouble]:
    """What is wrong with a workload that is not ready, the worst first."""
    status = workload.get("status") or {}
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0) and (
        "observedGeneration" in status
    ):
        return  # its pods are those of its former generation
    pods = around.new_pods(workload)
    yield from _crashing(workload, pods, around, limits)
    of_pods = [each for pod in pods for each in pod_troubles(pod, around, limits)]
    yield from sorted(of_pods, key=lambda trouble: trouble.patience)
    yield from _refused(workload, pods, around, limits)
    yield from _blocked(workload, around, limits)
    if is_former_verdict(workload):
        yield Trouble("deadline", told(condition(status, "Progressing")), limits.refused)


def is_former_verdict(workload: KubernetesObject) -> bool:
    """Whether a Deployment's exceeded deadline may be that of its former rollout.

    Going back to a ReplicaSet that is there still, its controller first says so once more.
    """
    progressing = condition(workload.get("status") or {}, "Progressing")
    told_at = str(progressing.get("lastUpdateTime") or "")[:19]
    return progressing.get("reason") == "ProgressDeadlineExceeded" and (
        bool(told_at) and told_at <= applied_at(workload)
    )


def stage(workload: KubernetesObject, around: Surroundings) -> tuple[Any, ...]:
    """How far a workload's pods are, whichever they are."""
    return tuple(sorted(_stage(pod) for pod in around.new_pods(workload)))


def _stage(pod: KubernetesObject) -> tuple[str, int, int]:
    status = pod.get("status") or {}
    found = list(containers(pod))
    started = sum(bool(each.status.get("started")) for each in found)
    return str(status.get("phase")), started, sum(bool(each.status.get("ready")) for each in found)


def _crashing(
    workload: KubernetesObject, pods: Pods, around: Surroundings, limits: Limits
) -> Iterator[Trouble]:
    """Crashes count only while nothing is ready: one bad pod of many may recover.

    A Job has its own limit of them.
    """
    if any(is_ready(pod) for pod in pods):
        return
    yield Trouble("nothing-ready", "")
    patience = FOREVER if workload.get("kind") == "Job" else limits.crash
    for container in _looping(pods, limits):
        yield Trouble("nothing-ready", crash_words(container, around), patience, container.log)


def _looping(pods: Pods, limits: Limits) -> list[Container]:
    found = [
        each
        for pod in pods
        for each in containers(pod)
        if each.restarts >= limits.restarts and not each.status.get("ready")
    ]
    return sorted(found, key=lambda container: -container.restarts)


def _refused(
    workload: KubernetesObject, pods: Pods, around: Surroundings, limits: Limits
) -> Iterator[Trouble]:
    """Pods that could not be made, as who makes them says: by a condition, or by events."""
    maker = workload
    if workload.get("kind") == "Deployment":
        maker = around.new_replica_set(workload) or workload
    # Where a quota has room for a few at a time, each that gets ready makes room for another.
    is_moving = bool(around.former_pods(workload)) and any(not is_ready(pod) for pod in pods)
    sort, patience = f"refused {len(pods)}", FOREVER if is_moving else limits.refused
    status: Mapping[str, Any] = maker.get("status") or {}
    if is_true(status, "ReplicaFailure"):
        words = told(condition(status, "ReplicaFailure"))
        yield Trouble(sort, f"{ObjectRef.of(maker)}: {words}", patience)
        return
    since = max([applied_at(workload), *map(made_at, pods)])
    for event in reversed(around.warnings(maker)):
        if event.get("reason") == "FailedCreate" and event_time(event) > since:
            yield Trouble(sort, f"{ObjectRef.of(maker)}: event {event_words(event)}", patience)
            return


def _blocked(workload: KubernetesObject, around: Surroundings, limits: Limits) -> Iterator[Trouble]:
    """A pod of the former revision that keeps a StatefulSet from being updated.

    One after the other, each has to be ready before the next is replaced; Kubernetes never
    replaces a broken one by itself (kubernetes/kubernetes#67250).
    """
    spec = workload.get("spec") or {}
    if workload.get("kind") != "StatefulSet" or spec.get("podManagementPolicy") == "Parallel":
        return
    for pod in around.former_pods(workload):
        if is_ready(pod) or pod["metadata"].get("deletionTimestamp"):
            continue
        causes = [
            Trouble("crash", crash_words(container, around), limits.crash, container.log)
            for container in _looping((pod,), limits)
        ]
        causes += pod_troubles(pod, around, limits)
        for cause in causes or [Trouble("unready", str(ObjectRef.of(pod)))]:
            words = f"its update waits for a pod of the former revision: {cause.message}"
            advice = f"; kubectl delete pod {pod['metadata']['name']} lets it go on"
            yield Trouble(f"blocked {cause.sort}", words + advice, cause.patience, cause.log)
