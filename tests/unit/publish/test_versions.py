"""Deployments that keep versions: an object for each content of the pods, and what selects it."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.model.bundle import RenderedTarget
from bundler.model.finding import Finding
from bundler.model.objects import ObjectRef
from bundler.model.project import Environment, Target
from bundler.model.versions import VERSION, selected_version, version_of
from bundler.publish.rules.scope import Scope
from bundler.publish.rules.versions import keep_versions
from bundler.publish.versions import with_versions

Object = dict[str, Any]


def made(api_version: str, kind: str, name: str, **rest: Any) -> Object:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def deployment(name: str = "cart", image: str = "cart:1", keep: str | None = "2") -> Object:
    labels = {"app": name, "part": "shop"}
    obj = made(
        "apps/v1", "Deployment", name,
        spec={
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    )  # fmt: skip
    if keep is not None:
        obj["metadata"]["annotations"] = {"release-bundler/keep-versions": keep}
    return obj


def service(**selector: str) -> Object:
    return made("v1", "Service", "cart", spec={"selector": selector, "ports": [{"port": 80}]})


BUDGET = made(
    "policy/v1", "PodDisruptionBudget", "cart",
    spec={"selector": {"matchLabels": {"app": "cart"}}, "minAvailable": 1},
)  # fmt: skip
SCALER = made(
    "autoscaling/v2", "HorizontalPodAutoscaler", "cart",
    spec={"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "cart"}},
)  # fmt: skip


def test_a_version_is_named_after_its_pods_and_selects_them_alone() -> None:
    [made_of_it] = with_versions([deployment()])
    version = version_of(made_of_it)
    assert version and len(version) == 8
    assert made_of_it["metadata"]["name"] == f"cart-{version}"
    assert made_of_it["metadata"]["annotations"]["release-bundler/version-of"] == "cart"
    assert made_of_it["spec"]["selector"]["matchLabels"] == {"app": "cart", VERSION: version}
    labels = made_of_it["spec"]["template"]["metadata"]["labels"]
    assert labels == {"app": "cart", "part": "shop", VERSION: version}


@pytest.mark.requirement("D-09")
def test_other_pods_are_another_version_and_all_else_is_the_same_one() -> None:
    def name(obj: Object) -> str:
        [made_of_it] = with_versions([obj])
        return str(made_of_it["metadata"]["name"])

    scaled = deployment()
    scaled["spec"]["replicas"] = 5
    scaled["metadata"]["labels"] = {"release-bundler/commit": "2" * 40}
    assert name(scaled) == name(deployment())
    assert name(deployment(image="cart:2")) != name(deployment())


@pytest.mark.parametrize("selecting", [service(app="cart"), BUDGET], ids=["service", "budget"])
def test_what_selects_these_pods_alone_selects_their_version(selecting: Object) -> None:
    made_of_it, narrowed = with_versions([deployment(), selecting])
    assert selected_version(narrowed) == version_of(made_of_it)
    assert selected_version(selecting) is None, "what was given is not changed"


@pytest.mark.parametrize(
    "other",
    [service(part="shop"), service(app="search"), service(), SCALER],
    ids=["of several", "of others", "of none", "no selector"],
)
def test_what_is_about_other_pods_too_stays_as_it_is(other: Object) -> None:
    objects = [deployment(), deployment("search", keep=None), other]
    assert with_versions(objects)[1:] == tuple(objects[1:])


def test_without_a_deployment_that_keeps_versions_nothing_changes() -> None:
    objects = [deployment(keep=None), service(app="cart"), BUDGET]
    assert with_versions(objects) == tuple(objects)


# --- what cannot be kept ------------------------------------------------------------------------


def found(*objects: Object) -> list[Finding]:
    target = Target("default", "shop", "overlay")
    rendered = RenderedTarget(Environment("prod", (target,)), target, with_versions(objects))
    return list(keep_versions(Scope(rendered, {})))


def test_a_deployment_with_a_service_of_its_own_is_all_right() -> None:
    assert found(deployment(), service(app="cart"), BUDGET) == []


@pytest.mark.parametrize("said", ["0", "all", "-1", "10", ""])
def test_what_is_no_number_of_versions_is_told(said: str) -> None:
    [finding] = found(deployment(keep=said), service(app="cart"))
    assert finding.message == f"{said!r} is no number of versions to keep"
    assert finding.pointer == "/metadata/annotations/release-bundler~1keep-versions"


def test_only_of_a_deployment_versions_are_kept() -> None:
    obj = {**deployment(), "kind": "StatefulSet"}
    [finding] = found(obj, service(app="cart"))
    assert finding.object == str(ObjectRef.of(obj))


@pytest.mark.parametrize(
    "services", [(), (service(part="shop"),)], ids=["no service", "one for others, too"]
)
def test_a_deployment_that_no_service_leads_to_alone_cannot_be_switched(
    services: tuple[Object, ...],
) -> None:
    [finding] = found(deployment(), deployment("search", keep=None), *services)
    assert "nothing could be switched" in finding.message


def test_a_service_for_other_pods_too_would_lead_to_all_versions() -> None:
    everything = {**service(part="shop"), "metadata": {"name": "all", "namespace": "shop"}}
    [finding] = found(
        deployment(), deployment("search", keep=None), service(app="cart"), everything
    )
    assert finding.message.startswith("Service/shop/all is for other pods too")


@pytest.mark.parametrize("kind", ["ExternalName", "ClusterIP"])
def test_only_a_service_that_leads_to_pods_is_switched(kind: str) -> None:
    made_of_kind = service(app="cart")
    made_of_kind["spec"]["type"] = kind
    assert len(found(deployment(), made_of_kind)) == (kind == "ExternalName")


def test_versions_are_not_kept_of_what_an_autoscaler_scales() -> None:
    [finding] = found(deployment(), service(app="cart"), SCALER)
    assert finding.message.startswith("HorizontalPodAutoscaler/shop/cart scales it")
