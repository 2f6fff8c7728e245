"""Drift is what somebody has changed of what the current release wants, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bundler.deploy.drift import drift_from
from bundler.errors import KeyNeeded, PermissionRefused
from bundler.model.bundle import VerifiedBundle
from bundler.model.drift import Drift
from bundler.model.objects import HELM_RESOURCE_POLICY, PRUNE, KubernetesObject, ObjectRef
from bundler.model.sops import EncryptedDocument
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import (
    Object,
    apply,
    config_map,
    deployment,
    job,
    made,
    namespace,
    release,
    secret,
)

CANARY = "Y2FuYXJ5"
OBJECTS = [
    namespace(), config_map("settings", colour="red", size="9"), secret("token", value=CANARY),
    job("migrate"), deployment("cart", replicas=2), deployment("search"),
]  # fmt: skip
V1 = release("v1.0.0", OBJECTS)
CART = ObjectRef("apps", "Deployment", "shop", "cart")
SETTINGS = ObjectRef("", "ConfigMap", "shop", "settings")
TOKEN = SETTINGS._replace(kind="Secret", name="token")
MIGRATE = ObjectRef("batch", "Job", "shop", "migrate")


class NoKey:
    """Implements `bundler.ports.Decrypter` for whoever has no key."""

    def decrypt(self, content: bytes) -> KubernetesObject:  # noqa: ARG002
        raise KeyNeeded("no key")


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    assert apply(cluster, V1).error is None
    cluster.calls.clear()
    return cluster


def drift(cluster: FakeCluster, bundle: VerifiedBundle = V1) -> Drift:
    return drift_from(bundle, "stage", "default", cluster.read(), cluster, NoKey())


def fields(found: Drift) -> list[tuple[str, Any]]:
    """What an object's fields say, of all that changed."""
    return [
        (str(each.ref).removeprefix("ConfigMap/shop/"), [field.as_dict() for field in each.fields])
        for each in found.objects
    ]


def container(obj: Object) -> Object:
    found: Object = obj["spec"]["template"]["spec"]["containers"][0]
    return found


def test_there_is_none_after_an_apply_and_nobody_is_asked(cluster: FakeCluster) -> None:
    found = drift(cluster)
    assert (found.objects, found.compared, found.not_compared) == ((), len(OBJECTS), {})
    assert {method for method, _ in cluster.calls} == {"read", "live"}


@pytest.mark.requirement("E-03")
def test_a_field_changed_by_hand_is_told_with_both_values_and_who_owns_it(
    cluster: FakeCluster,
) -> None:
    cluster.seconds = 3600
    cluster.update(SETTINGS, "kubectl-edit", lambda o: o["data"].update(colour="blue"))
    cluster.update(CART, "kubectl-set", lambda o: container(o).update(image="shop/cart:9"))
    since = "2026-01-01T01:00:00Z"
    assert fields(drift(cluster)) == [
        ("settings", [
            {"path": "data.colour", "wanted": "red", "found": "blue",
             "manager": "kubectl-edit", "since": since},
        ]),
        ("Deployment/shop/cart", [
            {"path": "spec.template.spec.containers[main].image", "wanted": "shop/cart:1",
             "found": "shop/cart:9", "manager": "kubectl-set", "since": since},
        ]),
    ]  # fmt: skip
    assert not cluster.sent("dry-run")


@pytest.mark.requirement("E-03")
def test_a_field_taken_away_by_hand_is_told_without_an_owner(cluster: FakeCluster) -> None:
    data = cluster.objects[SETTINGS]["data"]
    del data["size"]
    owned = cluster.objects[SETTINGS]["metadata"]["managedFields"][0]["fieldsV1"]["f:data"]
    del owned["f:size"]
    assert fields(drift(cluster)) == [
        ("settings", [{"path": "data.size", "wanted": "9", "manager": None, "since": None}])
    ]


@pytest.mark.requirement("E-03")
def test_no_value_of_a_secret_is_told(cluster: FakeCluster) -> None:
    cluster.update(TOKEN, "kubectl-edit", lambda o: o["data"].update(value="b3RoZXI="))
    found = drift(cluster)
    [(_, [field])] = fields(found)
    assert (field["path"], field["wanted"], field["found"]) == (
        "data.value", "(secret)", "(secret)",
    )  # fmt: skip
    assert CANARY not in repr(found) + str(fields(found))


