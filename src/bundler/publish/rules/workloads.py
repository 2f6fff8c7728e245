"""Rendered objects as the rules see them: workloads, their containers, and what selects them.

What is not of the form that Kubernetes wants is left out: the schemas tell of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundler.model.finding import json_pointer
from bundler.model.objects import KubernetesObject, ObjectRef, mapping, pod_spec

_CUSTOM = {("argoproj.io", "Rollout"): ("spec", "template", "spec")}
_SERVING = {
    ("", "Pod"),
    ("", "ReplicationController"),
    ("apps", "DaemonSet"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
    ("argoproj.io", "Rollout"),
}
"""What runs for as long as it is there; Jobs end."""


@dataclass(frozen=True)
class Container:
    pointer: str
    value: Mapping[str, Any]
    is_init: bool

    @property
    def name(self) -> str:
        return str(self.value.get("name", "?"))

    @property
    def stays(self) -> bool:
        """Whether it runs beside the others: a main container, or a sidecar among the first."""
        return not self.is_init or self.value.get("restartPolicy") == "Always"


@dataclass(frozen=True)
class Workload:
    ref: ObjectRef
    obj: KubernetesObject
    pod_pointer: str
    pod: Mapping[str, Any]
    """The pod's spec."""
    labels: Mapping[str, str]
    """The labels of its pods."""

    @property
    def spec(self) -> Mapping[str, Any]:
        return mapping(self.obj.get("spec"))

    @property
    def serves(self) -> bool:
        return (self.ref.group, self.ref.kind) in _SERVING

    @property
    def replicas(self) -> int:
        return whole(self.spec.get("replicas"), 1)

    @property
    def containers(self) -> tuple[Container, ...]:
        return tuple(
            Container(f"{self.pod_pointer}/{field}/{index}", value, field == "initContainers")
            for field in ("initContainers", "containers")
            for index, value in enumerate(items(self.pod.get(field)))
            if isinstance(value, Mapping)
        )


def workload(obj: KubernetesObject) -> Workload | None:
    """The object as something that runs pods; None for every other kind."""
    ref = ObjectRef.of(obj)
    found = pod_spec(obj)
    if found is None and (path := _CUSTOM.get((ref.group, ref.kind))):
        spec = at(obj, *path)
        found = (json_pointer(*path), spec) if isinstance(spec, Mapping) else None
    if found is None:
        return None
    pointer, pod = found
    steps = pointer.split("/")[1:-1]
    labels = mapping(at(obj, *steps, "metadata", "labels"))
    return Workload(ref, obj, pointer, pod, {key: str(value) for key, value in labels.items()})


def at(value: Any, *steps: str) -> Any:
    """What is below a value; None where there is nothing."""
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def selected(
    selector: Mapping[str, Any], namespace: str, workloads: Iterable[Workload]
) -> Iterator[Workload]:
    """The workloads of a namespace whose pods a LabelSelector means."""
    for each in workloads:
        if each.ref.namespace == namespace and matches(selector, each.labels):
            yield each


def matches(selector: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether a LabelSelector (`matchLabels`, `matchExpressions`) means these labels."""
    wanted = mapping(selector.get("matchLabels"))
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(mapping(expression), labels)
        for expression in items(selector.get("matchExpressions"))
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    key, values = str(expression.get("key")), items(expression.get("values"))
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False
