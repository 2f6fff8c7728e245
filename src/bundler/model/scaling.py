"""Workloads whose number of replicas an autoscaler decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundler.model.objects import KubernetesObject, ObjectRef, split_api_version

AUTOSCALER = ("autoscaling", "HorizontalPodAutoscaler")
_AUTOSCALERS = (AUTOSCALER, ("keda.sh", "ScaledObject"))


def scaled_by(obj: KubernetesObject) -> ObjectRef | None:
    """What an autoscaler scales; None for every other object."""
    ref = ObjectRef.of(obj)
    spec = obj.get("spec")
    target = spec.get("scaleTargetRef") if isinstance(spec, Mapping) else None
    if (ref.group, ref.kind) not in _AUTOSCALERS or not isinstance(target, Mapping):
        return None
    group, _ = split_api_version(str(target.get("apiVersion") or "apps/v1"))
    return ObjectRef(
        group, str(target.get("kind") or "Deployment"), ref.namespace, str(target.get("name"))
    )


def is_scalable(obj: KubernetesObject) -> bool:
    """Whether it is one of Kubernetes' own kinds that autoscalers scale."""
    ref = ObjectRef.of(obj)
    return ref.group == "apps" and ref.kind in ("Deployment", "StatefulSet", "ReplicaSet")


def replicas_of(obj: KubernetesObject) -> int | None:
    spec = obj.get("spec")
    replicas = spec.get("replicas") if isinstance(spec, Mapping) else None
    return replicas if isinstance(replicas, int) else None


def with_replicas(obj: KubernetesObject, replicas: int | None) -> KubernetesObject:
    """The object with so many replicas; with None it says nothing of them."""
    spec: Mapping[str, Any] = obj.get("spec") or {}
    rest = {key: value for key, value in spec.items() if key != "replicas"}
    return {**obj, "spec": rest if replicas is None else {**rest, "replicas": replicas}}
