"""One environment with several targets: namespaces of a cluster, and folders."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.live_objects import APPS, CORE, Namespace, until
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment, made, service
from tools.control_plane import ApiError, ControlPlane, kubeconfig

pytest_plugins = ["tests.e2e.cluster"]

TARGETS = ("eu", "us", "asia")


@pytest.fixture
def places(control_plane: ControlPlane, namespace: str) -> Iterator[Mapping[str, Namespace]]:
    """A namespace for each target; only the first is there before."""
    names = {target: f"{namespace}-{target}" for target in TARGETS[1:]}
    yield {
        target: Namespace(control_plane, name)
        for target, name in {"eu": namespace, **names}.items()
    }
    for name in names.values():
        with suppress(ApiError):
            control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def regions(tmp_path: Path, places: Mapping[str, Namespace]) -> Releases:
    return Releases(tmp_path / "registry", {target: each.name for target, each in places.items()})


@pytest.mark.requirement("C-31", "C-32")
def test_one_service_in_three_namespaces_of_a_cluster_is_three_that_do_not_touch_each_other(
    regions: Releases, machine: Machine, places: Mapping[str, Namespace]
) -> None:
    regions.publish("v1.0.0", deployment("cart", "cart:1"), service("cart", 80), config_map("old"))
    regions.publish("v1.1.0", deployment("cart", "cart:2"), service("cart", 80))
    result = machine.started(regions("v1.0.0"), "--at-once", 3).end()
    assert result.exit_code == 0, result.stderr
    heads, *rows, summary = result.stdout.splitlines()
    assert heads.split() == ["TARGET", "V1.0.0", "REVISION", "CHANGES", "SECONDS"]
    assert [row.split()[:4] for row in rows] == [
        [f"stage/{target}", "succeeded", "and", "ready"] for target in TARGETS
    ]
    assert summary == "3 targets: 3 succeeded, 0 failed, 0 remaining"
    assert f"stage/us: Deployment/{places['us'].name}/cart created" in result.stderr
    before = places["eu"].identities()

    machine.apply(regions("v1.1.0"), "--target", "us")
    assert not places["us"].has(CORE, "configmaps", "old")
    assert "cart:2" in str(places["us"].get(APPS, "deployments", "cart")["spec"])
    assert places["eu"].identities() == before
    assert [len(each.revisions()) for each in places.values()] == [1, 2, 1]
    status = machine("status", "-n", places["eu"].name)
    assert "stage/eu  v1.0.0" in status.stdout


@pytest.mark.requirement("C-14")
def test_a_canary_that_does_not_get_ready_keeps_the_release_from_the_others(
    tmp_path: Path, regions: Releases, machine: Machine, places: Mapping[str, Namespace]
) -> None:
    releases = Releases(tmp_path / "careful", regions.namespaces, canaries=frozenset({"asia"}))
    releases.publish("v1.0.0", deployment("cart", "unready:1"))
    options = ("--at-once", 3, "--timeout", "3s", "--keep-going")
    applied = machine.apply(releases("v1.0.0"), *options, exit_code=5)["targets"]
    assert [(each["target"], each["status"]) for each in applied] == [
        ("eu", "skipped"), ("us", "skipped"), ("asia", "failed"),
    ]  # fmt: skip
    assert places["asia"].revisions()
    assert not places["eu"].owned()
    assert not machine_has(places["us"])


def machine_has(place: Namespace) -> bool:
    return place.control_plane.has(f"/api/v1/namespaces/{place.name}")


@pytest.mark.requirement("C-14", "C-31")
def test_a_cluster_that_does_not_answer_keeps_no_other_from_the_release_if_it_is_not_to(
    tmp_path: Path, machine: Machine, namespace: str, control_plane: ControlPlane
) -> None:
    releases = Releases(tmp_path / "registry", {"gone": "shop", "eu": namespace})
    releases.publish("v1.0.0", config_map("settings"))
    nowhere = kubeconfig("https://127.0.0.1:1", control_plane.ca, "admin", "token")
    (tmp_path / "nowhere").write_text(json.dumps(nowhere))
    (tmp_path / "targets.yaml").write_text(
        "stage/gone: {kubeconfig: nowhere, cluster: 0c0e3a42-0000-0000-0000-000000000000}\n"
        f"stage/eu: {{kubeconfig: {control_plane.kubeconfig}}}\n"
    )
    by_file = machine.with_connection("--targets", tmp_path / "targets.yaml")
    place = Namespace(control_plane, namespace)
    applied = by_file.apply(releases("v1.0.0"), "--keep-going", exit_code=6)["targets"]
    assert [each["status"] for each in applied] == ["failed", "succeeded"]
    assert place.has(CORE, "configmaps", "settings")


def test_an_interruption_is_recorded_by_every_target_that_is_under_way(
    regions: Releases, machine: Machine, places: Mapping[str, Namespace]
) -> None:
    regions.publish("v1.0.0", deployment("cart", "unready:1"))
    running = machine.started(regions("v1.0.0"), "--at-once", 2)
    under_way = [places["eu"], places["us"]]
    until(lambda: all(place.owned() for place in under_way), "something of ours in both")
    running.process.send_signal(signal.SIGTERM)
    result = running.end()
    assert result.exit_code == 143
    assert "stage/eu: v1.0.0 interrupted" in result.stderr
    assert "stage/asia: v1.0.0 not applied" in result.stderr
    for place in under_way:
        assert [each["status"] for each in place.revisions()] == ["interrupted"]
        assert place.lock_holder() == ""
    assert not machine_has(places["asia"])


# --- folders: what is told ----------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> Releases:
    lines = (f"stage/{target}: {{directory: {target}}}\n" for target in TARGETS)
    (tmp_path / "targets.yaml").write_text("".join(lines))
    return Releases(tmp_path / "registry", {target: f"shop-{target}" for target in TARGETS})


@pytest.fixture
def runner(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "empty", ("--targets", str(tmp_path / "targets.yaml")))


def theirs(tmp_path: Path, target: str) -> None:
    """A file of somebody else, where the release has one."""
    path = tmp_path / target / f"shop-{target}/configmap/settings.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n")


@pytest.mark.requirement("C-14")
def test_one_target_that_refuses_keeps_all_as_they_were_unless_the_others_are_to_go_on(
    tmp_path: Path, folders: Releases, runner: Machine
) -> None:
    folders.publish("v1.0.0", config_map("settings"))
    theirs(tmp_path, "us")
    result = runner.started(folders("v1.0.0")).end()
    assert result.exit_code == 4
    assert result.stdout.splitlines()[-1] == "3 targets: 0 succeeded, 1 failed, 2 remaining"
    assert "stage/us:\nerror: " in result.stderr
    assert not (tmp_path / "eu").exists()
    assert not (tmp_path / "asia").exists()

    applied = runner.apply(folders("v1.0.0"), "--keep-going", exit_code=4)["targets"]
    assert [each["status"] for each in applied] == ["succeeded", "failed", "succeeded"]
    assert [bool(each["error"]) for each in applied] == [False, True, False]
    assert (tmp_path / "asia/shop-asia/configmap/settings.yaml").exists()


def test_the_exit_code_is_that_of_what_failed_not_of_what_remains(
    tmp_path: Path, folders: Releases, runner: Machine
) -> None:
    folders.publish("v1.0.0", config_map("settings"))
    (tmp_path / "eu").write_text("a file where a folder should be")
    assert runner.started(folders("v1.0.0")).end().exit_code == 6


def test_a_canary_that_is_no_target_is_told_before_anything(
    folders: Releases, runner: Machine, tmp_path: Path
) -> None:
    folders.publish("v1.0.0", config_map("settings"))
    result = runner.started(folders("v1.0.0"), "--canary", "mars").end()
    assert result.exit_code == 2
    assert "hint: they are eu, us, asia" in result.stderr
    assert not (tmp_path / "eu").exists()


def test_a_dry_run_of_several_targets_shows_them_all(
    tmp_path: Path, folders: Releases, runner: Machine
) -> None:
    folders.publish("v1.0.0", config_map("settings"), made("v1", "ServiceAccount", "cart"))
    planned = runner.apply(folders("v1.0.0"), "--dry-run", "--at-once", 2)["targets"]
    assert [(each["status"], each["changes"]["created"]) for each in planned] == [
        ("planned", 2)
    ] * 3
    assert not (tmp_path / "eu").exists()


# --- going back and uninstalling ----------------------------------------------------------------


def lose(tmp_path: Path, target: str) -> None:
    """A folder that cannot be looked into any more."""
    (tmp_path / target).rename(tmp_path / f"{target}-lost")
    (tmp_path / target).write_text("a file where a folder should be")


@pytest.fixture
def one_is_lost(tmp_path: Path, folders: Releases, runner: Machine) -> Machine:
    """Two releases everywhere, then one target is out of reach."""
    for tag, colour in (("v1.0.0", "red"), ("v1.1.0", "blue")):
        folders.publish(tag, config_map("settings", colour=colour))
        runner.apply(folders(tag))
    lose(tmp_path, "us")
    return runner


@pytest.mark.requirement("C-14")
@pytest.mark.parametrize("command", ["rollback", "uninstall"])
def test_a_target_out_of_reach_keeps_all_as_they_are_unless_the_others_are_to_go_on(
    tmp_path: Path, one_is_lost: Machine, command: str
) -> None:
    settings = tmp_path / "asia/shop-asia/configmap/settings.yaml"
    result = one_is_lost(command, "--env", "stage", "--yes")
    assert result.exit_code == 2
    assert "error: stage/us: " in result.stderr
    assert "--keep-going goes on without it" in result.stderr
    assert "blue" in settings.read_text()

    done = one_is_lost.change(command, "--keep-going", exit_code=2)["targets"]
    assert [(each["target"], each["status"]) for each in done] == [
        ("eu", "succeeded"), ("asia", "succeeded"), ("us", "failed"),
    ]  # fmt: skip
    assert done[2]["error"]["code"] == "no-connection"
    if command == "rollback":
        assert "red" in settings.read_text()
    else:
        assert not settings.exists()


def test_nothing_goes_back_where_no_target_can_be_reached(
    tmp_path: Path, one_is_lost: Machine
) -> None:
    for target in ("eu", "asia"):
        lose(tmp_path, target)
    result = one_is_lost("rollback", "--env", "stage", "--yes", "--keep-going")
    assert result.exit_code == 2
    assert "; nor stage/us, stage/asia" in result.stderr


def test_nothing_goes_back_where_the_canary_cannot_be_reached(
    tmp_path: Path, folders: Releases, runner: Machine
) -> None:
    careful = Releases(tmp_path / "careful", folders.namespaces, canaries=frozenset({"us"}))
    for tag, colour in (("v1.0.0", "red"), ("v1.1.0", "blue")):
        careful.publish(tag, config_map("settings", colour=colour))
        runner.apply(careful(tag))
    lose(tmp_path, "us")
    result = runner("rollback", "--env", "stage", "--yes", "--keep-going")
    assert result.exit_code == 2
    assert "it is a canary" in result.stderr
    assert "blue" in (tmp_path / "eu/shop-eu/configmap/settings.yaml").read_text()
