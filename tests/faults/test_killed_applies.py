"""An apply killed at any request is made good by running it again.

FULL=1 tries every request; else some of each scene are drawn by lot ($FAULT_SEED).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from tests.faults.api_proxy import ApiProxy, is_watch, is_write
from tests.faults.applies import V1, V2, V3, Shop, Trial, sample, undisturbed
from tests.faults.fault_proxy import Exchange, Fault
from tests.faults.processes import Started
from tools.control_plane import ControlPlane

SAMPLE = 8
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


def killing(running: list[Started], *, is_done: bool) -> Fault:
    """A fault that kills the last of them at a request."""

    def act(exchange: Exchange) -> None:
        if is_done and not is_watch(exchange.request):
            exchange.forward()
        running[-1].kill()
        exchange.reset()

    return Fault("killed", act)


def moments(proxy: ApiProxy, shop: Shop, before: tuple[str, ...], tag: str) -> list[Moment]:
    """Before each request, and after each that changes something."""
    with shop.trial() as trial:
        for former in before:
            trial.applied(former)
        proxy.clear()
        assert trial.start(tag, proxy).end().exit_code == 0
        asked = list(proxy.asked)
    return [
        Moment(at, is_done)
        for at, request in enumerate(asked)
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
