"""Faults of an API server at any request of an apply: unnoticed, or told and made good later.

FULL=1 tries every fault at every request; else some are drawn by lot ($FAULT_SEED).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from bundler.adapters.cluster import connection as kubernetes_connection
from bundler.adapters.cluster import lease as kubernetes_lease
from bundler.adapters.cluster import watch as kubernetes_watch
from bundler.adapters.cluster.connection import KubernetesConnection, connect
from bundler.deploy.result import TargetResult
from bundler.errors import TryAgain
from tests.e2e.live_objects import APPS
from tests.e2e.releases import deployment
from tests.faults.api_faults import DAMAGING, LASTING, PASSING
from tests.faults.api_proxy import ApiProxy, is_watch
from tests.faults.applies import FULL, V1, V2, Shop, Trial, sample, undisturbed
from tests.faults.fault_proxy import Fault, Request, Spoiler
from tests.faults.storms import Lot, Storm
from tools.control_plane import ControlPlane

RUNS = 200 if FULL else 4
SAMPLE = 1
ATTEMPTS = 6


@pytest.fixture(scope="module")
def shop(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(control_plane, tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def proxy(control_plane: ControlPlane) -> Iterator[ApiProxy]:
    with ApiProxy(control_plane) as running:
        yield running


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long, between two attempts or for an answer."""
    monkeypatch.setattr(kubernetes_connection, "sleep", lambda _: None)
    monkeypatch.setitem(KubernetesConnection.request.__kwdefaults__ or {}, "seconds", 0.6)
    monkeypatch.setattr(kubernetes_lease, "_REQUEST_SECONDS", 0.6)
    monkeypatch.setattr(kubernetes_watch, "_GIVE_UP_SECONDS", 1.0)


def spoilt(
    proxy: ApiProxy, trial: Trial, tag: str, spoiler: Spoiler
) -> tuple[TargetResult, list[Request]]:
    """What an apply came to, and what it asked; no thread of it stays."""
    before = set(threading.enumerate())
    with connect(kubeconfig=proxy.kubeconfig(trial.folder)) as through:
        proxy.spoil(spoiler)
        result = trial.apply(tag, through)
        asked = proxy.asked
        proxy.clear()
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith(("ThreadPool", "watch", "lease")):
            thread.join(10)  # what only reads is not waited for after an error
            assert not thread.is_alive(), thread.name
    return result, asked


@pytest.fixture(scope="module")
def requests(proxy: ApiProxy, shop: Shop) -> int:
    """So many has the upgrade."""
    with shop.trial() as trial:
        trial.applied(V1)
        result, asked = spoilt(proxy, trial, V2, Storm((), 0, 1))
        assert result.error is None
        return len(asked)


@pytest.fixture(scope="module")
def upgraded(shop: Shop) -> Mapping[str, Any]:
    return undisturbed(shop, V1, V2)


@pytest.mark.requirement("B-111")
def test_nobody_notices_faults_that_pass(
    shop: Shop, proxy: ApiProxy, upgraded: Mapping[str, Any], requests: int
) -> None:
    """Many in one run; each request is spoilt once."""
    storm = Storm(PASSING, requests, 1)
    quiet, met = 0, 0
    for number in range(RUNS):
        storm.begin()
        with shop.trial() as trial:
            trial.applied(V1)
            uids = trial.uids()
            result, asked = spoilt(proxy, trial, V2, storm)
            assert result.error is None, f"run {number}: {result.error}"
            assert trial.end_state() == upgraded
            assert [r["number"] for r in trial.place.revisions()] == [1, 2]
            assert uids.items() >= {k: v for k, v in trial.uids().items() if k in uids}.items()
            assert len(asked) < 3 * requests
        met += storm.spoilt
        quiet = 0 if storm.spoilt else quiet + 1
        if quiet == 3:
            break
    assert met >= 60


@pytest.mark.requirement("B-111", "B-110")
@pytest.mark.parametrize("fault", [*DAMAGING, *LASTING], ids=str)
def test_a_fault_that_does_not_pass_ends_an_apply_cleanly_and_the_next_one_makes_it_good(
    shop: Shop, proxy: ApiProxy, upgraded: Mapping[str, Any], requests: int, fault: Fault
) -> None:
    for at in sample(list(range(requests)), SAMPLE, fault.name):
        with shop.trial() as trial:
            trial.applied(V1)
            kept = trial.uids()
            lot = Lot([fault], at, forever=fault in LASTING)
            result, asked = spoilt(proxy, trial, V2, lot)
            told = f"{fault}#{at}: {result.error}"
            check_conduct(asked, told)
            if result.error:
                check_failure(trial, result, kept, upgraded["objects"], told)
            trial.free_lock()
            trial.applied(V2)
            assert trial.end_state() == upgraded, told


def check_conduct(asked: list[Request], told: str) -> None:
    """Nobody asks for ever."""
    times = Counter(str(request) for request in asked if request.method != "GET")
    assert all(count <= 3 * ATTEMPTS for count in times.values()), f"{told}: {times}"


def check_failure(
    trial: Trial,
    result: TargetResult,
    kept: Mapping[str, str],
    wanted: Mapping[str, Any],
    told: str,
) -> None:
    """What is told to be done is done, nothing is pruned before the rest is, all is recorded."""
    assert isinstance(result.error, TryAgain), told
    uids = trial.uids()
    gone = kept.keys() - uids.keys()
    assert not gone & wanted.keys(), told
    assert not gone or wanted.keys() <= uids.keys(), told
    assert all(uids[name] == uid for name, uid in kept.items() if name not in gone), told
    standing = {
        f"{each['kind']}/{trial.place.name}/{name.split('/')[1]}"
        for name, each in trial.kinds().items()
    }
    done = {str(each.ref) for each in result.changes.changes if each.desired}
    assert done <= standing, told
    assert not done & {str(each.ref) for each in result.not_started}, told
    trial.check_inventory()
    former, *statuses = [revision["status"] for revision in trial.place.revisions()]
    assert former == "succeeded", told
    # Where only the answer to its last word is lost, all is done, and recorded so.
    ends = [[], ["pending"], ["failed"]] + ([["succeeded"]] if uids.keys() == wanted.keys() else [])
    assert statuses in ends, told


# --- watches ------------------------------------------------------------------------------------


class FirstWatch:
    """Spoils the first watch of Deployments; what is watched for comes when there is another."""

    def __init__(self, fault: Fault, come: Callable[[], None]) -> None:
        self.fault = fault
        self.come = come
        self.met = 0

    def fault_for(self, request: Request) -> Fault | None:
        if not self.fault.meets(request) or "/deployments?" not in request.target:
            return None
        self.met += 1
        if self.met == 2:
            self.come()
        return self.fault if self.met == 1 else None


@pytest.mark.parametrize("fault", [each for each in PASSING if each.meets is is_watch], ids=str)
def test_a_watch_that_breaks_is_taken_up_again(shop: Shop, proxy: ApiProxy, fault: Fault) -> None:
    unready = {"kwok.x-k8s.io/fail": "unready"}
    with shop.trial(**{V1: (deployment("cart", "cart:1", labels=unready),)}) as trial:

        def get_well() -> None:
            template = {"metadata": {"labels": dict.fromkeys(unready)}}
            trial.place.patch(APPS, "deployments", "cart", spec={"template": template})

        result, _ = spoilt(proxy, trial, V1, FirstWatch(fault, get_well))
        assert result.error is None
        assert trial.place.get(APPS, "deployments", "cart")["status"]["readyReplicas"] == 1
