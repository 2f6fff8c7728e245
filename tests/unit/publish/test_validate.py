from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bundler.errors import ValidationFailed
from bundler.model.bundle import RenderedBundle, RenderedTarget
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject
from bundler.model.project import Environment, Policy, Target
from bundler.publish.supplied_schemas import SuppliedCrd
from bundler.publish.validate import validate
from tests.fakes.shop import REDIS, deployment, environment, lock, obj, pinned, project


class NamedSchemas:
    """ObjectSchemas in memory: an object's name decides what is found in it."""

    def __init__(self, crds: Sequence[KubernetesObject] = ()) -> None:
        self.versions: list[str] = []
        self.crds = tuple(crds)

    def prepare(self, version: str) -> None:
        pass

    def newest(self) -> str:
        return "1.36"

    def known(self, version: str) -> bool:
        return version == "1.36"

    def with_crds(self, crds: Sequence[KubernetesObject]) -> NamedSchemas:
        if not crds:
            return self
        return NamedSchemas((*self.crds, *crds))

    def check(
        self, version: str, objects: Sequence[KubernetesObject]
    ) -> Sequence[tuple[int, Finding]]:
        self.versions.append(version)
        found = []
        for index, each in enumerate(objects):
            name = each["metadata"]["name"]
            if name.startswith("bad"):
                pointer = "/spec/template/spec/containers/0/nam"
                found.append((index, Finding("schema", "unknown field 'nam'", pointer=pointer)))
            if name.startswith("custom") and not self.crds:
                found.append((index, Finding("unvalidated", "no schema", "warning")))
        return found


QUIET: Mapping[str, Policy] = {"missing-requests": "ignore"}
"""What the rules say of every object here; tests/unit/publish/test_rules_fixtures.py shows them."""


def bundle(*objects: dict[str, Any], env: Environment | None = None) -> RenderedBundle:
    env = replace(env or environment(), rules=QUIET)
    target = RenderedTarget(env, env.targets[0], objects)
    return RenderedBundle(lock(project(env)), (target,), {})


def in_shop(obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "namespace": "shop"}}


def test_a_bundle_without_findings_is_validated_with_its_files_and_versions() -> None:
    validated = validate(bundle(in_shop(deployment("cart", pinned("cart")))), NamedSchemas())
    assert list(validated.files) == ["stage/default/30-workloads.yaml"]
    assert validated.kubernetes == {"stage": "1.36"}
    assert validated.warnings == ()


@pytest.mark.requirement("B-72")
def test_the_environments_kubernetes_version_decides_about_the_schemas() -> None:
    schemas = NamedSchemas()
    env = replace(environment(), kubernetes="1.30")
    validated = validate(bundle(in_shop(obj("v1", "ConfigMap", "c")), env=env), schemas)
    assert schemas.versions == ["1.30"]
    assert validated.kubernetes == {"stage": "1.30"}


@pytest.mark.requirement("B-71")
def test_all_findings_come_at_once_with_their_places() -> None:
    noticed = Finding("unused-pin", "…", environment="stage/default", service="orders")
    rendered = bundle(
        in_shop(deployment("bad-cart", pinned("cart"))), in_shop(deployment("bad-2", "x:1"))
    )
    with pytest.raises(ValidationFailed) as caught:
        validate(replace(rendered, findings=(noticed,)), NamedSchemas())
    assert caught.value.exit_code == 4
    assert caught.value.message == "the rendered bundle has 4 errors"
    first, second, third, fourth = caught.value.findings
    assert first == noticed
    assert second.file == "stage/default/30-workloads.yaml"
    assert second.pointer == "/spec/template/spec/containers/0/nam"
    assert second.object == "Deployment/shop/bad-cart"
    assert (second.environment, second.service) == ("stage/default", "cart")
    assert third.object == "Deployment/shop/bad-2"
    assert fourth.rule == "image-without-digest"


