"""Several appliers of one target, some of them stalled or dead: what the server saw is linear."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

import pytest

from tests.e2e.live_objects import CORE, LEASES, until
from tests.faults.api_proxy import ApiProxy, Call, Journal, is_write
from tests.faults.applies import RELEASES, V1, V2, V3, Shop, Trial, sample, undisturbed
from tests.faults.fault_proxy import Exchange, Fault, FaultProxy, Request
from tests.faults.processes import Started
from tools.control_plane import ControlPlane

LEASE = 3
"""Seconds; renewed every half second."""
SAMPLE = 2


@pytest.fixture(scope="module")
def shop(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(control_plane, tmp_path_factory.mktemp("appliers"))


@contextmanager
def proxies(plane: ControlPlane, *clients: str) -> Iterator[list[ApiProxy]]:
    """One for each client, with a journal of them all; a client is named by its release."""
    journal = Journal()
    with ExitStack() as running:
        yield [
            running.enter_context(ApiProxy(plane, client=client, journal=journal))
            for client in clients
        ]


def is_lease(request: Request) -> bool:
    return "/leases" in request.target


def holds_lock(call: Call) -> bool:
    return bool((call.document.get("spec") or {}).get("holderIdentity"))


def check_linear(trial: Trial, journal: Journal) -> None:
    """Whoever wrote had the lock then, and nobody wrote after another had taken it."""
    writes = [call for call in journal.writes() if "/namespaces/" in call.request.target]
    locks = [call for call in writes if is_lease(call.request)]
    for call in writes:
        if is_lease(call.request):
            continue
        before = [lock for lock in locks if lock.answered < call.sent]
        assert before and before[-1].client == call.client, str(call)
        assert holds_lock(before[-1]), str(call)
        others = [
            lock.version
            for lock in locks
            if lock.client != call.client and holds_lock(lock) and lock.answered > call.sent
        ]
        assert not others or call.version < min(others), f"{call} after it was taken"
    check_record(writes)
    check_deletions(writes)


def check_record(writes: list[Call]) -> None:
    """Revisions are numbered in their order, and inventories follow each other."""
    state = sorted((call for call in writes if "/configmaps" in call.request.target), key=version)
    labels = [(call.document["metadata"].get("labels") or {}) for call in state]
    kinds = [each.get("release-bundler/state") for each in labels]
    made = [
        int(call.document["metadata"]["name"].rpartition(".v")[2])
        for call, kind in zip(state, kinds, strict=True)
        if kind == "revision" and call.request.method == "POST"
    ]
    assert made == sorted(set(made)), made
    generations = [
        int(call.document["data"]["generation"])
        for call, kind in zip(state, kinds, strict=True)
        if kind == "inventory"
    ]
    assert generations == list(range(generations[0], generations[0] + len(generations)))


def version(call: Call) -> int:
    return call.version


def check_deletions(writes: list[Call]) -> None:
    """A release deletes nothing that it has."""
    for call in writes:
        if call.request.method == "DELETE":
            kind, name = call.request.target.partition("?")[0].split("/")[-2:]
            wanted = {
                (f"{each['kind'].lower()}s", each["metadata"]["name"])
                for each in RELEASES[call.client]
            }
            assert (kind, name) not in wanted, str(call)


def end_of(started: Started) -> tuple[int, str]:
    """Exit code and what was said, of a run that may have been refused."""
    result = started.end(120)
    return result.exit_code, result.stdout


# --- at once ------------------------------------------------------------------------------------


@pytest.mark.requirement("B-112")
def test_appliers_of_different_releases_come_one_after_the_other(
    shop: Shop, control_plane: ControlPlane
) -> None:
    tags = (V1, V2, V3)
    with shop.trial() as trial, proxies(control_plane, *tags) as ways:
        running = [
            trial.start(tag, way, "--lock-timeout", "2m", "--allow-downgrade", lease=LEASE)
            for tag, way in zip(tags, ways, strict=True)
        ]
        ends = [end_of(each) for each in running]
        assert [code for code, _ in ends] == [0, 0, 0], max(ends)[1]
        check_linear(trial, ways[0].journal)
        assert [each["number"] for each in trial.place.revisions()] == [1, 2, 3]
        last = trial.place.revisions()[-1]["tag"]
        assert trial.end_state()["objects"] == undisturbed(shop, last)["objects"]


@pytest.mark.requirement("B-112")
def test_appliers_of_one_release_make_one_revision(shop: Shop, control_plane: ControlPlane) -> None:
    with shop.trial() as trial, proxies(control_plane, V1) as [way]:
        running = [trial.start(V1, way, "--lock-timeout", "2m", lease=LEASE) for _ in range(3)]
        ends = [end_of(each) for each in running]
        assert [code for code, _ in ends] == [0, 0, 0], ends
        statuses = sorted(json.loads(out)["targets"][0]["status"] for _, out in ends)
        assert statuses == ["succeeded", "unchanged", "unchanged"]
        assert [each["number"] for each in trial.place.revisions()] == [1]


# --- stalled ------------------------------------------------------------------------------------


def stalling(running: list[Started], stalled: threading.Event) -> Fault:
    """A fault that stops the last of them when it has sent a request; the server gets it.

    What goes out beside it has gone out by then: no client can stop halfway through sending.
    """

    def act(exchange: Exchange) -> None:
        wait_for_quiet(exchange.proxy)
        running[-1].send(signal.SIGSTOP)
        exchange.proxy.pass_on(exchange)
        stalled.set()

    return Fault("stalled", act, lambda request: is_write(request) and not is_lease(request))


def wait_for_quiet(proxy: FaultProxy) -> None:
    asked = -1
    while asked != len(proxy.asked):
        asked = len(proxy.asked)
        time.sleep(0.05)


def writes_of_an_upgrade(shop: Shop, control_plane: ControlPlane) -> int:
    with shop.trial() as trial, proxies(control_plane, V2) as [way]:
        trial.applied(V1)
        assert trial.start(V2, way).end().exit_code == 0
        return sum(1 for each in way.asked if is_write(each) and not is_lease(each))


@pytest.mark.requirement("B-112", "B-110")
def test_a_stalled_holder_that_wakes_writes_nothing_more(
    shop: Shop, control_plane: ControlPlane
) -> None:
    """Stalled at any of its writes, until another has taken the lock and has applied V3."""
    expected = undisturbed(shop, V1, V3)
    for at in sample(list(range(writes_of_an_upgrade(shop, control_plane))), SAMPLE, "stalled"):
        with shop.trial() as trial, proxies(control_plane, V2, V3) as (first, second):
            trial.applied(V1)
            running: list[Started] = []
            stalled = threading.Event()
            first.inject(stalling(running, stalled), at)
            running.append(trial.start(V2, first, lease=LEASE))
            assert stalled.wait(30), f"at write {at}"
            took_over = time.monotonic()
            code, said = end_of(trial.start(V3, second, lease=LEASE))
            assert code == 0, said
            assert time.monotonic() - took_over >= LEASE
            running[0].send(signal.SIGCONT)
            code, said = end_of(running[0])
            if trial.place.revisions()[1]["status"] == "succeeded":  # its last word was heard
                assert code == 0, said
            else:
                is_told = "lost the lock" in said or "somebody else" in said
                assert (code, is_told) == (6, True), said
            check_linear(trial, first.journal)
            assert trial.end_state()["objects"] == expected["objects"], f"at write {at}"
            assert trial.end_state()["current"] == V3


@pytest.mark.requirement("B-112")
def test_a_holder_that_wakes_before_anybody_took_its_lock_goes_on(
    shop: Shop, control_plane: ControlPlane
) -> None:
    with shop.trial() as trial, proxies(control_plane, V1) as [way]:
        running: list[Started] = []
        stalled = threading.Event()
        way.inject(stalling(running, stalled), 3)
        running.append(trial.start(V1, way, lease=LEASE))
        assert stalled.wait(30)
        running[0].send(signal.SIGCONT)
        code, said = end_of(running[0])
        assert code == 0, said
        check_linear(trial, way.journal)


# --- dead ---------------------------------------------------------------------------------------


@pytest.mark.requirement("B-111", "B-112")
def test_the_lock_of_a_killed_holder_is_taken_when_it_has_expired(
    shop: Shop, control_plane: ControlPlane
) -> None:
    """What it changed while the next one planned is seen: the plan is made anew under the lock."""
    expected = undisturbed(shop, V1)
    with shop.trial() as trial, proxies(control_plane, V2, V1) as (first, second):
        trial.applied(V1)
        running: list[Started] = []
        waits = threading.Event()

        def kill_later(exchange: Exchange) -> None:
            """The other has made its plan by then, and looks at the lock."""
            assert waits.wait(30)
            exchange.forward()
            running[0].kill()
            exchange.reset()

        def look(exchange: Exchange) -> None:
            waits.set()
            exchange.proxy.pass_on(exchange)

        def is_cart(request: Request) -> bool:
            return is_write(request) and "/deployments/cart" in request.target

        first.inject(Fault("killed", kill_later, is_cart), 0)
        second.inject(Fault("looks", look, is_lease), 0)
        running.append(trial.start(V2, first, lease=LEASE))
        cart_is_due = lambda: any(is_cart(each) for each in first.asked)  # noqa: E731
        until(cart_is_due, "the change that is held up")
        code, said = end_of(trial.start(V1, second, lease=LEASE))
        assert code == 0, said
        check_linear(trial, first.journal)
        assert trial.end_state()["objects"] == expected["objects"]
        assert [(each["tag"], each["status"]) for each in trial.place.revisions()] == [
            (V1, "succeeded"), (V2, "interrupted"), (V1, "succeeded"),
        ]  # fmt: skip


# --- clocks -------------------------------------------------------------------------------------


@pytest.mark.requirement("B-112")
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_holder_whose_clock_is_wrong_keeps_its_lock_while_it_renews(
    shop: Shop, control_plane: ControlPlane, hours: int
) -> None:
    with shop.trial() as trial, proxies(control_plane, V1, V2) as (first, second):
        trial.applied(V1)
        running: list[Started] = []
        [lease] = trial.place.listed(LEASES, "leases")
        over = threading.Event()

        def renew() -> None:
            for number in count():
                moment = time.gmtime(time.time() + hours * 3600 + number)
                renewed = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", moment)
                spec = {
                    "holderIdentity": "elsewhere", "leaseDurationSeconds": LEASE,
                    "acquireTime": renewed if number == 0 else None, "renewTime": renewed,
                }  # fmt: skip
                spec = {key: value for key, value in spec.items() if value is not None}
                trial.place.patch(LEASES, "leases", lease["metadata"]["name"], spec=spec)
                if over.wait(0.3):
                    return

        thread = threading.Thread(target=renew)
        thread.start()
        try:
            until(trial.place.lock_holder, "the holder")
            running.append(trial.start(V2, first, lease=LEASE))
            code, said = end_of(running[0])
        finally:
            over.set()
            thread.join()
        assert (code, "is locked by elsewhere" in said) == (6, True), said
        waiting = time.monotonic()  # it renews no more
        code, said = end_of(trial.start(V2, second, lease=LEASE))
        assert code == 0, said
        assert LEASE <= time.monotonic() - waiting < 10 * LEASE
        assert trial.place.get(CORE, "configmaps", "settings")["data"] == {"colour": "blue"}
