"""Killed at every single call of a port, a run that follows comes to the same end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bundler.deploy.flow import uninstall_from_target
from bundler.deploy.policy import Policy
from bundler.deploy.result import TargetResult
from bundler.errors import Unreachable
from bundler.model.bundle import VerifiedBundle
from bundler.model.objects import ObjectRef
from bundler.model.revision import Revision
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import (
    OWNED_BY,
    Published,
    apply,
    config_map,
    definition,
    deployment,
    job,
    made,
    namespace,
    release,
    runner,
    stateful_set,
)

FIRST = release(
    "v1.0.0",
    [
        namespace(),
        definition("Color", "x.io"),
        made("x.io/v1", "Color", "red", spec={"rgb": "f00"}),
        config_map("settings", colour="red"),
        config_map("old"),
        job("migrate"),
        deployment("cart"),
        deployment("old-search"),
    ],
)
SECOND = release(
    "v1.1.0",
    [
        namespace(),
        definition("Color", "x.io"),
        config_map("settings", colour="blue"),
        job("migrate", image="shop/migrate:2"),
        deployment("cart", image="shop/cart:2"),
        stateful_set("db"),
    ],
)
THIRD = release("v1.2.0", [namespace(), config_map("settings", colour="blue")])


class Killed(BaseException):
    """As `kill -9`: nothing of ours may run any more."""


class KillAt:
    """Raises at the n-th call of a port, and lets nothing through afterwards."""

    def __init__(self, cluster: FakeCluster, at: int, error: Callable[[], BaseException]) -> None:
        self.cluster = cluster
        self.left = at
        self.error = error
        self.has_struck = False

    def __call__(self, _: str, __: str) -> None:
        check_inventory(self.cluster)
        self.left -= 1
        if self.left == 0 or (self.has_struck and self.error is Killed):
            self.has_struck = True
            raise self.error()


def check_inventory(cluster: FakeCluster) -> None:
    """At every moment the inventory has all that we own (the state's namespace is never in it)."""
    assert recorded(cluster) <= set(cluster.inventory.objects)


def prepared(*releases: VerifiedBundle) -> FakeCluster:
    cluster = FakeCluster()
    for bundle in releases:
        assert apply(cluster, bundle).error is None
    cluster.calls.clear()
    return cluster


SCENES = {
    "a first apply": ((), FIRST, FIRST),
    "an upgrade": ((FIRST,), SECOND, SECOND),
    "a prune": ((FIRST, SECOND), THIRD, THIRD),
    "an upgrade, then back": ((FIRST,), SECOND, FIRST),
    "a first apply, then another": ((), FIRST, THIRD),
    "an upgrade, then another": ((FIRST,), SECOND, THIRD),
}


@pytest.mark.requirement("B-111")
@pytest.mark.parametrize("scene", SCENES)
def test_a_run_that_was_killed_anywhere_is_made_good_by_the_next(scene: str) -> None:
    before, killed, then = SCENES[scene]
    expected = prepared(*before, then)
    count = calls_of(before, killed)
    for at in range(1, count + 1):
        cluster = prepared(*before)
        kill = KillAt(cluster, at, Killed)
        cluster.on_call = kill
        with pytest.raises(Killed):
            apply(cluster, killed)
        result = checked_apply(cluster, then)
        assert result.error is None, f"killed at call {at}: {result.error}"
        assert passing(cluster) == passing(expected), f"killed at call {at}"
        assert set(cluster.inventory.objects) == recorded(cluster)
        current, latest = cluster.read().current, cluster.read().latest
        assert current == latest and current is not None and current.tag == str(then.reference.tag)
        assert "pending" not in {revision.status for revision in cluster.revisions.values()}


def passing(cluster: FakeCluster) -> dict[ObjectRef, dict[str, Any]]:
    """What is ours, but for what stays when it is no longer wanted."""
    owned = cluster.owned(OWNED_BY)
    return {ref: obj for ref, obj in owned.items() if ref.kind != "CustomResourceDefinition"}


def recorded(cluster: FakeCluster) -> set[ObjectRef]:
    return {ref for ref in cluster.owned(OWNED_BY) if ref.kind != "Namespace"}


def checked_apply(cluster: FakeCluster, bundle: VerifiedBundle) -> TargetResult:
    """As a new process, whose every call sees an inventory that is complete."""
    cluster.on_call = lambda _, __: check_inventory(cluster)
    cluster.holder = None
    return apply(cluster, bundle)


def calls_of(before: tuple[VerifiedBundle, ...], bundle: VerifiedBundle) -> int:
    cluster = prepared(*before)
    checked_apply(cluster, bundle)
    return len(cluster.calls)


BROKEN = release(
    "v1.1.0",
    [
        namespace(),
        config_map("settings", colour="blue"),
        config_map("only-here"),
        job("migrate", image="shop/migrate:2"),
        deployment("cart", image="shop/refused:2"),
    ],
)
RESTORING = {"policy": Policy(on_failure="rollback"), "former": Published(FIRST)}


@pytest.mark.requirement("B-111", "A-15")
@pytest.mark.parametrize(
    ("then", "ends"),
    [(BROKEN, FIRST), (FIRST, FIRST), (THIRD, THIRD)],
    ids=["the same again", "the former one", "another"],
)
def test_a_rollback_that_was_killed_anywhere_is_made_good_by_the_next(
    then: VerifiedBundle, ends: VerifiedBundle
) -> None:
    expected = prepared(FIRST, ends)
    cluster = prepared(FIRST)
    cluster.on_call = lambda _, __: check_inventory(cluster)
    assert apply(cluster, BROKEN, **RESTORING).status == "rolled-back"
    count = len(cluster.calls)
    for at in range(1, count + 1):
        cluster = prepared(FIRST)
        cluster.on_call = KillAt(cluster, at, Killed)
        with pytest.raises(Killed):
            apply(cluster, BROKEN, **RESTORING)
        cluster.holder = None
        cluster.on_call = lambda _, __, cluster=cluster: check_inventory(cluster)  # type: ignore[misc]
        result = apply(cluster, then, **RESTORING)
        assert (result.error is None) == (then is ends), f"killed at call {at}: {result.error}"
        assert passing(cluster) == passing(expected), f"killed at call {at}"
        assert set(cluster.inventory.objects) == recorded(cluster)
        current, latest = cluster.read().current, cluster.read().latest
        assert current == latest and current is not None and current.tag == str(ends.reference.tag)
        assert "pending" not in {revision.status for revision in cluster.revisions.values()}
        untold = {r.status for r in cluster.revisions.values() if r.tag == "v1.1.0"}
        assert untold <= {"interrupted", "failed", "rolled-back"}


@pytest.mark.parametrize("purge", [False, True])
def test_an_uninstall_that_was_killed_anywhere_is_made_good_by_the_next(purge: bool) -> None:
    def uninstall(cluster: FakeCluster) -> TargetResult:
        by = runner(cluster.clock, cluster.monotonic)
        return uninstall_from_target(cluster.read(), cluster, by, namespace="shop", purge=purge)

    bundle = release("v1.0.0", [namespace(), config_map("settings"), deployment("cart")])
    cluster = prepared(bundle)
    assert uninstall(cluster).status == "succeeded"
    for at in range(2, len(cluster.calls) + 1):
        cluster = prepared(bundle)
        cluster.on_call = KillAt(cluster, at, Killed)
        with pytest.raises(Killed):
            uninstall(cluster)
        cluster.holder = None
        cluster.on_call = lambda _, __, cluster=cluster: check_inventory(cluster)  # type: ignore[misc]
        if cluster.revisions:
            assert uninstall(cluster).error is None
        assert {ref.kind for ref in cluster.owned(OWNED_BY)} == {"Namespace"}
        assert not cluster.inventory.objects
        assert bool(cluster.revisions) is not purge
        assert cluster.read().current is None


def test_the_same_release_continues_the_revision_that_was_cut_off() -> None:
    cluster = prepared(FIRST)
    cluster.on_call = KillAt(cluster, calls_of((FIRST,), SECOND) - 3, Killed)
    with pytest.raises(Killed):
        apply(cluster, SECOND)
    assert cluster.revisions[2].status == "pending"
    cluster.on_call = lambda _, __: None
    result = apply(cluster, SECOND)
    assert (result.revision, result.status) == (2, "succeeded")


def test_another_release_leaves_the_revision_that_was_cut_off_interrupted() -> None:
    cluster = prepared(FIRST)
    cluster.on_call = KillAt(cluster, calls_of((FIRST,), SECOND) - 3, Killed)
    with pytest.raises(Killed):
        apply(cluster, SECOND)
    cluster.on_call = lambda _, __: None
    result = apply(cluster, THIRD)
    assert (result.revision, result.status) == (3, "succeeded")
    assert cluster.revisions[2].status == "interrupted"


@pytest.mark.parametrize("method", ["watch", "apply", "delete"])
def test_whoever_interrupts_a_run_finds_it_recorded_and_the_lock_free(method: str) -> None:
    cluster = prepared(FIRST)

    def interrupt(called: str, _: str) -> None:
        if called == method:
            raise KeyboardInterrupt

    cluster.on_call = interrupt
    with pytest.raises(KeyboardInterrupt):
        apply(cluster, SECOND)
    cluster.on_call = lambda _, __: None
    assert cluster.revisions[2].status == "interrupted"
    assert cluster.holder is None
    assert apply(cluster, SECOND).status == "succeeded"


def test_an_interruption_right_after_the_first_record_is_recorded_too() -> None:
    class Terminated(FakeCluster):
        def write_revision(self, revision: Revision) -> None:
            super().write_revision(revision)
            if revision.status == "pending":
                raise KeyboardInterrupt

    cluster = Terminated()
    with pytest.raises(KeyboardInterrupt):
        apply(cluster, FIRST)
    assert [each.status for each in cluster.revisions.values()] == ["interrupted"]
    assert cluster.holder is None


@pytest.mark.parametrize("method", ["watch", "apply", "delete", "write_inventory"])
def test_a_cluster_that_goes_away_half_way_is_told_and_the_next_run_ends_well(method: str) -> None:
    cluster = prepared(FIRST)

    def vanish(called: str, _: str) -> None:
        if called == method:
            raise Unreachable("the cluster does not answer")

    cluster.on_call = vanish
    result = apply(cluster, SECOND)
    assert isinstance(result.error, Unreachable)
    assert cluster.revisions[2].status == "failed"
    assert checked_apply(cluster, SECOND).status == "succeeded"
    assert cluster.owned(OWNED_BY) == prepared(FIRST, SECOND).owned(OWNED_BY)


def test_a_cluster_that_takes_no_record_of_the_end_leaves_it_pending() -> None:
    cluster = prepared(FIRST)

    def vanish(called: str, _: str) -> None:
        if called == "watch":
            cluster.on_call = gone
            raise Unreachable("the cluster does not answer")

    def gone(_: str, __: str) -> None:
        raise Unreachable("still not")

    cluster.on_call = vanish
    result = apply(cluster, SECOND)
    assert result.error is not None and result.error.message == "the cluster does not answer"
    assert cluster.revisions[2].status == "pending"
