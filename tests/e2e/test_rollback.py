"""Releases that really fail and are restored, ways back by hand, and the end of a target."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.model.lock import ResolvedMigrations
from bundler.model.project import ApplySettings
from tests.e2e.conftest import Bundler
from tests.e2e.live_objects import APPS, BATCH, CORE, Namespace, Status, until
from tests.e2e.machine import Machine
from tests.e2e.releases import (
    SLOW,
    Object,
    Releases,
    config_map,
    deployment,
    job,
    made,
    sealed,
    service,
)
from tests.git_history import git
from tools.control_plane import ControlPlane
from tools.sample_shop import SampleShop

pytest_plugins = ["tests.e2e.cluster"]

ROLLBACK = ("--on-failure", "rollback", "--timeout", "6s")


def first() -> tuple[Object, ...]:
    return (
        config_map("settings", colour="red"), config_map("old"), service("cart", 80),
        deployment("cart", "cart:1", replicas=2),
    )  # fmt: skip


def second(image: str = "unready:2") -> tuple[Object, ...]:
    return (
        config_map("settings", colour="blue"), config_map("new"), service("cart", 81),
        deployment("cart", image, replicas=2), deployment("extra", "extra:1"),
    )  # fmt: skip


def history(place: Namespace) -> list[tuple[str, str, str]]:
    return [(each["tag"], each["kind"], each["status"]) for each in place.revisions()]


# --- a release that fails -----------------------------------------------------------------------


@pytest.mark.requirement("A-15", "C-45", "A-14")
def test_a_release_that_fails_is_taken_back_and_the_former_one_serves_as_before(
    releases: Releases, machine: Machine, place: Namespace, status: Status
) -> None:
    releases.publish("v1.0.0", *first())
    releases.publish("v1.1.0", *second(), applying=ApplySettings(on_failure="rollback"))
    machine.apply(releases("v1.0.0"))
    before = place.state()
    [former] = place.listed(APPS, "replicasets")

    [target] = machine.apply(releases("v1.1.0"), "--timeout", "6s", exit_code=5)["targets"]
    assert place.state() == before
    assert (target["status"], target["revision"]) == ("rolled-back", 2)
    assert target["failed"] == [f"Deployment/{place.name}/cart"]
    assert "Readiness probe failed" in target["error"]["message"]
    assert target["error"]["message"].endswith("v1.0.0 is restored")
    back = target["rollback"]
    assert (back["release"], back["restored"], back["revision"]) == ("v1.0.0", True, 3)
    assert {"ref": f"ConfigMap/{place.name}/new", "action": "deleted"} in back["objects"]
    assert history(place) == [
        ("v1.0.0", "apply", "succeeded"),
        ("v1.1.0", "apply", "rolled-back"),
        ("v1.0.0", "rollback", "succeeded"),
    ]
    assert status() == ("v1.0.0", "v1.0.0", "succeeded")
    sets = {each["metadata"]["uid"]: each for each in place.listed(APPS, "replicasets")}
    assert sets[former["metadata"]["uid"]]["status"]["readyReplicas"] == 2
    assert place.lock_holder() == ""
    told = machine("history", "--namespace", place.name).stdout
    assert "rolled back to v1.0.0 from v1.1.0" in told
    assert "Readiness probe failed" in told


@pytest.mark.requirement("A-13", "A-15")
def test_what_was_done_what_failed_and_what_became_of_it_is_told_in_words(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", deployment("cart", "unready:1"), config_map("settings"))
    result = machine.started(releases("v1.0.0"), *ROLLBACK).end()
    assert result.exit_code == 5
    assert f"stage/default: done: ConfigMap/{place.name}/settings" in result.stdout
    assert f"stage/default: failed: Deployment/{place.name}/cart" in result.stdout
    assert "there is no way back: no release has succeeded here yet" in result.stdout
    assert "restores the former release" not in result.stderr
    assert "there is no way back" in place.revisions()[0]["outcome"]


@pytest.mark.requirement("A-15")
def test_a_former_release_that_is_gone_is_refused_before_anything_changes_or_told(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", config_map("settings", colour="red"))
    machine.apply(releases("v1.0.0"))
    shutil.rmtree(releases.folder)
    releases.publish("v1.1.0", config_map("settings", colour="blue"))
    error = machine.refused(releases("v1.1.0"), *ROLLBACK, exit_code=4)
    assert "v1.0.0, to go back to where this release fails, cannot be had" in error["message"]
    assert place.get(CORE, "configmaps", "settings")["data"] == {"colour": "red"}
    assert len(place.revisions()) == 1
    halting = machine.started(releases("v1.1.0")).end()
    assert halting.exit_code == 0
    assert "v1.0.0, the release there, cannot be pulled any more" in halting.stderr


def test_a_former_release_that_has_moved_is_found_beside_the_new_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "empty", ("--directory", str(tmp_path / "stage")))
    releases = Releases(tmp_path / "registry", {"default": "shop"})
    releases.publish("v1.0.0", config_map("settings", colour="red"))
    machine.apply(releases("v1.0.0"))
    moved = replace(releases, folder=releases.folder.rename(tmp_path / "moved"))
    moved.publish("v1.1.0", config_map("settings", colour="blue"))
    result = machine.started(moved("v1.1.0"), "--on-failure", "rollback").end()
    assert result.exit_code == 0, result.stderr
    assert "v1.0.0" not in "".join(x for x in result.stderr.splitlines() if "warning" in x)


@pytest.mark.requirement("B-111", "A-15")
def test_a_rollback_that_was_killed_is_made_good_by_the_same_command(
    releases: Releases, machine: Machine, place: Namespace, status: Status
) -> None:
    objects = (deployment("cart", "cart:1", SLOW), config_map("settings", colour="red"))
    releases.publish("v1.0.0", *objects)
    releases.publish("v1.1.0", *second())
    machine.apply(releases("v1.0.0"))
    before = place.state()
    running = machine.started(releases("v1.1.0"), *ROLLBACK)
    until(lambda: len(place.revisions()) == 3, "the rollback")
    running.kill()
    place.expire_lock()
    [target] = machine.apply(releases("v1.1.0"), *ROLLBACK, exit_code=5)["targets"]
    assert target["status"] == "rolled-back"
    assert place.state() == before
    assert status() == ("v1.0.0", "v1.0.0", "succeeded")
    assert "pending" not in {each["status"] for each in place.revisions()}


# --- by hand ------------------------------------------------------------------------------------


@pytest.mark.requirement("C-44", "C-45", "D-11")
def test_going_back_by_hand_applies_what_was_there_before_and_history_goes_on(
    releases: Releases, machine: Machine, place: Namespace, status: Status
) -> None:
    digests = [releases.publish("v1.0.0", *first()), releases.publish("v1.1.0", *second("cart:2"))]
    machine.apply(releases("v1.0.0"))
    before = place.state()
    [former] = place.listed(APPS, "replicasets")
    machine.apply(releases("v1.1.0"))
    after = place.state()
    # Whatever the version means by now, the digest that ran is what comes back.
    index = releases.folder / "shop" / "index.json"
    content = json.loads(index.read_text())
    for each in content["manifests"]:
        each["annotations"] = {}
    index.write_text(json.dumps(content))

    shown = machine("rollback", "-n", place.name, "--env", "stage", "--dry-run", "-o", "json")
    assert shown.exit_code == 0 and place.state() == after
    result = machine.change("rollback", "-n", place.name, "--reason", "the cart is empty")
    assert (result["release"], result["digest"]) == ("v1.0.0", digests[0])
    assert result["targets"][0]["revision"] == 3
    assert place.state() == before
    serving = [each for each in place.listed(APPS, "replicasets") if each["spec"]["replicas"]]
    assert [each["metadata"]["uid"] for each in serving] == [former["metadata"]["uid"]]
    assert history(place)[-1] == ("v1.0.0", "rollback", "succeeded")
    last = place.revisions()[-1]
    assert (last["replaces"], last["reason"]) == ("v1.1.0", "the cart is empty")
    assert last["planned"]["deleted"] == last["changes"]["deleted"] == 2
    assert "rolled back to v1.0.0 from v1.1.0" in machine("status", "-n", place.name).stdout

    result = machine.change("rollback", "-n", place.name, "--to", "v1.1.0")
    assert (result["release"], place.state()) == ("v1.1.0", after)
    result = machine.change("rollback", "-n", place.name, "--to-revision", "1")
    assert (result["release"], place.state()) == ("v1.0.0", before)
    assert [each["number"] for each in place.revisions()] == [1, 2, 3, 4, 5]

    error = machine.change("rollback", "-n", place.name, "--to", "v0.9.0", exit_code=2)["error"]
    assert "stage/default never had v0.9.0" in error["message"]
    assert "v1.1.0 (" in error["hint"]
    asked = machine("rollback", "-n", place.name, "--env", "stage")
    assert asked.exit_code == 2 and "no terminal" in asked.stderr


@pytest.mark.requirement("C-44")
def test_after_a_failure_going_back_restores_the_current_release(
    releases: Releases, machine: Machine, place: Namespace, status: Status
) -> None:
    releases.publish("v1.0.0", *first())
    releases.publish("v1.1.0", *second())
    machine.apply(releases("v1.0.0"))
    before = place.state()
    told = machine.started(releases("v1.1.0"), "--timeout", "4s").end()
    assert "bundler rollback --env stage restores the former release" in told.stderr
    assert status() == ("v1.0.0", "v1.1.0", "failed")
    assert machine.change("rollback", "-n", place.name)["release"] == "v1.0.0"
    assert place.state() == before
    error = machine.change("rollback", "-n", place.name, exit_code=2)["error"]
    assert "no release to go back to" in error["message"]


def test_several_targets_go_back_together(
    tmp_path: Any, control_plane: ControlPlane, machine: Machine, place: Namespace
) -> None:
    releases = Releases(tmp_path / "registry", {"east": place.name, "west": f"{place.name}-west"})
    other = Namespace(control_plane, f"{place.name}-west")
    for tag in ("v1.0.0", "v1.1.0"):
        releases.publish(tag, config_map("settings", version=tag))
        machine.apply(releases(tag))
    targets = tmp_path / "targets.yaml"
    kubeconfig = json.dumps({"kubeconfig": str(control_plane.kubeconfig)})
    targets.write_text(f"stage/east: {kubeconfig}\nstage/west: {kubeconfig}\n")
    listed = machine.with_connection("--targets", targets)
    found = listed.change("rollback")["targets"]
    assert [(each["target"], each["revision"]) for each in found] == [("east", 3), ("west", 3)]
    for each in (place, other):
        assert each.get(CORE, "configmaps", "settings")["data"] == {"version": "v1.0.0"}
    listed.change("rollback", "--to", "v1.1.0", "--target", "east")
    error = listed.change("rollback", exit_code=2)["error"]
    assert "different releases" in error["message"] or "no release" in error["message"]


@pytest.mark.requirement("C-44", "C-45")
def test_a_folder_goes_back_and_is_emptied_as_a_cluster_is(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    machine = Machine(tmp_path / "empty", ("--directory", str(folder)))
    releases = Releases(tmp_path / "registry", {"default": "shop"})
    releases.publish("v1.0.0", *first(), sealed("token"))
    releases.publish("v1.1.0", *second())
    machine.apply(releases("v1.0.0"))
    before = files(folder)
    machine.apply(releases("v1.1.0"))
    assert machine.change("rollback")["targets"][0]["outcome"] == "written"
    assert files(folder) == before
    machine.change("uninstall")
    assert not files(folder)
    assert machine.look("status")["current"] is None


def test_going_back_keeps_to_the_same_bounds_as_an_apply(tmp_path: Path) -> None:
    folder, events = tmp_path / "stage", tmp_path / "events"
    machine = Machine(tmp_path / "empty", ("--directory", str(folder)))
    releases = Releases(tmp_path / "registry", {"default": "shop"})
    releases.publish("v1.0.0", config_map("settings"))
    releases.publish("v1.1.0", config_map("settings"), config_map("more"))
    for tag in ("v1.0.0", "v1.1.0"):
        machine.apply(releases(tag))
    [target] = machine.change("rollback", "--max-deletions", 0, exit_code=4)["targets"]
    assert "--max-deletions" in target["error"]["hint"]
    told = ("--events", events, "--metrics", tmp_path / "metrics")
    for command in ("rollback", "uninstall"):
        assert machine.change(command, "--dry-run", *told)["targets"][0]["status"] == "planned"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    machine.change("rollback", "--no-prune", "--keep-going", "--at-once", 2)
    assert len(files(folder)) == 2


def test_a_way_back_is_shown_once_and_that_it_leads_back_is_no_warning(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "empty", ("--directory", str(tmp_path / "stage")))
    releases = Releases(tmp_path / "registry", {"default": "shop"}, is_protected=True)
    for tag, colour in (("v1.0.0", "red"), ("v1.1.0", "blue")):
        releases.publish(tag, config_map("settings", colour=colour))
        machine.apply(releases(tag))
    assert "bundler rollback" in machine.refused(releases("v1.0.0"), exit_code=4)["hint"]
    plan = "plan for stage/default: "
    shown = machine("rollback", "--env", "stage", "--dry-run")
    assert plan in shown.stdout and plan not in shown.stderr
    done = machine("rollback", "--env", "stage", "--yes")
    assert f"{plan}v1.1.0 → v1.0.0" in done.stderr and plan not in done.stdout
    assert "warning" not in shown.stderr + done.stderr


def test_an_uninstall_is_told_as_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "empty", ("--directory", str(tmp_path / "stage")))
    releases = Releases(tmp_path / "registry", {"default": "shop"})
    releases.publish("v1.0.0", config_map("settings"))
    machine.apply(releases("v1.0.0"))
    result = machine("uninstall", "--env", "stage", "--yes")
    assert "plan for stage/default: uninstall v1.0.0: 1 deleted" in result.stderr
    assert "stage/default: uninstall succeeded, revision 2: 1 deleted" in result.stdout


def test_a_release_that_is_not_where_it_was_pulled_from_may_be_elsewhere(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "empty", ("--directory", str(tmp_path / "stage")))
    releases = Releases(tmp_path / "registry", {"default": "shop"})
    for tag, colour in (("v1.0.0", "red"), ("v1.1.0", "blue")):
        releases.publish(tag, config_map("settings", colour=colour))
        machine.apply(releases(tag))
    moved = releases.folder.rename(tmp_path / "moved")
    error = machine.change("rollback", exit_code=1)["error"]
    assert "--deploy-registry" in error["hint"]
    machine.change("rollback", "--deploy-registry", f"ocidir://{moved / 'shop'}")


def test_whose_release_goes_back_is_not_guessed(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "empty", ("--directory", str(tmp_path / "stage")))
    for project in ("bank", "shop"):
        releases = Releases(tmp_path / "registry", {"default": project}, project)
        releases.publish("v1.0.0", config_map("settings"))
        machine.apply(releases("v1.0.0"))
    for command in ("rollback", "uninstall"):
        error = machine.change(command, exit_code=2)["error"]
        assert "stage is there of several projects: bank, shop" in error["message"]
    error = machine.change("uninstall", "--target", "eu", exit_code=2)["error"]
    assert "stage/default" in error["hint"]


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if ".bundler" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.requirement("C-42", "C-43")
def test_a_revert_is_published_with_the_images_of_before_and_brings_back_what_they_ran(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    to = ("--env", "stage", "--yes", "--directory", str(tmp_path / "stage"))

    def deployed(tag: str) -> dict[str, bytes]:
        assert bundler("publish", tag, "--repo", "shop").exit_code == 0
        result = bundler("apply", tag, *to, cwd=shop.repository)
        assert result.exit_code == 0, result.stderr
        return files(tmp_path / "stage")

    former, newer = deployed("v1.0.0"), deployed("v1.1.0")
    assert former != newer
    tree = ("v1.0.0^{tree}", "-p", "main", "-m", "Revert all since v1.0.0")
    revert = git(shop.repository, "commit-tree", *tree)
    git(shop.repository, "update-ref", "refs/heads/main", revert)
    git(shop.repository, "tag", "v9.0.0", revert)
    resolved = [
        bundler("resolve", tag, "--repo", "shop", "-o", "json").value["services"]
        for tag in ("v1.0.0", "v9.0.0")
    ]
    images = [{name: each["digest"] for name, each in found.items()} for found in resolved]
    assert images[0] == images[1], "nothing is built for it"
    assert deployed("v9.0.0") == former


# --- migrations ---------------------------------------------------------------------------------


def migrating(tag: str, image: str, migration: str) -> tuple[Object, ...]:
    return (job("migrate", migration, backoffLimit=0), deployment("cart", image))


def declared(digest: str) -> dict[str, ResolvedMigrations]:
    return {"cart": ResolvedMigrations(f"sha1:{digest * 40}", reversible=False, job="migrate")}


@pytest.mark.requirement("D-12", "D-13")
def test_nothing_goes_back_behind_a_migration_that_is_not_reversible(
    releases: Releases, machine: Machine, place: Namespace, status: Status
) -> None:
    old = migrating("v1.0.0", "cart:1", "migrate:1")
    releases.publish("v1.0.0", *old, migrations=declared("1"))
    new = migrating("v2.0.0", "unready:2", "migrate:2")
    releases.publish("v2.0.0", *new, migrations=declared("2"))
    machine.apply(releases("v1.0.0"))
    running = machine.started(releases("v2.0.0"), *ROLLBACK).end()
    assert running.exit_code == 5
    assert "cart migrates its data by Job migrate, not reversible" in running.stderr
    assert "has begun, going back to v1.0.0 is refused" in running.stderr
    assert "v1.0.0 is behind cart's migration of v2.0.0 (Job migrate)" in running.stderr
    assert status() == ("v1.0.0", "v2.0.0", "failed")

    for command in (("rollback", "-n", place.name), ("apply", releases("v1.0.0"))):
        refused = machine(*command, "--env", "stage", "--yes", "-o", "json")
        error = json.loads(refused.stdout)["targets"][0]["error"]
        assert (refused.exit_code, error["code"]) == (4, "migration-barrier")
        assert error["findings"][0]["service"] == "cart"
    assert "unready:2" in json.dumps(place.get(APPS, "deployments", "cart"))
    machine.change("rollback", "-n", place.name, "--past-migrations")
    assert status() == ("v1.0.0", "v1.0.0", "succeeded")


@pytest.mark.requirement("D-14", "A-15")
def test_a_migration_comes_before_its_service_once_and_its_failure_leaves_the_service_alone(
    releases: Releases, machine: Machine, place: Namespace, status: Status
) -> None:
    objects = migrating("v1.0.0", "cart:1", "migrate:1")
    releases.publish("v1.0.0", *objects, migrations=declared("1"))
    releases.publish("v1.0.1", *objects, config_map("more"), migrations=declared("1"))
    bad = migrating("v1.1.0", "cart:2", "crashing:2")
    releases.publish("v1.1.0", *bad, migrations=declared("1"))
    with place.watched(APPS, "deployments") as changed, place.watched(BATCH, "jobs") as ran:
        machine.apply(releases("v1.0.0"))
        [first_run] = {each["metadata"]["uid"] for each in ran}
        completed = next(each for each in ran if (each.get("status") or {}).get("succeeded"))
        assert int(completed["metadata"]["resourceVersion"]) < min(
            int(each["metadata"]["resourceVersion"]) for each in changed
        )
        machine.apply(releases("v1.0.1"))
        assert {each["metadata"]["uid"] for each in ran} == {first_run}, "it ran once"
    cart = place.get(APPS, "deployments", "cart")["metadata"]
    [target] = machine.apply(releases("v1.1.0"), *ROLLBACK, exit_code=5)["targets"]
    assert target["failed"] == [f"Job/{place.name}/migrate"]
    assert f"Deployment/{place.name}/cart" in target["notStarted"]
    assert target["rollback"]["restored"] is True
    assert place.get(APPS, "deployments", "cart")["metadata"]["generation"] == cart["generation"]
    assert status() == ("v1.0.1", "v1.0.1", "succeeded")


# --- uninstall ----------------------------------------------------------------------------------


def test_uninstalling_leaves_nothing_of_ours_but_volumes_and_the_history(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    claim = made(
        "v1", "PersistentVolumeClaim", "data",
        spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    )  # fmt: skip
    releases.publish("v1.0.0", *first(), claim)
    machine.apply(releases("v1.0.0"))
    saved = releases.folder.rename(releases.folder.with_name("away"))  # nothing is pulled
    before = place.state()
    asked = machine("uninstall", "-n", place.name, "--env", "stage")
    assert asked.exit_code == 2 and "no terminal" in asked.stderr
    shown = machine("uninstall", "-n", place.name, "--env", "stage", "--dry-run")
    assert shown.exit_code == 0 and "deleted" in shown.stdout
    assert place.state() == before

    [target] = machine.change("uninstall", "-n", place.name, "--reason", "moved")["targets"]
    assert (target["status"], target["outcome"]) == ("succeeded", "uninstalled")
    assert set(place.state()) == {"persistentvolumeclaims/data"}
    assert history(place) == [
        ("v1.0.0", "apply", "succeeded"),
        ("v1.0.0", "uninstall", "succeeded"),
    ]
    found = machine.look("status", "-n", place.name)
    assert found["current"] is None
    assert machine.change("uninstall", "-n", place.name)["targets"][0]["status"] == "unchanged"

    saved.rename(releases.folder)
    machine.apply(releases("v1.0.0"))
    assert place.state() == before
    machine.change(
        "uninstall", "-n", place.name, "--purge", "--delete", "PersistentVolumeClaim/data"
    )
    assert not place.state()
    assert not place.listed(CORE, "configmaps", "release-bundler/state")
