"""An apply killed at any request is made good by running it again.

FULL=1 tries every request; else some of each scene are drawn by lot ($FAULT_SEED).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from tests.e2e.live_objects import until
from tests.faults.api_proxy import ApiProxy, is_write
from tests.faults.applies import V1, V2, V3, Shop, Trial, sample, undisturbed
from tests.faults.fault_proxy import Exchange, Fault, Request
from tests.faults.killing import killing
from tests.faults.processes import Started
from tools.control_plane import ControlPlane

SAMPLE = 5
SCENES = {
    "a first apply": ((), V1),
    "an upgrade": ((V1,), V2),
    "a prune": ((V1, V2), V3),
}


class Moment(NamedTuple):
    at: int
    """Index of a request."""
    is_done: bool
    """Whether the server gets to see it."""


@pytest.fixture(scope="module")
def shop(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(control_plane, tmp_path_factory.mktemp("killed"))


@pytest.fixture(scope="module")
def proxy(control_plane: ControlPlane) -> Iterator[ApiProxy]:
    with ApiProxy(control_plane) as running:
        yield running


def requests_of(proxy: ApiProxy, shop: Shop, before: tuple[str, ...], tag: str) -> list[Request]:
    """What an apply asks that nobody disturbs."""
    with shop.trial() as trial:
        for former in before:
            trial.applied(former)
        proxy.clear()
        result = trial.start(tag, proxy).end()
        assert result.exit_code == 0, result.stdout
        return list(proxy.asked)


def moments(proxy: ApiProxy, shop: Shop, before: tuple[str, ...], tag: str) -> list[Moment]:
    """Before each request, and after each that changes something."""
    return [
        Moment(at, is_done)
        for at, request in enumerate(requests_of(proxy, shop, before, tag))
        for is_done in (False, True)
        if is_write(request) or not is_done
    ]


@pytest.mark.requirement("B-111", "B-110")
@pytest.mark.parametrize("scene", SCENES)
def test_an_apply_killed_at_any_request_comes_to_the_same_end_when_it_is_run_again(
    shop: Shop, proxy: ApiProxy, scene: str
) -> None:
    before, tag = SCENES[scene]
    expected = undisturbed(shop, *before, tag)
    every = moments(proxy, shop, before, tag)
    assert len(every) >= 40
    for moment in sample(every, SAMPLE, scene):
        with shop.trial() as trial:
            for former in before:
                trial.applied(former)
            kept = trial.uids()
            kill_and_repeat(proxy, trial, tag, moment, kept, expected)


ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143}
AT_ONCE = 5.0
"""Seconds in which an interrupted command has ended."""
LATE = 0.5
"""Seconds after the interruption in which the answer comes."""


def interrupting(running: list[Started], number: signal.Signals, *, is_heard: bool) -> Fault:
    """A fault that interrupts the last of them at a request, which the server hears or not."""

    def act(exchange: Exchange) -> None:
        running[-1].send(number)
        if is_heard:
            time.sleep(LATE)
            exchange.proxy.pass_on(exchange)
        else:
            running[-1].wait(20)
            exchange.reset()

    return Fault("interrupted", act)


@pytest.mark.requirement("B-111", "B-112")
@pytest.mark.parametrize("is_heard", [True, False], ids=["server-answers", "server-hangs"])
def test_an_apply_interrupted_at_any_request_ends_at_once_and_can_be_repeated(
    shop: Shop, proxy: ApiProxy, is_heard: bool
) -> None:
    """With a server that answers, the lock is free and the revision says how it ended."""
    expected = undisturbed(shop, V1, V2)
    requests = range(len(requests_of(proxy, shop, (V1,), V2)))
    for at in sample(list(requests), SAMPLE // 2, f"interrupted {is_heard}"):
        with shop.trial() as trial:
            trial.applied(V1)
            interrupt(proxy, trial, at, is_heard=is_heard)
            trial.check_inventory()
            trial.free_lock()
            trial.applied(V2)
            assert trial.end_state() == expected, f"interrupted at request {at}"


def interrupt(proxy: ApiProxy, trial: Trial, at: int, *, is_heard: bool) -> None:
    running: list[Started] = []
    number = list(ENDS)[at % 2]
    injection = proxy.inject(interrupting(running, number, is_heard=is_heard), at)
    running.append(trial.start(V2, proxy))
    until(lambda: injection.spoilt or not running[-1].is_running, "the interruption")
    began = time.monotonic()
    result = running[-1].end()
    assert time.monotonic() - began < AT_ONCE, f"at request {at}"
    proxy.clear()
    is_interrupted = '"interrupted"' in result.stdout
    assert result.exit_code == (ENDS[number] if is_interrupted else 0), result.stderr
    if is_heard:
        assert trial.place.lock_holder() == "", f"at request {at}"
        latest = trial.place.revisions()[-1]
        assert latest["status"] in ("interrupted", "succeeded"), f"at request {at}"


def kill_and_repeat(
    proxy: ApiProxy,
    trial: Trial,
    tag: str,
    moment: Moment,
    kept: Mapping[str, str],
    expected: Mapping[str, Any],
) -> None:
    running: list[Started] = []
    injection = proxy.inject(killing(running, is_done=moment.is_done), moment.at)
    running.append(trial.start(tag, proxy))
    result = running[-1].end()
    asked = proxy.asked
    proxy.clear()
    assert result.exit_code == -signal.SIGKILL or not injection.spoilt, result.stderr
    trial.check_inventory()
    trial.free_lock()
    trial.applied(tag)
    told = f"{moment} of {[str(each) for each in asked]}"
    assert trial.end_state() == expected, told
    remaining = trial.uids()
    assert {name: uid for name, uid in kept.items() if name in remaining} == {
        name: uid for name, uid in remaining.items() if name in kept
    }, f"made anew: {told}"
