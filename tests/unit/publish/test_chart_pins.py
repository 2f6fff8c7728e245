"""Which values of a chart are set, so that its services have the images of the release."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bundler.model.bundle import PinnedChart
from bundler.model.finding import Finding
from bundler.model.project import Environment, HelmRelease, Target, ValuePaths
from bundler.model.reference import Digest
from bundler.publish.chart_pins import pin_chart
from bundler.publish.pin import pin
from tests.fakes.shop import REGISTRY, commit_of, lock, pinned, project

TAG = commit_of("cart")
DIGEST = str(Digest.of(b"cart"))
HOST, _, FOLDER = REGISTRY.partition("/")


def made(
    values: dict[str, Any], pins: dict[str, tuple[ValuePaths, ...]] | None = None, **target: Any
) -> tuple[PinnedChart, list[Finding]]:
    release = HelmRelease("charts/shop", "shop", pins=pins or {})
    environment = Environment("prod", (Target("eu", "shop", helm=(release,), **target),))
    of = project(environment)
    chart = PinnedChart(pin(of, environment, environment.targets[0], lock(of)), release, "1.36")
    return pin_chart(of, chart, values)


def found(values: dict[str, Any]) -> Any:
    """The values that are set where nothing is declared."""
    chart, findings = made(values)
    assert findings == []
    return chart.values


def declared(values: dict[str, Any], *paths: ValuePaths) -> Any:
    chart, findings = made(values, {"cart": paths})
    assert findings == []
    return chart.values


def refused(values: dict[str, Any], paths: ValuePaths) -> Finding:
    chart, (finding,) = made(values, {"cart": (paths,)})
    assert chart.values == {}
    assert (finding.rule, finding.severity, finding.service) == ("chart-pin", "error", "cart")
    assert (finding.file, finding.environment) == ("charts/shop/values.yaml", "prod/eu")
    return finding


# --- searched -----------------------------------------------------------------------------------


@pytest.mark.requirement("B-61")
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"repository": f"{REGISTRY}/cart", "tag": "dev"},
         {"repository": f"{REGISTRY}/cart", "tag": TAG}),
        ({"repository": f"{REGISTRY}/cart"}, {"repository": f"{REGISTRY}/cart", "tag": TAG}),
        ({"repository": "cart", "tag": None, "digest": None},
         {"repository": f"{REGISTRY}/cart", "tag": TAG, "digest": DIGEST}),
        ({"repository": "old-cart", "digest": ""},
         {"repository": f"{REGISTRY}/cart", "digest": DIGEST}),
        ({"registry": HOST, "repository": f"{FOLDER}/cart", "tag": ""},
         {"registry": HOST, "repository": f"{FOLDER}/cart", "tag": TAG}),
        ({"registry": f"{REGISTRY}/", "repository": "cart"},
         {"registry": REGISTRY, "repository": "cart", "tag": TAG}),
        ({"registry": "", "repository": f"{REGISTRY}/cart"},
         {"repository": f"{REGISTRY}/cart", "tag": TAG}),
    ],
)  # fmt: skip
def test_a_mapping_with_the_repository_of_a_service_is_set(image: Any, expected: Any) -> None:
    assert found({"a": {"b": image, "c": 1}, "d": {}}) == {"a": {"b": expected}}


@pytest.mark.parametrize("key", ["image", "cartImage", "my_image"])
@pytest.mark.parametrize("text", ["cart", f"{REGISTRY}/cart:dev", f"old-cart@{DIGEST}"])
def test_a_string_that_names_a_service_becomes_the_whole_reference(key: str, text: str) -> None:
    assert found({"a": {key: text}}) == {"a": {key: pinned("cart")}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"image": f"{REGISTRY}/cart", "tag": "dev"},
         {"image": f"{REGISTRY}/cart", "tag": TAG}),
        ({"image": f"{REGISTRY}/cart", "imageTag": 1.5, "digest": ""},
         {"image": f"{REGISTRY}/cart", "imageTag": TAG, "digest": DIGEST}),
        ({"cartImage": "cart", "cartImageTag": "1"},
         {"cartImage": f"{REGISTRY}/cart", "cartImageTag": TAG}),
        ({"cartImage": "cart", "tag": "1"}, {"cartImage": pinned("cart")}),
        ({"image": "cart:1", "tag": "1"}, {"image": pinned("cart")}),
        ({"registry": HOST, "image": f"{FOLDER}/cart", "tag": "1"},
         {"registry": HOST, "image": f"{FOLDER}/cart", "tag": TAG}),
    ],
)  # fmt: skip
def test_a_tag_beside_a_string_is_set_with_it(values: Any, expected: Any) -> None:
    assert found({"a": values}) == {"a": expected}


def test_every_place_of_every_service_is_set_those_of_subcharts_too() -> None:
    values = {
        "image": "cart",
        "redis": {"image": "redis:7"},
        "orders": {"image": {"repository": "orders"}, "sub": {"image": "old-cart:1"}},
    }
    assert found(values) == {
        "image": pinned("cart"),
        "orders": {
            "image": {"repository": f"{REGISTRY}/orders", "tag": commit_of("orders")},
            "sub": {"image": pinned("cart")},
        },
    }


@pytest.mark.parametrize(
    "values",
    [
        {"image": "other"},
        {"image": "{{ .Values.cart }}"},
        {"image": {"repository": "other/cart"}},
        {"repository": 1, "image": None},
        {"name": "cart", "cart": "cart", "images": "cart"},
        {"list": [{"image": "cart"}, [{"repository": "cart"}]]},
    ],
)
def test_what_is_no_image_of_a_service_stays_as_it_is(values: Any) -> None:
    assert found(values) == {}


@pytest.mark.parametrize(
    "global_", [{"imageRegistry": HOST}, {"image": {"registry": HOST}}, {"registry": f"{HOST}/"}]
)
def test_what_a_chart_puts_before_all_images_stays_as_it_is(global_: Any) -> None:
    values = {"global": global_, "a": {"repository": f"{FOLDER}/cart"}, "b": {"image": "cart"}}
    assert found(values) == {
        "a": {"repository": f"{FOLDER}/cart", "tag": TAG},
        "b": {"image": pinned("cart")},
    }


@pytest.mark.parametrize("prefix", [REGISTRY, f"{REGISTRY}/"])
def test_a_name_that_means_the_service_alone_and_with_the_global_registry_stays(
    prefix: str,
) -> None:
    values = {"global": {"imageRegistry": prefix}, "image": {"repository": "cart", "tag": "1"}}
    assert found(values) == {"image": {"repository": "cart", "tag": TAG}}


def test_an_image_outside_of_the_global_registry_leaves_the_name_to_the_objects() -> None:
    """Whatever is set there would get the wrong registry; the object has the service's name."""
    release = HelmRelease("charts/shop", "shop")
    environment = Environment("prod", (Target("eu", "shop", helm=(release,)),))
    of = project(environment)
    cart = replace(of.services["cart"], names=frozenset({"old.example.com/team/cart"}))
    of = replace(of, services={**of.services, "cart": cart})
    chart = PinnedChart(pin(of, environment, environment.targets[0], lock(of)), release, "1.36")
    values = {
        "global": {"image": {"registry": "old.example.com"}},
        "controller": {"image": {"image": "team/cart", "tag": "1", "digest": "sha256:0"}},
        "job": {"repository": "team/cart"},
        "whole": {"image": "team/cart:1"},
    }
    pinned_chart, findings = pin_chart(of, chart, values)
    assert findings == []
    assert pinned_chart.values == {
        "controller": {"image": {"tag": TAG, "digest": DIGEST}},
        "job": {"tag": TAG},
    }


