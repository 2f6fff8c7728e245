"""Waiting, on scripted observations: what is judged, when, and in which words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pytest

from bundler.deploy.progress import Progress
from bundler.deploy.rollout import Limits
from bundler.deploy.wait import wait, wave_subjects
from bundler.errors import NotReady
from bundler.model.changeset import Change, Plan, Wave
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.ports import Observation
from tests.fakes.releases import config_map, deployment, job, made

Object = dict[str, Any]
CART = ObjectRef("apps", "Deployment", "shop", "cart")
MIGRATE = ObjectRef("batch", "Job", "shop", "migrate")


class Script:
    """A watcher that tells what it is given, second by second, and keeps the time."""

    def __init__(self, *seconds: Sequence[KubernetesObject | Observation]) -> None:
        self.script = seconds
        self.now = 0.0
        self.is_closed = False

    def watch(self, _: Collection[ObjectRef], seconds: float) -> Iterator[Observation | None]:
        end = self.now + seconds
        try:
            for number in range(1000):
                for each in self.script[number] if number < len(self.script) else ():
                    if isinstance(each, Observation):
                        yield each
                    else:
                        yield Observation(ObjectRef.of(each), each)
                yield None
                self.now += 1
                if self.now >= end:
                    return
        finally:
            self.is_closed = True

    def run(self, *refs: ObjectRef, limits: Limits | None = None) -> list[Progress]:
        told: list[Progress] = []
        limits = limits or Limits()
        wait(
            self,
            refs,
            wave="workloads",
            limits=limits,
            deadline=limits.timeout,
            monotonic=lambda: self.now,
            on_progress=told.append,
        )
        return told

    def fails(self, *refs: ObjectRef, limits: Limits | None = None) -> NotReady:
        with pytest.raises(NotReady) as caught:
            self.run(*refs, limits=limits)
        assert self.is_closed
        return caught.value


def living(obj: Object, uid: str, status: Object | None = None, **metadata: Any) -> Object:
    return {
        **obj,
        "metadata": {**obj["metadata"], "uid": uid, "generation": 1, **metadata},
        "status": status or {},
    }


def owned(api_version: str, kind: str, name: str, owner: str, **rest: Any) -> Object:
    obj = made(api_version, kind, name, **rest)
    metadata = {"uid": f"uid-{name}", "ownerReferences": [{"uid": owner}]}
    return {**obj, "metadata": {**obj["metadata"], **metadata}}


def waiting(reason: str, message: str = "", restarts: int = 0) -> Object:
    container = {
        "name": "main",
        "restartCount": restarts,
        "state": {"waiting": {"reason": reason, "message": message}},
    }
    return {"phase": "Pending", "containerStatuses": [container]}


ROLLING: Object = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}
DONE: Object = {
    **ROLLING,
    "readyReplicas": 1,
    "availableReplicas": 1,
    "conditions": [{"type": "Available", "status": "True"}],
}
REVISION = "deployment.kubernetes.io/revision"


def cart(status: Object, revision: str = "2") -> Object:
    return living(deployment("cart"), "uid-cart", status, annotations={REVISION: revision})


def replica_set(revision: str) -> Object:
    made_set = owned("apps/v1", "ReplicaSet", f"cart-{revision}", "uid-cart")
    metadata = {**made_set["metadata"], "annotations": {REVISION: revision}}
    return {**made_set, "metadata": metadata}


def pod(revision: str, status: Object, name: str = "x") -> Object:
    return owned("v1", "Pod", f"cart-{revision}-{name}", f"uid-cart-{revision}", status=status)


def test_it_ends_when_all_are_ready_and_tells_what_it_sees() -> None:
    told = Script([cart(ROLLING)], [], [cart(DONE)]).run(CART)
    assert [(each.word, str(each.ref)) for each in told] == [
        ("waiting", "Deployment/shop/cart"),
        ("ready", "Deployment/shop/cart"),
    ]


def test_nothing_to_wait_for_takes_no_time() -> None:
    script = Script()
    script.run()
    assert script.now == 0


def test_a_deployment_is_not_judged_by_the_pods_of_its_former_replica_set() -> None:
    old = pod("1", waiting("InvalidImageName"))
    script = Script([cart(ROLLING), replica_set("1"), replica_set("2"), old], *[[]] * 90)
    script.script = (*script.script, [cart(DONE)])
    script.run(CART)
    assert script.now >= 90


def test_nor_by_what_was_before_its_change_was_noticed() -> None:
    stale = {**cart(ROLLING), "status": {**ROLLING, "observedGeneration": 0}}
    script = Script([stale, replica_set("2"), pod("2", waiting("InvalidImageName"))], [cart(DONE)])
    script.run(CART)


def test_an_invalid_image_name_fails_at_once() -> None:
    bad = pod("2", waiting("InvalidImageName", "couldn't parse image"))
    script = Script([cart(ROLLING), replica_set("2"), bad])
    error = script.fails(CART)
    assert "Pod/shop/cart-2-x, container main: InvalidImageName" in error.message
    assert script.now <= 1


def test_an_image_that_arrives_in_time_is_no_failure() -> None:
    slow = pod("2", waiting("ErrImagePull", "connection refused"))
    script = Script([cart(ROLLING), replica_set("2"), slow], *[[]] * 25, [cart(DONE)])
    script.run(CART)


def test_the_two_words_for_an_image_that_cannot_be_pulled_are_one_trouble() -> None:
    turns = [[pod("2", waiting(each))] for each in ("ErrImagePull", "ImagePullBackOff") * 20]
    script = Script([cart(ROLLING), replica_set("2")], *turns)
    script.fails(CART)
    assert 30 <= script.now <= 33


def test_crashes_do_not_count_while_another_new_pod_is_ready() -> None:
    crashing = pod("2", waiting("CrashLoopBackOff", restarts=9))
    ready = pod("2", {"conditions": [{"type": "Ready", "status": "True"}]}, "y")
    script = Script([cart(ROLLING), replica_set("2"), crashing, ready])
    error = script.fails(CART, limits=Limits(timeout=200))
    assert error.message.startswith("1 object is not ready after 200 s")


def test_an_old_event_about_refused_pods_is_forgotten() -> None:
    event = made("v1", "Event", "e", reason="FailedCreate", message="quota", type="Warning")
    event |= {"involvedObject": {"uid": "uid-db"}, "lastTimestamp": "2026-01-01T00:00:00Z"}
    applied = [{"manager": "bundler", "operation": "Apply", "time": "2026-01-01T00:05:00Z"}]
    db = living(made("apps/v1", "StatefulSet", "db", spec={}), "uid-db", managedFields=applied)
    script = Script([db, event])
    error = script.fails(ObjectRef.of(db), limits=Limits(timeout=60))
    assert "is not ready after 60 s" in error.message


def test_all_that_failed_is_named_not_only_the_first() -> None:
    other = {**living(deployment("other"), "uid-other"), "status": ROLLING}
    deadline = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "late"}
    failed = [{**obj, "status": {**ROLLING, "conditions": [deadline]}} for obj in (cart({}), other)]
    error = Script(failed).fails(CART, ObjectRef.of(other))
    assert [finding.object for finding in error.findings] == [
        "Deployment/shop/cart", "Deployment/shop/other",
    ]  # fmt: skip
    assert "ProgressDeadlineExceeded: late" in error.message


def test_a_job_that_its_time_to_live_removes_has_completed() -> None:
    complete = {"conditions": [{"type": "Complete", "status": "True"}]}
    done = living(job("migrate"), "uid-job", complete)
    Script([done, Observation(MIGRATE, None)], [cart(DONE)]).run(MIGRATE, CART)


def test_what_somebody_deletes_meanwhile_is_not_ready() -> None:
    script = Script([cart(DONE), Observation(CART, None)])
    error = script.fails(CART, MIGRATE, limits=Limits(timeout=5))
    assert "Deployment/shop/cart: is not there" in error.message


def planned(*objects: Object) -> Plan:
    waves: dict[str, list[Change]] = {}
    for obj in objects:
        name = "workloads" if obj["kind"] in ("Deployment", "CronJob") else "configuration"
        waves.setdefault(name, []).append(Change(ObjectRef.of(obj), "created", obj))
    ordered = [(name, waves[name]) for name in ("configuration", "workloads") if name in waves]
    return Plan("stage", "default", tuple(Wave(name, tuple(c)) for name, c in ordered))


def claim(name: str) -> Object:
    return made("v1", "PersistentVolumeClaim", name, spec={})


def test_a_claim_is_waited_for_with_the_workload_that_mounts_it() -> None:
    mounting = deployment("cart")
    mounting["spec"]["template"]["spec"]["volumes"] = [
        {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}
    ]
    plan = planned(config_map("settings"), claim("data"), claim("spare"), mounting)
    first, last = plan.waves
    assert wave_subjects(plan, first) == frozenset()
    assert {ref.name for ref in wave_subjects(plan, last)} == {"cart", "data"}
