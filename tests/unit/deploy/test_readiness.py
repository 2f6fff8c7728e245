"""Ready, in progress or failed, by an object's own status."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.deploy.readiness import Failed, InProgress, Ready, readiness

Object = dict[str, Any]


def seen(kind: str, spec: Object | None = None, status: Object | None = None) -> Object:
    groups = {
        "APIService": "apiregistration.k8s.io/v1",
        "CustomResourceDefinition": "apiextensions.k8s.io/v1",
        "Job": "batch/v1",
        "Color": "x.io/v1",
        "PodDisruptionBudget": "policy/v1",
    }
    core = ("PersistentVolumeClaim", "Pod", "Service")
    api_version = "v1" if kind in core else groups.get(kind, "apps/v1")
    metadata = {"name": "x", "namespace": "shop", "generation": 2}
    rest = {key: value for key, value in (("spec", spec), ("status", status)) if value is not None}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def true(*sorts: str) -> list[Object]:
    return [{"type": sort, "status": "True"} for sort in sorts]


def condition(sort: str, status: str, reason: str = "", message: str = "") -> Object:
    return {"type": sort, "status": status, "reason": reason, "message": message}


ROLLED_OUT: Object = {
    "observedGeneration": 2,
    "replicas": 2,
    "updatedReplicas": 2,
    "readyReplicas": 2,
    "availableReplicas": 2,
    "conditions": [
        condition("Available", "True"),
        condition("Progressing", "True", "NewReplicaSetAvailable"),
    ],
}
EXCEEDED = condition("Progressing", "False", "ProgressDeadlineExceeded", "has timed out")
SET_READY: Object = {
    "observedGeneration": 2,
    "replicas": 2,
    "readyReplicas": 2,
    "updatedReplicas": 2,
    "currentRevision": "a",
    "updateRevision": "a",
}
DAEMONS_READY: Object = {
    "observedGeneration": 2,
    "desiredNumberScheduled": 3,
    "currentNumberScheduled": 3,
    "updatedNumberScheduled": 3,
    "numberAvailable": 3,
    "numberReady": 3,
}
TWO: Object = {"replicas": 2, "progressDeadlineSeconds": 600}

READY = {
    "deployment": seen("Deployment", TWO, ROLLED_OUT),
    "deployment without deadline": seen("Deployment", {"replicas": 2}, ROLLED_OUT),
    "deployment with the deadline that stands for none": seen(
        "Deployment",
        TWO | {"progressDeadlineSeconds": 2**31 - 1},
        ROLLED_OUT | {"conditions": true("Available")},
    ),
    "deployment without replicas": seen(
        "Deployment",
        TWO | {"replicas": 0},
        {"observedGeneration": 2, "conditions": ROLLED_OUT["conditions"]},
    ),
    "paused deployment": seen("Deployment", TWO | {"paused": True}, {"observedGeneration": 2}),
    "stateful set": seen("StatefulSet", {"replicas": 2}, SET_READY),
    "stateful set on delete": seen("StatefulSet", {"updateStrategy": {"type": "OnDelete"}}, {}),
    "stateful set with partition": seen(
        "StatefulSet",
        {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
        SET_READY | {"updatedReplicas": 1, "updateRevision": "b"},
    ),
    "daemon set": seen("DaemonSet", {}, DAEMONS_READY),
    "daemon set on delete": seen("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}, {}),
    "replica set": seen("ReplicaSet", {"replicas": 2}, ROLLED_OUT),
    "job": seen("Job", {}, {"succeeded": 1, "conditions": true("Complete")}),
    "suspended job": seen("Job", {"suspend": True}, {"conditions": true("Suspended")}),
    "pod": seen("Pod", {}, {"phase": "Running", "conditions": true("Ready")}),
    "pod that ended": seen("Pod", {}, {"phase": "Succeeded"}),
    "claim": seen("PersistentVolumeClaim", {}, {"phase": "Bound"}),
    "definition": seen("CustomResourceDefinition", {}, {"conditions": true("Established")}),
    "service": seen("Service", {"clusterIP": "10.0.0.1"}, {"loadBalancer": {}}),
    "balancer": seen("Service", {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}, {}),
    "budget": seen("PodDisruptionBudget", {}, {"observedGeneration": 2}),
    "api service": seen("APIService", {}, {"conditions": true("Available")}),
    "custom resource": seen("Color", {}, {"conditions": true("Ready")}),
    "custom resource without status": seen("Color", {}),
}
IN_PROGRESS = {
    "deployment not seen": seen("Deployment", TWO, {}),
    "deployment seen before": seen("Deployment", TWO, ROLLED_OUT | {"observedGeneration": 1}),
    "deployment updating": seen("Deployment", TWO, ROLLED_OUT | {"updatedReplicas": 1}),
    "deployment with old pods": seen("Deployment", TWO, ROLLED_OUT | {"replicas": 3}),
    "deployment starting": seen("Deployment", TWO, ROLLED_OUT | {"availableReplicas": 1}),
    "deployment unavailable": seen("Deployment", {"replicas": 2}, ROLLED_OUT | {"conditions": []}),
    "deployment not done": seen("Deployment", TWO, ROLLED_OUT | {"conditions": true("Available")}),
    "stateful set not seen": seen("StatefulSet", {"replicas": 2}, {}),
    "stateful set starting": seen("StatefulSet", {"replicas": 2}, SET_READY | {"readyReplicas": 1}),
    "stateful set with too few updated": seen(
        "StatefulSet", {"replicas": 2}, SET_READY | {"updatedReplicas": 1}
    ),
    "stateful set that is to shrink": seen("StatefulSet", {"replicas": 1}, SET_READY),
    "stateful set updating": seen(
        "StatefulSet", {"replicas": 2}, SET_READY | {"updateRevision": "b"}
    ),
    "stateful set with partition": seen(
        "StatefulSet",
        {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
        SET_READY | {"updatedReplicas": 0, "updateRevision": "b"},
    ),
    "daemon set not seen": seen("DaemonSet", {}, {}),
    "daemon set not counted": seen("DaemonSet", {}, {"observedGeneration": 2}),
    "daemon set starting": seen("DaemonSet", {}, DAEMONS_READY | {"numberReady": 2}),
    "replica set": seen("ReplicaSet", {"replicas": 3}, ROLLED_OUT),
    "job": seen("Job", {}, {"active": 1}),
    "job that is about to fail": seen("Job", {}, {"conditions": true("FailureTarget")}),
    "pod": seen("Pod", {}, {"phase": "Pending"}),
    "pod without readiness": seen("Pod", {}, {"phase": "Running", "conditions": []}),
    "claim": seen("PersistentVolumeClaim", {}, {"phase": "Pending"}),
    "definition": seen("CustomResourceDefinition", {}, {}),
    "definition that is installed": seen(
        "CustomResourceDefinition",
        {},
        {"conditions": [condition("Established", "False", "Installing", "the initial names")]},
    ),
    "balancer": seen("Service", {"type": "LoadBalancer"}, {}),
    "budget": seen("PodDisruptionBudget", {}, {}),
    "api service": seen("APIService", {}, {"conditions": []}),
    "custom resource": seen(
        "Color", {}, {"conditions": [condition("Ready", "Unknown", "Mixing", "still wet")]}
    ),
    "deployment of another generation": seen(
        "Deployment", TWO, ROLLED_OUT | {"observedGeneration": 3}
    ),
    "stateful set that says it is reconciling": seen(
        "StatefulSet", {"replicas": 2}, SET_READY | {"conditions": true("Reconciling")}
    ),
    "reconciling": seen("Color", {}, {"conditions": true("Reconciling", "Ready")}),
    "not observed": seen("Color", {}, {"observedGeneration": 1, "conditions": true("Ready")}),
}
FAILED = {
    "deployment": seen("Deployment", TWO, ROLLED_OUT | {"conditions": [EXCEEDED]}),
    "job": seen("Job", {}, {"conditions": true("Failed")}),
    "pod": seen("Pod", {}, {"phase": "Failed", "reason": "Evicted"}),
    "claim": seen("PersistentVolumeClaim", {}, {"phase": "Lost"}),
    "definition": seen(
        "CustomResourceDefinition", {}, {"conditions": [condition("NamesAccepted", "False")]}
    ),
    "definition that is refused": seen(
        "CustomResourceDefinition",
        {},
        {"conditions": [condition("Established", "False", "NotAccepted", "no")]},
    ),
    "stalled job": seen("Job", {}, {"active": 1, "conditions": true("Stalled")}),
    "stalled": seen("Color", {}, {"conditions": true("Stalled")}),
}


@pytest.mark.parametrize("name", READY)
def test_ready(name: str) -> None:
    assert isinstance(readiness(READY[name]), Ready)


@pytest.mark.parametrize("name", IN_PROGRESS)
def test_in_progress(name: str) -> None:
    found = readiness(IN_PROGRESS[name])
    assert isinstance(found, InProgress)
    assert found.message


@pytest.mark.parametrize("name", FAILED)
def test_failed_for_good(name: str) -> None:
    found = readiness(FAILED[name])
    assert isinstance(found, Failed)
    assert found.message


def test_what_is_being_deleted_is_not_ready() -> None:
    going = seen("Deployment", TWO, ROLLED_OUT)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert isinstance(readiness(going), InProgress)


def test_the_reason_is_told_in_the_controller_s_words() -> None:
    assert readiness(IN_PROGRESS["custom resource"]) == InProgress("Mixing: still wet")
    assert readiness(FAILED["deployment"]) == Failed("ProgressDeadlineExceeded: has timed out")
