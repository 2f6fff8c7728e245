"""A rollback killed at any request is made good by running the same command again.

FULL=1 tries every request; else some are drawn by lot ($FAULT_SEED).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.e2e.releases import job
from tests.faults.api_proxy import ApiProxy, is_write
from tests.faults.applies import RELEASES, V1, V2, Shop, Trial, sample, undisturbed
from tests.faults.killing import killing
from tests.faults.processes import Started
from tools.control_plane import ControlPlane

SAMPLE = 4


@pytest.fixture(scope="module")
def shop(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(control_plane, tmp_path_factory.mktemp("rollbacks"))


@pytest.fixture(scope="module")
def proxy(control_plane: ControlPlane) -> Iterator[ApiProxy]:
    with ApiProxy(control_plane) as running:
        yield running


def roll_back(trial: Trial, through: ApiProxy) -> Started:
    return trial.run(
        through, "rollback", "--env", "stage", "--to", V1, "--namespace", trial.place.name
    )


@pytest.mark.requirement("B-111", "A-15")
def test_a_rollback_killed_at_any_request_comes_to_the_same_end(
    shop: Shop, proxy: ApiProxy
) -> None:
    expected = undisturbed(shop, V1, V2, V1)
    with shop.trial() as trial:
        trial.applied(V1)
        trial.applied(V2)
        proxy.clear()
        assert roll_back(trial, proxy).end().exit_code == 0
        assert trial.end_state() == expected
        moments = [at for at, request in enumerate(proxy.asked) if is_write(request)]
    assert len(moments) >= 10
    for at in sample(moments, SAMPLE, "rollback"):
        with shop.trial() as trial:
            trial.applied(V1)
            trial.applied(V2)
            kill(proxy, trial, at)
            trial.free_lock()
            again = roll_back(trial, proxy).end()
            assert again.exit_code == 0, again.stdout
            assert trial.end_state() == expected, f"killed at {at}"


def kill(proxy: ApiProxy, trial: Trial, at: int) -> None:
    running: list[Started] = []
    proxy.inject(killing(running, is_done=at % 2 == 0), at)
    running.append(roll_back(trial, proxy))
    running[-1].end()
    proxy.clear()
    trial.check_inventory()


@pytest.mark.requirement("B-111", "A-15")
def test_an_apply_killed_while_it_restores_the_former_release_does_so_when_it_is_run_again(
    shop: Shop, proxy: ApiProxy
) -> None:
    failing = (*RELEASES[V2], job("migrate", "crashing:2", backoffLimit=0))
    expected = undisturbed(shop, V1)
    with shop.trial(**{V1: RELEASES[V1], V2: failing}) as trial:
        trial.applied(V1)
        proxy.clear()
        assert trial.start(V2, proxy, "--on-failure", "rollback").end().exit_code == 5
        assert trial.end_state()["objects"] == expected["objects"]
        first = second_revision_is_written(proxy)
        moments = [at for at, each in enumerate(proxy.asked) if at >= first and is_write(each)]
    for at in sample(moments, SAMPLE // 2, "on failure"):
        with shop.trial(**{V1: RELEASES[V1], V2: failing}) as trial:
            trial.applied(V1)
            running: list[Started] = []
            proxy.inject(killing(running, is_done=True), at)
            running.append(trial.start(V2, proxy, "--on-failure", "rollback"))
            assert running[-1].end().exit_code in (5, -signal.SIGKILL)
            proxy.clear()
            trial.check_inventory()
            trial.free_lock()
            again = trial.start(V2, proxy, "--on-failure", "rollback").end()
            assert again.exit_code == 5, again.stdout
            assert trial.end_state()["objects"] == expected["objects"], f"killed at {at}"
            assert trial.end_state()["current"] == V1
            assert trial.end_state()["pending"] == []


def second_revision_is_written(proxy: ApiProxy) -> int:
    """Index of the request that begins the way back."""
    return next(
        at for at, each in enumerate(proxy.asked) if each.method == "POST" and b'.v3"' in each.body
    )
