"""What is stale and deleted, what is kept and stays recorded, and what is refused before."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.deploy.policy import Policy
from bundler.errors import Refused
from bundler.model.changeset import Plan
from bundler.model.objects import OWNER, ObjectRef
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import (
    Object,
    apply,
    config_map,
    deployment,
    made,
    namespace,
    release,
)

CLAIM = made("v1", "PersistentVolumeClaim", "data", spec={})
V2 = release("v2", [namespace(), config_map("settings")])


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def kept(obj: Object, annotation: str = "release-bundler/prune") -> Object:
    metadata = obj["metadata"]
    annotations = {**metadata["annotations"], annotation: "keep"}
    return {**obj, "metadata": {**metadata, "annotations": annotations}}


def installed(cluster: FakeCluster, *objects: Object) -> None:
    bundle = release("v1", [namespace(), config_map("settings"), *objects])
    assert apply(cluster, bundle).status == "succeeded"


def skipped(result: Any) -> dict[str, str]:
    return {
        change.ref.name: change.reason
        for change in result.changes.changes
        if change.action == "skipped"
    }


@pytest.mark.requirement("B-110")
@pytest.mark.parametrize("annotation", ["release-bundler/prune", "helm.sh/resource-policy"])
def test_what_its_annotation_keeps_stays_and_stays_recorded(
    cluster: FakeCluster, annotation: str
) -> None:
    installed(cluster, kept(config_map("precious"), annotation))
    for _ in range(2):
        result = apply(cluster, V2)
        assert skipped(result) == {
            "precious": f"its annotation {annotation} says keep; --delete ConfigMap/precious does"
        }
        assert "precious" in {ref.name for ref in cluster.inventory.objects}
    assert apply(cluster, V2, policy=Policy(delete=frozenset({"ConfigMap/precious"}))).error is None
    assert "precious" not in {ref.name for ref in cluster.inventory.objects}
    assert "precious" not in {ref.name for ref in cluster.objects}


@pytest.mark.requirement("B-110")
def test_nothing_is_deleted_where_nothing_is_to_be_and_the_next_apply_knows_it(
    cluster: FakeCluster,
) -> None:
    installed(cluster, config_map("old"))
    result = apply(cluster, V2, policy=Policy(prune=False))
    assert skipped(result) == {"old": "what is stale was to be kept"}
    assert apply(cluster, V2).changes.counts()["deleted"] == 1


@pytest.mark.requirement("B-110")
def test_more_deletions_than_are_allowed_are_refused_before_anything_changes(
    cluster: FakeCluster,
) -> None:
    installed(cluster, config_map("old-1"), config_map("old-2"), CLAIM)
    result = apply(cluster, V2, policy=Policy(max_deletions=1))
    assert isinstance(result.error, Refused)
    assert [(each.rule, each.object) for each in result.error.findings] == [
        ("max-deletions", "ConfigMap/shop/old-1"), ("max-deletions", "ConfigMap/shop/old-2"),
    ]  # fmt: skip
    assert len(cluster.revisions) == 1
    assert apply(cluster, V2, policy=Policy(max_deletions=2)).status == "succeeded"


@pytest.mark.requirement("B-110")
def test_a_claim_is_deleted_only_where_it_is_named_and_again_is_no_error(
    cluster: FakeCluster,
) -> None:
    installed(cluster, CLAIM)
    assert skipped(apply(cluster, V2)) == {
        "data": "a PersistentVolumeClaim is not deleted by itself; "
        "--delete PersistentVolumeClaim/data does"
    }
    policy = Policy(delete=frozenset({"PersistentVolumeClaim/data"}))
    result = apply(cluster, V2, policy=policy)
    [deleted] = [each for each in result.changes.changes if each.action == "deleted"]
    assert deleted.reason == "named to be deleted, with everything that it holds"
    assert apply(cluster, V2, policy=policy).status == "unchanged"


def test_a_name_that_nothing_has_is_told_and_stops_nothing(cluster: FakeCluster) -> None:
    installed(cluster, CLAIM)
    policy = Policy(
        delete=frozenset({"PersistentVolumeClaim/dada", "PersistentVolumeClaim/data"}),
        recreate=frozenset({"Deployment/cort", "ConfigMap/settings"}),
    )
    plan: list[Plan] = []

    def agree(found: Plan) -> bool:
        plan.append(found)
        return True

    result = apply(cluster, V2, policy=policy, on_plan=agree)
    assert result.status == "succeeded"
    assert [str(each.message) for each in plan[0].warnings if each.rule == "unknown-name"] == [
        "--delete PersistentVolumeClaim/dada: nothing that is stale has this name",
        "--recreate Deployment/cort: no object of the release has this name",
    ]


def test_what_the_release_has_cannot_be_named_to_be_deleted(cluster: FakeCluster) -> None:
    installed(cluster)
    result = apply(cluster, V2, policy=Policy(delete=frozenset({"ConfigMap/settings"})))
    assert isinstance(result.error, Refused)
    assert [each.rule for each in result.error.findings] == ["delete-wanted"]


def test_a_namespace_with_objects_of_the_release_stays_though_it_is_named(
    cluster: FakeCluster,
) -> None:
    extra = made("v1", "Namespace", "extra", namespace="")
    there = made("v1", "ConfigMap", "there", namespace="extra")
    installed(cluster, extra, there)
    policy = Policy(delete=frozenset({"Namespace/extra"}))
    result = apply(cluster, release("v2", [namespace(), there]), policy=policy)
    assert skipped(result) == {"extra": "objects of the release are in it"}


@pytest.mark.requirement("B-110")
def test_what_another_target_owns_by_now_is_left_alone(cluster: FakeCluster) -> None:
    installed(cluster, config_map("moved"))
    ref = ObjectRef("", "ConfigMap", "shop", "moved")
    cluster.objects[ref]["metadata"]["annotations"][OWNER] = "shop/stage/other"
    assert skipped(apply(cluster, V2)) == {"moved": "belongs to shop/stage/other by now"}
    assert ref in cluster.objects
    assert ref not in cluster.inventory.objects


@pytest.mark.requirement("B-110")
def test_what_another_target_takes_while_we_wait_is_not_deleted(cluster: FakeCluster) -> None:
    installed(cluster, config_map("moved"), deployment("web"))
    ref = ObjectRef("", "ConfigMap", "shop", "moved")

    def take(method: str, _: str) -> None:
        if method == "delete":
            cluster.objects[ref]["metadata"]["annotations"][OWNER] = "shop/stage/other"

    cluster.on_call = take
    result = apply(cluster, release("v2", [namespace(), config_map("settings"), deployment("web")]))
    assert result.status == "failed"
    assert ref in cluster.objects


@pytest.mark.requirement("B-110")
def test_an_object_whose_api_group_changed_is_not_deleted(cluster: FakeCluster) -> None:
    old = made("extensions/v1beta1", "Ingress", "web", spec={"rules": []})
    new = made("networking.k8s.io/v1", "Ingress", "web", spec={"rules": []})
    for obj in (old, new):
        cluster.served.add(ObjectRef.of(obj).group)
    installed(cluster, old)
    # A server shows it under both groups.
    cluster.objects[ObjectRef.of(new)] = cluster.objects[ObjectRef.of(old)] | {
        "apiVersion": "networking.k8s.io/v1"
    }
    result = apply(cluster, release("v2", [namespace(), config_map("settings"), new]))
    assert result.changes.counts()["deleted"] == 0
    assert ObjectRef.of(old) in cluster.objects
    assert ObjectRef.of(old) not in cluster.inventory.objects
    assert ObjectRef.of(new) in cluster.inventory.objects


def test_an_object_that_changed_its_namespace_is_made_there_and_deleted_here(
    cluster: FakeCluster,
) -> None:
    installed(cluster, config_map("moving"))
    cluster.create(made("v1", "Namespace", "other", namespace=""), "admin")
    there = made("v1", "ConfigMap", "moving", namespace="other", data={})
    result = apply(cluster, release("v2", [namespace(), config_map("settings"), there]))
    counts = result.changes.counts()
    assert (counts["created"], counts["deleted"]) == (1, 1)
