"""Whether an object is ready, by what its own status says.

The rules are those of kstatus (sigs.k8s.io/cli-utils/pkg/kstatus), with these differences: a Job is
ready when it has completed, because what follows needs its work; a paused Deployment is ready, as
nothing more will happen; a Pod that failed and a claim whose volume is lost are failures; an
APIService is ready when it is available. How long pods may look bad is judged by `rollout`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bundler.model.objects import KubernetesObject, ObjectRef, mapping


@dataclass(frozen=True)
class Ready:
    message: str = "ready"


@dataclass(frozen=True)
class InProgress:
    message: str


@dataclass(frozen=True)
class Failed:
    """Failed for good: waiting longer changes nothing."""

    message: str


Readiness = Ready | InProgress | Failed

UNSEEN = "its controller has not seen it yet"
UNNOTICED = "its change was not noticed yet"

NEVER_WAITED_FOR = frozenset(
    {
        ("", "ConfigMap"),
        ("", "Event"),
        ("", "LimitRange"),
        ("", "Namespace"),
        ("", "Secret"),
        ("", "ServiceAccount"),
        ("batch", "CronJob"),
        ("events.k8s.io", "Event"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io", "Role"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
    }
)
"""(group, kind) of what is ready as soon as it exists."""


def readiness(obj: KubernetesObject) -> Readiness:
    """What an object's status says; an object without any status is ready."""
    metadata, status = obj["metadata"], mapping(obj.get("status"))
    if metadata.get("deletionTimestamp"):
        return InProgress("is being deleted")
    observed, generation = status.get("observedGeneration"), metadata.get("generation")
    if observed is not None and generation is not None and observed != generation:
        return InProgress(UNNOTICED)
    if is_true(status, "Reconciling"):
        return InProgress(told(condition(status, "Reconciling")))
    if is_true(status, "Stalled"):
        return Failed(told(condition(status, "Stalled")))
    ref = ObjectRef.of(obj)
    rule = _RULES.get((ref.group, ref.kind), _by_conditions)
    return rule(mapping(obj.get("spec")), status)


def condition(status: Mapping[str, Any], sort: str) -> Mapping[str, Any]:
    """The condition of a type; empty where there is none."""
    conditions = status.get("conditions")
    for each in conditions if isinstance(conditions, list) else ():
        if isinstance(each, Mapping) and each.get("type") == sort:
            return each
    return {}


def is_true(status: Mapping[str, Any], sort: str) -> bool:
    return condition(status, sort).get("status") == "True"


def told(condition: Mapping[str, Any]) -> str:
    """A condition's reason and message in one line."""
    parts = [str(condition[key]) for key in ("reason", "message") if condition.get(key)]
    return ": ".join(parts) or str(condition.get("type", ""))


def _count(status: Mapping[str, Any], key: str, default: int = 0) -> int:
    value = status.get(key)
    return default if value is None else int(value)


def _by_conditions(_: Mapping[str, Any], status: Mapping[str, Any]) -> Readiness:
    """The condition that many custom resources have."""
    ready = condition(status, "Ready")
    if ready and ready.get("status") != "True":
        return InProgress(told(ready))
    return Ready()


