"""`bundler plan`, and `apply --plan`, on a real control plane."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundler.model.project import Allowed
from tests.e2e.live_objects import APPS, CORE, LEASES, Namespace
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment, job, made, service
from tools.control_plane import ControlPlane

pytest_plugins = ["tests.e2e.cluster"]

V1 = (
    config_map("settings", colour="red"),
    made("v1", "Secret", "token", stringData={"value": "very secret"}),
    service("cart", 80),
    job("migrate", "migrate:1"),
    deployment("cart", "cart:1", replicas=2),
    deployment("coupons", "coupons:1"),
)
V2 = (
    config_map("settings", colour="blue"),
    config_map("features", fast="yes"),
    made("v1", "Secret", "token", stringData={"value": "more secret"}),
    service("cart", 80),
    job("migrate", "migrate:2"),
    deployment("cart", "cart:2", replicas=2),
)
SECRETS = ("very secret", "more secret", "dmVyeSBzZWNyZXQ", "bW9yZSBzZWNyZXQ")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


@pytest.fixture
def planned(
    releases: Releases, machine: Machine, namespace: str, plan_file: Path
) -> dict[str, Any]:
    """The objects of a frozen plan from the first to the second release, by kind and name."""
    releases.publish("v1.0.0", *V1)
    releases.publish("v1.1.0", *V2)
    machine.apply(releases("v1.0.0"))
    value = machine.plan(
        releases("v1.1.0"), "--out", plan_file, "--exit-code", "--state-namespace", namespace,
        exit_code=3,
    )  # fmt: skip
    [target] = value["targets"]
    return {each["ref"].replace(f"/{namespace}", ""): each for each in target["objects"]}


def apply_plan(machine: Machine, reference: str, plan: Path) -> Any:
    return machine("apply", reference, "--env", "stage", "--plan", plan, "-o", "json")


def findings(result: Any) -> set[tuple[str, str]]:
    assert result.exit_code == 4, result.stdout + result.stderr
    error = json.loads(result.stdout)["targets"][0]["error"]
    return {(each["rule"], each["object"].split("/")[-1]) for each in error["findings"]}


@pytest.mark.requirement("B-109")
def test_every_field_is_shown_and_no_secret(
    planned: dict[str, Any], releases: Releases, machine: Machine, place: Namespace, plan_file: Path
) -> None:
    assert planned["ConfigMap/settings"]["fields"] == [
        {"path": "data.colour", "before": "red", "after": "blue"}
    ]
    assert planned["Secret/token"]["fields"] == [
        {"path": "data.value", "before": "(secret)", "after": "(secret)"}
    ]
    image = "spec.template.spec.containers[main].image"
    assert [each["path"] for each in planned["Deployment/cart"]["fields"]] == [image]
    assert [each["path"] for each in planned["Job/migrate"]["fields"]] == [image]
    assert planned["Job/migrate"]["recreate"]
    assert {name: each["action"] for name, each in planned.items()} == {
        "ConfigMap/settings": "configured", "ConfigMap/features": "created",
        "Secret/token": "configured", "Service/cart": "unchanged", "Job/migrate": "configured",
        "Deployment/cart": "configured", "Deployment/coupons": "deleted",
    }  # fmt: skip
    shown = machine("plan", releases("v1.1.0"), "--env", "stage")
    everything = json.dumps(planned) + plan_file.read_text() + shown.stdout + shown.stderr
    assert not any(text in everything for text in SECRETS)
    assert place.lock_holder() == ""
    assert len(place.revisions()) == 1


@pytest.mark.requirement("B-109")
def test_a_plan_holds_while_only_statuses_change_and_is_applied(
    planned: dict[str, Any], releases: Releases, machine: Machine, place: Namespace, plan_file: Path
) -> None:
    condition = {"type": "Looked", "status": "True", "reason": "Test", "message": "now"}
    before = place.get(APPS, "deployments", "cart")["metadata"]["resourceVersion"]
    place.patch(APPS, "deployments", "cart/status", status={"conditions": [condition]})
    assert place.get(APPS, "deployments", "cart")["metadata"]["resourceVersion"] != before
    result = apply_plan(machine, releases("v1.1.0"), plan_file)
    assert result.exit_code == 0, result.stdout + result.stderr
    [target] = json.loads(result.stdout)["targets"]
    assert (target["status"], target["revision"]) == ("succeeded", 2)
    assert target["changes"]["configured"] == 4


@pytest.mark.requirement("B-109")
def test_a_plan_does_not_hold_where_its_objects_were_changed(
    planned: dict[str, Any], releases: Releases, machine: Machine, place: Namespace, plan_file: Path
) -> None:
    place.patch(CORE, "configmaps", "settings", metadata={"labels": {"team": "checkout"}})
    place.patch(APPS, "deployments", "coupons", spec={"replicas": 3})
    place.patch(CORE, "secrets", "token", data={"other": "eA=="})
    place.patch(CORE, "services", "cart", metadata={"labels": {"untouched": "yes"}})
    before = place.state()
    assert findings(apply_plan(machine, releases("v1.1.0"), plan_file)) == {
        ("plan-object", "settings"), ("plan-object", "coupons"), ("plan-object", "token"),
    }  # fmt: skip
    assert place.state() == before
    assert len(place.revisions()) == 1


# --- a first installation -----------------------------------------------------------------------


@pytest.fixture
def new_namespace(control_plane: ControlPlane, namespace: str) -> Iterator[str]:
    """The name of one that is not there yet."""
    name = f"{namespace}-new"
    yield name
    for path in (f"/api/v1/namespaces/{name}", f"{DEFINITIONS}/sums.{name}.example.com"):
        if control_plane.has(path):
            control_plane.request("DELETE", path)


@pytest.mark.requirement("B-109")
def test_a_first_installation_is_planned_and_applied_where_nothing_is_there_yet(
    control_plane: ControlPlane, machine: Machine, tmp_path: Path, new_namespace: str,
    plan_file: Path,
) -> None:  # fmt: skip
    releases = Releases(
        tmp_path / "registry",
        {"default": new_namespace},
        allowed=Allowed(cluster_scoped=frozenset({"CustomResourceDefinition"})),
    )
    group = f"{new_namespace}.example.com"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definition = made(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", f"sums.{group}",
        spec={
            "group": group,
            "names": {"kind": "Sum", "plural": "sums", "singular": "sum", "listKind": "SumList"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    )  # fmt: skip
    releases.publish(
        "v1.0.0", made("v1", "Namespace", new_namespace), definition,
        made(f"{group}/v1", "Sum", "sums"), *V1,
    )  # fmt: skip
    planned = machine.plan(releases("v1.0.0"), "--out", plan_file, "--exit-code", exit_code=3)
    [target] = planned["targets"]
    assert target["changes"] == {
        "created": len(V1) + 3, "configured": 0, "unchanged": 0, "deleted": 0, "skipped": 0,
    }  # fmt: skip
    assert not control_plane.has(f"/api/v1/namespaces/{new_namespace}")
    assert not control_plane.has(f"{DEFINITIONS}/sums.{group}")
    assert not any(text in plan_file.read_text() for text in SECRETS)
    result = apply_plan(machine, releases("v1.0.0"), plan_file)
    assert result.exit_code == 0, result.stdout + result.stderr
    leases = f"{LEASES}/namespaces/{new_namespace}/leases"
    assert control_plane.request("GET", leases)["items"]
