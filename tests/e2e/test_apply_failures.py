"""Applies that fail, are killed, or meet each other: on a real control plane."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live_objects import APPS, CORE, Namespace, Status, until
from tests.e2e.machine import Machine, value
from tests.e2e.releases import (
    NEVER,
    SLOW,
    Object,
    Releases,
    config_map,
    deployment,
    job,
    service,
)
from tools.control_plane import ControlPlane

pytest_plugins = ["tests.e2e.cluster"]


# --- what never gets ready ----------------------------------------------------------------------


@pytest.mark.requirement("A-12", "A-14")
@pytest.mark.parametrize(
    ("image", "deadline", "timeout", "told"),
    [
        ("broken:2", 600, "2m", "image not found: ImagePullBackOff: failed to pull image"),
        ("crashing:2", 600, "2m", "exit code 1; CrashLoopBackOff"),
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
    rollout: dict[str, Any] = {
        "replicas": 4,
        "strategy": strategy,
        "progressDeadlineSeconds": deadline,
    }
    releases.publish("v1.0.0", deployment("cart", "cart:1", **rollout))
    releases.publish("v1.1.0", deployment("cart", image, **rollout))
    machine.apply(releases("v1.0.0"))
    [former] = place.listed(APPS, "replicasets")

    with place.watched(APPS, "replicasets") as seen:
        options = ("--timeout", timeout, "--patience", "image=3s,crash=3s")
        applied = machine.apply(releases("v1.1.0"), *options, exit_code=5)
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
    until(
        lambda: "of-the-failed-one" not in json.dumps(place.listed(CORE, "pods")), "its pods gone"
    )


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


def rolls_out(place: Namespace) -> bool:
    return "cart:2" in json.dumps(place.listed(APPS, "deployments"))


MOMENTS = [has_pending, rolls_out]


@pytest.fixture(scope="module")
def undisturbed(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Object]:
    """What AFTER comes to where nothing stood before and nobody is killed; without the place."""
    folder, name = tmp_path_factory.mktemp("calm"), f"calm-{secrets.token_hex(4)}"
    releases = Releases(folder, {"default": name})
    releases.publish("v1.1.0", *AFTER)
    machine = Machine(folder / "empty", ("--kubeconfig", str(control_plane.kubeconfig)))
    machine.apply(releases("v1.1.0"))
    return without_place(Namespace(control_plane, name))


def without_place(place: Namespace) -> dict[str, Object]:
    found: dict[str, Object] = json.loads(json.dumps(place.state()).replace(place.name, "here"))
    return found


@pytest.mark.requirement("B-111")
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_an_apply_that_was_killed_comes_to_the_same_end_when_it_is_run_again(
    releases: Releases,
    machine: Machine,
    place: Namespace,
    status: Status,
    undisturbed: dict[str, Object],
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
    assert without_place(place) == undisturbed


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
    releases.publish("v1.0.0", deployment("cart", "cart:1", NEVER))
    first = machine.with_variables(GITHUB_ACTOR="ada").started(releases("v1.0.0"), "-o", "json")
    until(place.lock_holder, "the lock of the first")
    waiting = machine.started(releases("v1.0.0"), "--lock-timeout", "1m", "-o", "json")
    error = machine.refused(releases("v1.0.0"), exit_code=6)
    assert error["code"] == "locked"
    assert "is locked by ada " in error["message"]
    assert first.process.poll() is None
    assert waiting.process.poll() is None
    for pod in place.listed(CORE, "pods"):  # from now on they get ready
        name = pod["metadata"]["name"]
        place.patch(CORE, "pods", name, metadata={"labels": dict.fromkeys(NEVER)})
    done, checked = first.end(), waiting.end()
    assert (done.exit_code, checked.exit_code) == (0, 0), checked.stdout
    assert value("apply", done)["targets"][0]["status"] == "succeeded"
    assert value("apply", checked)["targets"][0]["status"] == "unchanged"
    assert [each["number"] for each in place.revisions()] == [1]
