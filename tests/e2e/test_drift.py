"""`bundler drift` and `status` on a real control plane, with the real owners of fields."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.e2e.live_objects import APPS, CORE, LEASES, Namespace
from tests.e2e.machine import Machine
from tests.e2e.releases import (
    Releases,
    config_map,
    deployment,
    job,
    made,
    service,
)

pytest_plugins = ["tests.e2e.cluster"]

CANARY, OTHER = "canary-4c1f", "canary-9e2d"
SCALER = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "search"}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}


def carts(image: str = "cart:1") -> dict[str, Any]:
    """A Deployment with what servers add to, rewrite and drop."""
    cart = deployment("cart", image, replicas=2)
    spec = cart["spec"]["template"]["spec"]
    spec |= {"hostNetwork": False, "imagePullSecrets": [], "tolerations": [{"operator": "Exists"}]}
    [container] = spec["containers"]
    container |= {
        "env": [{"name": "EMPTY", "value": ""}, {"name": "COLOUR", "value": "red"}],
        "ports": [{"containerPort": 80}],
        "resources": {"requests": {"cpu": 0.5, "memory": "1024Mi"}, "limits": {}},
    }
    return cart


def databases() -> dict[str, Any]:
    spec = deployment("db", "db:1", replicas=1, serviceName="db")["spec"]
    claims = [{"metadata": {"name": "data"}, "spec": CLAIM}]
    return made("apps/v1", "StatefulSet", "db", spec={**spec, "volumeClaimTemplates": claims})


OBJECTS = (
    config_map("settings", colour="red", size="9"),
    config_map("features", fast="yes"),
    made("v1", "Secret", "token", stringData={"value": CANARY}, data={"other": "eA=="}),
    service("cart", 80),
    job("migrate", "migrate:1"),
    carts(),
    databases(),
    deployment("search", "search:1", replicas=1),
    made("autoscaling/v2", "HorizontalPodAutoscaler", "search",
         spec={"scaleTargetRef": SCALER, "minReplicas": 1, "maxReplicas": 9}),
)  # fmt: skip


@pytest.fixture
def applied(releases: Releases, machine: Machine) -> str:
    """Digest of the release that is current."""
    digest = releases.publish("v1.0.0", *OBJECTS)
    machine.apply(releases("v1.0.0"))
    return digest


def edit(
    place: Namespace, collection: tuple[str, str], name: str, manager: str, **changed: Any
) -> None:
    """Change fields as a program of that name does."""
    how = "merge" if "/" in name else "strategic-merge"  # a Scale has no strategy
    place.control_plane.request(
        "PATCH",
        f"{place.path(*collection, name)}?fieldManager={manager}",
        changed,
        content_type=f"application/{how}-patch+json",
    )


def scale(place: Namespace, name: str, replicas: int, manager: str) -> None:
    edit(place, (APPS, "deployments"), f"{name}/scale", manager, spec={"replicas": replicas})


def delete(place: Namespace, collection: tuple[str, str], name: str) -> None:
    place.control_plane.request("DELETE", place.path(*collection, name))


def in_pods(**changed: Any) -> dict[str, Any]:
    return {"template": {"spec": {"containers": [{"name": "main", **changed}]}}}


CONFIG_MAPS, SECRETS, DEPLOYMENTS = (CORE, "configmaps"), (CORE, "secrets"), (APPS, "deployments")


@pytest.mark.requirement("E-13", "B-116")
def test_what_the_server_and_others_own_is_no_drift(
    applied: str, machine: Machine, place: Namespace
) -> None:
    found = machine.look("drift", "-n", place.name, "--exit-code")
    assert (found["status"], found["compared"], found["objects"]) == ("clean", len(OBJECTS), [])
    scale(place, "search", 5, "kubectl")  # the release's own autoscaler has the last word
    scale(place, "cart", 7, "kube-controller-manager")
    sidecar = deployment("cart", "mesh:1")
    sidecar["spec"] = {
        "template": {"spec": {"containers": [{"name": "sidecar", "image": "mesh:1"}]}}
    }
    place.control_plane.request(
        "PATCH",
        f"{place.path(*DEPLOYMENTS, 'cart')}?fieldManager=mesh",
        sidecar,
        content_type="application/apply-patch+yaml",
    )
    edit(place, CONFIG_MAPS, "settings", "operator", data={"more": "1"})
    looked = {"type": "Looked", "status": "True", "reason": "Test", "message": "now"}
    edit(place, DEPLOYMENTS, "search/status", "kcm", status={"conditions": [looked]})
    found = machine.look("drift", "-n", place.name, "--exit-code")
    assert (found["status"], found["objects"]) == ("clean", [])
    status = machine.look("status", "-n", place.name, "--exit-code")
    assert status["current"]["digest"] == applied
    assert status["drift"] == {"objects": [], "notCompared": [], "error": None}
    assert status["lock"] is None


@pytest.mark.requirement("E-03", "B-116")
def test_what_was_changed_by_hand_is_told_with_the_field_both_values_and_who(
    applied: str, machine: Machine, place: Namespace
) -> None:
    assert applied
    image = "registry.example.com/cart:hotfix"
    edit(place, DEPLOYMENTS, "cart", "kubectl-set", spec=in_pods(image=image))
    removed = {"name": "COLOUR", "$patch": "delete"}
    edit(place, DEPLOYMENTS, "cart", "kubectl-edit", spec=in_pods(env=[removed]))
    scale(place, "cart", 5, "kubectl")
    edit(place, CONFIG_MAPS, "settings", "kubectl-edit", data={"colour": "blue", "size": None})
    value = base64.b64encode(OTHER.encode()).decode()
    edit(place, SECRETS, "token", "kubectl-patch", data={"value": value})
    edit(place, (APPS, "statefulsets"), "db", "kubectl-label", metadata={"labels": {
        "app.kubernetes.io/managed-by": "me"}})  # fmt: skip
    delete(place, CONFIG_MAPS, "features")

    found = machine.look("drift", "-n", place.name, "--exit-code", exit_code=3)
    assert found["counts"] == {"missing": 1, "changed": 4, "extra": 0}
    told = {
        (each["ref"].replace(f"/{place.name}", ""), field["path"]): (
            field.get("wanted"), field.get("found"), field["manager"],
        )
        for each in found["objects"]
        for field in each["fields"]
    }  # fmt: skip
    container = "spec.template.spec.containers[main]"
    assert told == {
        ("ConfigMap/settings", "data.colour"): ("red", "blue", "kubectl-edit"),
        ("ConfigMap/settings", "data.size"): ("9", None, None),
        ("Secret/token", "data.value"): ("(secret)", "(secret)", "kubectl-patch"),
        ("StatefulSet/db", 'metadata.labels["app.kubernetes.io/managed-by"]'):
            ("bundler", "me", "kubectl-label"),
        ("Deployment/cart", f"{container}.image"):
            ("registry.example.com/cart:1", image, "kubectl-set"),
        ("Deployment/cart", f"{container}.env[COLOUR]"):
            ({"name": "COLOUR", "value": "red"}, None, None),
        ("Deployment/cart", "spec.replicas"): (2, 5, "kubectl"),
    }  # fmt: skip
    times = {f["path"]: f["since"] for each in found["objects"] for f in each["fields"]}
    assert times[f"{container}.image"] >= found["current"]["started"]
    assert times["data.size"] is None

    shown = machine("drift", "-n", place.name)
    assert shown.exit_code == 0
    for word in ("kubectl-set", "wanted", "hotfix", f"missing  ConfigMap/{place.name}/features"):
        assert word in shown.stdout
    status = machine("status", "-n", place.name, "--exit-code")
    assert status.exit_code == 3
    assert "5 objects" in status.stdout
    everything = json.dumps(found) + shown.stdout + shown.stderr + status.stdout + status.stderr
    for secret in (CANARY, OTHER):
        assert secret not in everything
        assert base64.b64encode(secret.encode()).decode() not in everything


@pytest.mark.requirement("E-15")
def test_what_was_deleted_by_hand_is_made_again_and_what_left_the_release_goes(
    applied: str, releases: Releases, machine: Machine, place: Namespace
) -> None:
    assert applied
    delete(place, CONFIG_MAPS, "features")
    delete(place, DEPLOYMENTS, "cart")
    found = machine.look("drift", "-n", place.name)
    assert {each["drift"] for each in found["objects"]} == {"missing"}
    [target] = machine.apply(releases("v1.0.0"))["targets"]
    assert (target["status"], target["changes"]["created"]) == ("succeeded", 2)
    assert machine.look("drift", "-n", place.name)["status"] == "clean"

    edit(place, CONFIG_MAPS, "settings", "somebody", metadata={"annotations": {
        "release-bundler/owner": "other/stage/default"}})  # fmt: skip
    gone = ("settings", "features")
    rest = [obj for obj in OBJECTS if obj["metadata"]["name"] not in gone]
    releases.publish("v1.1.0", *rest)
    [target] = machine.apply(releases("v1.1.0"))["targets"]
    assert target["changes"]["deleted"] == 1
    assert not place.has(*CONFIG_MAPS, "features")
    assert place.has(*CONFIG_MAPS, "settings"), "it is somebody else's by now"


@pytest.mark.requirement("A-14")
def test_a_failed_release_is_never_current_and_what_it_left_is_drift(
    applied: str, releases: Releases, machine: Machine, place: Namespace
) -> None:
    settings = config_map("settings", colour="blue", size="9", more="1")
    kept = [obj for obj in OBJECTS if obj["metadata"]["name"] not in ("settings", "cart")]
    releases.publish(
        "v1.1.0", *kept, settings, config_map("new"), carts("broken:1")
    )  # fmt: skip
    machine.apply(releases("v1.1.0"), "--timeout", "3s", exit_code=5)
    status = machine.look("status", "-n", place.name, "--exit-code", exit_code=3)
    assert (status["current"]["tag"], status["current"]["digest"]) == ("v1.0.0", applied)
    assert (status["latest"]["tag"], status["latest"]["status"]) == ("v1.1.0", "failed")
    found = {each["ref"].split("/")[-1]: each["drift"] for each in status["drift"]["objects"]}
    assert found == {"new": "extra", "settings": "changed", "cart": "changed"}
    shown = machine("drift", "-n", place.name).stdout
    assert "v1.1.0 was applied: failed (revision 2)" in shown
    assert "data.more (bundler" in shown


@pytest.mark.requirement("B-116", "E-13")
def test_who_may_only_read_is_told_drift_and_who_holds_the_lock(
    applied: str, machine: Machine, place: Namespace
) -> None:
    assert applied
    path = place.path("/apis/rbac.authorization.k8s.io/v1", "rolebindings")
    place.control_plane.request("POST", path, {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "reader"},
        "subjects": [{"kind": "User", "name": "limited",
                      "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "view",
                    "apiGroup": "rbac.authorization.k8s.io"},
    })  # fmt: skip
    edit(place, CONFIG_MAPS, "settings", "kubectl-edit", data={"colour": "blue"})
    reader = machine.with_connection("--kubeconfig", place.control_plane.limited_kubeconfig)
    found = reader.look("drift", "-n", place.name, "--exit-code", exit_code=3)
    assert [each["ref"] for each in found["objects"]] == [f"ConfigMap/{place.name}/settings"]
    assert [each["ref"] for each in found["notCompared"]] == [f"Secret/{place.name}/token"]
    assert found["compared"] == len(OBJECTS) - 1
    status = reader("status", "-n", place.name)
    assert status.exit_code == 0
    assert "the lock cannot be read" in status.stdout

    [lease] = place.listed(LEASES, "leases")
    place.patch(LEASES, "leases", lease["metadata"]["name"], spec={
        "holderIdentity": "ada@laptop 1a2b", "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:01:00.000000Z"})  # fmt: skip
    status = machine.look("status", "-n", place.name, "--no-drift")
    assert status["lock"] == {
        "name": "ada@laptop 1a2b", "since": "2026-01-01T00:00:00.000000Z",
        "renewed": "2026-01-01T00:01:00.000000Z",
    }  # fmt: skip
    shown = machine("status", "-n", place.name, "--no-drift").stdout
    assert "locked by ada@laptop 1a2b since 2026-01-01" in shown
