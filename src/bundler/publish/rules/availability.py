"""Whether a release can be rolled out, and a node emptied, while requests come in (A-09).

Rounding as in Kubernetes: of a Deployment `maxUnavailable` is rounded down and `maxSurge` up, and
where both come to none, one pod may be missing; of a PodDisruptionBudget both are rounded up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject, ObjectRef, mapping
from bundler.publish.rules.scope import Scope
from bundler.publish.rules.workloads import (
    Container,
    Workload,
    at,
    items,
    selected,
)

_PERCENT = re.compile(r"(\d{1,9})%")


# --- readiness ----------------------------------------------------------------------------------


def no_readiness_probe(scope: Scope) -> Iterator[Finding]:
    told: set[tuple[ObjectRef, str]] = set()
    for service, workload in scope.selecting:
        if at(service, "spec", "publishNotReadyAddresses") is True:
            continue
        for container in _serving(service, workload):
            place = (workload.ref, container.pointer)
            if container.value.get("readinessProbe") or place in told:
                continue
            told.add(place)
            yield scope.finding(
                "no-readiness-probe",
                workload.obj,
                container.pointer,
                f"container {container.name} has no readinessProbe, and "
                f"{ObjectRef.of(service)} sends it requests as soon as it was started",
                "add a readinessProbe that succeeds once it can answer",
                container.value,
            )


def _serving(service: KubernetesObject, workload: Workload) -> Iterator[Container]:
    """The containers that a Service's ports lead to; a pod's only one needs no declared port."""
    staying = [each for each in workload.containers if each.stays]
    main = [each for each in staying if not each.is_init]
    for port in items(at(service, "spec", "ports")):
        wanted = mapping(port).get("targetPort", mapping(port).get("port"))
        declaring = [each for each in staying if _has_port(each, wanted)]
        yield from declaring or (main if len(main) == 1 else ())


def _has_port(container: Container, wanted: object) -> bool:
    ports = [mapping(port) for port in items(container.value.get("ports"))]
    return any(wanted in (port.get("name"), port.get("containerPort")) for port in ports)


# --- rolling ------------------------------------------------------------------------------------


def downtime(scope: Scope) -> Iterator[Finding]:
    for workload in scope.workloads:
        problem = _rolling_problem(scope, workload)
        if problem is not None and replicas(scope, workload) > 0:
            pointer, message, hint = problem
            yield scope.finding("downtime", workload.obj, pointer, message, hint)
    for ref, budget in scope.of_kind("policy", "PodDisruptionBudget"):
        yield from _no_eviction(scope, ref, budget)


def replicas(scope: Scope, workload: Workload) -> int:
    """The fewest pods that it has in normal times."""
    autoscaler = scope.autoscaler(workload.ref)
    return workload.replicas if autoscaler is None else autoscaler.fewest


_Problem = tuple[str, str, str]
"""JSON pointer, message, hint."""


def _rolling_problem(scope: Scope, workload: Workload) -> _Problem | None:
    match (workload.ref.group, workload.ref.kind):
        case ("apps", "Deployment"):
            return _deployment_problem(scope, workload)
        case ("apps", "StatefulSet" | "DaemonSet"):
            return _update_problem(scope, workload)
        case _:
            return None


def _deployment_problem(scope: Scope, workload: Workload) -> _Problem | None:
    strategy = mapping(workload.spec.get("strategy"))
    if strategy.get("type") == "Recreate":
        return (
            "/spec/strategy/type",
            "strategy Recreate stops all pods before it starts new ones",
            "use RollingUpdate, if two versions may run side by side",
        )
    rolling = mapping(strategy.get("rollingUpdate"))
    wanted = replicas(scope, workload)
    missing = _scaled(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
    more = _scaled(rolling.get("maxSurge", "25%"), wanted, math.ceil)
    if missing is None or more is None:
        return None
    missing = missing if missing or more else 1
    if missing < max(wanted, 1) or (wanted == 1 and not scope.is_served(workload)):
        return None
    said = rolling.get("maxUnavailable", "25%")
    return (
        "/spec/strategy/rollingUpdate",
        f"maxUnavailable {said} of {_pods(wanted)} lets all of them be missing at once",
        "set maxUnavailable: 0 and maxSurge: 1",
    )


def _update_problem(scope: Scope, workload: Workload) -> _Problem | None:
    """StatefulSets and DaemonSets."""
    strategy = mapping(workload.spec.get("updateStrategy"))
    if strategy.get("type") == "OnDelete":
        return (
            "/spec/updateStrategy/type",
            "updateStrategy OnDelete keeps the old pods until somebody deletes them",
            "use RollingUpdate",
        )
    said = mapping(strategy.get("rollingUpdate")).get("maxUnavailable", 1)
    if workload.ref.kind == "DaemonSet":
        # How many nodes there are is not known here: only all of them are surely too many.
        if _scaled(said, 100, math.floor) == 100 and _PERCENT.fullmatch(str(said)):
            message = f"maxUnavailable {said} lets all pods be missing at once"
            return "/spec/updateStrategy/rollingUpdate", message, "lower it"
        return None
    wanted = replicas(scope, workload)
    missing = _scaled(said, wanted, math.ceil)
    if missing is None or max(missing, 1) < wanted or not scope.is_served(workload):
        return None
    pointer = "/spec/replicas" if wanted == 1 else "/spec/updateStrategy/rollingUpdate"
    message = f"a StatefulSet stops a pod before it starts the new one, and has {_pods(wanted)}"
    return pointer, message, "run more pods, or accept it under rules: {downtime: ignore}"


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"


def _scaled(value: object, total: int, rounding: Any) -> int | None:
    """A number of pods that is given as such or in percent; None for what is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    percent = _PERCENT.fullmatch(str(value))
    return int(rounding(int(percent[1]) * total / 100)) if percent else None


# --- eviction -----------------------------------------------------------------------------------


def _no_eviction(scope: Scope, ref: ObjectRef, budget: KubernetesObject) -> Iterator[Finding]:
    spec: Mapping[str, Any] = mapping(budget.get("spec"))
    selector = spec.get("selector")
    if not isinstance(selector, Mapping):
        return
    serving = (each for each in scope.workloads if each.serves)
    meant = list(selected(selector, ref.namespace, serving))
    total = sum(replicas(scope, each) for each in meant if each.ref.kind != "DaemonSet")
    for key, allows in (("maxUnavailable", 0), ("minAvailable", total)):
        said = spec.get(key)
        pods = _scaled(said, total, math.ceil) if said is not None else None
        if total == 0 or pods is None:
            continue
        if (key == "maxUnavailable" and pods == allows) or (
            key == "minAvailable" and pods >= allows
        ):
            yield scope.finding(
                "downtime",
                budget,
                f"/spec/{key}",
                f"{key} {said} of {_pods(total)} lets none be evicted: no node with one of them "
                "can be emptied",
                "let one pod be missing, or run more of them",
            )
