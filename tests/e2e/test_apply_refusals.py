"""Applies that are refused before anything changes: on a real control plane."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.model.project import Allowed
from tests.e2e.live_objects import CORE, RBAC, Namespace, Untouched
from tests.e2e.machine import Machine, value
from tests.e2e.releases import Releases, config_map, deployment, job, made, service
from tools.control_plane import ControlPlane, kubeconfig
from tools.server_process import free_port

pytest_plugins = ["tests.e2e.cluster"]

# --- refused before anything --------------------------------------------------------------------


def test_what_a_release_does_not_have_is_told_with_what_it_has(
    releases: Releases, machine: Machine, untouched: Untouched
) -> None:
    releases.publish("v1.0.0", config_map("settings"))
    error = machine.refused(releases("v1.0.0"), environment="prod", exit_code=2)
    assert (error["code"], error["hint"]) == ("usage", "it has stage")
    error = machine.refused(releases("v1.0.0"), "--target", "eu", exit_code=2)
    assert (error["code"], error["hint"]) == ("usage", "it has default")
    assert untouched()


@pytest.mark.requirement("B-103")
def test_a_version_that_was_never_published_touches_nothing(
    releases: Releases, machine: Machine, untouched: Untouched
) -> None:
    releases.publish("v1.0.0", config_map("settings"))
    error = machine.refused(releases("v1.0.1"), exit_code=1)
    assert error["code"] == "not-found"
    assert "v1.0.1" in error["message"]
    assert error["hint"] == "did you mean v1.0.0?"
    releases.publish("v1.1.0", config_map("settings"))
    assert machine.refused(releases("v1.0"), exit_code=1)["hint"] == "did you mean v1.0.0?"
    assert untouched()


def test_a_tampered_bundle_touches_nothing(
    releases: Releases, machine: Machine, untouched: Untouched
) -> None:
    releases.publish("v1.0.0", config_map("settings", colour="red"))
    for blob in Path(releases.registry.removeprefix("ocidir://"), "blobs/sha256").iterdir():
        content = bytearray(blob.read_bytes())
        if content[:2] == b"\x1f\x8b":
            content[-20] ^= 1
            blob.write_bytes(content)
    assert machine.refused(releases("v1.0.0"), exit_code=4)["code"] == "verification-failed"
    assert untouched()


def test_nobody_to_ask_and_no_connection_are_usage_errors(
    releases: Releases, machine: Machine, untouched: Untouched
) -> None:
    releases.publish("v1.0.0", config_map("settings"))
    unasked = machine("apply", releases("v1.0.0"), "--env", "stage", "-o", "json")
    assert unasked.exit_code == 2
    assert value("apply", unasked)["error"]["code"] == "confirmation-needed"
    error = machine.with_connection().refused(releases("v1.0.0"), exit_code=2)
    assert error["code"] == "no-connection"
    assert "--context" in error["hint"]
    error = machine.refused(releases("v1.0.0"), "--context", "nowhere", exit_code=2)
    assert error["code"] == "no-connection"
    assert "nowhere" in error["message"]
    for command in ("status", "history"):
        result = machine.with_connection()(command, "-o", "json")
        assert (result.exit_code, value(command, result)["error"]["code"]) == (2, "no-connection")
    assert untouched()


def test_an_unreachable_cluster_is_told_quickly(
    releases: Releases, machine: Machine, control_plane: ControlPlane, tmp_path: Path
) -> None:
    releases.publish("v1.0.0", config_map("settings"))
    server = f"https://127.0.0.1:{free_port()}"
    config = tmp_path / "nobody"
    config.write_text(json.dumps(kubeconfig(server, control_plane.ca, "ci", "token")))
    nowhere = machine.with_connection("--kubeconfig", config)
    started = time.monotonic()
    error = nowhere.refused(releases("v1.0.0"), exit_code=6)
    assert error["code"] == "unreachable"
    assert server in error["message"]
    assert time.monotonic() - started < 30
    result = nowhere("status", "-o", "json")
    assert (result.exit_code, value("status", result)["error"]["code"]) == (6, "unreachable")


# --- ownership and permissions ------------------------------------------------------------------


def test_an_object_of_another_project_is_refused_and_nothing_changes(
    releases: Releases, machine: Machine, place: Namespace, tmp_path: Path
) -> None:
    other = Releases(tmp_path / "registry", {"default": place.name}, project="blog")
    other.publish("v1.0.0", config_map("settings", of="blog"), service("web", 80))
    machine.apply(other("v1.0.0"))
    before = place.owned()
    releases.publish(
        "v1.0.0", config_map("settings", of="shop"), config_map("more"), service("web", 80)
    )
    error = machine.refused(releases("v1.0.0"), exit_code=4)
    assert error["code"] == "ownership-refused"
    assert {finding["object"] for finding in error["findings"]} == {
        f"ConfigMap/{place.name}/settings", f"Service/{place.name}/web",
    }  # fmt: skip
    assert "blog/stage/default" in error["message"]
    assert place.owned() == before


NAMESPACED_RULES = [
    {
        "apiGroups": ["", "batch"],
        "resources": ["configmaps", "jobs"],
        "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
    },
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    },
    {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["get", "list", "watch"]},
]
WORKLOAD_RULES = [
    {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get", "list", "watch"]},
]


@pytest.fixture
def limited(machine: Machine, place: Namespace, tmp_path: Path) -> Machine:
    """A machine with a service account that may work in one namespace, but not with workloads."""
    plane = place.control_plane
    plane.request(
        "POST", place.path(CORE, "serviceaccounts"), {**made("v1", "ServiceAccount", "deployer")}
    )
    role = made("rbac.authorization.k8s.io/v1", "Role", "deployer", rules=NAMESPACED_RULES)
    plane.request("POST", place.path(RBAC, "roles"), role)
    binding = made(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "deployer",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
        subjects=[{"kind": "ServiceAccount", "name": "deployer", "namespace": place.name}],
    )
    plane.request("POST", place.path(RBAC, "rolebindings"), binding)
    token = plane.service_account_token(place.name, "deployer")
    config = tmp_path / "limited"
    config.write_text(json.dumps(kubeconfig(plane.server, plane.ca, "ci", token)))
    return machine.with_connection("--kubeconfig", config)


def test_missing_permissions_are_all_told_before_anything_changes(
    releases: Releases, limited: Machine, place: Namespace, untouched: Untouched
) -> None:
    allowed = Allowed(cluster_scoped=frozenset({"ClusterRole"}))
    replace(releases, allowed=allowed).publish(
        "v1.0.0",
        config_map("settings"),
        deployment("cart", "cart:1"),
        made("rbac.authorization.k8s.io/v1", "ClusterRole", f"{place.name}-role", rules=[]),
    )
    error = limited.refused(releases("v1.0.0"), exit_code=4)
    assert error["code"] == "permission-refused"
    role = f"ClusterRole.rbac.authorization.k8s.io {place.name}-role"
    workload = f"Deployment.apps in namespace {place.name}"
    wanted = [f"{verb} {workload}" for verb in ("get", "list", "watch", "create", "patch")]
    wanted += [f"get {role}", f"patch {role}", "create ClusterRole"]
    assert [each for each in wanted if each not in error["message"]] == []
    assert "ConfigMap" not in error["message"]
    assert untouched()
    assert not place.control_plane.has(f"{RBAC}/clusterroles/{place.name}-role")


def test_who_may_do_nothing_at_all_is_told_everything_too(
    releases: Releases, limited: Machine, place: Namespace, untouched: Untouched
) -> None:
    releases.publish("v1.0.0", deployment("cart", "cart:1"))
    place.control_plane.request("DELETE", f"{place.path(RBAC, 'rolebindings')}/deployer")
    error = limited.refused(releases("v1.0.0"), exit_code=4)
    for kind in ("ConfigMap", "Lease.coordination.k8s.io", "Deployment.apps"):
        assert f"create {kind} in namespace {place.name}" in error["message"]
    assert "bundler role" in error["hint"]
    assert untouched()


@pytest.mark.requirement("B-115")
def test_an_account_of_one_namespace_is_enough_and_is_recorded(
    releases: Releases, limited: Machine, place: Namespace
) -> None:
    role = made(
        "rbac.authorization.k8s.io/v1", "Role", "deployer", rules=NAMESPACED_RULES + WORKLOAD_RULES
    )
    place.control_plane.request("PUT", place.path(RBAC, "roles", "deployer"), role)
    releases.publish(
        "v1.0.0", config_map("settings"), job("migrate", "migrate:1"), deployment("cart", "cart:1")
    )
    applied: Any = limited.apply(releases("v1.0.0"))["targets"][0]
    assert applied["status"] == "succeeded"
    [revision] = limited.look("history", "--namespace", place.name)["revisions"]
    account = f"system:serviceaccount:{place.name}:deployer"
    assert revision["who"]["authenticated"] == account


# --- what stands there already ------------------------------------------------------------------


def test_a_workload_of_nobodys_that_would_keep_its_own_containers_is_refused(
    releases: Releases, machine: Machine, control_plane: ControlPlane, namespace: str
) -> None:
    standing = deployment("web", "by-hand:1")
    [container] = standing["spec"]["template"]["spec"]["containers"]
    container["name"] = "by-hand"
    control_plane.request("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", standing)
    releases.publish("v1.0.0", deployment("web", "web:1"))
    error = machine.refused(releases("v1.0.0"), exit_code=4)
    [finding] = error["findings"]
    assert finding["rule"] == "foreign-image"
    assert "registry.example.com/by-hand:1" in finding["message"]


def test_an_object_of_nobodys_is_adopted_and_the_plan_says_so(
    releases: Releases, machine: Machine, control_plane: ControlPlane, namespace: str
) -> None:
    standing = config_map("settings", colour="red")
    control_plane.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", standing)
    releases.publish("v1.0.0", config_map("settings", colour="red"))
    planned = machine("apply", releases("v1.0.0"), "--env", "stage", "--dry-run", "-o", "json")
    [target] = value("apply", planned)["targets"]
    assert target["objects"] == [
        {
            "ref": f"ConfigMap/{namespace}/settings",
            "action": "configured",
            "reason": "adopted: it was not ours",
        }
    ]


def test_a_target_whose_namespace_changed_is_told_what_stays_in_the_former(
    releases: Releases, machine: Machine, namespace: str, tmp_path: Path
) -> None:
    project = f"moved-{namespace}"
    former = Releases(tmp_path / "former", {"default": namespace}, project)
    former.publish("v1.0.0", config_map("settings"))
    machine.apply(former("v1.0.0"))
    moved = Releases(tmp_path / "moved", {"default": f"{namespace}-new"}, project)
    moved.publish("v1.1.0", made("v1", "Namespace", f"{namespace}-new"), config_map("settings"))
    planned = machine("apply", moved("v1.1.0"), "--env", "stage", "--dry-run")
    assert f"--state-namespace {namespace} goes on from it" in planned.stderr
    onward = machine(
        "apply", moved("v1.1.0"), "--env", "stage", "--dry-run", "-o", "json",
        "--state-namespace", namespace,
    )  # fmt: skip
    [target] = value("apply", onward)["targets"]
    actions = {each["ref"]: each["action"] for each in target["objects"]}
    assert actions == {
        f"Namespace/{namespace}-new": "created",
        f"ConfigMap/{namespace}-new/settings": "created",
        f"ConfigMap/{namespace}/settings": "deleted",
    }
