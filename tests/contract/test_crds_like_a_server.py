"""What is said of custom resources and CRDs is what a real API server says of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
from tests.contract.test_crd_schemas import ALLOWED, DEFECTS, FORBIDDEN, SPEC, crd
from tests.fakes.shop import obj
from tools.control_plane import ApiError, ControlPlane
from tools.server_process import wait_until

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
STRICT = "?dryRun=All&fieldValidation=Strict"


def in_group(definition: dict[str, Any], group: str) -> dict[str, Any]:
    metadata = {"name": f"zones.{group}"}
    return {**definition, "metadata": metadata, "spec": {**definition["spec"], "group": group}}


@pytest.fixture(scope="module")
def group(control_plane: ControlPlane) -> Iterator[str]:
    """A group with the CRD of these tests, installed."""
    name = f"g{secrets.token_hex(4)}.example.com"
    control_plane.request("POST", CRDS, in_group(crd(), name))
    path = f"/apis/{name}/v1/zones"
    wait_until(lambda: control_plane.has(path), f"the CRD of {name}", [])
    yield name
    control_plane.request("DELETE", f"{CRDS}/zones.{name}")


def is_refused(control_plane: ControlPlane, path: str, body: dict[str, Any]) -> bool:
    try:
        control_plane.request("POST", path + STRICT, body)
    except ApiError as error:
        assert error.status in (400, 422), error
        return True
    return False


@pytest.mark.requirement("B-73")
@pytest.mark.parametrize(
    "spec", [*(spec for spec, _, _ in FORBIDDEN), *ALLOWED, {"host": None}, {"hots": 1}]
)
def test_a_custom_resource_is_refused_where_a_server_refuses_it(
    control_plane: ControlPlane, group: str, spec: dict[str, Any]
) -> None:
    resource = obj(f"{group}/v1", "Zone", "z", spec={"host": "a.b", **spec})
    resource["metadata"]["namespace"] = "default"
    findings = KubernetesSchemas([in_group(crd(), group)]).check("1.36", [resource])
    path = f"/apis/{group}/v1/namespaces/default/zones"
    assert bool(findings) == is_refused(control_plane, path, resource), findings


@pytest.mark.requirement("B-73")
@pytest.mark.parametrize("spec", [*(spec for spec, _, _ in DEFECTS), SPEC])
def test_a_crd_is_refused_where_a_server_refuses_it(
    control_plane: ControlPlane, spec: dict[str, Any]
) -> None:
    definition = in_group(crd(spec), f"g{secrets.token_hex(4)}.example.com")
    findings = KubernetesSchemas().check("1.36", [definition])
    assert bool(findings) == is_refused(control_plane, CRDS, definition), findings
