"""Sending: side by side, in order where it matters, and nothing more after an error."""

from __future__ import annotations

import threading

import pytest

from bundler.deploy.apply import DELETIONS, PARALLEL, Applied, Question, apply_wave, dry_run
from bundler.errors import Refused, Unreachable
from bundler.model.changeset import Change, Wave
from bundler.model.objects import KubernetesObject, ObjectRef
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import config_map, deployment, job


def wave(*objects: KubernetesObject) -> Wave:
    return Wave(
        "configuration", tuple(Change(ObjectRef.of(obj), "created", obj) for obj in objects)
    )


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.prepare()
    return cluster


def test_many_requests_are_on_their_way_at_once(cluster: FakeCluster) -> None:
    together = threading.Barrier(PARALLEL, timeout=10)

    def meet(method: str, _: str) -> None:
        if method == "apply":
            together.wait()

    cluster.on_call = meet
    apply_wave(cluster, wave(*(config_map(f"c{n}") for n in range(PARALLEL))), done=lambda _: None)
    assert len(cluster.sent("apply")) == PARALLEL


def test_an_error_stops_what_was_not_sent_and_waits_for_what_was(cluster: FakeCluster) -> None:
    begun = threading.Semaphore(0)
    done: list[Applied] = []

    def fail_when_all_others_are_on_their_way(method: str, subject: str) -> None:
        if method != "apply":
            return
        if subject == "ConfigMap/shop/c0":
            for _ in range(PARALLEL - 1):
                begun.acquire()
            raise Refused("ConfigMap/shop/c0: no")
        begun.release()

    cluster.on_call = fail_when_all_others_are_on_their_way
    objects = [config_map(f"c{n}") for n in range(PARALLEL * 20)]
    with pytest.raises(Refused, match="c0: no"):
        apply_wave(cluster, wave(*objects), done=done.append)
    assert len(cluster.sent("apply")) == len(done) >= PARALLEL - 1
    names = {ref.name for ref in cluster.objects if ref.kind == "ConfigMap"}
    assert names == {applied.change.ref.name for applied in done}


def test_what_needs_others_is_deleted_before_them(cluster: FakeCluster) -> None:
    objects = [deployment("cart"), job("migrate"), config_map("a"), config_map("b")]
    made = [cluster.apply(obj) for obj in objects]
    changes = [Change(ObjectRef.of(obj), "deleted", None, obj) for obj in made]
    apply_wave(cluster, Wave(DELETIONS, tuple(changes)), done=lambda _: None)
    first, second, *rest = cluster.sent("delete")
    assert (first, second) == ("Deployment/shop/cart", "Job/shop/migrate")
    assert sorted(rest) == ["ConfigMap/shop/a", "ConfigMap/shop/b"]


def test_a_dry_run_answers_in_the_order_of_the_questions(cluster: FakeCluster) -> None:
    cluster.refused[ObjectRef.of(config_map("c7"))] = Refused("no")
    answers = dry_run(cluster, [Question(config_map(f"c{n}")) for n in range(20)])
    assert isinstance(answers[7], Refused)
    assert [a["metadata"]["name"] for a in answers if not isinstance(a, Refused)] == [  # type: ignore[index]
        f"c{n}" for n in range(20) if n != 7
    ]
    assert {ref.kind for ref in cluster.objects} == {"Namespace"}


def test_a_server_that_does_not_answer_ends_a_dry_run(cluster: FakeCluster) -> None:
    cluster.refused[ObjectRef.of(config_map("c7"))] = Unreachable("no answer")
    with pytest.raises(Unreachable):
        dry_run(cluster, [Question(config_map(f"c{n}")) for n in range(20)])
