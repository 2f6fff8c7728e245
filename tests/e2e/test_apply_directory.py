"""`bundler apply --directory`: the same through a folder, for a repository that others follow."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import yaml

from tests.e2e.live_objects import until
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment, job, made, sealed

V1 = (
    config_map("settings", colour="red"),
    sealed("sealed"),
    job("migrate", "migrate:1"),
    deployment("cart", "cart:1"),
    deployment("coupons", "coupons:1"),
)
V2 = (
    config_map("settings", colour="blue"),
    config_map("features", fast="yes"),
    job("migrate", "migrate:2"),
    deployment("cart", "cart:2"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stage"


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    releases = Releases(tmp_path / "registry", {"default": "shop"})
    releases.publish("v1.0.0", *V1)
    releases.publish("v1.1.0", *V2)
    return releases


@pytest.fixture
def machine(tmp_path: Path, folder: Path) -> Machine:
    return Machine(tmp_path / "empty", ("--directory", str(folder)))


def files(folder: Path) -> dict[str, bytes]:
    """What others follow: everything but our own state."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".bundler" not in path.parts
    }


def test_the_plan_says_which_release_is_replaced_by_which(
    releases: Releases, machine: Machine
) -> None:
    told = [
        machine("apply", releases(tag), "--env", "stage", "--yes").stderr
        for tag in ("v1.0.0", "v1.1.0", "v1.0.0")
    ]
    assert "plan for stage/default: v1.0.0, the first: 5 created\n" in told[0]
    assert "plan for stage/default: v1.0.0 → v1.1.0: " in told[1]
    assert "plan for stage/default: v1.1.0 → v1.0.0: " in told[2]


@pytest.mark.requirement("B-101", "B-102", "B-110", "B-115")
def test_forth_and_back_ends_in_the_same_files(
    releases: Releases, machine: Machine, folder: Path
) -> None:
    (folder / "shop" / "configmap").mkdir(parents=True)
    (folder / "shop" / "configmap" / "theirs.yaml").write_text("kind: ConfigMap\n")
    [first] = machine.apply(releases("v1.0.0"))["targets"]
    assert (first["status"], first["outcome"], first["revision"]) == ("succeeded", "written", 1)
    assert first["changes"]["created"] == len(V1)
    before = files(folder)
    assert before.keys() == {
        "shop/configmap/settings.yaml",
        "shop/configmap/theirs.yaml",
        "shop/deployment.apps/cart.yaml",
        "shop/deployment.apps/coupons.yaml",
        "shop/job.batch/migrate.yaml",
        "shop/secret/sealed.yaml",
    }
    cart = yaml.safe_load(before["shop/deployment.apps/cart.yaml"])
    assert cart["metadata"]["annotations"] == {"release-bundler/owner": "shop/stage/default"}
    assert "uid" not in cart["metadata"]

    [second] = machine.apply(releases("v1.1.0"))["targets"]
    assert second["changes"] == {
        "created": 1, "configured": 3, "unchanged": 0, "deleted": 2, "skipped": 0,
    }  # fmt: skip
    between = files(folder)
    assert "shop/deployment.apps/coupons.yaml" not in between
    assert "shop/secret/sealed.yaml" not in between
    assert b"blue" in between["shop/configmap/settings.yaml"]

    machine.apply(releases("v1.0.0"))
    assert files(folder) == before
    history = machine.look("history")["revisions"]
    assert [(each["number"], each["tag"], each["outcome"]) for each in history] == [
        (1, "v1.0.0", "written"), (2, "v1.1.0", "written"), (3, "v1.0.0", "written"),
    ]  # fmt: skip
    status = machine.look("status")
    assert status["current"] == status["latest"] == history[-1]


@pytest.mark.requirement("C-30")
def test_a_new_target_is_what_one_is_that_has_lived_through_all_releases(
    releases: Releases, machine: Machine, folder: Path, tmp_path: Path
) -> None:
    machine.apply(releases("v1.0.0"))
    machine.apply(releases("v1.1.0"))
    new = tmp_path / "new"
    Machine(tmp_path / "other", ("--directory", str(new))).apply(releases("v1.1.0"))
    assert files(new) == files(folder)


