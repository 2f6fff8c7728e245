"""Several targets of an environment: one question, waves over the targets, one failure policy."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from bundler.deploy.flow import apply_to_target
from bundler.deploy.progress import Progress
from bundler.deploy.result import Runner, TargetResult
from bundler.deploy.targets import Order, over_targets
from bundler.errors import BundlerError, NotReady, PlanChanged, Unreachable
from bundler.model.changeset import Plan
from bundler.model.objects import OWNER
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import config_map, deployment, namespace, release, runner

EU, US, ASIA = "eu", "us", "asia"
BROKEN = "shop/broken:1"


@dataclass
class Fleet:
    """Clusters by target, and what was asked and told."""

    clusters: dict[str, FakeCluster]
    image: dict[str, str] = field(default_factory=dict)
    """The image of a target's Deployment."""
    answer: bool = True
    asked: list[list[str]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    on_progress: Callable[[str, Progress], None] = lambda _, __: None

    def agreed(self, plans: Sequence[Plan]) -> bool:
        assert not any(cluster.sent("apply") for cluster in self.clusters.values())
        self.asked.append([plan.target for plan in plans])
        return self.answer

    def act(self, target: str, by: Runner) -> TargetResult:
        image = self.image.get(target, "shop/cart:1")
        objects: list[Any] = [namespace(), config_map("settings"), deployment("cart", image)]
        for each in objects:
            each["metadata"]["annotations"] = {OWNER: f"shop/stage/{target}"}
        bundle = release("v1.0.0", objects, target=target)
        return apply_to_target(bundle, "stage", target, self.clusters[target], by)

    def runner_of(self, target: str) -> Runner:
        cluster = self.clusters[target]
        by = runner(cluster.clock, cluster.monotonic, on_plan=lambda _: False)
        return replace(by, on_progress=lambda progress: self.on_progress(target, progress))

    def apply(self, **order: Any) -> dict[str, TargetResult]:
        results = over_targets(
            list(self.clusters),
            self.act,
            self.runner_of,
            self.agreed,
            Order(**order),
            lambda result: self.ended.append(result.target),
        )
        assert [result.target for result in results] == list(self.clusters)
        return {result.target: result for result in results}

    def untouched(self) -> set[str]:
        return {
            target
            for target, cluster in self.clusters.items()
            if not (cluster.objects or cluster.revisions or cluster.sent("prepare"))
        }


@pytest.fixture
def fleet() -> Fleet:
    return Fleet({name: FakeCluster() for name in (EU, US, ASIA)})


def statuses(results: dict[str, TargetResult]) -> list[str]:
    return [result.status for result in results.values()]


def unreachable(method: str, _: str) -> None:
    raise Unreachable("no answer")


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_all_plans_are_shown_together_and_before_the_first_change(
    fleet: Fleet, at_once: int
) -> None:
    results = fleet.apply(at_once=at_once)
    assert statuses(results) == ["succeeded"] * 3
    assert fleet.asked == [[EU, US, ASIA]]
    assert sorted(fleet.ended) == sorted([EU, US, ASIA])


def test_what_was_turned_down_changes_no_target(fleet: Fleet) -> None:
    fleet.answer = False
    results = fleet.apply(at_once=2)
    assert statuses(results) == ["skipped"] * 3
    assert fleet.untouched() == {EU, US, ASIA}


def test_one_after_the_other_in_their_order(fleet: Fleet) -> None:
    fleet.apply()
    assert fleet.ended == [EU, US, ASIA]


def test_no_more_than_so_many_are_under_way_and_so_many_are() -> None:
    fleet = Fleet({f"t{number}": FakeCluster() for number in range(7)})
    under_way: set[str] = set()
    most = 0
    meeting = threading.Barrier(3, timeout=10)
    first: set[str] = {"t0", "t1", "t2"}

    def on_call(target: str) -> Callable[[str, str], None]:
        def called(method: str, _: str) -> None:
            nonlocal most
            if method == "prepare":
                under_way.add(target)
                most = max(most, len(under_way))
                if target in first:
                    meeting.wait()  # goes on when three are there: else the test fails

        return called

    for target, cluster in fleet.clusters.items():
        cluster.on_call = on_call(target)
    fleet.ended = Ended(under_way)
    assert set(statuses(fleet.apply(at_once=3))) == {"succeeded"}
    assert most == 3


class Ended(list[str]):
    """Takes who has ended off those that are under way."""

    def __init__(self, under_way: set[str]) -> None:
        super().__init__()
        self.under_way = under_way

    def append(self, target: str) -> None:
        super().append(target)
        self.under_way.discard(target)


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.requirement("C-14")
def test_a_failure_leaves_what_has_not_begun_as_it_was(fleet: Fleet) -> None:
    fleet.image[US] = BROKEN
    results = fleet.apply()
    assert statuses(results) == ["succeeded", "failed", "skipped"]
    assert isinstance(results[US].error, NotReady)
    assert fleet.untouched() == {ASIA}


@pytest.mark.requirement("C-14")
def test_the_others_go_on_when_one_fails_if_they_are_to(fleet: Fleet) -> None:
    fleet.image[EU] = BROKEN
    assert statuses(fleet.apply(keep_going=True)) == ["failed", "succeeded", "succeeded"]


def test_what_is_under_way_when_another_fails_goes_on_to_its_end(fleet: Fleet) -> None:
    fleet.image[EU] = BROKEN
    eu_is_over = threading.Event()

    class Told(list[str]):
        def append(self, target: str) -> None:
            super().append(target)
            if target == EU:
                eu_is_over.set()

    def wait_for_eu(method: str, _: str) -> None:
        if method == "apply":
            assert eu_is_over.wait(10)

    fleet.ended = Told()
    fleet.clusters[US].on_call = wait_for_eu
    assert statuses(fleet.apply(at_once=2)) == ["failed", "succeeded", "skipped"]
    assert fleet.untouched() == {ASIA}


def test_a_target_that_cannot_be_planned_keeps_all_of_them_as_they_were(fleet: Fleet) -> None:
    fleet.clusters[ASIA].on_call = unreachable
    assert statuses(fleet.apply(at_once=2)) == ["skipped", "skipped", "failed"]
    assert fleet.asked == []
    assert fleet.untouched() == {EU, US, ASIA}


def test_the_others_are_changed_if_they_are_to_be_when_one_cannot_be_planned(fleet: Fleet) -> None:
    fleet.clusters[EU].on_call = unreachable
    assert statuses(fleet.apply(keep_going=True)) == ["failed", "succeeded", "succeeded"]
    assert fleet.asked == [[US, ASIA]]


# --- canaries -----------------------------------------------------------------------------------


def test_a_canary_comes_first_and_alone(fleet: Fleet) -> None:
    began: list[tuple[str, list[str]]] = []

    def on_call(target: str) -> Callable[[str, str], None]:
        def called(method: str, _: str) -> None:
            if method == "prepare":
                began.append((target, list(fleet.ended)))

        return called

    for target, cluster in fleet.clusters.items():
        cluster.on_call = on_call(target)
    assert statuses(fleet.apply(at_once=8, canaries=frozenset({ASIA}))) == ["succeeded"] * 3
    assert began[0] == (ASIA, [])
    assert all(ended[0] == ASIA for _, ended in began[1:])


@pytest.mark.parametrize("keep_going", [False, True])
def test_nothing_goes_past_a_canary_that_failed(fleet: Fleet, keep_going: bool) -> None:
    fleet.image[US] = BROKEN
    results = fleet.apply(at_once=8, canaries=frozenset({US}), keep_going=keep_going)
    assert statuses(results) == ["skipped", "failed", "skipped"]
    assert fleet.untouched() == {EU, ASIA}


def test_nothing_goes_past_a_canary_that_cannot_be_planned(fleet: Fleet) -> None:
    fleet.clusters[US].on_call = unreachable
    results = fleet.apply(canaries=frozenset({US}), keep_going=True)
    assert statuses(results) == ["skipped", "failed", "skipped"]
    assert fleet.untouched() == {EU, US, ASIA}


# --- plans that are old -------------------------------------------------------------------------


def test_a_plan_that_is_another_when_its_turn_comes_is_not_carried_out(fleet: Fleet) -> None:
    def meanwhile(target: str, _: Progress) -> None:
        if target == EU:  # somebody else applies to the next one
            fleet.act(US, runner())

    fleet.on_progress = meanwhile
    fleet.image[US] = "shop/cart:2"
    results = fleet.apply()
    assert statuses(results) == ["succeeded", "failed", "skipped"]
    assert isinstance(results[US].error, PlanChanged)


def test_a_plan_that_has_become_old_is_made_anew_without_asking_where_it_is_the_same(
    fleet: Fleet,
) -> None:
    def later(_: str, progress: Progress) -> None:
        for cluster in fleet.clusters.values():
            cluster.seconds += 100 if progress.word == "created" else 0

    fleet.on_progress = later
    assert statuses(fleet.apply()) == ["succeeded"] * 3
    assert [method for method, _ in fleet.clusters[EU].calls].count("live") == 1
    assert [method for method, _ in fleet.clusters[US].calls].count("live") == 2
    first, second = (fleet.clusters[target].revisions[1] for target in (EU, US))
    assert second.started > first.started, "its time begins with its turn"
    assert second.duration_seconds is not None
    assert second.duration_seconds < 400, "not since it was planned, 600 s ago"


# --- interruptions ------------------------------------------------------------------------------


@pytest.fixture
def heard() -> Iterator[None]:
    """Also where whoever started us ignores interruptions, as shells do for what runs behind."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("heard")
def test_an_interruption_reaches_all_that_are_under_way_and_nothing_else(fleet: Fleet) -> None:
    both = threading.Barrier(2, timeout=10)
    is_told = threading.Event()

    class Told(list[str]):
        def append(self, target: str) -> None:
            super().append(target)
            is_told.set()  # the one that had not begun is over first

    def press_keys(target: str, progress: Progress) -> None:
        if progress.ref.name == "settings":
            both.wait()
            if target == EU:
                os.kill(os.getpid(), signal.SIGINT)
            assert is_told.wait(10)

    fleet.ended = Told()

    fleet.on_progress = press_keys
    with pytest.raises(KeyboardInterrupt):
        fleet.apply(at_once=2)
    for target in (EU, US):
        cluster = fleet.clusters[target]
        assert [each.status for each in cluster.revisions.values()] == ["interrupted"]
        assert cluster.holder is None
        assert not [ref for ref in cluster.objects if ref.kind == "Deployment"]
    assert fleet.ended[0] == ASIA
    assert fleet.untouched() == {ASIA}


def test_an_interruption_before_the_question_is_answered_changes_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Sequence[Plan]) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(fleet, "agreed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fleet.apply(at_once=2)
    assert fleet.untouched() == {EU, US, ASIA}


def test_what_is_no_error_of_a_target_is_raised_when_all_are_over(fleet: Fleet) -> None:
    def mistaken(method: str, _: str) -> None:
        if method == "prepare":
            raise ZeroDivisionError

    fleet.clusters[EU].on_call = mistaken
    with pytest.raises(ZeroDivisionError):
        fleet.apply(at_once=2)
    assert set(fleet.ended) == {US, ASIA}
    assert fleet.clusters[US].revisions[1].status == "succeeded"
    assert fleet.untouched() == {EU, ASIA}


def test_one_target_is_acted_on_as_ever(fleet: Fleet) -> None:
    """Its plan is asked about again where it has changed, and an interruption is its own."""
    del fleet.clusters[US], fleet.clusters[ASIA]
    threads: list[threading.Thread] = []
    fleet.on_progress = lambda _, __: threads.append(threading.current_thread())
    assert statuses(fleet.apply()) == ["succeeded"]
    assert set(threads) == {threading.main_thread()}
    assert fleet.asked == [[EU]]


def test_an_error_of_the_flow_is_the_target_s() -> None:
    def act(target: str, by: Runner) -> TargetResult:
        raise BundlerError(f"{target} is not in the bundle")

    results = over_targets([EU, US], act, lambda _: runner(), lambda _: True, Order())
    assert [each.error and each.error.message for each in results] == [
        "eu is not in the bundle",
        "us is not in the bundle",
    ]