@pytest.mark.requirement("B-65")
def test_an_image_without_a_digest_is_refused_in_a_protected_environment() -> None:
    workload = in_shop(deployment("cart", pinned("cart"), REDIS))
    with pytest.raises(ValidationFailed) as caught:
        validate(bundle(workload), NamedSchemas())
    (finding,) = caught.value.findings
    assert finding.rule == "image-without-digest"
    assert finding.pointer == "/spec/template/spec/containers/1/image"


@pytest.mark.requirement("B-65")
def test_an_image_without_a_digest_is_accepted_where_nothing_is_protected() -> None:
    env = environment("dev", protected=False)
    workload = in_shop(deployment("cart", pinned("cart"), REDIS))
    assert validate(bundle(workload, env=env), NamedSchemas()).warnings == ()


def test_an_image_is_not_complained_about_twice() -> None:
    workload = in_shop(deployment("cart", "x:1"))
    noticed = Finding(
        "unpinned-image",
        "…",
        object="Deployment/shop/cart",
        pointer="/spec/template/spec/containers/0/image",
        environment="stage/default",
    )
    with pytest.raises(ValidationFailed) as caught:
        validate(replace(bundle(workload), findings=(noticed,)), NamedSchemas())
    assert caught.value.findings == (noticed,)


def test_objects_without_a_schema_are_counted_in_one_warning() -> None:
    validated = validate(
        bundle(
            in_shop(obj("example.com/v1", "Zone", "custom-1")),
            in_shop(obj("example.com/v1", "Area", "custom-2")),
        ),
        NamedSchemas(),
    )
    (warning,) = validated.warnings
    assert (warning.rule, warning.severity, warning.environment) == (
        "unvalidated",
        "warning",
        "stage",
    )
    assert warning.message.startswith("2 objects are not validated")
    assert "Area.example.com, Zone.example.com" in warning.message
    assert validated.unvalidated == 2


@pytest.mark.requirement("B-73")
def test_a_supplied_crd_holds_for_the_environments_that_it_is_supplied_for() -> None:
    rendered = bundle(in_shop(obj("example.com/v1", "Zone", "custom-1")))
    supplied = {"stage": (SuppliedCrd("crds/zone.yaml", obj("v1", "X", "zones")),)}
    assert validate(rendered, NamedSchemas(), supplied).unvalidated == 0
    assert validate(rendered, NamedSchemas(), {"stage": ()}).unvalidated == 1


@pytest.mark.requirement("B-71", "B-73")
def test_what_is_wrong_with_a_supplied_crd_is_told_once_with_its_file() -> None:
    stage, prod = environment("stage"), environment("prod")
    targets = tuple(RenderedTarget(each, each.targets[0], ()) for each in (stage, prod))
    rendered = RenderedBundle(lock(project(stage, prod)), targets, {})
    bad = (SuppliedCrd("crds/zone.yaml", obj("v1", "X", "bad-zones")),)
    with pytest.raises(ValidationFailed) as caught:
        validate(rendered, NamedSchemas(), {"stage": bad, "prod": bad})
    (finding,) = caught.value.findings
    assert (finding.file, finding.object) == ("crds/zone.yaml", "X/bad-zones")
    assert finding.pointer == "/spec/template/spec/containers/0/nam"


@pytest.mark.requirement("B-73")
def test_a_crd_of_one_target_holds_for_the_environments_other_targets() -> None:
    env = environment("stage", Target("operators", "shop", "a"), Target("apps", "shop", "b"))
    definition = obj("apiextensions.k8s.io/v1", "CustomResourceDefinition", "zones.example.com")
    custom = in_shop(obj("example.com/v1", "Zone", "custom-1"))
    targets = tuple(
        RenderedTarget(env, target, objects)
        for target, objects in zip(env.targets, ((definition,), (custom,)), strict=True)
    )
    rendered = RenderedBundle(lock(project(env)), targets, {})
    assert validate(rendered, NamedSchemas()).unvalidated == 0