ADDITIONS: dict[str, tuple[ObjectRef, str, Callable[[Object], Any]]] = {
    "a sidecar": (CART, "mesh", lambda o: o["spec"]["template"]["spec"]["containers"].append(
        {"name": "sidecar", "image": "mesh:1"})),
    "the status": (CART, "kcm", lambda o: o.update(status={"replicas": 7})),
    "a default": (CART, "kcm", lambda o: o["spec"].update(revisionHistoryLimit=10)),
    "an annotation": (CART, "kcm", lambda o: o["metadata"]["annotations"].update(revision="1")),
    "another key": (SETTINGS, "operator", lambda o: o["data"].update(more="1")),
    "an autoscaler's replicas": (
        CART, "kube-controller-manager", lambda o: o["spec"].update(replicas=7)),
}  # fmt: skip


@pytest.mark.requirement("E-13")
@pytest.mark.parametrize("what", ADDITIONS)
def test_what_others_own_is_no_drift(cluster: FakeCluster, what: str) -> None:
    ref, manager, change = ADDITIONS[what]
    cluster.update(ref, manager, change)
    assert drift(cluster).objects == ()


@pytest.mark.requirement("E-13")
@pytest.mark.parametrize("whose", ["the release's", "somebody's"])
def test_replicas_set_by_hand_are_drift_unless_there_is_an_autoscaler(
    cluster: FakeCluster, whose: str
) -> None:
    cluster.update(CART, "kubectl", lambda o: o["spec"].update(replicas=5))
    [(_, [field])] = fields(drift(cluster))
    assert (field["path"], field["wanted"], field["found"]) == ("spec.replicas", 2, 5)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "cart"}
    hpa = made("autoscaling/v2", "HorizontalPodAutoscaler", "cart", spec={"scaleTargetRef": target})
    cluster.create(hpa, "test")
    objects = [*OBJECTS, hpa] if whose == "the release's" else OBJECTS
    assert drift(cluster, release("v1.0.0", objects)).objects == ()


@pytest.mark.requirement("E-03")
@pytest.mark.parametrize("annotation", [PRUNE, HELM_RESOURCE_POLICY])
def test_what_an_annotation_keeps_is_not_extra(cluster: FakeCluster, annotation: str) -> None:
    without = release("v1.0.0", [each for each in OBJECTS if each["kind"] != "ConfigMap"])
    cluster.objects[SETTINGS]["metadata"]["annotations"][annotation] = "keep"
    assert drift(cluster, without).objects == ()


@pytest.mark.requirement("E-03")
def test_an_object_deleted_by_hand_is_missing(cluster: FakeCluster) -> None:
    del cluster.objects[SETTINGS]
    cluster.objects[CART]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    found = [(str(each.ref), each.kind, each.reason) for each in drift(cluster).objects]
    assert found == [
        ("ConfigMap/shop/settings", "missing", "it is not there"),
        ("Deployment/shop/cart", "missing", "it is being deleted"),
    ]


def test_a_job_that_completed_need_not_be_there_any_more(cluster: FakeCluster) -> None:
    assert MIGRATE in cluster.inventory.completed
    del cluster.objects[MIGRATE]
    assert drift(cluster).objects == ()


@pytest.mark.requirement("A-14")
def test_what_a_failed_release_left_is_drift_from_the_current_one(cluster: FakeCluster) -> None:
    broken = [
        namespace(), config_map("settings", colour="blue", size="9", more="1"),
        config_map("new"), secret("token", value=CANARY), job("migrate"),
        deployment("cart", image="shop/broken:1", progressDeadlineSeconds=5, replicas=2),
        deployment("search"),
    ]  # fmt: skip
    assert apply(cluster, release("v1.1.0", broken)).status == "failed"
    found = drift(cluster)
    assert {str(each.ref): each.kind for each in found.objects} == {
        "ConfigMap/shop/new": "extra", "ConfigMap/shop/settings": "changed",
        "Deployment/shop/cart": "changed",
    }  # fmt: skip
    told = {
        field.path: (field.as_dict().get("wanted"), field.found, field.manager)
        for each in found.objects
        for field in each.fields
    }
    assert told["data.colour"] == ("red", "blue", "bundler")
    assert told["data.more"] == (None, "1", "bundler")


