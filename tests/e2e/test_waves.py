"""The order of an apply, as a real control plane saw it."""

from __future__ import annotations

from tests.e2e.live_objects import APPS, CORE, Namespace
from tests.e2e.machine import Machine
from tests.e2e.releases import SLOW, Releases, deployment, service

pytest_plugins = ["tests.e2e.cluster"]


def test_a_service_can_come_after_its_workload_is_ready(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    later = service("web", 80)
    later["metadata"]["annotations"] = {"release-bundler/wave": "afterwards"}
    releases.publish("v1.0.0", deployment("web", "web:1", SLOW), later)
    with place.watched(APPS, "deployments") as seen:
        machine.apply(releases("v1.0.0"))
        made = place.get(CORE, "services", "web")["metadata"]
    ready = next(
        each["metadata"] for each in seen if each.get("status", {}).get("availableReplicas") == 1
    )
    assert int(made["resourceVersion"]) > int(ready["resourceVersion"])
