"""What a release does not have any more: deleted, kept, guarded, on a real control plane."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.model.objects import OWNER
from tests.e2e.live_objects import CORE, Namespace
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment
from tests.e2e.test_immutable import claim

pytest_plugins = ["tests.e2e.cluster"]


def kept(obj: dict[str, Any]) -> dict[str, Any]:
    return {
        **obj,
        "metadata": {**obj["metadata"], "annotations": {"release-bundler/prune": "keep"}},
    }


@pytest.fixture
def published(releases: Releases, machine: Machine) -> Releases:
    releases.publish(
        "v1.0.0", config_map("settings"), config_map("old-1"), config_map("old-2"),
        kept(config_map("precious")), claim("kwok"), deployment("old", "old:1"),
    )  # fmt: skip
    releases.publish("v1.1.0", config_map("settings"))
    machine.apply(releases("v1.0.0"))
    return releases


def actions(result: Any) -> dict[str, str]:
    return {each["ref"].split("/")[-1]: each["action"] for each in result["targets"][0]["objects"]}


@pytest.mark.requirement("B-110", "E-15")
def test_what_is_stale_goes_within_its_bounds_and_what_is_kept_stays_until_it_is_named(
    published: Releases, machine: Machine, place: Namespace
) -> None:
    before = place.identities()
    error = machine.refused(published("v1.1.0"), "--max-deletions", "2", exit_code=4)
    assert {each["object"].split("/")[-1] for each in error["findings"]} == {
        "old",
        "old-1",
        "old-2",
    }
    assert place.identities() == before

    nothing = machine.apply(published("v1.1.0"), "--no-prune")
    assert actions(nothing)["old"] == "skipped"
    assert place.identities() == before

    assert actions(machine.apply(published("v1.1.0"), "--max-deletions", "3")) == {
        "settings": "unchanged", "old": "deleted", "old-1": "deleted", "old-2": "deleted",
        "precious": "skipped", "data": "skipped",
    }  # fmt: skip
    assert not place.has(CORE, "configmaps", "old-1")
    assert place.has(CORE, "configmaps", "precious")
    assert place.has(CORE, "persistentvolumeclaims", "data")

    again = machine.apply(
        published("v1.1.0"), "--delete", "PersistentVolumeClaim/data",
        "--delete", "ConfigMap/precious",
    )  # fmt: skip
    assert actions(again) == {"settings": "unchanged", "precious": "deleted", "data": "deleted"}
    assert not place.has(CORE, "configmaps", "precious")
    assert not place.has(CORE, "persistentvolumeclaims", "data")


@pytest.mark.requirement("B-110")
def test_what_another_project_took_over_is_left_to_it(
    published: Releases, machine: Machine, place: Namespace
) -> None:
    annotations = {OWNER: "blog/stage/default"}
    place.patch(CORE, "configmaps", "old-1", metadata={"annotations": annotations})
    machine.apply(published("v1.1.0"))
    assert place.has(CORE, "configmaps", "old-1")
    assert not place.has(CORE, "configmaps", "old-2")