@pytest.mark.requirement("D-09")
def test_a_release_that_changes_nothing_writes_no_file(
    releases: Releases, machine: Machine, folder: Path
) -> None:
    releases.publish("v1.0.1", *V1)
    machine.apply(releases("v1.0.0"))
    before = {path: path.stat().st_mtime_ns for path in (folder / "shop").rglob("*")}
    [next_one] = machine.apply(releases("v1.0.1"))["targets"]
    assert next_one["changes"]["unchanged"] == len(V1)
    assert (next_one["status"], next_one["revision"]) == ("succeeded", 2)
    [again] = machine.apply(releases("v1.0.1"))["targets"]
    assert (again["status"], again["revision"]) == ("unchanged", 2)
    assert {path: path.stat().st_mtime_ns for path in (folder / "shop").rglob("*")} == before


@pytest.mark.requirement("B-109")
def test_a_dry_run_writes_nothing(releases: Releases, machine: Machine, folder: Path) -> None:
    [planned] = machine.apply(releases("v1.0.0"), "--dry-run")["targets"]
    assert (planned["status"], planned["changes"]["created"]) == ("planned", len(V1))
    assert not folder.exists()


def test_a_secret_in_the_clear_is_refused_before_anything_is_written(
    releases: Releases, machine: Machine, folder: Path
) -> None:
    secret = made("v1", "Secret", "token", stringData={"value": "very secret"})
    releases.publish("v1.2.0", *V2, secret)
    machine.apply(releases("v1.0.0"))
    before = files(folder)
    result = machine.started(releases("v1.2.0"), "-o", "json").end()
    assert result.exit_code == 4
    assert "very secret" not in result.stdout + result.stderr
    [target] = json.loads(result.stdout)["targets"]
    assert target["error"]["message"].startswith("Secret/shop/token: ")
    assert "encrypt it" in target["error"]["hint"]
    assert files(folder) == before
    assert machine.look("status")["latest"]["tag"] == "v1.0.0"


def test_a_file_of_somebody_else_is_refused(
    releases: Releases, machine: Machine, folder: Path
) -> None:
    theirs = folder / "shop/configmap/settings.yaml"
    theirs.parent.mkdir(parents=True)
    theirs.write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\n"
    )
    before = files(folder)
    error = machine.refused(releases("v1.0.0"), exit_code=4)
    assert error["code"] == "ownership-refused"
    assert "settings.yaml" in error["message"]
    assert files(folder) == before


@pytest.mark.requirement("B-111")
@pytest.mark.parametrize(
    ("sent", "exit_code", "status"),
    [(signal.SIGKILL, -9, "pending"), (signal.SIGTERM, 143, "interrupted")],
    ids=["killed", "terminated"],
)
def test_an_apply_that_was_cut_off_comes_to_the_same_files_when_it_is_run_again(
    releases: Releases, machine: Machine, folder: Path, tmp_path: Path, sent: signal.Signals,
    exit_code: int, status: str,
) -> None:  # fmt: skip
    many = [config_map(f"settings-{number}", number=str(number)) for number in range(800)]
    releases.publish("v2.0.0", *V2, *many)
    machine.apply(releases("v1.0.0"))
    running = machine.started(releases("v2.0.0"))
    until((folder / "shop/configmap/settings-10.yaml").exists, "one of the files")
    running.process.send_signal(sent)
    assert running.end().exit_code == exit_code
    assert machine.look("status")["latest"]["status"] == status
    assert machine.look("status")["current"]["tag"] == "v1.0.0"

    machine.apply(releases("v2.0.0"))
    calm = machine.with_connection("--directory", tmp_path / "calm")
    calm.apply(releases("v2.0.0"))
    assert files(folder) == files(tmp_path / "calm")
    assert [path.name for path in (folder / ".bundler").glob("tmp-*")] == []
    assert machine.look("status")["current"]["tag"] == "v2.0.0"


def test_targets_of_one_environment_have_their_own_folders_and_states(tmp_path: Path) -> None:
    releases = Releases(tmp_path / "registry", {"eu": "shop-eu", "us": "shop-us"})
    releases.publish("v1.0.0", config_map("settings"))
    (tmp_path / "targets.yaml").write_text(
        "stage/eu: {directory: eu}\nstage/us: {directory: deeper/us}\n"
    )
    machine = Machine(tmp_path / "empty", ("--targets", str(tmp_path / "targets.yaml")))
    applied = machine.apply(releases("v1.0.0"))["targets"]
    assert [each["status"] for each in applied] == ["succeeded"] * 2
    assert (tmp_path / "eu/shop-eu/configmap/settings.yaml").exists()
    assert (tmp_path / "deeper/us/shop-us/configmap/settings.yaml").exists()
    assert machine.look("status", "--target", "us")["current"]["tag"] == "v1.0.0"