def _deployment(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Readiness:
    if "observedGeneration" not in status:
        return InProgress(UNSEEN)
    progressing = condition(status, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Failed(told(progressing))
    if spec.get("paused"):
        return Ready("paused")
    problem = _rolling_out(spec, status)
    if not problem and spec.get("progressDeadlineSeconds", _NO_DEADLINE) != _NO_DEADLINE:
        is_over = progressing.get("reason") == "NewReplicaSetAvailable"
        problem = "" if is_over else "its new ReplicaSet is not available"
    if not problem and not is_true(status, "Available"):
        problem = "is not available"
    return InProgress(problem) if problem else Ready()


def _rolling_out(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """What is left of a Deployment's rollout; empty when it is over."""
    wanted, there = _count(spec, "replicas", 1), _count(status, "replicas")
    updated, available = _count(status, "updatedReplicas"), _count(status, "availableReplicas")
    if updated < wanted:
        return f"{updated} of {wanted} replicas are updated"
    if there > updated:
        return f"{there - updated} of {there} replicas are old"
    if available < wanted or _count(status, "readyReplicas") < wanted:
        return f"{available} of {wanted} replicas are available"
    return ""


def _stateful_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Readiness:
    strategy = mapping(spec.get("updateStrategy"))
    if strategy.get("type") == "OnDelete":
        return Ready("updates when its pods are deleted")
    if "observedGeneration" not in status:
        return InProgress(UNSEEN)
    wanted, ready = _count(spec, "replicas", 1), _count(status, "readyReplicas")
    updated = _count(status, "updatedReplicas")
    if _count(status, "replicas") != wanted or ready < wanted:
        return InProgress(f"{ready} of {wanted} replicas are ready")
    partition = _count(mapping(strategy.get("rollingUpdate")), "partition")
    to_update = max(wanted - partition, 0)
    is_mixed = status.get("currentRevision") != status.get("updateRevision")
    if updated < to_update or (not partition and is_mixed):
        return InProgress(f"{updated} of {to_update} replicas are updated")
    return Ready()


def _daemon_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Readiness:
    if mapping(spec.get("updateStrategy")).get("type") == "OnDelete":
        return Ready("updates when its pods are deleted")
    if "observedGeneration" not in status or "desiredNumberScheduled" not in status:
        return InProgress(UNSEEN)
    wanted = _count(status, "desiredNumberScheduled")
    for key, word in (
        ("currentNumberScheduled", "scheduled"),
        ("updatedNumberScheduled", "updated"),
        ("numberAvailable", "available"),
        ("numberReady", "ready"),
    ):
        if _count(status, key) < wanted:
            return InProgress(f"{_count(status, key)} of {wanted} pods are {word}")
    return Ready()


def _replica_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Readiness:
    wanted = _count(spec, "replicas", 1)
    counts = [_count(status, key) for key in ("replicas", "availableReplicas", "readyReplicas")]
    if "observedGeneration" not in status or set(counts) != {wanted}:
        return InProgress(f"{counts[1]} of {wanted} replicas are available")
    return Ready()


def _pod(_: Mapping[str, Any], status: Mapping[str, Any]) -> Readiness:
    phase = status.get("phase")
    if phase == "Succeeded" or (phase == "Running" and is_true(status, "Ready")):
        return Ready()
    if phase == "Failed":
        return Failed(told({**status, "type": "Failed"}))
    return InProgress(f"is {phase or 'not scheduled'}")


def _job(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Readiness:
    if is_true(status, "Complete"):
        return Ready("completed")
    if is_true(status, "Failed"):
        return Failed(told(condition(status, "Failed")))
    if spec.get("suspend"):
        return Ready("suspended")
    done = _count(status, "succeeded")
    wanted = _count(spec, "completions", _count(spec, "parallelism", 1))
    return InProgress(f"{done} of {wanted} completions")


def _claim(_: Mapping[str, Any], status: Mapping[str, Any]) -> Readiness:
    if status.get("phase") == "Lost":
        return Failed("its volume is lost")
    return Ready() if status.get("phase") == "Bound" else InProgress("is not bound")


def _definition(_: Mapping[str, Any], status: Mapping[str, Any]) -> Readiness:
    names = condition(status, "NamesAccepted")
    if names.get("status") == "False":
        return Failed(told(names))
    established = condition(status, "Established")
    if established.get("status") == "False" and established.get("reason") != "Installing":
        return Failed(told(established))
    return Ready() if established.get("status") == "True" else InProgress("is not established")


def _service(spec: Mapping[str, Any], _: Mapping[str, Any]) -> Readiness:
    if spec.get("type") == "LoadBalancer" and not spec.get("clusterIP"):
        return InProgress("has no cluster IP")
    return Ready()


def _disruption_budget(_: Mapping[str, Any], status: Mapping[str, Any]) -> Readiness:
    seen = "observedGeneration" in status
    return Ready() if seen else InProgress(UNSEEN)


def _api_service(_: Mapping[str, Any], status: Mapping[str, Any]) -> Readiness:
    if is_true(status, "Available"):
        return Ready()
    return InProgress(told(condition(status, "Available")) or "is not available")


_NO_DEADLINE = 2**31 - 1
"""With this many seconds a Deployment's controller does not tell of progress."""
_RULES: Mapping[tuple[str, str], Callable[[Mapping[str, Any], Mapping[str, Any]], Readiness]] = {
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): _pod,
    ("", "Service"): _service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("batch", "Job"): _job,
    ("policy", "PodDisruptionBudget"): _disruption_budget,
}
