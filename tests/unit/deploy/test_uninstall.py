"""Nothing in a target any more, as an apply of nothing."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.deploy.flow import uninstall_from_target
from bundler.deploy.result import TargetResult
from bundler.errors import Locked, Refused
from bundler.model.changeset import Plan
from bundler.model.objects import OWNER
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import (
    OWNED_BY,
    apply,
    config_map,
    deployment,
    job,
    made,
    namespace,
    release,
    runner,
)

RELEASE = release(
    "v1.0.0",
    [
        namespace(), config_map("settings"), job("migrate"), deployment("cart"),
        made("v1", "PersistentVolumeClaim", "data", spec={}),
    ],
)  # fmt: skip


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    assert apply(cluster, RELEASE).error is None
    cluster.calls.clear()
    return cluster


def uninstall(cluster: FakeCluster, *, purge: bool = False, **changed: Any) -> TargetResult:
    by = runner(cluster.clock, cluster.monotonic, **changed)
    return uninstall_from_target(cluster.read(), cluster, by, namespace="shop", purge=purge)


def test_all_that_is_ours_is_deleted_in_reverse_order_but_for_what_holds_data(
    cluster: FakeCluster,
) -> None:
    result = uninstall(cluster)
    assert (result.status, result.outcome) == ("succeeded", "uninstalled")
    assert cluster.sent("delete") == [
        "Deployment/shop/cart", "Job/shop/migrate", "ConfigMap/shop/settings",
    ]  # fmt: skip
    assert {ref.kind for ref in cluster.owned(OWNED_BY)} == {"Namespace", "PersistentVolumeClaim"}
    assert [ref.name for ref in cluster.inventory.objects] == ["data"], "still ours"
    [skipped] = [each for each in result.changes.changes if each.action == "skipped"]
    assert "not deleted by itself" in skipped.reason


def test_the_history_stays_and_says_so(cluster: FakeCluster) -> None:
    uninstall(cluster)
    last = cluster.revisions[2]
    assert (last.kind, last.tag, last.status) == ("uninstall", "v1.0.0", "succeeded")
    assert last.title == "v1.0.0 uninstalled"
    assert cluster.revisions[1].status == "succeeded"
    assert cluster.read().current is None


def test_its_revision_counts_no_changes_of_the_release(cluster: FakeCluster) -> None:
    def kill(method: str, _: str) -> None:
        if method == "write_inventory":
            raise GeneratorExit

    cluster.on_call = kill
    with pytest.raises(GeneratorExit):
        uninstall(cluster)
    assert (cluster.revisions[2].status, cluster.revisions[2].changes) == ("pending", {})
    assert cluster.revisions[2].planned["deleted"] == 3


def test_it_can_be_installed_again(cluster: FakeCluster) -> None:
    before = cluster.owned(OWNED_BY)
    uninstall(cluster)
    result = apply(cluster, RELEASE)
    assert (result.status, result.revision) == ("succeeded", 3)
    assert cluster.owned(OWNED_BY) == before
    current = cluster.read().current
    assert current and (current.number, current.kind) == (3, "apply")


def test_a_second_time_there_is_nothing_to_do(cluster: FakeCluster) -> None:
    uninstall(cluster)
    assert uninstall(cluster).status == "unchanged"
    assert list(cluster.revisions) == [1, 2]


def test_what_somebody_else_has_by_now_is_left_alone(cluster: FakeCluster) -> None:
    for ref, obj in cluster.objects.items():
        if ref.name == "settings":
            obj["metadata"]["annotations"][OWNER] = "bank/stage/default"
    uninstall(cluster)
    assert "settings" in {ref.name for ref in cluster.objects}


def test_with_its_state_nothing_remains(cluster: FakeCluster) -> None:
    assert uninstall(cluster, purge=True).status == "succeeded"
    assert not cluster.revisions
    assert not cluster.inventory.objects


def test_who_was_overtaken_by_a_newer_release_deletes_nothing_of_it(cluster: FakeCluster) -> None:
    def overtake(method: str, _: str) -> None:
        if method == "held":
            cluster.on_call = lambda _, __: None
            assert apply(cluster, release("v1.1.0", [deployment("new")])).error is None
            cluster.calls.clear()

    cluster.on_call = overtake
    error = uninstall(cluster).error
    assert isinstance(error, Refused)
    assert "was applied meanwhile" in error.message
    assert error.hint == "run it again and look at the new plan"
    assert not cluster.sent("delete")


def test_nothing_is_deleted_without_consent_or_lock(cluster: FakeCluster) -> None:
    shown: list[Plan] = []

    def refuse(plan: Plan) -> bool:
        shown.append(plan)
        return False

    assert uninstall(cluster, on_plan=refuse).status == "skipped"
    assert [wave.name for wave in shown[0].waves] == ["deletions"]
    with cluster.held("runner-2"):
        assert isinstance(uninstall(cluster).error, Locked)
    assert not cluster.sent("delete")
