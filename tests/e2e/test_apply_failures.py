"""Applies that fail, are killed, meet each other, or are refused: on a real control plane."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live_objects import Namespace, until
from tests.e2e.machine import Machine, value
from tests.e2e.releases import SLOW, Object, Releases, config_map, deployment, job, made, service
from tools.control_plane import ControlPlane, kubeconfig
from tools.server_process import free_port

APPS, CORE, BATCH = "/apis/apps/v1", "/api/v1", "/apis/batch/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def place(control_plane: ControlPlane, namespace: str) -> Namespace:
    return Namespace(control_plane, namespace)


@pytest.fixture
def releases(tmp_path: Path, namespace: str) -> Releases:
    return Releases(tmp_path / "registry", {"default": namespace})


@pytest.fixture
def machine(tmp_path: Path, control_plane: ControlPlane) -> Machine:
    return Machine(tmp_path / "empty", ("--kubeconfig", str(control_plane.kubeconfig)))


@pytest.fixture
def status(machine: Machine, namespace: str) -> Callable[[], tuple[str | None, str, str]]:
    """Tag of the current release, tag and status of the last one."""

    def look() -> tuple[str | None, str, str]:
        found = machine.look("status", "--namespace", namespace)
        current, latest = found["current"], found["latest"]
        return current and current["tag"], latest["tag"], latest["status"]

    return look


Status = Callable[[], tuple[str | None, str, str]]


# --- what never gets ready ----------------------------------------------------------------------


@pytest.mark.requirement("A-12", "A-14")
@pytest.mark.parametrize(
    ("image", "deadline", "timeout", "told"),
    [
        ("broken:2", 600, "2m", "ImagePullBackOff: failed to pull image"),
        ("crashing:2", 5, "2m", "ProgressDeadlineExceeded"),
        ("unready:2", 600, "6s", "Unhealthy: Readiness probe failed"),
    ],
    ids=["an image that cannot be pulled", "a crash", "a failing probe"],
)
def test_a_bad_image_leaves_the_former_release_serving(
    releases: Releases,
    machine: Machine,
    place: Namespace,
    status: Status,
    image: str,
    deadline: int,
    timeout: str,
    told: str,
) -> None:
    strategy = {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}
    rollout = {"replicas": 4, "strategy": strategy, "progressDeadlineSeconds": deadline}
    releases.publish("v1.0.0", deployment("cart", "cart:1", **rollout))
    releases.publish("v1.1.0", deployment("cart", image, **rollout))
    machine.apply(releases("v1.0.0"))
    [former] = place.list(APPS, "replicasets")

    with place.watched(APPS, "replicasets") as seen:
        applied = machine.apply(releases("v1.1.0"), "--timeout", timeout, exit_code=5)
    ready = [
        each["status"].get("readyReplicas", 0)
        for each in seen
        if each["metadata"]["uid"] == former["metadata"]["uid"]
    ]
    assert ready and min(ready) >= 3, ready
    assert any(each["metadata"]["uid"] != former["metadata"]["uid"] for each in seen)

    error = applied["targets"][0]["error"]
    assert error["code"] == "not-ready"
    [finding] = error["findings"]
    assert finding["object"] == f"Deployment/{place.name}/cart"
    assert f"Pod/{place.name}/cart-" in finding["message"], finding
    assert told in finding["message"]
    assert applied["targets"][0]["durationSeconds"] < 60
    assert status() == ("v1.0.0", "v1.1.0", "failed")


def test_a_failing_job_ends_the_apply_before_the_workloads(
    releases: Releases, machine: Machine, place: Namespace, status: Status
) -> None:
    releases.publish("v1.0.0", job("migrate", "migrate:1"), deployment("cart", "cart:1"))
    releases.publish(
        "v1.1.0", job("migrate", "crashing:2", backoffLimit=0), deployment("cart", "cart:2")
    )
    machine.apply(releases("v1.0.0"))
    cart = place.get(APPS, "deployments", "cart")["metadata"]
    [target] = machine.apply(releases("v1.1.0"), exit_code=5)["targets"]
    assert target["notStarted"] == [f"Deployment/{place.name}/cart"]
    assert f"Job/{place.name}/migrate" in target["error"]["message"]
    assert place.get(APPS, "deployments", "cart")["metadata"]["generation"] == cart["generation"]
    assert status() == ("v1.0.0", "v1.1.0", "failed")


@pytest.mark.requirement("A-14", "B-110")
def test_nothing_of_a_failed_release_remains_after_the_next_good_one(
    releases: Releases, machine: Machine, place: Namespace, status: Status
) -> None:
    first = (config_map("settings", colour="red"), deployment("cart", "cart:1"))
    third = (config_map("settings", colour="blue"), deployment("cart", "cart:3"))
    releases.publish("v1.0.0", *first)
    releases.publish(
        "v1.1.0",
        config_map("settings", colour="red", extra="of v1.1.0"),
        config_map("of-the-failed-one"),
        service("of-the-failed-one", 80),
        job("of-the-failed-one", "migrate:2"),
        deployment("of-the-failed-one", "unready:2"),
        deployment("cart", "cart:2", {"version": "2"}),
    )
    releases.publish("v1.2.0", *third)
    machine.apply(releases("v1.0.0"))
    machine.apply(releases("v1.1.0"), "--timeout", "5s", exit_code=5)
    assert status() == ("v1.0.0", "v1.1.0", "failed")
    assert place.has(APPS, "deployments", "of-the-failed-one")
    machine.apply(releases("v1.2.0"))
    assert status() == ("v1.2.0", "v1.2.0", "succeeded")
    assert set(place.state()) == {"configmaps/settings", "deployments/cart"}
    assert place.get(CORE, "configmaps", "settings")["data"] == {"colour": "blue"}
    template = place.get(APPS, "deployments", "cart")["spec"]["template"]
    assert template["metadata"]["labels"] == {"app": "cart"}
    # Pods and the like go with their owner a moment later.
    until(lambda: "of-the-failed-one" not in json.dumps(place.list(CORE, "pods")), "its pods gone")


def test_the_first_target_that_fails_stops_the_others(
    tmp_path: Path, machine: Machine, place: Namespace
) -> None:
    releases = Releases(tmp_path / "registry", {"a": place.name, "b": f"{place.name}-b"})
    releases.publish("v1.0.0", deployment("cart", "unready:1"))
    applied = machine.apply(releases("v1.0.0"), "--timeout", "3s", exit_code=5)["targets"]
    assert [(each["target"], each["status"]) for each in applied] == [
        ("a", "failed"), ("b", "skipped"),
    ]  # fmt: skip
    assert not place.control_plane.has(f"/api/v1/namespaces/{place.name}-b")


# --- killed and interrupted ---------------------------------------------------------------------

BEFORE = (
    config_map("settings", colour="red"),
    job("migrate", "migrate:1"),
    deployment("cart", "cart:1"),
    deployment("old", "old:1"),
)
AFTER = (
    config_map("settings", colour="blue"),
    config_map("features", fast="yes"),
    job("migrate", "migrate:2", SLOW),
    deployment("cart", "cart:2", SLOW),
    deployment("search", "search:1"),
)


def has_pending(place: Namespace) -> bool:
    return any(revision["status"] == "pending" for revision in place.revisions())


def has_new_configuration(place: Namespace) -> bool:
    return place.has(CORE, "configmaps", "features")


def runs_new_job(place: Namespace) -> bool:
    return "migrate:2" in json.dumps(place.list(BATCH, "jobs"))


def rolls_out(place: Namespace) -> bool:
    return "cart:2" in json.dumps(place.list(APPS, "deployments"))


MOMENTS = [has_pending, has_new_configuration, runs_new_job, rolls_out]


@pytest.mark.requirement("B-111")
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_an_apply_that_was_killed_comes_to_the_same_end_when_it_is_run_again(
    releases: Releases,
    machine: Machine,
    place: Namespace,
    status: Status,
    moment: Callable[[Namespace], bool],
) -> None:
    releases.publish("v1.0.0", *BEFORE)
    releases.publish("v1.1.0", *AFTER)
    machine.apply(releases("v1.0.0"))
    running = machine.started(releases("v1.1.0"))
    until(lambda: moment(place), moment.__name__)
    running.kill()
    assert place.lock_holder()
    if moment is not has_pending:  # one of them waits until the lock expires by itself
        place.expire_lock()
    applied = machine.apply(releases("v1.1.0"))["targets"][0]
    assert (applied["status"], applied["revision"]) == ("succeeded", 2)
    assert status() == ("v1.1.0", "v1.1.0", "succeeded")
    assert place.lock_holder() == ""
    assert place.state() == undisturbed(place, machine)


def undisturbed(place: Namespace, machine: Machine) -> dict[str, Object]:
    """What AFTER comes to in another namespace without BEFORE and a kill, as if it were this."""
    name = f"{place.name}-calm"
    releases = Releases(machine.folder.parent / "calm", {"default": name})
    releases.publish("v1.1.0", *AFTER)
    machine.apply(releases("v1.1.0"))
    calm = Namespace(place.control_plane, name)
    state: dict[str, Object] = json.loads(json.dumps(calm.state()).replace(name, place.name))
    place.control_plane.request("DELETE", f"/api/v1/namespaces/{name}")
    return state


@pytest.mark.requirement("B-111")
def test_a_killed_release_may_be_followed_by_the_former_one(
    releases: Releases, machine: Machine, place: Namespace, status: Status
) -> None:
    releases.publish("v1.0.0", *BEFORE)
    releases.publish("v1.1.0", *AFTER)
    machine.apply(releases("v1.0.0"))
    before = place.state()
    running = machine.started(releases("v1.1.0"))
    until(lambda: rolls_out(place), "the roll-out")
    running.kill()
    place.expire_lock()
    machine.apply(releases("v1.0.0"))
    assert place.state() == before
    assert [(each["tag"], each["status"]) for each in place.revisions()] == [
        ("v1.0.0", "succeeded"), ("v1.1.0", "interrupted"), ("v1.0.0", "succeeded"),
    ]  # fmt: skip


@pytest.mark.requirement("B-111")
@pytest.mark.parametrize(
    ("sent", "exit_code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130)],
    ids=["terminated", "interrupted"],
)
def test_an_interrupted_apply_gives_the_lock_back_and_says_so(
    releases: Releases,
    machine: Machine,
    place: Namespace,
    status: Status,
    sent: signal.Signals,
    exit_code: int,
) -> None:
    releases.publish("v1.0.0", deployment("cart", "unready:1"), config_map("settings"))
    running = machine.started(releases("v1.0.0"))
    until(lambda: place.has(APPS, "deployments", "cart"), "the deployment")
    running.process.send_signal(sent)
    result = running.end()
    assert result.exit_code == exit_code, result.stderr
    assert place.lock_holder() == ""
    assert status() == (None, "v1.0.0", "interrupted")
    [revision] = place.revisions()
    assert revision["finished"] and revision["durationSeconds"] > 0


# --- two at once --------------------------------------------------------------------------------


@pytest.mark.requirement("B-112")
def test_of_two_applies_at_once_one_is_told_who_holds_the_lock_and_one_that_waits_finds_it_done(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", deployment("cart", "cart:1", {**SLOW, **{list(SLOW)[0]: "8s"}}))
    first = machine.with_variables(GITHUB_ACTOR="ada").started(releases("v1.0.0"), "-o", "json")
    until(place.lock_holder, "the lock of the first")
    waiting = machine.started(releases("v1.0.0"), "--lock-timeout", "1m", "-o", "json")
    error = machine.refused(releases("v1.0.0"), exit_code=6)
    assert error["code"] == "locked"
    assert f"is locked by ada " in error["message"]
    assert first.process.poll() is None
    done, checked = first.end(), waiting.end()
    assert (done.exit_code, checked.exit_code) == (0, 0), checked.stdout
    assert value("apply", done)["targets"][0]["status"] == "succeeded"
    assert value("apply", checked)["targets"][0]["status"] == "unchanged"
    assert [each["number"] for each in place.revisions()] == [1]


# --- refused before anything --------------------------------------------------------------------


@pytest.fixture
def untouched(place: Namespace) -> Callable[[], bool]:
    def is_so() -> bool:
        leases = place.list("/apis/coordination.k8s.io/v1", "leases")
        state = place.list(CORE, "configmaps", "release-bundler/state")
        return not (place.owned() or leases or state)

    return is_so


Untouched = Callable[[], bool]


def test_what_a_release_does_not_have_is_told_with_what_it_has(
    releases: Releases, machine: Machine, untouched: Untouched
) -> None:
    releases.publish("v1.0.0", config_map("settings"))
    error = machine.refused(releases("v1.0.0"), environment="prod", exit_code=2)
    assert (error["code"], error["hint"]) == ("usage", "it has stage")
    error = machine.refused(releases("v1.0.0"), "--target", "eu", exit_code=2)
    assert (error["code"], error["hint"]) == ("usage", "it has default")
    assert untouched()


@pytest.mark.requirement("B-103")
def test_a_version_that_was_never_published_touches_nothing(
    releases: Releases, machine: Machine, untouched: Untouched
) -> None:
    releases.publish("v1.0.0", config_map("settings"))
    error = machine.refused(releases("v1.0.1"), exit_code=1)
    assert error["code"] == "not-found"
    assert "v1.0.1" in error["message"]
    assert "bundler list" in error["hint"]
    assert untouched()


def test_a_tampered_bundle_touches_nothing(
    releases: Releases, machine: Machine, untouched: Untouched
) -> None:
    releases.publish("v1.0.0", config_map("settings", colour="red"))
    for blob in Path(releases.registry.removeprefix("ocidir://"), "blobs/sha256").iterdir():
        content = bytearray(blob.read_bytes())
        if content[:2] == b"\x1f\x8b":
            content[-20] ^= 1
            blob.write_bytes(content)
    assert machine.refused(releases("v1.0.0"), exit_code=4)["code"] == "verification-failed"
    assert untouched()


def test_nobody_to_ask_and_no_connection_are_usage_errors(
    releases: Releases, machine: Machine, untouched: Untouched
) -> None:
    releases.publish("v1.0.0", config_map("settings"))
    unasked = machine("apply", releases("v1.0.0"), "--env", "stage", "-o", "json")
    assert unasked.exit_code == 2
    assert value("apply", unasked)["error"]["code"] == "confirmation-needed"
    error = machine.with_connection().refused(releases("v1.0.0"), exit_code=2)
    assert error["code"] == "no-connection"
    assert "--context" in error["hint"]
    error = machine.refused(releases("v1.0.0"), "--context", "nowhere", exit_code=2)
    assert error["code"] == "no-connection"
    assert "nowhere" in error["message"]
    for command in ("status", "history"):
        result = machine.with_connection()(command, "-o", "json")
        assert (result.exit_code, value(command, result)["error"]["code"]) == (2, "no-connection")
    assert untouched()


def test_an_unreachable_cluster_is_told_quickly(
    releases: Releases, machine: Machine, control_plane: ControlPlane, tmp_path: Path
) -> None:
    releases.publish("v1.0.0", config_map("settings"))
    server = f"https://127.0.0.1:{free_port()}"
    config = tmp_path / "nobody"
    config.write_text(json.dumps(kubeconfig(server, control_plane.ca, "ci", "token")))
    nowhere = machine.with_connection("--kubeconfig", config)
    started = time.monotonic()
    error = nowhere.refused(releases("v1.0.0"), exit_code=6)
    assert error["code"] == "unreachable"
    assert server in error["message"]
    assert time.monotonic() - started < 20
    result = nowhere("status", "-o", "json")
    assert (result.exit_code, value("status", result)["error"]["code"]) == (6, "unreachable")


# --- ownership and permissions ------------------------------------------------------------------


def test_an_object_of_another_project_is_refused_and_nothing_changes(
    releases: Releases, machine: Machine, place: Namespace, tmp_path: Path
) -> None:
    other = Releases(tmp_path / "registry", {"default": place.name}, project="blog")
    other.publish("v1.0.0", config_map("settings", of="blog"), service("web", 80))
    machine.apply(other("v1.0.0"))
    before = place.owned()
    releases.publish(
        "v1.0.0", config_map("settings", of="shop"), config_map("more"), service("web", 80)
    )
    error = machine.refused(releases("v1.0.0"), exit_code=4)
    assert error["code"] == "ownership-refused"
    assert {finding["object"] for finding in error["findings"]} == {
        f"ConfigMap/{place.name}/settings", f"Service/{place.name}/web",
    }  # fmt: skip
    assert "blog/stage/default" in error["message"]
    assert place.owned() == before


NAMESPACED_RULES = [
    {
        "apiGroups": ["", "batch"],
        "resources": ["configmaps", "jobs"],
        "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
    },
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    },
    {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["get", "list", "watch"]},
]
WORKLOAD_RULES = [
    {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get", "list", "watch"]},
]


@pytest.fixture
def limited(machine: Machine, place: Namespace, tmp_path: Path) -> Machine:
    """A machine with a service account that may work in one namespace, but not with workloads."""
    plane = place.control_plane
    plane.request(
        "POST", place.path(CORE, "serviceaccounts"), {**made("v1", "ServiceAccount", "deployer")}
    )
    role = made("rbac.authorization.k8s.io/v1", "Role", "deployer", rules=NAMESPACED_RULES)
    plane.request("POST", place.path(RBAC, "roles"), role)
    binding = made(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "deployer",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
        subjects=[{"kind": "ServiceAccount", "name": "deployer", "namespace": place.name}],
    )
    plane.request("POST", place.path(RBAC, "rolebindings"), binding)
    token = plane.service_account_token(place.name, "deployer")
    config = tmp_path / "limited"
    config.write_text(json.dumps(kubeconfig(plane.server, plane.ca, "ci", token)))
    return machine.with_connection("--kubeconfig", config)


def test_missing_permissions_are_all_told_before_anything_changes(
    releases: Releases, limited: Machine, place: Namespace, untouched: Untouched
) -> None:
    releases.publish(
        "v1.0.0",
        config_map("settings"),
        deployment("cart", "cart:1"),
        made("rbac.authorization.k8s.io/v1", "ClusterRole", f"{place.name}-role", rules=[]),
    )
    error = limited.refused(releases("v1.0.0"), exit_code=4)
    assert error["code"] == "permission-refused"
    for verb in ("get", "list", "create", "patch"):
        for kind in ("Deployment", "ClusterRole"):
            assert f"{verb} {kind}" in error["message"], error
    assert "ConfigMap" not in error["message"]
    assert untouched()
    assert not place.control_plane.has(f"{RBAC}/clusterroles/{place.name}-role")


@pytest.mark.requirement("B-115")
def test_an_account_of_one_namespace_is_enough_and_is_recorded(
    releases: Releases, limited: Machine, place: Namespace
) -> None:
    role = made(
        "rbac.authorization.k8s.io/v1", "Role", "deployer", rules=NAMESPACED_RULES + WORKLOAD_RULES
    )
    place.control_plane.request("PUT", place.path(RBAC, "roles", "deployer"), role)
    releases.publish(
        "v1.0.0", config_map("settings"), job("migrate", "migrate:1"), deployment("cart", "cart:1")
    )
    applied: Any = limited.apply(releases("v1.0.0"))["targets"][0]
    assert applied["status"] == "succeeded"
    [revision] = limited.look("history", "--namespace", place.name)["revisions"]
    account = f"system:serviceaccount:{place.name}:deployer"
    assert revision["who"]["authenticated"] == account
