"""What controllers make of workloads: status, pods and events. An image's name says how it fails.

…/broken…     cannot be pulled
…/crashing…   starts and dies
…/unready…    runs and never gets ready
…/refused…    its pods are not admitted
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bundler.model.objects import KubernetesObject, ObjectRef, images_in
from bundler.ports import Observation

FAILURES = ("broken", "crashing", "unready", "refused")


def failure_of(obj: KubernetesObject) -> str | None:
    images = " ".join(use.image for use in images_in(obj))
    return next((word for word in FAILURES if word in images), None)


def status_of(obj: KubernetesObject) -> dict[str, Any]:
    """The status that a controller arrives at; empty for kinds without one."""
    rule = _RULES.get(obj["kind"])
    if rule is None:
        return {}
    observed_generation = {"observedGeneration": obj["metadata"]["generation"]}
    return observed_generation | rule(obj, failure_of(obj))


def _deployment(obj: KubernetesObject, failure: str | None) -> dict[str, Any]:
    wanted = obj["spec"].get("replicas", 1)
    ready = 0 if failure else wanted
    reason = "ReplicaSetUpdated" if failure else "NewReplicaSetAvailable"
    conditions = [
        {"type": "Available", "status": "False" if failure else "True"},
        {"type": "Progressing", "status": "True", "reason": reason},
    ]
    if failure == "refused":
        words = {"reason": "FailedCreate", "message": "exceeded quota: compute"}
        conditions.append({"type": "ReplicaFailure", "status": "True", **words})
    made = 0 if failure == "refused" else wanted
    return {
        "replicas": made,
        "updatedReplicas": made,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "conditions": conditions,
    }


def _stateful_set(obj: KubernetesObject, failure: str | None) -> dict[str, Any]:
    wanted = obj["spec"].get("replicas", 1)
    return {
        "replicas": 0 if failure == "refused" else wanted,
        "readyReplicas": 0 if failure else wanted,
        "updatedReplicas": wanted,
        "currentRevision": "r1",
        "updateRevision": "r1",
    }


def _job(_: KubernetesObject, failure: str | None) -> dict[str, Any]:
    if failure == "crashing":
        words = {"reason": "BackoffLimitExceeded", "message": "Job has reached the limit"}
        return {"conditions": [{"type": "Failed", "status": "True", **words}]}
    if failure:
        return {"active": 1}
    return {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}


def _definition(_: KubernetesObject, __: str | None) -> dict[str, Any]:
    return {"conditions": [{"type": "Established", "status": "True"}]}


def _claim(_: KubernetesObject, __: str | None) -> dict[str, Any]:
    return {"phase": "Bound"}


_RULES = {
    "CustomResourceDefinition": _definition,
    "Deployment": _deployment,
    "Job": _job,
    "PersistentVolumeClaim": _claim,
    "StatefulSet": _stateful_set,
}


def observed(ref: ObjectRef, obj: KubernetesObject | None) -> Iterator[Observation]:
    """What a watch tells of an object and of what surrounds it."""
    yield Observation(ref, obj)
    if obj is None or not obj.get("status"):
        return
    failure = failure_of(obj)
    owner = dict(obj)
    if ref.kind == "Deployment":
        owner = _owned(obj, "apps/v1", "ReplicaSet", f"{ref.name}-1")
        owner["status"] = {"conditions": obj["status"].get("conditions", [])}
        yield Observation(ObjectRef.of(owner), owner)
    if failure and ref.kind in ("Deployment", "StatefulSet", "Job"):
        if failure == "refused":
            event = _event(owner, "FailedCreate", "pods is forbidden: exceeded quota: compute")
            yield Observation(ObjectRef.of(event), event)
            return
        pod = _owned(owner, "v1", "Pod", f"{ref.name}-1-x")
        pod = {**pod, "status": _pod_status(failure)}
        yield Observation(ObjectRef.of(pod), pod)
        reason, message = _WARNINGS[failure]
        event = _event(pod, reason, message)
        yield Observation(ObjectRef.of(event), event)


_WARNINGS = {
    "broken": ("Failed", "Failed to pull image: not found"),
    "crashing": ("BackOff", "Back-off restarting failed container"),
    "unready": ("Unhealthy", "Readiness probe failed: connection refused"),
}
_STATES: Mapping[str, dict[str, Any]] = {
    "broken": {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}},
    "crashing": {
        "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
        "lastState": {"terminated": {"exitCode": 3}},
    },
    "unready": {"restartCount": 0, "state": {"running": {}}},
}


def _pod_status(failure: str) -> dict[str, Any]:
    container = {"name": "main", "ready": False, "restartCount": 0, **_STATES[failure]}
    conditions = [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}]
    return {"phase": "Pending", "conditions": conditions, "containerStatuses": [container]}


def _owned(owner: KubernetesObject, api_version: str, kind: str, name: str) -> dict[str, Any]:
    metadata = owner["metadata"]
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": metadata.get("namespace"),
            "uid": f"{metadata['uid']}-{name}",
            "labels": {"controller-revision-hash": "r1"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"uid": metadata["uid"], "name": metadata["name"]}],
        },
    }


def _event(about: KubernetesObject, reason: str, message: str) -> dict[str, Any]:
    metadata = about["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.1", "namespace": metadata["namespace"]},
        "involvedObject": {"kind": about["kind"], "name": metadata["name"], "uid": metadata["uid"]},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": "2026-06-01T00:00:00Z",
    }
