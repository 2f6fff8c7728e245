"""What makes the next apply fail or undo something: selectors, autoscaled replicas, requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bundler.model.finding import Finding, json_pointer
from bundler.model.objects import COMMIT, ObjectRef, mapping
from bundler.publish.rules.scope import Scope
from bundler.publish.rules.workloads import Workload, at, items

_FIXED_SELECTORS = {
    ("apps", "DaemonSet"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
    ("batch", "Job"),
}
"""What an API server never lets change its selector."""
_OF_A_VERSION = ("app.kubernetes.io/version", "helm.sh/chart", COMMIT)
"""Labels whose values are meant to change with a release."""
_RESOURCES = ("cpu", "memory")


def selector_changed(scope: Scope) -> Iterator[Finding]:
    """Against the release before, as far as it is known (D-10)."""
    former = {ObjectRef.of(obj): obj for obj in scope.former}
    for workload in _with_fixed_selector(scope):
        before = former.get(workload.ref)
        if before is None:
            continue
        was, now = _selector(mapping(before.get("spec"))), _selector(workload.spec)
        if was != now:
            yield scope.finding(
                "selector-changed",
                workload.obj,
                "/spec/selector",
                f"its selector is {_shown(now)}, and was {_shown(was)} in the release before",
                f"keep the selector, or give the {workload.ref.kind} another name: "
                "the old one is then removed after the new one is ready",
            )


def _with_fixed_selector(scope: Scope) -> Iterator[Workload]:
    for workload in scope.workloads:
        if (workload.ref.group, workload.ref.kind) in _FIXED_SELECTORS:
            yield workload


def _selector(spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Any]]:
    selector = mapping(spec.get("selector"))
    return mapping(selector.get("matchLabels")), items(selector.get("matchExpressions"))


def _shown(selector: tuple[Mapping[str, Any], list[Any]]) -> str:
    labels, expressions = selector
    parts = [f"{key}={value}" for key, value in sorted(labels.items())]
    for expression in map(mapping, expressions):
        values = ",".join(map(str, items(expression.get("values"))))
        parts.append(
            f"{expression.get('key')} {expression.get('operator')}{f' ({values})' * bool(values)}"
        )
    return ", ".join(parts) or "empty"


def label_in_selector(scope: Scope) -> Iterator[Finding]:
    """Labels that change with a version (D-10)."""
    for workload in _with_fixed_selector(scope):
        labels, expressions = _selector(workload.spec)
        pointers = {key: json_pointer("spec", "selector", "matchLabels", key) for key in labels} | {
            str(mapping(expression).get("key")): f"/spec/selector/matchExpressions/{index}"
            for index, expression in enumerate(expressions)
        }
        for label in _OF_A_VERSION:
            if label in pointers:
                yield scope.finding(
                    "label-in-selector",
                    workload.obj,
                    pointers[label],
                    f"label {label} changes with the version, and a selector may never change",
                    "take it out of the selector: with kustomize, set it by `labels` and not by "
                    "`commonLabels`",
                )


def replicas_under_hpa(scope: Scope) -> Iterator[Finding]:
    """An apply would set what the autoscaler decides (D-19)."""
    for workload in scope.workloads:
        autoscaler = scope.autoscaler(workload.ref)
        if autoscaler is not None and workload.spec.get("replicas") is not None:
            yield scope.finding(
                "replicas-under-hpa",
                workload.obj,
                "/spec/replicas",
                f"replicas is set, and {ObjectRef.of(autoscaler.obj)} scales it: "
                "each apply would undo that",
                "remove replicas from the manifest",
            )


def missing_requests(scope: Scope) -> Iterator[Finding]:
    limited = _defaults(scope)
    for workload in scope.workloads:
        of_pod = _requested(mapping(workload.pod.get("resources")))
        known = of_pod | limited.get(workload.ref.namespace, frozenset())
        for container in workload.containers:
            has = known | _requested(mapping(container.value.get("resources")))
            missing = [name for name in _RESOURCES if name not in has]
            if missing:
                yield scope.finding(
                    "missing-requests",
                    workload.obj,
                    f"{container.pointer}/resources",
                    f"container {container.name} requests no {' and no '.join(missing)}",
                    "without requests it is placed anywhere, and killed first",
                    container.value,
                )


def _requested(resources: Mapping[str, Any]) -> frozenset[str]:
    """A limit without a request is the request too."""
    return frozenset(mapping(resources.get("requests"))) | frozenset(
        mapping(resources.get("limits"))
    )


def _defaults(scope: Scope) -> Mapping[str, frozenset[str]]:
    """Namespace → what a LimitRange of this target requests for containers that do not."""
    found: dict[str, frozenset[str]] = {}
    for ref, obj in scope.of_kind("", "LimitRange"):
        for limit in map(mapping, items(at(obj, "spec", "limits"))):
            if limit.get("type") == "Container":
                given = _requested(
                    {"requests": limit.get("defaultRequest"), "limits": limit.get("default")}
                )
                found[ref.namespace] = found.get(ref.namespace, frozenset()) | given
    return found
