"""Layers on what overlays and charts give: which objects change, and what is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.model.bundle import RenderedBundle
from bundler.model.inventory import Inventory
from bundler.model.layers import Layer, in_order
from bundler.model.objects import ObjectRef, owner_of
from bundler.model.project import Environment, HelmRelease, Target
from bundler.publish.images import images_of
from bundler.publish.render import render
from tests.fakes.renderer import folder_renderers, write_chart, write_overlay
from tests.fakes.shop import REQUESTS, deployment, lock, obj, pinned, project, resolve_external

CART = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "cart"}}
OVERLAY = "overlays/prod"


def layer(level: Any, *objects: Any, lines: Mapping[str, int] | None = None, **rest: Any) -> Layer:
    return Layer(level, f"config/{level}.yaml", objects=objects, lines=lines or {}, **rest)


def replicas(count: int | None) -> dict[str, Any]:
    return {**CART, "spec": {"replicas": count}}


def target(name: str, *layers: Layer, **rest: Any) -> Target:
    settings = {"namespace": f"shop-{name}", "kustomize": OVERLAY} | rest
    return Target(name, **settings, layers=in_order(layers))


def released(tree: Path, *targets: Target, services: tuple[str, ...] = ("cart",)) -> RenderedBundle:
    shop = project(Environment("prod", targets), services=services)
    return render(shop, lock(shop), tree, folder_renderers(), resolve_external, "1.36")


def rendered(tree: Path, *layers: Layer, objects: Sequence[Any] = ()) -> RenderedBundle:
    write_overlay(tree, OVERLAY, deployment("cart", "cart"), *objects)
    return released(tree, target("eu", *layers))


def only(bundle: RenderedBundle, kind: str, name: str, number: int = 0) -> Any:
    found = (o for o in bundle.targets[number].objects if ObjectRef.of(o).kind == kind)
    return next(o for o in found if o["metadata"]["name"] == name)


# --- objects ------------------------------------------------------------------------------------


@pytest.mark.requirement("C-20")
def test_the_cluster_s_word_is_over_the_type_s_and_that_over_the_base_s(tmp_path: Path) -> None:
    layers = [
        layer("base", replicas(1)),
        layer("type", replicas(2)),
        layer("cluster", replicas(3)),
    ]
    for number in (1, 2, 3):
        bundle = rendered(tmp_path, *reversed(layers[:number]))
        assert only(bundle, "Deployment", "cart")["spec"]["replicas"] == number
        assert bundle.findings == ()


def test_a_container_is_found_by_its_name_and_null_takes_a_field_out(tmp_path: Path) -> None:
    containers = [{"name": "c0", "env": [{"name": "A", "value": "1"}]}]
    change = {
        **CART,
        "spec": {
            "selector": None,
            "template": {"metadata": None, "spec": {"containers": containers}},
        },
    }
    cart = only(rendered(tmp_path, layer("base", change)), "Deployment", "cart")
    assert cart["spec"] == {
        "template": {
            "spec": {
                "containers": [
                    {
                        **containers[0],
                        "image": pinned("cart"),
                        "resources": {"requests": REQUESTS},
                    }
                ]
            }
        }
    }


@pytest.mark.requirement("B-60")
def test_an_image_that_a_layer_brings_is_pinned_like_any_other(tmp_path: Path) -> None:
    sidecar = {"containers": [{"name": "sidecar", "image": "old-cart:1"}]}
    bundle = rendered(tmp_path, layer("base", {**CART, "spec": {"template": {"spec": sidecar}}}))
    images = [use.image for use in images_of(only(bundle, "Deployment", "cart"))]
    assert images == [pinned("cart")] * 2
    assert bundle.findings == ()


def test_the_version_of_the_api_does_not_matter_and_the_group_does(tmp_path: Path) -> None:
    older = {**replicas(3), "apiVersion": "apps/v1beta2"}
    cart = only(rendered(tmp_path, layer("base", older)), "Deployment", "cart")
    assert (cart["apiVersion"], cart["spec"]["replicas"]) == ("apps/v1", 3)
    other = {**replicas(3), "apiVersion": "extensions/v1beta1"}
    [finding] = rendered(tmp_path, layer("base", other)).findings
    assert finding.hint == "did you mean Deployment/cart (apps)?"


def test_a_namespace_chooses_between_two_of_the_same_name(tmp_path: Path) -> None:
    two = [
        obj("v1", "ConfigMap", "c", data={"A": "1"}),
        obj("v1", "ConfigMap", "c", data={"A": "1"}, metadata={"namespace": "other"}),
    ]
    change = obj("v1", "ConfigMap", "c", data={"A": "2"}, metadata={"namespace": "other"})
    bundle = rendered(tmp_path, layer("base", change), objects=two)
    found = {
        o["metadata"]["namespace"]: o["data"]["A"]
        for o in bundle.targets[0].objects
        if o["kind"] == "ConfigMap"
    }
    assert found == {"shop-eu": "1", "other": "2"}


@pytest.mark.requirement("C-34")
def test_a_part_for_no_object_is_an_error_with_its_place(tmp_path: Path) -> None:
    typo = {**CART, "metadata": {"name": "crat"}}
    lines = {"/objects": 1, "/objects/0": 2}
    bundle = rendered(
        tmp_path, layer("base", typo, lines=lines, config_maps={"settings": {"A": "1"}})
    )
    found = [(f.rule, f.severity, f.line, f.pointer, f.object) for f in bundle.findings]
    assert found == [
        ("unmatched-layer-object", "error", 2, "/objects/0", "Deployment/crat"),
        ("unmatched-layer-object", "error", None, "/configMaps/settings", "ConfigMap/settings"),
    ]
    assert bundle.findings[0].hint == "did you mean Deployment/cart?"


def test_a_part_that_one_of_the_layer_s_targets_has_is_no_error(tmp_path: Path) -> None:
    write_overlay(tmp_path, OVERLAY, deployment("cart", "cart"))
    write_overlay(tmp_path, "overlays/small", obj("v1", "ConfigMap", "c"))
    base = layer("base", replicas(3))
    bundle = released(
        tmp_path,
        target("eu", base),
        target("us", base, kustomize="overlays/small", without=frozenset({"cart"})),
    )
    assert bundle.findings == ()


def test_another_shape_is_told_with_both_places(tmp_path: Path) -> None:
    change = {**CART, "spec": {"template": {"spec": {"containers": {"c0": {"image": "x"}}}}}}
    lines = {"/objects/0/spec/template/spec/containers": 7}
    [finding] = rendered(tmp_path, layer("cluster", change, lines=lines)).findings
    assert (finding.rule, finding.file, finding.line) == (
        "layer-conflict",
        "config/cluster.yaml",
        7,
    )
    assert finding.pointer == "/objects/0/spec/template/spec/containers"
    assert finding.message == "a mapping where there is a list, in Deployment/cart"


# --- ConfigMaps ---------------------------------------------------------------------------------


def test_a_plain_config_map_gets_what_the_layers_say(tmp_path: Path) -> None:
    settings = obj("v1", "ConfigMap", "settings", data={"A": "1", "B": "1", "C": "1"})
    layers = [
        layer("base", config_maps={"settings": {"A": "2", "D": "2", "E": "2"}}),
        layer("type", config_maps={"settings": {"A": "3", "B": None, "E": None}}),
    ]
    bundle = rendered(tmp_path, *layers, objects=[settings])
    assert only(bundle, "ConfigMap", "settings")["data"] == {"A": "3", "C": "1", "D": "2"}
    assert bundle.findings == ()


def test_a_key_of_a_generated_config_map_cannot_be_taken_out(tmp_path: Path) -> None:
    generated = obj("v1", "ConfigMap", "settings-gmb5m2m5k9", data={"A": "1", "B": "2"})
    content = {"settings": {"A": None, "C": None, "B": "2"}}
    bundle = rendered(tmp_path, layer("base", config_maps=content), objects=[generated])
    [finding] = bundle.findings
    assert (finding.rule, finding.pointer) == ("layer-conflict", "/configMaps/settings/A")
    assert only(bundle, "ConfigMap", "settings-gmb5m2m5k9")["data"] == generated["data"]


# --- charts -------------------------------------------------------------------------------------


def chart_target(name: str, *layers: Layer) -> Target:
    return target(name, *layers, kustomize=None, helm=(HelmRelease("chart", "shop"),))


def with_values(tree: Path, values: Mapping[str, Any], *layers: Layer) -> RenderedBundle:
    cart = {"image": {"repository": "registry.example.com/shop/cart", "tag": "dev"}}
    image = "{{cart.image.repository}}:{{cart.image.tag}}"
    settings = obj("v1", "ConfigMap", "settings", data={"level": "{{log.level}}"})
    write_chart(tree, "chart", {**values, "cart": cart}, deployment("cart", image), settings)
    return released(tree, chart_target("eu", *layers))


@pytest.mark.requirement("C-20")
def test_values_of_layers_are_over_the_chart_s_and_below_the_pins(tmp_path: Path) -> None:
    layers = [
        layer("base", values={"log": {"level": "info"}, "cart": {"image": {"tag": "v0"}}}),
        layer("type", values={"log": {"level": "warning"}}),
    ]
    bundle = with_values(tmp_path, {"log": {"level": "debug"}}, *layers)
    assert only(bundle, "ConfigMap", "settings")["data"] == {"level": "warning"}
    images = [use.image for use in images_of(only(bundle, "Deployment", "cart"))]
    assert images == [pinned("cart")]


def test_a_global_value_cannot_be_taken_out_as_helm_would_keep_it(tmp_path: Path) -> None:
    gone = layer("base", values={"global": {"a": {"b": None}}, "other": None})
    [finding] = with_values(
        tmp_path, {"global": {"a": {"b": 1}}, "log": {"level": "x"}}, gone
    ).findings
    assert (finding.rule, finding.pointer) == ("layer-conflict", "/values/global/a/b")


def test_two_layers_that_differ_in_shape_are_both_named(tmp_path: Path) -> None:
    layers = [
        layer("base", values={"log": {"level": "info"}}, lines={"/values/log": 3}),
        layer("type", values={"log": "warning"}, lines={"/values/log": 5}),
    ]
    [finding] = with_values(tmp_path, {"log": {"level": "debug"}}, *layers).findings
    assert finding.message == ("a single value where there is a mapping, in config/base.yaml:3")
    assert (finding.file, finding.line) == ("config/type.yaml", 5)


# --- many targets -------------------------------------------------------------------------------

FIVE = ("a", "b", "c", "d", "e")


def changed(before: RenderedBundle, after: RenderedBundle) -> set[str]:
    return {
        one.target.name
        for one, other in zip(before.targets, after.targets, strict=True)
        if one.objects != other.objects
    }


@pytest.mark.requirement("C-21", "C-22")
def test_a_layer_of_five_targets_changed_once_changes_all_but_the_one_that_overrides_it(
    tmp_path: Path,
) -> None:
    write_overlay(tmp_path, OVERLAY, deployment("cart", "cart"))

    def of(count: int) -> RenderedBundle:
        shared = layer("environment", replicas(count))
        own = {"c": (layer("cluster", replicas(9)),)}
        return released(tmp_path, *(target(name, shared, *own.get(name, ())) for name in FIVE))

    assert changed(of(1), of(2)) == {"a", "b", "d", "e"}


@pytest.mark.requirement("C-31", "C-32")
def test_the_same_service_in_two_namespaces_of_one_cluster_does_not_collide(
    tmp_path: Path,
) -> None:
    write_overlay(
        tmp_path,
        OVERLAY,
        deployment("cart", "cart"),
        obj("v1", "Service", "cart", spec={"selector": {"app": "cart"}}),
    )
    one, other = (
        replace(target(name), cluster="eu", namespace=f"shop-{name}") for name in ("blue", "green")
    )
    bundle = released(tmp_path, one, other)
    refs = [ObjectRef.of(o) for each in bundle.targets for o in each.objects]
    assert len(refs) == len(set(refs)) == 4
    for each in bundle.targets:
        # A selector reaches no further than its namespace, and all of a target's are in its own.
        assert {ref_of.namespace for ref_of in map(ObjectRef.of, each.objects)} == {
            each.target.namespace
        }
        assert {owner_of(o) for o in each.objects} == {f"shop/prod/{each.target.name}"}
    inventories = [
        Inventory().union(map(ObjectRef.of, each.objects)).objects.keys() for each in bundle.targets
    ]
    assert not inventories[0] & inventories[1]


@pytest.mark.requirement("C-33")
def test_a_service_left_out_of_one_target_or_added_to_it_changes_no_other(tmp_path: Path) -> None:
    cart, orders = deployment("cart", "cart"), deployment("orders", "orders")
    write_overlay(tmp_path, OVERLAY, cart, orders)
    write_overlay(tmp_path, "overlays/small", cart)
    services = ("cart", "orders")
    small = {"kustomize": "overlays/small", "without": frozenset({"orders"})}

    def of(**one: Any) -> RenderedBundle:
        targets = (target(n, **(one if n == "b" else {})) for n in FIVE)
        return released(tmp_path, *targets, services=services)

    everywhere, left_out = of(), of(**small)
    assert left_out.findings == ()
    assert changed(everywhere, left_out) == changed(left_out, everywhere) == {"b"}
    assert [o["metadata"]["name"] for o in left_out.targets[1].objects] == ["cart"]
