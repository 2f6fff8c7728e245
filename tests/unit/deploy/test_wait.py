"""Waiting, on scripted observations: what is judged, when, and in which words."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bundler.deploy.limits import Limits
from bundler.deploy.progress import Progress
from bundler.deploy.wait import failing_before, is_ready_already, wait, wave_subjects
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
        self.told: list[Progress] = []
        self.before: dict[ObjectRef, str] = {}
        self.log: list[str] = []
        self.asked: list[tuple[str, str, int, bool]] = []
        self.around_at_last: list[KubernetesObject] = []

    def around(self, _: Collection[ObjectRef]) -> Iterator[Observation]:
        yield from (Observation(ObjectRef.of(each), each) for each in self.around_at_last)

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

    def last_lines(
        self, pod: ObjectRef, container: str, count: int, *, previous: bool
    ) -> Sequence[str]:
        self.asked.append((pod.name, container, count, previous))
        return self.log

    def run(self, *refs: ObjectRef, limits: Limits | None = None) -> list[Progress]:
        limits = limits or Limits()
        wait(
            self,
            refs,
            wave="workloads",
            limits=limits,
            deadline=limits.timeout,
            monotonic=lambda: self.now,
            on_progress=self.told.append,
            before=self.before,
        )
        return self.told

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


NOT_FOUND = 'Back-off pulling image "x": ErrImagePull: manifest unknown: not found'
AWAY = 'failed to pull "x": dial tcp 10.0.0.1:443: connect: connection refused'


@pytest.mark.parametrize(
    ("message", "told", "seconds"),
    [
        (NOT_FOUND, "image not found: ", 30),
        ("pull access denied for x", "its registry does not let the node pull it: ", 30),
        ("", "its image cannot be pulled: ", 30),
        (AWAY, "its registry cannot be reached: ", 90),
    ],
)
def test_why_an_image_does_not_come_is_told_and_a_registry_may_come_back(
    message: str, told: str, seconds: float
) -> None:
    bad = pod("2", waiting("ImagePullBackOff", message))
    script = Script([cart(ROLLING), replica_set("2"), bad])
    error = script.fails(CART, limits=Limits(timeout=90))
    assert f"container main: {told}ImagePullBackOff" in error.message
    assert seconds <= script.now <= seconds + 3


def test_while_the_kubelet_backs_off_its_event_says_why() -> None:
    bad = pod("2", waiting("ImagePullBackOff", "Back-off pulling image"))
    why = warning(bad, "Failed", f"Failed to pull image: {AWAY}")
    script = Script([cart(ROLLING), replica_set("2"), bad, why])
    error = script.fails(CART, limits=Limits(timeout=60))
    assert "its registry cannot be reached" in error.message
    assert script.now >= 60


def warning(about: Object, reason: str, message: str, field: str = "") -> Object:
    event = made("v1", "Event", f"about-{about['metadata']['name']}", reason=reason)
    involved = {"uid": about["metadata"]["uid"], "fieldPath": field}
    times = {"lastTimestamp": "2026-01-01T00:00:09Z"}
    return {**event, "message": message, "type": "Warning", "involvedObject": involved, **times}


def crashed(
    exit_code: int, reason: str = "Error", restarts: int = 3, running: bool = False, **more: Any
) -> Object:
    """The status of a container that crashed, and waits or runs again."""
    now: Object = (
        {"running": {"startedAt": "…"}} if running else {"waiting": {"reason": "CrashLoopBackOff"}}
    )
    ended = {"exitCode": exit_code, "reason": reason, **more}
    return {"name": "main", "restartCount": restarts, "state": now, "lastState": {
        "terminated": ended
    }}  # fmt: skip


def with_containers(*statuses: Object, **status: Any) -> Object:
    return {"phase": "Running", "containerStatuses": list(statuses), **status}


@pytest.mark.parametrize(
    ("container", "told"),
    [
        (crashed(1), "restarted 3 times; exit code 1; CrashLoopBackOff"),
        (crashed(137, "OOMKilled"), "exit code 137 (signal 9, OOMKilled)"),
        (crashed(139), "exit code 139 (signal 11)"),
        (crashed(0, "Completed"), "exit code 0"),
        (
            crashed(127, "StartError", message='exec: "serve": not found'),
            'exit code 127 (StartError: exec: "serve": not found)',
        ),
    ],
)
def test_a_crash_loop_is_told_with_its_exit_code_signal_and_reason(
    container: Object, told: str
) -> None:
    script = Script([cart(ROLLING), replica_set("2"), pod("2", with_containers(container))])
    error = script.fails(CART)
    assert f"Pod/shop/cart-2-x, container main: restarted 3 times; {told}" in error.message or (
        told in error.message
    )
    assert 60 <= script.now <= 63


def test_what_a_program_said_when_it_ended_is_not_told_as_it_may_be_secret() -> None:
    status = with_containers(crashed(1, message="password=very secret"))
    error = Script([cart(ROLLING), replica_set("2"), pod("2", status)]).fails(CART)
    assert "secret" not in error.message + str(error.findings)


def test_two_restarts_are_named_and_end_nothing() -> None:
    status = with_containers(crashed(1, restarts=2))
    script = Script([cart(ROLLING), replica_set("2"), pod("2", status)])
    error = script.fails(CART, limits=Limits(timeout=100))
    assert "is not ready after 100 s" in error.message
    assert "restarted 2 times; exit code 1" in error.message


def test_the_crashes_of_a_job_are_counted_by_itself() -> None:
    migrate = living(job("migrate"), "uid-job", {"active": 1})
    status = with_containers(crashed(1, restarts=5))
    its_pod = owned("v1", "Pod", "migrate-x", "uid-job", status=status)
    script = Script([migrate, its_pod])
    error = script.fails(MIGRATE, limits=Limits(timeout=200))
    assert "is not ready after 200 s" in error.message
    assert "Pod/shop/migrate-x, container main: restarted 5 times" in error.message


def test_an_init_container_is_named_as_such() -> None:
    status = {"phase": "Pending", "initContainerStatuses": [{**crashed(2), "name": "wait"}]}
    error = Script([cart(ROLLING), replica_set("2"), pod("2", status)]).fails(CART)
    assert "Pod/shop/cart-2-x, init container wait: restarted 3 times; exit code 2" in error.message


@pytest.mark.parametrize(
    ("status", "event", "told"),
    [
        (
            waiting("CreateContainerConfigError", 'configmap "settings" not found'),
            None,
            'container main: CreateContainerConfigError: configmap "settings" not found',
        ),
        (
            waiting("ContainerCreating"),
            ("FailedMount", 'MountVolume.SetUp failed: secret "tls" not found', ""),
            'event FailedMount: MountVolume.SetUp failed: secret "tls" not found',
        ),
        (
            with_containers({"name": "main", "restartCount": 0, "state": {"running": {}}}),
            ("Unhealthy", "Startup probe failed: refused", "spec.containers{main}"),
            "Pod/shop/cart-2-x, container main: event Unhealthy: Startup probe failed: refused",
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "low on memory"},
            None,
            "Pod/shop/cart-2-x: Evicted: low on memory",
        ),
        (
            {"phase": "Running", "reason": "NodeLost", "message": "node-1 is unresponsive"},
            None,
            "Pod/shop/cart-2-x: NodeLost: node-1 is unresponsive",
        ),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: 3 Insufficient cpu.",
                    }
                ],
            },
            None,
            "Pod/shop/cart-2-x: Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.",
        ),
    ],
    ids=["config", "mount", "probe", "evicted", "node lost", "unschedulable"],
)
def test_what_may_pass_is_told_soon_and_named_when_time_is_up(
    status: Object, event: tuple[str, str, str] | None, told: str
) -> None:
    bad = pod("2", status)
    around = [warning(bad, *event)] if event else []
    script = Script([cart(ROLLING), replica_set("2"), bad, *around])
    error = script.fails(CART, limits=Limits(timeout=20))
    assert error.message.startswith("1 object is not ready after 20 s: Deployment/shop/cart: ")
    assert told in error.message
    assert [each.word for each in script.told if told in each.message] == ["waiting"]


def refused_set(revision: str) -> Object:
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
    status = {"conditions": [{**failure, "message": "exceeded quota: compute"}]}
    return {**replica_set(revision), "status": status}


def test_pods_that_are_refused_are_told_by_who_makes_them() -> None:
    script = Script([cart(ROLLING), refused_set("2")])
    error = script.fails(CART)
    assert "ReplicaSet/shop/cart-2: FailedCreate: exceeded quota: compute" in error.message
    assert 10 <= script.now <= 12


def test_what_stands_around_is_looked_at_when_waiting_ends_before_it_was_watched() -> None:
    script = Script([cart(ROLLING)])
    script.around_at_last = [refused_set("2")]
    error = script.fails(CART, limits=Limits(timeout=2))
    assert "ReplicaSet/shop/cart-2: FailedCreate: exceeded quota: compute" in error.message


def test_a_former_replica_set_s_refusal_is_none_of_the_new_one() -> None:
    script = Script([cart(ROLLING), refused_set("1"), replica_set("2")], *[[]] * 30, [cart(DONE)])
    script.run(CART)


def test_a_rollout_that_goes_on_pod_by_pod_under_a_quota_is_not_over() -> None:
    former, starting = pod("1", {"phase": "Running"}), pod("2", waiting("ContainerCreating"))
    seen = [cart(ROLLING), replica_set("1"), refused_set("2"), former, starting]
    Script(seen, *[[]] * 60, [cart(DONE)]).run(CART)


def exceeded(told_at: str) -> Object:
    """A Deployment that we changed at 00:05:00, whose deadline is exceeded."""
    progressing = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "late"}
    status = {**ROLLING, "conditions": [{**progressing, "lastUpdateTime": told_at}]}
    applied = [{"manager": "bundler", "operation": "Apply", "time": "2026-01-01T00:05:00Z"}]
    return living(deployment("cart"), "uid-cart", status, managedFields=applied)


def test_the_former_rollout_s_deadline_does_not_end_the_way_back() -> None:
    Script([exceeded("2026-01-01T00:04:00Z")], *[[]] * 5, [cart(DONE)]).run(CART)


@pytest.mark.parametrize(("told_at", "seconds"), [("00:04:00", 10), ("00:15:00", 0)])
def test_an_exceeded_deadline_ends_the_wait_unless_it_is_corrected(
    told_at: str, seconds: float
) -> None:
    script = Script([exceeded(f"2026-01-01T{told_at}Z")])
    assert "ProgressDeadlineExceeded: late" in script.fails(CART).message
    assert seconds <= script.now <= seconds + 2


# --- a StatefulSet that is blocked --------------------------------------------------------------


def database(**spec: Any) -> Object:
    status = {"observedGeneration": 1, "replicas": 1, "currentRevision": "a", "updateRevision": "b"}
    return living(made("apps/v1", "StatefulSet", "db", spec=spec), "uid-db", status)


def database_pod(revision: str, status: Object) -> Object:
    found = owned("v1", "Pod", "db-0", "uid-db", status=status)
    return {**found, "metadata": {**found["metadata"], "labels": {
        "controller-revision-hash": revision
    }}}  # fmt: skip


DB = ObjectRef("apps", "StatefulSet", "shop", "db")


@pytest.mark.requirement("A-16")
def test_a_broken_pod_that_blocks_a_stateful_set_s_update_is_named_with_the_way_out() -> None:
    script = Script([database(), database_pod("a", with_containers(crashed(1, restarts=40)))])
    error = script.fails(DB)
    assert 60 <= script.now <= 63
    assert "its update waits for a pod of the former revision: Pod/shop/db-0" in error.message
    assert "kubectl delete pod db-0 lets it go on" in error.message


@pytest.mark.requirement("A-16")
def test_pods_that_are_replaced_together_block_nothing() -> None:
    broken = database_pod("a", with_containers(crashed(1, restarts=40)))
    script = Script([database(podManagementPolicy="Parallel"), broken])
    error = script.fails(DB, limits=Limits(timeout=100))
    assert "is not ready after 100 s" in error.message


# --- who looks on -------------------------------------------------------------------------------


def test_what_was_not_ready_before_is_told_so() -> None:
    script = Script([cart(ROLLING)])
    script.before = {CART: "0 of 1 replicas are available"}
    error = script.fails(CART, limits=Limits(timeout=5))
    assert error.message.endswith(
        "it was not ready before this apply: 0 of 1 replicas are available"
    )


def test_a_long_silence_is_broken_by_what_is_waited_for() -> None:
    migrate = living(job("migrate"), "uid-job", {"active": 1})
    script = Script([cart(ROLLING), migrate], *[[]] * 80, [cart(DONE)])
    script.fails(CART, MIGRATE, limits=Limits(timeout=120))
    still = [each for each in script.told if each.word == "still waiting"]
    assert len(still) == 3
    assert str(still[0].ref) == "Deployment/shop/cart"
    assert still[0].message == "0 of 1 replicas are available; and for 1 more"
    assert str(still[-1].ref) == "Job/shop/migrate"


def test_what_passes_at_once_is_not_told() -> None:
    starting = pod("2", waiting("ErrImagePull", AWAY))
    running = pod("2", with_containers({"name": "main", "state": {"running": {}}}))
    script = Script([cart(ROLLING), replica_set("2"), starting], [], [running], *[[]] * 9)
    script.fails(CART, limits=Limits(timeout=12))
    assert not [each for each in script.told if "registry" in each.message]


@pytest.mark.parametrize("is_running", [False, True])
def test_the_failing_container_s_last_lines_are_shown_and_in_no_error(is_running: bool) -> None:
    status = with_containers(crashed(1, running=is_running))
    script = Script([cart(ROLLING), replica_set("2"), pod("2", status)])
    script.log = ["no settings", "bye"]
    error = script.fails(CART)
    assert script.asked == [("cart-2-x", "main", 10, is_running)]
    assert [each.message for each in script.told if each.word == "log"] == [
        "main: no settings", "main: bye",
    ]  # fmt: skip
    assert "settings" not in error.message + str(error.findings)


def test_of_many_that_fail_a_few_logs_are_shown() -> None:
    seen: list[Object] = []
    for number in range(9):
        obj = living(deployment(f"cart{number}"), f"uid-{number}", ROLLING, annotations={
            REVISION: "1"
        })  # fmt: skip
        owner = owned("apps/v1", "ReplicaSet", f"set{number}", f"uid-{number}")
        owner["metadata"]["annotations"] = {REVISION: "1"}
        crashing = with_containers(crashed(1))
        its_pod = owned("v1", "Pod", f"pod{number}", f"uid-set{number}", status=crashing)
        seen += [obj, owner, its_pod]
    script = Script(seen)
    error = script.fails(*(ObjectRef.of(each) for each in seen if each["kind"] == "Deployment"))
    assert len(error.findings) == 9
    assert len(script.asked) == 3


# --- nothing moves ------------------------------------------------------------------------------


def test_a_wait_in_which_nothing_moves_ends_when_that_was_asked_for() -> None:
    script = Script([cart(ROLLING), replica_set("2"), pod("2", waiting("ContainerCreating"))])
    error = script.fails(CART, limits=Limits(stall=40))
    assert error.message.startswith("1 object is not ready, and nothing has moved for 40 s")
    assert 40 <= script.now <= 42


def test_each_step_of_a_pod_is_a_move_and_going_round_in_circles_is_none() -> None:
    stages = [waiting("ContainerCreating"), with_containers({"name": "main", "started": True})]
    first, second = (pod("2", stage) for stage in stages)
    circles = [[first] if number % 2 else [second] for number in range(100)]
    script = Script([cart(ROLLING), replica_set("2"), first], *[[]] * 30, *circles)
    script.fails(CART, limits=Limits(stall=40))
    assert 70 <= script.now <= 74


# --- many ---------------------------------------------------------------------------------------


def busy_seconds(count: int) -> float:
    """CPU of waiting for so many workloads, with two pods and a few observations each."""
    first: list[Object] = []
    last: list[Object] = []
    for number in range(count):
        uid, name = f"uid-{number}", f"cart{number}"
        status = {"observedGeneration": 1, "replicas": 2, "readyReplicas": 1}
        workload = made("apps/v1", "StatefulSet", name, spec={"replicas": 2})
        first.append(living(workload, uid, status))
        for one in ("a", "b"):
            started = with_containers({"name": "main", "started": True, "state": {"running": {}}})
            first.append(owned("v1", "Pod", f"{name}-{one}", uid, status=started))
        done = {**status, "readyReplicas": 2, "updatedReplicas": 2}
        last.append(living(workload, uid, done))
    script = Script(first, [], [], last)
    began = time.process_time()
    script.run(*(ObjectRef.of(each) for each in last))
    return time.process_time() - began


def test_waiting_for_ten_times_as_many_costs_about_ten_times_as_much() -> None:
    small = min(busy_seconds(300) for _ in range(3))
    assert busy_seconds(3000) < 40 * small


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


def test_what_somebody_deletes_is_not_waited_for_until_the_timeout() -> None:
    script = Script([cart({}), Observation(CART, None)])
    error = script.fails(CART)
    assert "Deployment/shop/cart: is not there: somebody has deleted it" in error.message
    assert script.now <= Limits.refused + 2


def test_what_is_deleted_and_made_again_in_time_is_waited_for() -> None:
    Script([cart({}), Observation(CART, None)], *[[]] * 5, [cart(DONE)]).run(CART)


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


@pytest.mark.parametrize("version", ["v1", "events.k8s.io/v1"])
def test_an_event_is_ready_as_soon_as_it_is_there(version: str) -> None:
    """Watches follow the warnings among them only, and they are gone after an hour."""
    plan = planned(made(version, "Event", "released"), deployment("cart"))
    assert {ref.name for wave in plan.waves for ref in wave_subjects(plan, wave)} == {"cart"}


def test_a_plan_that_makes_anew_what_another_changes_is_another_plan() -> None:
    [wave] = planned(deployment("cart")).waves
    anew = Wave(wave.name, tuple(replace(each, recreate=True) for each in wave.changes))
    plans = [Plan("stage", "default", (each,)) for each in (wave, anew)]
    assert plans[0].is_same_as(plans[0])
    assert not plans[0].is_same_as(plans[1])


def test_what_was_ready_when_the_plan_was_made_is_told_from_what_was_not() -> None:
    other = {**living(deployment("other"), "uid-other"), "status": ROLLING}
    changes = [Change(ObjectRef.of(each), "unchanged", each, each) for each in (cart(DONE), other)]
    plan = Plan("stage", "default", (Wave("workloads", tuple(changes)),))
    refs = frozenset(change.ref for change in changes)
    assert failing_before(plan, refs) == {ObjectRef.of(other): "0 of 1 replicas are available"}
    assert is_ready_already(plan, frozenset({CART}))
    assert not is_ready_already(plan, refs)
    assert not is_ready_already(plan, frozenset({CART, MIGRATE}))
