"""`bundler apply`, `status` and `history` on a real control plane."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Bundler
from tests.e2e.live_objects import APPS, BATCH, CORE, LEASES, Namespace
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment, job, made, service
from tools.control_plane import ControlPlane, kubeconfig
from tools.sample_shop import SampleShop

pytest_plugins = ["tests.e2e.cluster"]

V1 = (
    config_map("settings", colour="red"),
    made("v1", "Secret", "token", stringData={"value": "very secret"}),
    service("cart", 80),
    job("migrate", "migrate:1"),
    deployment("cart", "cart:1", replicas=2),
    deployment("coupons", "coupons:1"),
)
V2 = (
    config_map("settings", colour="blue", size="large"),
    config_map("features", fast="yes"),
    made("v1", "Secret", "token", stringData={"value": "more secret"}),
    service("cart", 8080),
    job("migrate", "migrate:2"),
    deployment("cart", "cart:2", replicas=3),
    deployment("search", "search:1"),
)


@pytest.fixture
def published(releases: Releases) -> Releases:
    releases.publish("v1.0.0", *V1)
    releases.publish("v1.1.0", *V2)
    return releases


@pytest.fixture
def look(machine: Machine, namespace: str) -> Callable[[str], Any]:
    return lambda command: machine.look(command, "--namespace", namespace)


def status_of(found: Any) -> tuple[str | None, str]:
    return found["current"] and found["current"]["tag"], found["latest"]["status"]


# --- forth and back -----------------------------------------------------------------------------


@pytest.mark.requirement("B-101", "B-110", "B-115")
def test_forth_and_back_ends_in_the_first_state(
    published: Releases, machine: Machine, place: Namespace, look: Callable[[str], Any]
) -> None:
    place.control_plane.request(
        "POST",
        place.path(CORE, "configmaps"),
        {**config_map("theirs"), "metadata": {"name": "theirs", "labels": {"of": "kubectl"}}},
    )
    first = machine.apply(published("v1.0.0"))["targets"][0]
    assert (first["status"], first["revision"], first["outcome"]) == ("succeeded", 1, "ready")
    assert first["changes"]["created"] == len(V1)
    before = place.state()

    second = machine.apply(published("v1.1.0"))["targets"][0]
    actions = {
        each["ref"].replace(f"/{place.name}", ""): each["action"] for each in second["objects"]
    }
    assert actions == {
        "ConfigMap/settings": "configured",
        "ConfigMap/features": "created",
        "Secret/token": "configured",
        "Service/cart": "configured",
        "Job/migrate": "configured",
        "Deployment/cart": "configured",
        "Deployment/search": "created",
        "Deployment/coupons": "deleted",
    }
    assert not place.has(APPS, "deployments", "coupons")
    assert "deployments/search" in place.state()

    machine.apply(published("v1.0.0"))
    assert place.state() == before
    assert place.has(CORE, "configmaps", "theirs")
    assert status_of(look("status")) == ("v1.0.0", "succeeded")
    history = look("history")["revisions"]
    assert [(each["number"], each["tag"]) for each in history] == [
        (1, "v1.0.0"), (2, "v1.1.0"), (3, "v1.0.0"),
    ]  # fmt: skip


@pytest.mark.requirement("B-101", "B-102", "B-106", "D-09")
def test_the_sample_shop_runs_changes_and_stays_as_it_is_where_a_release_changes_nothing(
    shop: SampleShop,
    bundler: Bundler,
    machine: Machine,
    control_plane: ControlPlane,
    tmp_path: Path,
) -> None:
    for tag in ("v1.0.0", "v1.2.0", "v1.2.1"):
        assert bundler("publish", tag, "--repo", "shop").exit_code == 0
    elsewhere = f"ocidir://{(shop.registry / 'shop').rename(tmp_path / 'deploy')}"
    (tmp_path / "shop").rename(tmp_path / "no source for us")
    stage = Namespace(control_plane, "shop")
    machine.apply(f"{elsewhere}:v1.0.0")
    first = stage.state()
    machine.apply(f"{elsewhere}:v1.2.0")

    before = stage.identities()
    again = machine.apply(f"{elsewhere}:v1.2.1")["targets"][0]
    counts = again["changes"]
    assert counts == {
        "created": 0, "configured": 0, "unchanged": len(again["objects"]), "deleted": 0,
        "skipped": 0,
    }  # fmt: skip
    assert again["revision"] == 3
    assert stage.identities() == before
    current = machine.look("status", "--namespace", "shop")["current"]
    assert (current["tag"], current["number"]) == ("v1.2.1", 3)

    machine.with_connection("--directory", tmp_path / "prod").apply(
        f"{elsewhere}:v1.2.1", environment="prod"
    )
    in_prod = {
        target: images_of("".join(p.read_text() for p in sorted(folder.rglob("*.yaml"))))
        for target in ("shop-eu", "shop-us")
        if (folder := tmp_path / "prod" / target)
    }
    in_stage = images_of(json.dumps(list(stage.owned().values())))
    assert in_stage == in_prod["shop-eu"] == in_prod["shop-us"]

    machine.apply(f"{elsewhere}:v1.0.0", "--allow-downgrade")
    assert stage.state() == first


def images_of(text: str) -> set[str]:
    return set(re.findall(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", text))


@pytest.mark.requirement("D-09")
def test_the_same_release_again_is_unchanged_and_makes_no_revision(
    published: Releases, machine: Machine, place: Namespace, look: Callable[[str], Any]
) -> None:
    machine.apply(published("v1.0.0"))
    before = place.identities()
    again = machine.apply(published("v1.0.0"))["targets"][0]
    assert (again["status"], again["revision"]) == ("unchanged", 1)
    assert place.identities() == before
    [revision] = look("history")["revisions"]
    assert revision["lastChecked"] >= revision["finished"]


def test_what_somebody_removed_is_made_again_and_what_somebody_changed_is_told(
    published: Releases, machine: Machine, place: Namespace
) -> None:
    machine.apply(published("v1.0.0"))
    before = place.state()
    place.control_plane.request("DELETE", place.path(CORE, "services", "cart"))
    [again] = machine.apply(published("v1.0.0"))["targets"]
    assert (again["status"], again["changes"]["created"]) == ("succeeded", 1)
    assert place.state() == before

    place.patch(CORE, "configmaps", "settings", data={"colour": "green"})
    error = machine.refused(published("v1.1.0"), exit_code=4)
    assert error["code"] == "ownership-refused"
    assert f"ConfigMap/{place.name}/settings" in error["message"]
    assert place.get(CORE, "configmaps", "settings")["data"] == {"colour": "green"}
    assert not place.has(CORE, "configmaps", "features")


# --- dry run ------------------------------------------------------------------------------------


@pytest.mark.requirement("B-109")
def test_a_dry_run_shows_the_changes_masks_secrets_and_changes_nothing(
    published: Releases, machine: Machine, place: Namespace, look: Callable[[str], Any]
) -> None:
    machine.apply(published("v1.0.0"))
    before, revisions = place.owned(), place.revisions()
    planned = machine.apply(published("v1.1.0"), "--dry-run")["targets"][0]
    assert (planned["status"], planned["revision"]) == ("planned", None)
    assert planned["changes"] == {
        "created": 2, "configured": 5, "unchanged": 0, "deleted": 1, "skipped": 0,
    }  # fmt: skip
    as_text = machine("apply", published("v1.1.0"), "--env", "stage", "--dry-run")
    assert as_text.exit_code == 0
    assert f"deleted    Deployment/{place.name}/coupons" in as_text.stdout
    assert f"configured Secret/{place.name}/token" in as_text.stdout
    assert "secret\n" not in as_text.stdout + as_text.stderr
    assert "very secret" not in json.dumps(planned)
    assert place.owned() == before
    assert place.revisions() == revisions
    assert look("status")["latest"]["number"] == 1


@pytest.mark.requirement("B-109")
def test_a_dry_run_of_a_first_apply_makes_nothing_at_all(
    published: Releases, machine: Machine, place: Namespace
) -> None:
    planned = machine.apply(published("v1.0.0"), "--dry-run")["targets"][0]
    assert planned["changes"]["created"] == len(V1)
    assert not place.owned()
    assert not place.listed(LEASES, "leases")
    assert not place.listed(CORE, "configmaps", "release-bundler/state")


# --- who, when, what ----------------------------------------------------------------------------


@pytest.mark.requirement("B-115")
def test_who_when_what_and_how_it_ended_are_recorded_also_of_what_failed(
    releases: Releases, machine: Machine, look: Callable[[str], Any]
) -> None:
    good = releases.publish("v1.0.0", *V1)
    bad = releases.publish("v1.1.0", job("migrate", "crashing:2", backoffLimit=0))
    in_ci = machine.with_variables(
        GITHUB_ACTOR="ada",
        GITHUB_RUN_ID="7",
        GITHUB_SERVER_URL="https://git.example.com",
        GITHUB_REPOSITORY="shop/shop",
    )
    in_ci.apply(releases("v1.0.0"))
    in_ci.apply(releases("v1.1.0"), exit_code=5)
    first, second = look("history")["revisions"]
    for revision, tag, digest in ((first, "v1.0.0", good), (second, "v1.1.0", bad)):
        assert revision["who"] == {
            "authenticated": "admin",
            "claimed": "ada",
            "job": "https://git.example.com/shop/shop/actions/runs/7",
        }
        assert (revision["tag"], revision["digest"]) == (tag, digest)
        assert revision["reference"].endswith(f":{tag}@{digest}")
        assert (revision["environment"], revision["target"]) == ("stage", "default")
        assert revision["started"] <= revision["finished"]
        assert revision["durationSeconds"] > 0
    assert (first["status"], first["outcome"]) == ("succeeded", "ready")
    assert second["status"] == "failed"
    assert "migrate" in second["outcome"]


def test_status_and_history_are_also_for_people(
    published: Releases, machine: Machine, place: Namespace
) -> None:
    machine.apply(published("v1.0.0"))
    status = machine("status", "--namespace", place.name)
    assert re.search(r"^shop +stage/default +v1\.0\.0 +ready ", status.stdout, re.MULTILINE)
    history = machine("history", "--namespace", place.name)
    assert re.search(
        r"^1 +v1\.0\.0 +succeeded .* 6 created +admin +\S+ +ocidir:", history.stdout, re.MULTILINE
    )


# --- Jobs ---------------------------------------------------------------------------------------


def test_a_job_is_made_anew_only_when_its_template_changed(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", job("migrate", "migrate:1"), config_map("settings", colour="red"))
    releases.publish("v1.1.0", job("migrate", "migrate:1"), config_map("settings", colour="blue"))
    releases.publish("v1.2.0", job("migrate", "migrate:2"), config_map("settings", colour="blue"))
    jobs = []
    for tag in ("v1.0.0", "v1.1.0", "v1.2.0"):
        machine.apply(releases(tag))
        found = place.get(BATCH, "jobs", "migrate")
        image = found["spec"]["template"]["spec"]["containers"][0]["image"]
        jobs.append((found["metadata"]["uid"], image.rpartition(":")[2]))
        assert found["status"]["succeeded"] == 1
    assert jobs[0] == jobs[1]
    assert jobs[1][0] != jobs[2][0]
    assert [image for _, image in jobs] == ["1", "1", "2"]


# --- connections --------------------------------------------------------------------------------


@pytest.fixture
def prod(tmp_path: Path, place: Namespace) -> Iterator[Releases]:
    """A release for two targets; the namespace of the second comes with the first apply."""
    other = f"{place.name}-us"
    releases = Releases(tmp_path / "registry", {"eu": place.name, "us": other}, environment="prod")
    releases.publish("v1.0.0", config_map("settings", colour="red"), deployment("cart", "cart:1"))
    yield releases
    if place.control_plane.has(f"/api/v1/namespaces/{other}"):
        place.control_plane.request("DELETE", f"/api/v1/namespaces/{other}")


def cluster_uid(control_plane: ControlPlane) -> str:
    found = control_plane.request("GET", "/api/v1/namespaces/kube-system")
    return str(found["metadata"]["uid"])


def test_a_targets_file_leads_to_every_target_of_an_environment(
    prod: Releases, place: Namespace, machine: Machine, tmp_path: Path
) -> None:
    plane = place.control_plane
    (tmp_path / "targets.yaml").write_text(
        f"prod/eu: {{kubeconfig: {plane.kubeconfig}, cluster: {cluster_uid(plane)}}}\n"
        f"prod/us: {{kubeconfig: {plane.kubeconfig}, context: admin}}\n"
    )
    by_file = machine.with_connection("--targets", tmp_path / "targets.yaml")
    applied = by_file.apply(prod("v1.0.0"), environment="prod")["targets"]
    assert [(each["target"], each["status"]) for each in applied] == [
        ("eu", "succeeded"), ("us", "succeeded"),
    ]  # fmt: skip
    for target, name in prod.namespaces.items():
        where = Namespace(plane, name)
        assert set(where.state()) == {"configmaps/settings", "deployments/cart"}
        owner = where.get(CORE, "configmaps", "settings")["metadata"]["annotations"]
        assert owner["release-bundler/owner"] == f"shop/prod/{target}"
        status = machine.look("status", "--namespace", name)
        assert (status["target"], status["current"]["tag"]) == (target, "v1.0.0")


@pytest.mark.requirement("B-113")
def test_another_cluster_than_the_one_that_is_named_is_refused_before_anything(
    prod: Releases, place: Namespace, machine: Machine, tmp_path: Path
) -> None:
    config = place.control_plane.kubeconfig
    (tmp_path / "targets.yaml").write_text(
        f"prod/eu: {{kubeconfig: {config}}}\n"
        f"prod/us: {{kubeconfig: {config}, cluster: 0c0e3a42-0000-4000-8000-000000000000}}\n"
    )
    by_file = machine.with_connection("--targets", tmp_path / "targets.yaml")
    error = by_file.refused(prod("v1.0.0"), environment="prod", exit_code=4)
    assert error["message"].startswith(f"{place.control_plane.server} is cluster ")
    assert "cluster 0c0e3a42-0000-4000-8000-000000000000 is expected" in error["message"]
    assert not place.owned()
    assert not place.listed(CORE, "configmaps", "release-bundler/state")


def test_a_target_without_a_connection_ends_before_anything(
    prod: Releases, place: Namespace, machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "targets.yaml").write_text(
        f"prod/eu: {{kubeconfig: {place.control_plane.kubeconfig}}}\n"
    )
    by_file = machine.with_connection("--targets", tmp_path / "targets.yaml")
    error = by_file.refused(prod("v1.0.0"), environment="prod", exit_code=2)
    assert (error["code"], error["message"]) == ("no-connection", "no connection to prod/us")
    assert not place.owned()
    only = by_file.apply(prod("v1.0.0"), "--target", "eu", environment="prod")["targets"]
    assert [each["target"] for each in only] == ["eu"]


def test_a_merged_kubeconfig_leads_to_a_cluster(
    published: Releases, machine: Machine, place: Namespace, tmp_path: Path
) -> None:
    """The server stands in one file, the user and the context in another."""
    plane = place.control_plane
    whole = kubeconfig(plane.server, plane.ca, "ci", plane.token)
    parts = [
        {"apiVersion": "v1", "kind": "Config", "clusters": whole["clusters"]},
        {
            "apiVersion": "v1",
            "kind": "Config",
            "users": whole["users"],
            "contexts": whole["contexts"],
        },
    ]
    for number, part in enumerate(parts):
        (tmp_path / f"part-{number}").write_text(json.dumps(part))
    merged = f"{tmp_path / 'part-0'}:{tmp_path / 'part-1'}"
    by_variable = machine.with_connection().with_variables(KUBECONFIG=merged)
    applied = by_variable.apply(published("v1.0.0"), "--context", "ci")["targets"][0]
    assert applied["status"] == "succeeded"
    assert "deployments/cart" in place.state()
