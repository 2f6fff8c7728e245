"""Kubernetes' own schemas: strict, offline, of every version, with the lifetimes of its APIs."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import Any, NoReturn

import pytest

from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
from bundler.model.finding import Finding
from tests.fakes.shop import deployment, obj, pod_spec

SCHEMAS = KubernetesSchemas()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a schema was looked for on the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def violations(version: str, *objects: dict[str, Any]) -> list[tuple[int, Finding]]:
    return list(SCHEMAS.check(version, objects))


def scaler(api_version: str) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "cart"}
    spec = {"maxReplicas": 3, "scaleTargetRef": target}
    return obj(api_version, "HorizontalPodAutoscaler", "h", spec=spec)


def flow_schema(version: str) -> dict[str, Any]:
    spec = {"priorityLevelConfiguration": {"name": "x"}}
    return obj(f"flowcontrol.apiserver.k8s.io/{version}", "FlowSchema", "f", spec=spec)


# --- versions -----------------------------------------------------------------------------------


def test_the_newest_version_is_known() -> None:
    assert SCHEMAS.known(SCHEMAS.newest())
    assert SCHEMAS.known("1.34")
    assert not SCHEMAS.known("1.0")
    assert not SCHEMAS.known("v1.34")


@pytest.mark.requirement("B-72", "B-74")
def test_every_version_from_1_29_on_has_its_schemas() -> None:
    minors = [int(version.split(".")[1]) for version in SCHEMAS.versions()]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert minors[0] <= 29
    for version in SCHEMAS.versions():
        good, bad = deployment("good", "x"), deployment("bad", "x")
        bad["spec"]["replicsa"] = 1
        assert [index for index, _ in violations(version, good, bad)] == [1]


def test_only_the_version_that_is_asked_for_is_loaded() -> None:
    program = """
from bundler.adapters.schemas import definitions as d
from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
zone = {"apiVersion": "example.com/v1", "kind": "Zone", "metadata": {"name": "z"}}
KubernetesSchemas().check("1.34", [obj, zone])
print(d.definitions.cache_info().currsize)
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert printed.stdout == b"1\n"


# --- fields -------------------------------------------------------------------------------------


@pytest.mark.requirement("B-70", "B-71", "B-74")
def test_all_violations_of_an_object_are_told_with_pointers() -> None:
    workload = deployment("cart", "x")
    workload["spec"]["replicas"] = "3"
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    container["imagePulPolicy"] = "Always"
    container["resources"] = {"limits": {"cpu": []}}
    container["ports"] = [{}]
    found = {finding.pointer: finding for _, finding in violations("1.36", workload)}
    base = "/spec/template/spec/containers/0"
    assert {pointer: finding.message for pointer, finding in found.items()} == {
        "/spec/replicas": '"3" is not of type integer',
        f"{base}/imagePulPolicy": "unknown field 'imagePulPolicy'",
        f"{base}/ports/0": "containerPort is missing",
        f"{base}/resources/limits/cpu": "[] is not a quantity such as 100m or 1Gi",
    }
    assert found[f"{base}/imagePulPolicy"].hint == "did you mean imagePullPolicy?"
    assert all(finding.severity == "error" for finding in found.values())


@pytest.mark.requirement("B-70")
def test_every_kind_of_workload_is_checked() -> None:
    template = {"spec": pod_spec("x", wrong=1)}
    job = {"spec": {"template": template}}
    objects = [
        obj("v1", "Pod", "p", spec=template["spec"]),
        obj("apps/v1", "StatefulSet", "s", spec={"template": template, "selector": {}}),
        obj("batch/v1", "CronJob", "c", spec={"schedule": "* * * * *", "jobTemplate": job}),
    ]
    found = violations("1.36", *objects)
    assert [index for index, finding in found if "'wrong'" in finding.message] == [0, 1, 2]


@pytest.mark.requirement("B-74")
def test_a_kinds_schema_is_compiled_in_a_moment_and_once() -> None:
    workload = deployment("cart", "x")
    started = time.process_time()
    violations("1.33", workload)
    first = time.process_time() - started
    started = time.process_time()
    violations("1.33", *[workload] * 500)
    assert first < 1.0
    assert time.process_time() - started < 1.0


# --- APIs that come and go ----------------------------------------------------------------------


