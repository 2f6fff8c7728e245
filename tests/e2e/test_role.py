"""An account with exactly the roles that `bundler role` writes, on a real control plane."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.model.project import Allowed
from tests.e2e.live_objects import APPS, CORE, RBAC, Namespace
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment, job, made, service
from tools.control_plane import ApiError, ControlPlane, kubeconfig

pytest_plugins = ["tests.e2e.cluster"]

Object = dict[str, Any]
Deployer = Callable[[str], Machine]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
READS = {"apiGroups": [""], "resources": ["endpoints"], "verbs": ["get", "watch"]}


def objects(namespace: str, colour: str) -> list[Object]:
    """Among them what takes more than the usual: kinds of our own, roles, the whole cluster."""
    cart = deployment("cart", f"cart:{colour}")
    cart["spec"]["template"]["spec"]["serviceAccountName"] = "cart"
    group = f"{namespace}.example.com"
    names = {"kind": "Zone", "plural": "zonen", "singular": "zone"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    reader = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    return [
        made(
            "apiextensions.k8s.io/v1", "CustomResourceDefinition", f"zonen.{group}",
            spec={
                "group": group, "names": names, "scope": "Namespaced",
                "versions": [version | {"schema": {"openAPIV3Schema": schema}}],
            },
        ),
        made(f"{group}/v1", "Zone", "north", spec={"colour": colour}),
        config_map("settings", colour=colour),
        made("v1", "Secret", "token", stringData={"value": "very secret"}),
        made("v1", "ServiceAccount", "cart"),
        made("rbac.authorization.k8s.io/v1", "Role", "reader", rules=[READS]),
        made(
            "rbac.authorization.k8s.io/v1", "RoleBinding", "reader", roleRef=reader,
            subjects=[{"kind": "ServiceAccount", "name": "cart"}],
        ),
        service("cart", 80),
        job("migrate", f"migrate:{colour}"),
        cart,
    ]  # fmt: skip


@pytest.fixture
def published(
    releases: Releases, namespace: str, control_plane: ControlPlane
) -> Iterator[Releases]:
    allowed = Allowed(cluster_scoped=frozenset({"CustomResourceDefinition"}))
    found = replace(releases, project=namespace, allowed=allowed)
    found.publish("v1.0.0", *objects(namespace, "red"), config_map("old", a="b"))
    found.publish("v1.1.0", *objects(namespace, "blue"), deployment("search", "search:1"))
    yield found
    name = role_name(namespace)
    for path in (
        f"{DEFINITIONS}/zonen.{namespace}.example.com",
        f"{RBAC}/clusterroles/{name}",
        f"{RBAC}/clusterrolebindings/{name}",
    ):
        if control_plane.has(path):
            control_plane.request("DELETE", path)


def role_name(project: str) -> str:
    return f"bundler.{project}.stage.default"


@pytest.fixture
def deployer(
    control_plane: ControlPlane, machine: Machine, place: Namespace, tmp_path: Path
) -> Deployer:
    """A machine with a service account that may do what the roles of a release allow."""

    def granted(reference: str) -> Machine:
        account = {"metadata": {"name": "deployer"}}
        control_plane.request("POST", place.path(CORE, "serviceaccounts"), account)
        who = f"serviceaccount:{place.name}/deployer"
        for obj in roles(machine, reference, "--subject", who):
            control_plane.request("POST", collection(obj), obj)
        token = control_plane.service_account_token(place.name, "deployer")
        file = tmp_path / "deployer"
        file.write_text(
            json.dumps(kubeconfig(control_plane.server, control_plane.ca, "deployer", token))
        )
        wait_for_roles(control_plane, place.name, token)
        return machine.with_connection("--kubeconfig", file)

    return granted


def roles(machine: Machine, reference: str, *options: str) -> list[Object]:
    offline = machine.with_connection().with_variables(KUBECONFIG="")
    result = offline("role", reference, "--env", "stage", "-o", "json", *options)
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert not DocumentSchemas().check("result-role", value)
    assert value["remarks"] == []
    return list(value["objects"])


def collection(obj: Object) -> str:
    where = obj["metadata"].get("namespace")
    return f"{RBAC}{f'/namespaces/{where}' if where else ''}/{obj['kind'].lower()}s"


def wait_for_roles(control_plane: ControlPlane, namespace: str, token: str) -> None:
    """The authorizer learns of a binding a moment later."""
    paths = (f"/api/v1/namespaces/{namespace}/configmaps", "/api/v1/namespaces/kube-system")
    for path in paths:
        for _ in range(200):
            try:
                control_plane.request("GET", path, token=token)
                break
            except ApiError:
                time.sleep(0.02)


def test_the_roles_are_enough_to_install_upgrade_prune_go_back_and_look(
    published: Releases, deployer: Deployer, place: Namespace
) -> None:
    machine = deployer(published("v1.1.0"))
    [first] = machine.apply(published("v1.0.0"))["targets"]
    assert first["status"] == "succeeded"
    [second] = machine.apply(published("v1.1.0"))["targets"]
    assert (second["changes"]["deleted"], second["status"]) == (1, "succeeded")
    assert machine.apply(published("v1.1.0"))["targets"][0]["status"] == "unchanged"
    [back] = machine.apply(published("v1.0.0"))["targets"]
    assert (back["changes"]["deleted"], back["status"]) == (1, "succeeded")
    assert not place.has(APPS, "deployments", "search")
    assert machine.plan(published("v1.1.0"))["targets"][0]["warnings"][:1] == []
    assert machine.look("status", "--namespace", place.name)["current"]["tag"] == "v1.0.0"
    revision = place.revisions()[-1]
    assert revision["who"]["authenticated"].endswith(":deployer")
    assert revision["cluster"]


def test_all_that_was_taken_away_from_the_roles_is_named_at_once(
    published: Releases, deployer: Deployer, place: Namespace, control_plane: ControlPlane
) -> None:
    machine = deployer(published("v1.1.0"))
    path = place.path(RBAC, "roles", role_name(place.name))
    role = control_plane.request("GET", path)
    for rule in role["rules"]:
        if "deployments" in rule["resources"]:
            rule["verbs"] = [verb for verb in rule["verbs"] if verb not in ("patch", "watch")]
        if "leases" in rule["resources"]:
            rule["verbs"] = ["get"]
    control_plane.request("PUT", path, role)
    wanted = {
        f"{verb} {kind} in namespace {place.name}"
        for kind, verbs in {
            "Deployment.apps": ("patch", "watch"),
            "Lease.coordination.k8s.io": ("create", "update"),
        }.items()
        for verb in verbs
    }
    for _ in range(20):
        error = machine.plan(published("v1.1.0"), exit_code=4)["targets"][0]["error"]
        if wanted <= set(error["message"].partition("missing: ")[2].split(", ")):
            break
    assert error["code"] == "permission-refused"
    assert [each for each in wanted if each not in error["message"]] == []
    assert "bundler role" in error["hint"]
    assert place.owned() == {}


def test_custom_kinds_are_asked_of_the_cluster_where_one_is_named(
    published: Releases, machine: Machine, releases: Releases, namespace: str
) -> None:
    machine.apply(published("v1.0.0"))
    zone = made(f"{namespace}.example.com/v1", "Zone", "south")
    releases.publish("v2.0.0", zone)
    asked = machine("role", releases("v2.0.0"), "--env", "stage")
    assert asked.exit_code == 0, asked.stderr
    assert '"zonen"' in asked.stdout or "- zonen" in asked.stdout
    assert asked.stderr == ""
    alone = machine.with_connection()("role", releases("v2.0.0"), "--env", "stage")
    assert "- zones" in alone.stdout or '"zones"' in alone.stdout
    assert f"guessed: zones.{namespace}.example.com" in alone.stderr


def test_a_subject_that_is_none_is_a_usage_error(releases: Releases, machine: Machine) -> None:
    releases.publish("v1.0.0", config_map("settings"))
    refused = machine("role", releases("v1.0.0"), "--env", "stage", "--subject", "ci")
    assert refused.exit_code == 2
    assert "user:ci" in refused.stderr
