"""What cannot be changed in place: refused with its field, or made anew on request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.live_objects import APPS, CORE, RBAC, Namespace
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment, job, made, pod_template

pytest_plugins = ["tests.e2e.cluster"]


def stateful_set(service: str, image: str) -> dict[str, Any]:
    storage = {"resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], **storage}}
    return made(
        "apps/v1",
        "StatefulSet",
        "db",
        spec={
            "replicas": 0,
            "serviceName": service,
            "selector": {"matchLabels": {"app": "db"}},
            "template": pod_template("db", image, {}),
            "volumeClaimTemplates": [claim],
        },
    )


def claim(storage_class: str) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return made("v1", "PersistentVolumeClaim", "data", spec=spec)


def binding(role: str) -> dict[str, Any]:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
    account = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
    return made(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "reads",
        roleRef=reference,
        subjects=[account],
    )


def secret(value: str) -> dict[str, Any]:
    return made("v1", "Secret", "token", immutable=True, stringData={"value": value})


def web(app: str, **spec: Any) -> dict[str, Any]:
    made = deployment("web", "web:1", {"app": app}, **spec)
    return {**made, "spec": {**made["spec"], "selector": {"matchLabels": {"app": app}}}}


def every_kind(number: int) -> list[dict[str, Any]]:
    return [
        web(f"web-{number}"),
        stateful_set(f"db-{number}", f"db:{number}"),
        claim("kwok" if number == 1 else "other"),
        binding(f"reader-{number}"),
        secret(f"very secret {number}"),
        {**config_map("fixed", colour=str(number)), "immutable": True},
        job("migrate", f"migrate:{number}"),
    ]


@pytest.mark.requirement("D-10")
def test_what_cannot_be_changed_in_place_is_refused_at_once_with_fields_and_made_anew_by_name(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    for number in (1, 2):
        releases.publish(f"v1.{number}.0", *every_kind(number))
    machine.apply(releases("v1.1.0"))
    before = place.identities()
    error = machine.refused(releases("v1.2.0"), exit_code=4)
    found = {each["object"].split("/")[0]: each for each in error["findings"]}
    assert {each["rule"] for each in found.values()} == {"immutable-field"}
    assert found.keys() == {
        "Deployment", "StatefulSet", "PersistentVolumeClaim", "RoleBinding", "Secret", "ConfigMap",
    }  # fmt: skip
    for kind, field in {
        "Deployment": "spec.selector", "StatefulSet": "(spec.serviceName)",
        "PersistentVolumeClaim": "(spec.storageClassName)", "RoleBinding": "roleRef",
        "Secret": "data", "ConfigMap": "(data.colour)",
    }.items():  # fmt: skip
        assert field in found[kind]["message"], found[kind]["message"]
    assert "--recreate" not in found["PersistentVolumeClaim"]["hint"]
    assert "--recreate StatefulSet/db" in found["StatefulSet"]["hint"]
    assert "very secret" not in str(error)
    assert place.identities() == before

    others = [each for each in every_kind(2) if each["kind"] != "PersistentVolumeClaim"]
    releases.publish("v1.3.0", *others, claim("kwok"))
    del found["PersistentVolumeClaim"]
    named = (each["hint"].rpartition("--recreate ")[2] for each in found.values())
    flags = [flag for name in named for flag in ("--recreate", name)]
    planned = machine.plan(releases("v1.3.0"), *flags)["targets"][0]["objects"]
    reasons = {each["ref"].split("/")[0]: each["reason"] for each in planned if each["recreate"]}
    assert reasons.keys() == found.keys() | {"Job"}
    assert "an outage" in reasons["Deployment"]
    assert "an outage" not in reasons["RoleBinding"]
    assert reasons["Job"] == "its template changed"
    machine.apply(releases("v1.3.0"), *flags)
    after = place.identities()
    for kind, name in (("deployments", "web"), ("rolebindings", "reads"), ("jobs", "migrate")):
        assert after[f"{kind}/{name}"][0] != before[f"{kind}/{name}"][0]
    assert after["persistentvolumeclaims/data"] == before["persistentvolumeclaims/data"]
    assert place.get(RBAC, "rolebindings", "reads")["roleRef"]["name"] == "reader-2"
    assert place.get(APPS, "statefulsets", "db")["spec"]["serviceName"] == "db-2"
    assert place.get(CORE, "configmaps", "fixed")["data"] == {"colour": "2"}


@pytest.mark.requirement("D-10")
def test_selectors_and_pods_have_nothing_that_changes_with_a_version(
    releases: Releases, machine: Machine, place: Namespace
) -> None:
    def identity() -> tuple[Any, Any]:
        spec = place.get(APPS, "deployments", "web")["spec"]
        return spec["selector"], spec["template"]["metadata"]["labels"]

    releases.publish("v1.0.0", deployment("web", "web:1"))
    releases.publish("v2.0.0", deployment("web", "web:2"))
    machine.apply(releases("v1.0.0"))
    before = identity()
    machine.apply(releases("v2.0.0"))
    assert identity() == before == ({"matchLabels": {"app": "web"}}, {"app": "web"})