def test_a_service_that_the_target_has_not_is_left_alone() -> None:
    chart, findings = made({"image": "cart"}, without=frozenset({"cart"}))
    assert (chart.values, findings) == ({}, [])


# --- declared -----------------------------------------------------------------------------------


@pytest.mark.requirement("B-61")
@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (ValuePaths(image="a.ref"), {"a": {"ref": pinned("cart")}}),
        (ValuePaths(repository="a.name", tag="a.version"),
         {"a": {"name": f"{REGISTRY}/cart", "version": TAG}}),
        (ValuePaths(registry="a.host", repository="a.name", tag="a.version", digest="a.sum"),
         {"a": {"host": HOST, "name": f"{FOLDER}/cart", "version": TAG, "sum": DIGEST}}),
        (ValuePaths(repository="a.name", digest="a.sum"),
         {"a": {"name": f"{REGISTRY}/cart", "sum": DIGEST}}),
        (ValuePaths(found="a.ref"), {"a": {"ref": pinned("cart")}}),
        (ValuePaths(found="b"), {"b": {"repository": f"{REGISTRY}/cart", "tag": TAG}}),
        (ValuePaths(found="c"), {"c": {"name": f"{REGISTRY}/cart", "tag": TAG, "digest": DIGEST}}),
        (ValuePaths(found="d.image"), {"d": {"image": f"{REGISTRY}/cart", "tag": TAG}}),
        (ValuePaths(found="e"), {"e": pinned("cart")}),
    ],
)  # fmt: skip
def test_declared_paths_are_set_whatever_stands_there(paths: ValuePaths, expected: Any) -> None:
    values = {
        "a": {"ref": "", "name": "x", "version": "", "sum": "", "host": ""},
        "b": {"repository": "elsewhere/x"},
        "c": {"name": "x", "tag": "", "digest": ""},
        "d": {"image": "x", "tag": ""},
        "e": None,
        "image": "cart",
    }
    assert declared(values, paths) == expected


