from __future__ import annotations

from typing import Any

import pytest

from bundler.model.bundle import PinnedTarget
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject
from bundler.model.project import Environment, Project, Target
from bundler.model.reference import Digest
from bundler.publish.images import images_of, with_images
from bundler.publish.pin import check_pins, external_images, pin, with_external_digests
from tests.fakes.shop import (
    REDIS,
    REDIS_DIGEST,
    deployment,
    environment,
    lock,
    obj,
    pinned,
    pod_spec,
    project,
)


def overlay(of: Project, env: Environment) -> PinnedTarget:
    return pin(of, env, env.targets[0], lock(of))


def check(*objects: KubernetesObject, env: Environment | None = None) -> list[Finding]:
    env = env or environment()
    shop = project(env)
    return list(check_pins(overlay(shop, env), shop, objects, {}))


def cart_and_orders(*more: str) -> tuple[dict[str, Any], ...]:
    return deployment("cart", pinned("cart"), *more), deployment("orders", pinned("orders"))


@pytest.mark.requirement("B-60")
def test_a_service_is_pinned_under_every_name_to_commit_tag_and_digest() -> None:
    env = environment()
    shop = project(env)
    pins = {entry.name: str(entry.image) for entry in overlay(shop, env).pins}
    assert pins == {
        "cart": pinned("cart"),
        "old-cart": pinned("cart"),
        "registry.example.com/shop/cart": pinned("cart"),
        "orders": pinned("orders"),
        "registry.example.com/shop/orders": pinned("orders"),
    }


def test_a_service_that_the_target_has_not_gets_no_pin() -> None:
    env = environment("dev", Target("default", "shop", "overlays/dev", frozenset({"cart"})))
    names = {entry.name for entry in overlay(project(env), env).pins}
    assert names == {"orders", "registry.example.com/shop/orders"}


def test_pinned_services_need_no_finding() -> None:
    assert check(*cart_and_orders()) == []


@pytest.mark.requirement("B-63")
def test_a_pin_that_no_object_uses_is_an_error() -> None:
    (finding,) = check(deployment("cart", pinned("cart")))
    assert (finding.rule, finding.severity, finding.service) == ("unused-pin", "error", "orders")
    assert finding.environment == "stage/default"
    assert "services.orders.names" in str(finding.hint)


@pytest.mark.requirement("B-63")
def test_a_service_listed_under_without_may_be_unused() -> None:
    env = environment("dev", Target("default", "shop", "overlays/dev", frozenset({"orders"})))
    assert check(deployment("cart", pinned("cart")), env=env) == []


@pytest.mark.requirement("B-64")
@pytest.mark.parametrize(
    ("image", "hint"),
    [
        ("mirror.example.com/cart:1", "add mirror.example.com/cart to services.cart.names"),
        ("registry.example.com/shop/carts:1", "did you mean service cart"),
        ("nginx:1.27", "add it to images.external"),
    ],
)
def test_an_image_that_is_neither_pinned_nor_external_is_an_error(image: str, hint: str) -> None:
    (finding,) = check(*cart_and_orders(image))
    assert (finding.rule, finding.severity) == ("unpinned-image", "error")
    assert finding.pointer == "/spec/template/spec/containers/1/image"
    assert finding.object == "Deployment/cart"
    assert hint in str(finding.hint)


@pytest.mark.requirement("B-64")
def test_a_service_used_in_spite_of_without_is_an_error_that_says_so() -> None:
    env = environment("dev", Target("default", "shop", "overlays/dev", frozenset({"cart"})))
    findings = check(
        deployment("cart", "registry.example.com/shop/cart"),
        deployment("orders", pinned("orders")),
        env=env,
    )
    assert [finding.rule for finding in findings] == ["unpinned-image"]
    assert "without" in str(findings[0].hint)


def test_an_image_string_that_is_no_reference_is_an_error() -> None:
    (finding,) = check(*cart_and_orders("registry.example.com/shop/Cart:1"))
    assert (finding.rule, finding.severity) == ("invalid-image", "error")


def test_a_mutable_external_tag_is_one_warning_an_image() -> None:
    env = environment("dev", protected=False)
    (finding,) = check(*cart_and_orders(REDIS, REDIS), env=env)
    assert (finding.rule, finding.severity) == ("mutable-tag", "warning")


@pytest.mark.requirement("B-65")
def test_a_protected_environment_gets_digests_of_external_images() -> None:
    env = environment()
    shop = project(env)
    objects = cart_and_orders(REDIS)
    found = [str(image) for image in external_images(overlay(shop, env), shop, objects)]
    assert found == [REDIS]
    changed = with_external_digests(overlay(shop, env), shop, objects, {REDIS: REDIS_DIGEST})
    images = [use.image for use in images_of(changed[0])]
    assert images == [pinned("cart"), f"{REDIS}@{REDIS_DIGEST}"]
    assert objects[0]["spec"]["template"]["spec"]["containers"][1]["image"] == REDIS


def test_an_unprotected_environment_keeps_external_tags() -> None:
    env = environment("dev", protected=False)
    shop = project(env)
    objects = cart_and_orders(REDIS)
    assert with_external_digests(overlay(shop, env), shop, objects, {}) == objects


def test_tags_of_one_image_get_their_own_digests() -> None:
    spec = pod_spec("redis:7.2", "redis:7.4.1", initContainers=[{"name": "i", "image": "redis"}])
    pod = obj("v1", "Pod", "p", spec=spec)
    new = with_images(pod, {"redis:7.2": "redis:7.2@a", "redis": "redis@b"})
    assert [use.image for use in images_of(new)] == ["redis@b", "redis:7.2@a", "redis:7.4.1"]


def test_a_digest_that_the_author_wrote_is_kept() -> None:
    env = environment()
    shop = project(env)
    written = f"{REDIS}@{Digest.of(b'x')}"
    objects = cart_and_orders(written)
    kept = with_external_digests(overlay(shop, env), shop, objects, {})
    assert [use.image for use in images_of(kept[0])] == [pinned("cart"), written]
    assert check(*kept) == []


@pytest.mark.requirement("B-64", "B-66")
def test_containers_of_custom_resources_are_looked_at() -> None:
    spec = {"template": {"spec": pod_spec("nginx:1")}}
    rollout = obj("argoproj.io/v1alpha1", "Rollout", "r", spec=spec)
    findings = check(*cart_and_orders(), rollout)
    assert [f.pointer for f in findings] == ["/spec/template/spec/containers/0/image"]


def test_a_schema_that_describes_containers_has_no_images() -> None:
    properties = {"containers": {"items": {"properties": {"image": {"type": "string"}}}}}
    schema = {"openAPIV3Schema": {"properties": properties}}
    crd = obj("apiextensions.k8s.io/v1", "CustomResourceDefinition", "x", spec=schema)
    assert list(images_of(crd)) == []
