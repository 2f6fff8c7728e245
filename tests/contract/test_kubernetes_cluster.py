"""The cluster as a target, on a real control plane."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from bundler.adapters.cluster import objects as kubernetes_objects
from bundler.adapters.cluster.connection import KubernetesConnection, connect
from bundler.adapters.cluster.known import cluster_uid
from bundler.adapters.cluster.kubernetes_cluster import KubernetesCluster
from bundler.errors import (
    BundlerError,
    ImmutableField,
    NotFound,
    NotReady,
    OwnershipRefused,
    PermissionRefused,
    Refused,
)
from bundler.model.objects import ObjectRef
from bundler.ports import DeployTarget, Need
from tools.control_plane import ControlPlane


@pytest.fixture
def connection(control_plane: ControlPlane) -> Iterator[KubernetesConnection]:
    with connect(kubeconfig=control_plane.kubeconfig) as connection:
        yield connection


@pytest.fixture
def limited(control_plane: ControlPlane) -> Iterator[KubernetesConnection]:
    with connect(kubeconfig=control_plane.limited_kubeconfig) as connection:
        yield connection


def target_in(connection: KubernetesConnection, namespace: str) -> KubernetesCluster:
    return KubernetesCluster(
        connection, project="shop", environment="stage", target="default", namespace=namespace
    )


@pytest.fixture
def cluster(connection: KubernetesConnection, namespace: str) -> KubernetesCluster:
    return target_in(connection, namespace)


def config_map(namespace: str, name: str, **content: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": content,
    }


def deployment(namespace: str, name: str, app: str) -> dict[str, Any]:
    container = {"name": "app", "image": "registry.example.com/app:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": app}},
            "template": {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container]}},
        },
    }


def test_it_is_a_deploy_target(cluster: KubernetesCluster) -> None:
    target: DeployTarget = cluster
    assert target.watcher is not None


def test_a_cluster_is_identified_by_its_kube_system_namespace(
    control_plane: ControlPlane, connection: KubernetesConnection
) -> None:
    namespace = control_plane.request("GET", "/api/v1/namespaces/kube-system")
    assert cluster_uid(connection) == namespace["metadata"]["uid"]


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 7], ids=["one by one", "by a list"])
def test_objects_that_exist_are_read_with_their_kind(
    cluster: KubernetesCluster, namespace: str, number: int
) -> None:
    objects = [config_map(namespace, f"map-{n}", number=str(n)) for n in range(number)]
    for each in objects:
        cluster.apply(each)
    wanted = dict.fromkeys(map(ObjectRef.of, objects), "v1")
    absent = ObjectRef("", "ConfigMap", namespace, "absent")
    live = cluster.live({**wanted, absent: ""})
    assert set(live) == set(wanted)
    for ref, obj in live.items():
        assert ObjectRef.of(obj) == ref
        assert obj["data"] == {"number": ref.name.removeprefix("map-")}


def test_objects_are_read_from_every_page(
    cluster: KubernetesCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_objects, "PAGE", 2)
    objects = [config_map(namespace, f"map-{n}") for n in range(7)]
    for obj in objects:
        cluster.apply(obj)
    wanted = dict.fromkeys(map(ObjectRef.of, objects), "v1")
    assert set(cluster.live(wanted)) == set(wanted)


def test_unknown_kinds_and_namespaces_have_no_objects(cluster: KubernetesCluster) -> None:
    unknown = ObjectRef("example.com", "Wonder", "default", "one")
    elsewhere = [ObjectRef("", "ConfigMap", "no-such-namespace", f"map-{n}") for n in range(5)]
    assert cluster.live(dict.fromkeys([unknown, *elsewhere], "")) == {}


def test_a_version_that_is_no_longer_served_is_read_in_another(
    cluster: KubernetesCluster, namespace: str
) -> None:
    obj = deployment(namespace, "app", "app")
    cluster.apply(obj)
    live = cluster.live({ObjectRef.of(obj): "apps/v1beta1"})
    assert live[ObjectRef.of(obj)]["apiVersion"] == "apps/v1"


def test_reading_what_we_may_not_read_is_refused(
    limited: KubernetesConnection, namespace: str
) -> None:
    wanted = {ObjectRef("", "Secret", namespace, f"secret-{n}"): "v1" for n in range(5)}
    with pytest.raises(PermissionRefused, match=f"Secret/{namespace}"):
        target_in(limited, namespace).live(wanted)


# --- applying -----------------------------------------------------------------------------------


def test_an_apply_creates_and_changes_and_a_dry_run_does_not(
    cluster: KubernetesCluster, namespace: str
) -> None:
    first = config_map(namespace, "settings", colour="red")
    ref = ObjectRef.of(first)
    assert cluster.apply(first, dry_run=True)["data"] == {"colour": "red"}
    assert cluster.live({ref: "v1"}) == {}
    created = cluster.apply(first)
    assert created["metadata"]["managedFields"][0]["manager"] == "bundler"
    changed = cluster.apply(config_map(namespace, "settings", size="large"))
    assert changed["data"] == {"size": "large"}
    again = cluster.apply(config_map(namespace, "settings", size="large"))
    assert again["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]


def test_a_field_that_somebody_else_manages_is_refused(
    cluster: KubernetesCluster, control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.request(
        "POST",
        f"/api/v1/namespaces/{namespace}/configmaps?fieldManager=kubectl-edit",
        config_map(namespace, "settings", colour="red", size="small"),
    )
    with pytest.raises(OwnershipRefused) as error:
        cluster.apply(config_map(namespace, "settings", colour="blue"))
    assert str(error.value) == (
        f"ConfigMap/{namespace}/settings: kubectl-edit manages .data.colour"
    )


def test_what_a_role_does_not_allow_is_refused(
    limited: KubernetesConnection, namespace: str
) -> None:
    with pytest.raises(PermissionRefused, match=r"ConfigMap/.*cannot patch resource"):
        target_in(limited, namespace).apply(config_map(namespace, "settings"))


def test_an_exceeded_quota_is_no_question_of_permission(
    cluster: KubernetesCluster, control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.request(
        "POST",
        f"/api/v1/namespaces/{namespace}/resourcequotas",
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none"},
            "spec": {"hard": {"services": "0"}},
        },
    )
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "app", "namespace": namespace},
        "spec": {"ports": [{"port": 80}]},
    }
    assert_refused(cluster, service, "quota")


def assert_refused(cluster: KubernetesCluster, obj: dict[str, Any], words: str) -> BundlerError:
    with pytest.raises(Refused) as error:
        cluster.apply(obj)
    assert type(error.value) is Refused
    assert words in str(error.value)
    assert str(error.value).startswith(str(ObjectRef.of(obj)))
    return error.value


def test_an_immutable_field_is_refused_with_a_way_out(
    cluster: KubernetesCluster, namespace: str
) -> None:
    cluster.apply(deployment(namespace, "app", "one"))
    with pytest.raises(ImmutableField, match="field is immutable") as error:
        cluster.apply(deployment(namespace, "app", "two"))
    assert error.value.hint is not None
    assert "delete" in error.value.hint


@pytest.mark.parametrize(
    ("spec", "words"),
    [({"replicas": "two"}, ".spec.replicas"), ({"replicsa": 2}, ".spec.replicsa")],
    ids=["a wrong type", "an unknown field"],
)
def test_an_object_that_is_wrong_is_refused(
    cluster: KubernetesCluster, namespace: str, spec: dict[str, object], words: str
) -> None:
    obj = deployment(namespace, "app", "one")
    assert_refused(cluster, {**obj, "spec": {**obj["spec"], **spec}}, words)


def test_a_kind_without_namespace_is_refused_under_one(
    cluster: KubernetesCluster, namespace: str
) -> None:
    obj = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "reader", "namespace": namespace},
        "rules": [],
    }
    error = assert_refused(cluster, obj, "without namespace")
    assert error.hint is not None
    assert "allow.clusterScoped" in error.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"data": {"password": "correct-horse!"}}, "500"),
        ({"stringData": {"password": {"is": "correct-horse"}}}, ".stringData.password"),
        (
            {"type": "kubernetes.io/tls", "data": {"x": base64.b64encode(b"secret").decode()}},
            "data[tls.crt], data[tls.key]",
        ),
    ],
    ids=["no base64", "a wrong type", "invalid"],
)
def test_no_value_of_a_secret_is_told(
    cluster: KubernetesCluster, namespace: str, content: dict[str, object], words: str
) -> None:
    metadata = {"name": "login", "namespace": namespace}
    obj = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **content}
    error = assert_refused(cluster, obj, words)
    assert "correct-horse" not in str(error) + str(error.hint)


def test_a_namespace_that_is_not_there_yet_is_not_found(cluster: KubernetesCluster) -> None:
    with pytest.raises(NotFound, match='namespaces "no-such-namespace" not found'):
        cluster.apply(config_map("no-such-namespace", "settings"), dry_run=True)


def test_a_kind_that_is_not_there_yet_is_not_found(
    cluster: KubernetesCluster, namespace: str
) -> None:
    metadata = {"name": "one", "namespace": namespace}
    wonder = {"apiVersion": "example.com/v1", "kind": "Wonder", "metadata": metadata}
    with pytest.raises(NotFound, match=r"does not serve Wonder of example\.com/v1"):
        cluster.apply(wonder, dry_run=True)
    old = {**deployment(namespace, "app", "app"), "apiVersion": "apps/v1beta1"}
    with pytest.raises(NotFound) as error:
        cluster.apply(old, dry_run=True)
    assert error.value.hint == "it serves v1"


def test_a_namespace_that_is_being_deleted_is_refused(
    cluster: KubernetesCluster, control_plane: ControlPlane, namespace: str
) -> None:
    held = config_map(namespace, "held")
    held["metadata"]["finalizers"] = ["example.com/held"]
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    control_plane.request("POST", path, held)
    control_plane.request("DELETE", f"/api/v1/namespaces/{namespace}")
    error = assert_refused(cluster, config_map(namespace, "settings"), "being deleted")
    assert error.hint is not None
    control_plane.request(
        "PATCH",
        f"{path}/held",
        {"metadata": {"finalizers": None}},
        content_type="application/merge-patch+json",
    )


def test_an_object_of_a_kind_that_has_just_been_created_is_applied(
    cluster: KubernetesCluster, control_plane: ControlPlane, namespace: str
) -> None:
    group = f"{secrets.token_hex(4)}.example.com"
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"wonders.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": "Wonder", "plural": "wonders"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    }
    metadata = {"name": "one", "namespace": namespace}
    wonder = {"apiVersion": f"{group}/v1", "kind": "Wonder", "metadata": metadata}
    assert cluster.live({ObjectRef.of(wonder): ""}) == {}
    try:
        cluster.apply(definition)
        cluster.apply(wonder)
        assert set(cluster.live({ObjectRef.of(wonder): ""})) == {ObjectRef.of(wonder)}
    finally:
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        control_plane.request("DELETE", f"{path}/wonders.{group}")


# --- deleting -----------------------------------------------------------------------------------


@pytest.mark.requirement("B-110")
def test_only_the_object_with_our_uid_is_deleted(
    cluster: KubernetesCluster, control_plane: ControlPlane, namespace: str
) -> None:
    ours = cluster.apply(config_map(namespace, "settings"))
    ref = ObjectRef.of(ours)
    cluster.delete(ref, ours["metadata"]["uid"])
    assert cluster.live({ref: ""}) == {}
    cluster.delete(ref, ours["metadata"]["uid"])  # absent is success

    path = f"/api/v1/namespaces/{namespace}/configmaps"
    control_plane.request("POST", path, config_map(namespace, "settings"))
    with pytest.raises(Refused, match="another object has taken its name"):
        cluster.delete(ref, ours["metadata"]["uid"])
    with pytest.raises(Refused, match="UID is not known"):
        cluster.delete(ref, "")
    assert set(cluster.live({ref: ""})) == {ref}


def test_a_job_is_gone_when_its_pods_are(
    cluster: KubernetesCluster, control_plane: ControlPlane, namespace: str
) -> None:
    pod = {"containers": [{"name": "job", "image": "job:1"}], "restartPolicy": "Never"}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate", "namespace": namespace},
        "spec": {"template": {"spec": {**pod, "nodeSelector": {"nowhere": "true"}}}},
    }
    assert cluster.watcher is not None
    applied = cluster.apply(job)
    ref = ObjectRef.of(job)
    for observation in cluster.watcher.watch([ref], 30):
        if observation and observation.ref.kind == "Pod" and observation.object:
            break
    cluster.delete(ref, applied["metadata"]["uid"])
    pods = control_plane.request("GET", f"/api/v1/namespaces/{namespace}/pods")
    assert [item for item in pods["items"] if "deletionTimestamp" not in item["metadata"]] == []


def test_an_object_that_does_not_go_away_is_told_with_its_finalizers(
    cluster: KubernetesCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_objects, "_DELETE_SECONDS", 0.2)
    obj = config_map(namespace, "held")
    obj["metadata"]["finalizers"] = ["example.com/held"]
    held = cluster.apply(obj)
    with pytest.raises(NotReady, match=r"held by example\.com/held"):
        cluster.delete(ObjectRef.of(held), held["metadata"]["uid"])
    obj["metadata"]["finalizers"] = []
    cluster.apply(obj)


# --- permissions --------------------------------------------------------------------------------


def test_missing_permissions_are_told_before_anything_is_done(
    cluster: KubernetesCluster,
    limited: KubernetesConnection,
    control_plane: ControlPlane,
    namespace: str,
) -> None:
    patch = Need("patch", "apps", "Deployment", namespace)
    read = Need("get", "", "ConfigMap", namespace)
    unknown = Need("patch", "example.com", "Wonder", namespace)
    assert cluster.missing([patch, read, unknown]) == ()
    assert target_in(limited, namespace).missing([]) == ()

    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
    control_plane.request("POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "limited"}
    binding = {"metadata": {"name": "b"}, "roleRef": reference, "subjects": [subject]}
    control_plane.request("POST", f"{rbac}/rolebindings", binding)
    target = target_in(limited, namespace)
    for _ in range(100):  # the authorizer learns of a binding a moment later
        missing = target.missing([patch, read, patch, unknown])
        if missing == (patch,):
            break
    assert missing == (patch,)


def test_it_says_who_we_are(limited: KubernetesConnection, namespace: str) -> None:
    assert target_in(limited, namespace).authenticated() == "limited"


def test_objects_stay_as_they_are_written(cluster: KubernetesCluster, namespace: str) -> None:
    odd = 'Grüße \x07 \x7f \x85 \u2028\u2029 \ufeff \U0001f680 "quoted" \\n\t\r\n 2\n'
    applied = cluster.apply(config_map(namespace, "odd", text=odd))
    assert applied["data"] == {"text": odd}
    assert json.loads(json.dumps(applied)) == applied
