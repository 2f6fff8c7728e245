"""Deployments that keep versions: a new one is switched to when it is ready, and back at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.live_objects import APPS, CORE, Namespace
from tests.e2e.machine import Machine
from tests.e2e.releases import Object, Releases, config_map, deployment, service

pytest_plugins = ["tests.e2e.cluster"]

VERSION = "release-bundler/version"


def cart(image: str, settings: str, *, keep: int = 1) -> tuple[Object, ...]:
    """A service whose pods need a ConfigMap of their own version."""
    kept = deployment("cart", image, replicas=2)
    kept["metadata"]["annotations"] = {"release-bundler/keep-versions": str(keep)}
    container = kept["spec"]["template"]["spec"]["containers"][0]
    container["envFrom"] = [{"configMapRef": {"name": settings}}]
    return kept, config_map(settings), service_of("cart")


def service_of(name: str) -> Object:
    made = service(name, 80)
    made["spec"]["selector"] = {"app": name}
    return made


def versions(place: Namespace) -> dict[str, Object]:
    """Image of its pods → Deployment."""
    return {
        each["spec"]["template"]["spec"]["containers"][0]["image"].rpartition("/")[2]: each
        for each in place.listed(APPS, "deployments")
    }


def served(place: Namespace) -> str:
    """The image that the Service leads to; its pods are ready."""
    selected = place.get(CORE, "services", "cart")["spec"]["selector"]
    pods = place.listed(CORE, "pods", ",".join(f"{k}={v}" for k, v in selected.items()))
    ready = [
        pod
        for pod in pods
        for condition in pod["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] == "True"
    ]
    [image] = {pod["spec"]["containers"][0]["image"] for pod in ready}
    assert len(ready) == 2
    return str(image).rpartition("/")[2]


def pods(place: Namespace) -> set[str]:
    return {pod["metadata"]["uid"] for pod in place.listed(CORE, "pods")}


def changed(result: Any, action: str) -> set[str]:
    [target] = result["targets"]
    return {each["ref"].split("/")[0] for each in target["objects"] if each["action"] == action}


@pytest.mark.requirement("D-11")
def test_going_back_to_a_version_that_is_kept_switches_the_service_and_starts_no_pod(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", *cart("cart:1", "settings-a"))
    releases.publish("v1.1.0", *cart("cart:2", "settings-b"))
    machine.apply(releases("v1.0.0"))
    assert served(place) == "cart:1"
    machine.apply(releases("v1.1.0"))
    assert served(place) == "cart:2"
    assert {name: each["status"]["readyReplicas"] for name, each in versions(place).items()} == {
        "cart:1": 2, "cart:2": 2,
    }  # fmt: skip
    assert place.has(CORE, "configmaps", "settings-a"), "the kept pods need it"
    assert machine.look("drift", "-n", place.name)["status"] == "clean"

    running = pods(place)
    back = machine.change("rollback", "-n", place.name)
    assert served(place) == "cart:1"
    assert pods(place) == running
    assert changed(back, "configured") == {"Service"}
    assert not changed(back, "created") | changed(back, "deleted")
    assert set(versions(place)) == {"cart:1", "cart:2"}
    again = machine.apply(releases("v1.0.0"))["targets"][0]
    assert (again["status"], again["revision"]) == ("unchanged", 3)


@pytest.mark.requirement("D-11")
def test_the_last_versions_stay_so_many_as_are_asked_for_with_what_they_need(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    for number in (1, 2, 3):
        releases.publish(f"v1.{number}.0", *cart(f"cart:{number}", f"settings-{number}"))
        machine.apply(releases(f"v1.{number}.0"))
    assert set(versions(place)) == {"cart:2", "cart:3"}
    names = {each["metadata"]["name"] for each in place.listed(CORE, "configmaps")}
    assert "settings-1" not in names
    assert {"settings-2", "settings-3"} <= names
    machine.change("uninstall", "-n", place.name)
    assert not place.owned()


@pytest.mark.requirement("D-11", "A-15")
def test_a_version_that_does_not_get_ready_is_never_switched_to_and_does_not_stay(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", *cart("cart:1", "settings-a"))
    releases.publish("v1.1.0", *cart("unready:2", "settings-b"))
    machine.apply(releases("v1.0.0"))
    with place.watched(CORE, "services") as seen:
        on_failure = ("--on-failure", "rollback", "--timeout", "4s")
        machine.apply(releases("v1.1.0"), *on_failure, exit_code=5)
    version = place.get(CORE, "services", "cart")["spec"]["selector"][VERSION]
    assert {each["spec"]["selector"][VERSION] for each in seen} <= {version}
    assert served(place) == "cart:1"
    assert set(versions(place)) == {"cart:1"}


@pytest.mark.requirement("D-11", "D-09")
def test_a_release_that_leaves_the_pods_alone_makes_no_version(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    releases.publish("v1.0.0", *cart("cart:1", "settings"))
    releases.publish("v1.1.0", *cart("cart:1", "settings"), config_map("other"))
    machine.apply(releases("v1.0.0"))
    before = pods(place)
    applied = machine.apply(releases("v1.1.0"))
    assert changed(applied, "created") == {"ConfigMap"}
    assert not changed(applied, "configured")
    assert pods(place) == before