@pytest.mark.requirement("B-72")
@pytest.mark.parametrize(
    ("api_version", "kind", "removed", "hint"),
    [
        ("autoscaling/v2beta2", "HorizontalPodAutoscaler", "1.26", "use apiVersion autoscaling/v2"),
        ("autoscaling/v2beta1", "HorizontalPodAutoscaler", "1.25", "use apiVersion autoscaling/v2"),
        ("extensions/v1beta1", "Ingress", "1.22", "use apiVersion networking.k8s.io/v1"),
        ("extensions/v1beta1", "IngressList", "1.22", "use apiVersion networking.k8s.io/v1"),
        ("apps/v1beta2", "Deployment", "1.16", "use apiVersion apps/v1"),
        ("batch/v1beta1", "CronJob", "1.25", "use apiVersion batch/v1"),
        ("policy/v1beta1", "PodSecurityPolicy", "1.25", "use Pod Security Admission"),
        (
            "apiextensions.k8s.io/v1beta1",
            "CustomResourceDefinition",
            "1.22",
            "use apiVersion apiextensions.k8s.io/v1",
        ),
        ("networking.k8s.io/v1alpha1", "ClusterCIDR", "1.29", None),
    ],
)
def test_an_api_that_is_gone_is_told_with_the_version_that_removed_it(
    api_version: str, kind: str, removed: str, hint: str | None
) -> None:
    ((_, finding),) = violations("1.36", obj(api_version, kind, "x"))
    assert (finding.rule, finding.severity) == ("removed-api", "error")
    assert finding.message == (
        f"Kubernetes 1.36 has no {api_version} {kind}: it was removed in {removed}"
    )
    assert finding.hint == hint


@pytest.mark.requirement("B-72")
def test_an_api_that_a_later_version_removes_is_deprecated_until_then() -> None:
    ((_, finding),) = violations("1.31", flow_schema("v1beta3"))
    assert (finding.rule, finding.severity) == ("deprecated-api", "warning")
    assert finding.message == (
        "flowcontrol.apiserver.k8s.io/v1beta3 FlowSchema is removed in Kubernetes 1.32"
    )
    assert finding.hint == "use apiVersion flowcontrol.apiserver.k8s.io/v1"
    ((_, gone),) = violations("1.32", flow_schema("v1beta3"))
    assert gone.rule == "removed-api"
    assert violations("1.31", flow_schema("v1")) == []


@pytest.mark.requirement("B-72")
def test_what_is_deprecated_without_a_removal_is_told_with_its_successor() -> None:
    ((_, finding),) = violations("1.36", obj("v1", "Endpoints", "x"))
    assert finding.message == "v1 Endpoints is deprecated since Kubernetes 1.33"
    assert finding.hint == "use discovery.k8s.io/v1 EndpointSlice"
    assert violations("1.32", obj("v1", "Endpoints", "x")) == []


def test_a_beta_api_beside_its_stable_version_is_deprecated() -> None:
    claim = obj("resource.k8s.io/v1beta1", "DeviceClass", "x", spec={})
    ((_, finding),) = violations("1.36", claim)
    assert (finding.rule, finding.hint) == ("deprecated-api", "use apiVersion resource.k8s.io/v1")
    assert violations("1.33", obj("resource.k8s.io/v1beta2", "DeviceClass", "x", spec={})) == []


@pytest.mark.requirement("B-72")
def test_an_api_of_a_later_version_is_told_with_the_version_that_brings_it() -> None:
    policy = obj("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy", "x")
    ((_, finding),) = violations("1.30", policy)
    assert (finding.rule, finding.severity) == ("unknown-kind", "error")
    assert "it comes with 1.36" in finding.message


def test_stable_apis_are_never_deprecated_by_newer_ones() -> None:
    assert [finding.rule for _, finding in violations("1.36", scaler("autoscaling/v2"))] == []
    assert violations("1.36", scaler("autoscaling/v1")) == []


@pytest.mark.parametrize(
    ("api_version", "kind", "hint"),
    [
        ("apps/v1", "Deploymnt", "did you mean apps/v1 Deployment?"),
        ("v1", "Deployment", "use apiVersion apps/v1"),
    ],
)
def test_an_unknown_kind_of_kubernetes_own_groups_is_an_error(
    api_version: str, kind: str, hint: str
) -> None:
    ((_, finding),) = violations("1.36", obj(api_version, kind, "x"))
    assert (finding.rule, finding.severity, finding.hint) == ("unknown-kind", "error", hint)


@pytest.mark.requirement("B-73")
@pytest.mark.parametrize("group", ["networking.example.com", "gateway.networking.k8s.io"])
def test_a_custom_resource_without_a_schema_is_only_counted(group: str) -> None:
    ((index, finding),) = violations("1.36", obj(f"{group}/v1", "Ingress", "x"))
    assert (index, finding.rule, finding.severity) == (0, "unvalidated", "warning")
