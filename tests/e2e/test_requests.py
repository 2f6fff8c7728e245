"""How many requests a target is asked when there is nothing to do, whatever its objects are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.live_objects import Object
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment, made, service
from tests.faults.api_proxy import ApiProxy, is_watch
from tests.faults.fault_proxy import Request
from tools.control_plane import ControlPlane

pytest_plugins = ["tests.e2e.cluster"]

MOST_OF_PLAN, MOST_OF_APPLY = 4, 12
"""Besides one list for each kind."""
LABELS = {"app": "cart"}
POD_FIELD = {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
LIMIT_FIELD = {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}
TOKEN = {"serviceAccountToken": {"path": "token"}}


def _cart(number: int) -> Iterator[Object]:
    """Of every usual kind one, with what servers add defaults to."""
    name = f"cart-{number}"
    yield config_map(f"{name}-settings", colour="red")
    yield service(name, 80)
    yield made("v1", "ServiceAccount", name)
    template: Object = {
        "metadata": {"labels": LABELS},
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "image": "registry.example.com/cart:1",
                    "env": [POD_FIELD, LIMIT_FIELD],
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
                    "volumeMounts": [{"name": "token", "mountPath": "/token"}],
                }
            ],
            "volumes": [{"name": "token", "projected": {"sources": [TOKEN]}}],
        },
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    stateful = {
        "serviceName": name,
        "replicas": 0,
        "selector": {"matchLabels": LABELS},
        "template": template,
        "volumeClaimTemplates": [claim],
    }
    yield made("apps/v1", "StatefulSet", name, spec=stateful)
    yield deployment(name, "cart:1", replicas=0)
    policy = {
        "podSelector": {"matchLabels": LABELS},
        "ingress": [{"ports": [{"port": 8080}]}],
        "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}]}],
    }
    yield made("networking.k8s.io/v1", "NetworkPolicy", name, spec=policy)
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    yield made("rbac.authorization.k8s.io/v1", "Role", name, rules=rules)
    yield made(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        name,
        roleRef={"kind": "Role", "name": name, "apiGroup": "rbac.authorization.k8s.io"},
        subjects=[{"kind": "ServiceAccount", "name": name}, {"kind": "User", "name": "jane"}],
    )
    backend = {"service": {"name": name, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    ingress = {"rules": [{"host": f"{name}.example.com", "http": {"paths": [path]}}]}
    yield made("networking.k8s.io/v1", "Ingress", name, spec=ingress)
    yield made(
        "policy/v1",
        "PodDisruptionBudget",
        name,
        spec={"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}},
    )
    job = {"template": {**template, "spec": {**template["spec"], "restartPolicy": "Never"}}}
    yield made(
        "batch/v1",
        "CronJob",
        name,
        spec={"schedule": "0 4 * * *", "suspend": True, "jobTemplate": {"spec": job}},
    )


KINDS = len(list(_cart(0)))


@pytest.fixture
def applied(releases: Releases, machine: Machine) -> str:
    """The reference of a release that was applied."""
    releases.publish("v1", *(each for number in range(3) for each in _cart(number)))
    machine.apply(releases("v1"))
    return releases("v1")


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[ApiProxy]:
    with ApiProxy(control_plane) as running:
        yield running


def _is_list(request: Request) -> bool:
    return request.method == "GET" and "limit=" in request.target and not _is_of_state(request)


def _is_of_state(request: Request) -> bool:
    return "release-bundler" in request.target


def test_with_nothing_to_do_a_target_is_asked_for_one_list_of_a_kind_and_little_else(
    applied: str, machine: Machine, proxy: ApiProxy, tmp_path: Path
) -> None:
    through = machine.with_connection("--kubeconfig", proxy.kubeconfig(tmp_path))
    for command, most in (("plan", MOST_OF_PLAN), ("apply", MOST_OF_APPLY)):
        proxy.clear()
        found = through.plan(applied) if command == "plan" else through.apply(applied)
        asked = list(proxy.asked)
        told = "\n".join(map(str, asked))
        assert found["targets"], told
        lists = Counter(request.target for request in asked if _is_list(request))
        assert not [request for request in asked if is_watch(request)], told
        assert set(lists.values()) == {1}, told
        assert len(lists) <= KINDS, told
        assert len(asked) - len(lists) <= most, told