def test_what_is_no_longer_ours_is_not_extra(cluster: FakeCluster) -> None:
    without = release("v1.0.0", [each for each in OBJECTS if each["kind"] != "ConfigMap"])
    assert [each.kind for each in drift(cluster, without).objects] == ["extra"]
    cluster.objects[SETTINGS]["metadata"]["uid"] = "another"
    assert drift(cluster, without).objects == ()


def test_who_may_not_patch_is_told_the_same_of_what_the_server_wrote_otherwise(
    cluster: FakeCluster,
) -> None:
    """Such as an admission webhook that replaces a value: the field stays ours."""
    container(cluster.objects[CART])["image"] = "mirror/cart:1"
    cluster.denied.add(("patch", "Deployment"))
    assert drift(cluster).objects == ()
    assert cluster.sent("dry-run") == [str(CART)]


def test_a_value_that_was_changed_in_our_name_is_drift(cluster: FakeCluster) -> None:
    container(cluster.objects[CART])["image"] = "shop/cart:9"
    [(_, [field])] = fields(drift(cluster))
    assert (field["found"], field["manager"]) == ("shop/cart:9", "bundler")


def test_without_any_managed_fields_the_server_is_asked(cluster: FakeCluster) -> None:
    cluster.objects[CART]["metadata"]["managedFields"] = []
    assert drift(cluster).objects == ()
    container(cluster.objects[CART])["image"] = "shop/cart:9"
    [(_, [field])] = fields(drift(cluster))
    assert (field["path"], field["manager"]) == (
        "spec.template.spec.containers", None,
    )  # fmt: skip


@pytest.mark.requirement("E-03")
def test_an_object_that_somebody_made_anew_is_compared_too(cluster: FakeCluster) -> None:
    del cluster.objects[CART]
    cluster.create(deployment("cart", image="shop/cart:9", replicas=2), "kubectl-create")
    [(_, [field])] = fields(drift(cluster))
    assert (field["found"], field["manager"]) == ("shop/cart:9", "kubectl-create")
    del cluster.objects[CART]
    cluster.create(deployment("cart", replicas=2), "kubectl-create")
    assert drift(cluster).objects == ()


def test_an_encrypted_secret_without_a_key_is_looked_for_and_not_compared(
    cluster: FakeCluster,
) -> None:
    cipher = "ENC[AES256_GCM,data:b2s=,iv:YQ==,tag:YQ==,type:str]"
    sops = {"mac": cipher, "lastmodified": "2026"}
    metadata = {"name": "token"}
    document = {
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"value": cipher},
        "sops": sops,
    }  # fmt: skip
    sealed = EncryptedDocument("stage/default/token.yaml", b"", document)
    bundle = replace(
        release("v1.0.0", [each for each in OBJECTS if each["kind"] != "Secret"]),
        encrypted={("stage", "default"): (sealed,)},
    )
    found = drift(cluster, bundle)
    assert found.objects == ()
    assert list(found.not_compared) == [TOKEN]
    assert "no key" in found.not_compared[TOKEN]
    del cluster.objects[TOKEN]
    found = drift(cluster, bundle)
    assert [(each.ref, each.kind) for each in found.objects] == [(TOKEN, "missing")]
    assert found.not_compared == {}


def test_kinds_that_may_not_be_read_are_not_compared_and_all_of_them_are_an_error(
    cluster: FakeCluster,
) -> None:
    cluster.denied.add(("list", "Secret"))
    del cluster.objects[SETTINGS]
    found = drift(cluster)
    assert [(each.ref, each.kind) for each in found.objects] == [(SETTINGS, "missing")]
    assert (list(found.not_compared), found.compared) == ([TOKEN], len(OBJECTS) - 1)
    cluster.denied |= {("list", each["kind"]) for each in OBJECTS}
    with pytest.raises(PermissionRefused):
        drift(cluster)