def test_a_service_may_stand_in_several_places() -> None:
    both = (ValuePaths(found="a"), ValuePaths(image="b.image"))
    expected = {"a": pinned("cart"), "b": {"image": pinned("cart")}}
    assert declared({"a": "x", "b": {"image": ""}}, *both) == expected


def test_a_template_may_ask_for_values_that_no_file_has() -> None:
    paths = ValuePaths(repository="cart.override.repository", digest="cart.override.digest")
    expected = {"cart": {"override": {"repository": f"{REGISTRY}/cart", "digest": DIGEST}}}
    assert declared({"cart": {"override": {}}}, paths) == expected


@pytest.mark.parametrize(
    ("paths", "pointer", "hint"),
    [
        (ValuePaths(found="cart.imge"), "/cart/imge", "did you mean cart.image"),
        (ValuePaths(image="kart.image"), "/kart/image", "did you mean cart.image"),
        (ValuePaths(found="image"), "/image", "did you mean cart.image?"),
        (ValuePaths(repository="cart.image.repo", tag="cart.image.tagg"),
         "/cart/image/tagg", "did you mean cart.image.tag"),
        (ValuePaths(found="nothing.at.all"), "/nothing/at/all", "the values have cart, other"),
        (ValuePaths(found="other"), "/other", "declare repository, tag and digest"),
        (ValuePaths(repository="cart.image.repository"), "/cart/image/repository", "add tag"),
        (ValuePaths(tag="cart.image.tag"), "/cart/image/tag", "without the name"),
    ],
)  # fmt: skip
def test_a_declared_path_that_leads_nowhere_is_told_with_near_ones(
    paths: ValuePaths, pointer: str, hint: str
) -> None:
    values = {"cart": {"image": {"repository": "x", "tag": ""}}, "other": {"a": 1}}
    finding = refused(values, paths)
    assert finding.pointer == pointer
    assert hint in str(finding.hint)


def test_all_paths_that_lead_nowhere_are_told() -> None:
    _, findings = made(
        {},
        {
            "cart": (ValuePaths(found="a"), ValuePaths(found="b")),
            "orders": (ValuePaths(found="c"),),
        },
    )
    assert [finding.pointer for finding in findings] == ["/a", "/b", "/c"]
