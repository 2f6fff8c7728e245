"""Objects that say their wave and weight are applied then, and waited for."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.errors import NotReady
from bundler.model.objects import WAVE, WEIGHT
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import apply, config_map, deployment, job, release


def at(obj: Any, wave: str, weight: int = 0) -> Any:
    annotations = {**obj["metadata"]["annotations"], WAVE: wave, WEIGHT: str(weight)}
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}


OBJECTS = [
    at(job("warm-up"), "afterwards"),
    at(job("announce"), "afterwards", 10),
    deployment("cart"),
    at(job("migrate"), "jobs", -5),
    at(deployment("database"), "jobs", -10),
    job("check"),
    config_map("settings"),
]


def applied(cluster: FakeCluster) -> list[str]:
    """What was applied, and where it was waited for."""
    names = [
        subject.rpartition("/")[2] if method == "apply" else "wait"
        for method, subject in cluster.calls
        if method == "watch" or (method == "apply" and "bundler." not in subject)
    ]
    return [name for n, name in enumerate(names) if name != "wait" or names[n - 1] != "wait"]


@pytest.mark.requirement("B-108")
def test_waves_and_weights_come_one_after_the_other_each_waited_for() -> None:
    cluster = FakeCluster()
    result = apply(cluster, release("v1", OBJECTS))
    assert (result.status, result.error) == ("succeeded", None)
    order = applied(cluster)
    assert order[order.index("database") :][:11] == [
        "database", "wait", "migrate", "wait", "check", "wait", "cart", "wait", "warm-up", "wait",
        "announce",
    ]  # fmt: skip


@pytest.mark.requirement("A-13")
def test_what_fails_leaves_what_is_heavier_untouched() -> None:
    broken = at(job("migrate", image="shop/crashing:2"), "jobs", -5)
    result = apply(FakeCluster(), release("v1", [broken, *OBJECTS[:3], job("check")]))
    assert isinstance(result.error, NotReady)
    assert [str(change.ref) for change in result.changes.changes] == ["Job/shop/migrate"]
    assert len(result.not_started) == 4


@pytest.mark.requirement("B-108")
def test_a_hook_runs_once_for_each_content() -> None:
    cluster = FakeCluster()
    apply(cluster, release("v1", OBJECTS))
    again = apply(cluster, release("v2", [*OBJECTS, config_map("more")]))
    ran = {str(c.ref): c.action for c in again.changes.changes if c.ref.kind == "Job"}
    assert set(ran.values()) == {"unchanged"}
    changed = [at(job("warm-up", image="shop/warm-up:2"), "afterwards"), *OBJECTS[1:]]
    last = apply(cluster, release("v3", changed))
    actions = {str(c.ref): c.action for c in last.changes.changes}
    assert actions["Job/shop/warm-up"] == "configured"
    assert actions["Job/shop/migrate"] == "unchanged"
