"""Layers, targets from files, and the questions about them, on the sample shop's repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Bundler, Result
from tools.sample_shop import SampleShop, git

Checked = Callable[[str, Result], Any]

ENVIRONMENTS = """
layers:
  base: config/base.yaml
  type: config/types/{type}.yaml
  environment: config/environments/{environment}.yaml
  cluster: config/clusters/{cluster}.yaml
environments:
  local: {kustomize: overlays/prod, namespace: shop, type: production}
  prod: {kustomize: overlays/prod, type: production, targetsFrom: targets/prod}
"""
CART = """objects:
  - apiVersion: apps/v1
    kind: Deployment
    metadata: {name: cart}
    spec: {replicas: %d}
"""
FILES = {
    "config/base.yaml": CART % 1,
    "config/types/production.yaml": "configMaps:\n  shop:\n    LOG_LEVEL: error\n",
    "config/environments/local.yaml": CART % 1 + "configMaps: {shop: {LOG_LEVEL: debug}}\n",
    "config/environments/prod.yaml": CART % 2,
    "config/clusters/eu.yaml": CART % 3,
    "targets/prod/eu.yaml": "namespace: shop-eu\n",
    "targets/prod/us.yaml": "namespace: shop-us\nkustomize: overlays/prod-us\n",
}


@pytest.fixture
def layered(shop: SampleShop) -> Path:
    """The shop's repository with layers, tagged v2.0.0."""
    file = shop.repository / "bundler.yaml"
    file.write_text(file.read_text().partition("environments:")[0] + ENVIRONMENTS)
    release(shop.repository, "v2.0.0", FILES)
    return shop.repository


def release(repository: Path, tag: str, files: dict[str, str]) -> None:
    for path, text in files.items():
        place = repository / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", f"Prepare {tag}")
    git(repository, "tag", tag)


@pytest.fixture
def ask(layered: Path, bundler: Bundler, checked: Checked) -> Callable[..., Any]:
    def asked(schema: str, *arguments: str) -> Any:
        return checked(schema, bundler(*arguments, "--repo", layered, "-o", "json"))

    return asked


Ask = Callable[..., Any]


def test_a_value_s_origin_is_told_with_all_that_it_is_over(ask: Ask) -> None:
    path = "Deployment/cart/spec/replicas"
    value = ask("result-explain-value", "explain", "prod/eu", path, "--tag", "v2.0.0")
    assert (value["target"], value["object"], value["value"]) == (
        "prod/eu",
        "Deployment/shop-eu/cart",
        3,
    )
    told = [(each["kind"], each["file"], each["line"], each["value"]) for each in value["origins"]]
    assert told == [
        ("layer", "config/clusters/eu.yaml", 5, 3),
        ("layer", "config/environments/prod.yaml", 5, 2),
        ("layer", "config/base.yaml", 5, 1),
        ("overlay", "overlays/prod/kustomization.yaml", 13, 2),
    ]


@pytest.mark.requirement("C-20")
def test_the_origin_of_a_value_is_told_in_words(layered: Path, bundler: Bundler) -> None:
    path = "ConfigMap/shop.data.LOG_LEVEL"
    told = bundler("explain", "prod/us", path, "--tag", "v2.0.0", "--repo", layered)
    generator = "(configMapGenerator[shop].literals)"
    assert told.stdout.splitlines() == [
        f'prod/us {path}: "error"',
        "  from config/types/production.yaml:3 (type layer)",
        f'  over "warning" from overlays/prod/kustomization.yaml:10 {generator}',
    ]


@pytest.mark.parametrize(
    ("path", "kind", "file", "line"),
    [
        ("Deployment/cart.spec.template.spec.containers[cart].image", "pin", None, None),
        ("Deployment/sessions.spec.template.spec.containers[redis].image", "external", None, None),
        ("Service/cart.metadata.namespace", "placement", None, None),
        ('Service/cart.metadata.labels["release-bundler/environment"]', "placement", None, None),
        ("Service/cart.spec.ports[http].port", "overlay", "overlays/base/cart.yaml", 42),
        (
            "Deployment/mailer.spec.template.spec.securityContext.runAsUser",
            "overlay",
            "overlays/base/restricted.yaml",
            9,
        ),
        ("ConfigMap/shop.data.CURRENCY", "overlay", "overlays/prod-us/kustomization.yaml", 9),
        (
            "PodDisruptionBudget/frontend/spec/minAvailable",
            "overlay",
            "overlays/prod/frontend-disruption.yaml",
            6,
        ),
    ],
)
def test_what_no_layer_says_comes_from_pins_placement_and_the_overlay_s_own_parts(
    ask: Ask, path: str, kind: str, file: str | None, line: int | None
) -> None:
    value = ask("result-explain-value", "explain", "prod/us", path, "--tag", "v2.0.0")
    first = value["origins"][0]
    assert (first["kind"], first["file"], first["line"]) == (kind, file, line)
    assert first["value"] == value["value"]


@pytest.mark.parametrize(
    ("place", "path", "hint"),
    [
        ("prd", "Deployment/cart.spec", "did you mean prod?"),
        ("prod", "Deployment/cart.spec", "name one: prod/eu, prod/us"),
        ("prod/eu", "Deployment/crat.spec", "did you mean Deployment/cart?"),
        ("prod/eu", "Deployment/cart.spec.replica", "did you mean replicas?"),
        ("prod/eu", "Deployment/cart.spec..x", "as in Deployment/cart.spec.replicas"),
        ("prod/eu", "values.cart", None),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    layered: Path, bundler: Bundler, place: str, path: str, hint: str | None
) -> None:
    told = bundler("explain", place, path, "--tag", "v2.0.0", "--repo", layered, "-o", "json")
    assert told.exit_code == 2
    assert told.error["hint"] == hint


# --- differences --------------------------------------------------------------------------------


@pytest.mark.requirement("D-15", "D-16")
def test_local_differs_from_prod_by_its_layer_alone_and_the_report_lists_it(
    ask: Ask, layered: Path, bundler: Bundler
) -> None:
    for environment in ("local", "prod"):
        rendered = bundler("render", "v2.0.0", "--env", environment, "--repo", layered)
        assert rendered.exit_code == 0, rendered.stderr
        assert rendered.stdout.count("kind: Deployment") >= 7
    value = ask("result-render-diff", "render", "v2.0.0", "--diff", "local", "prod/eu")
    assert value == {
        "one": "local/default",
        "other": "prod/eu",
        "onlyInOne": [],
        "onlyInOther": [],
        "changed": [
            {
                "object": "ConfigMap/shop",
                "fields": [
                    {
                        "path": "data.LOG_LEVEL",
                        "one": "debug",
                        "oneLayer": "config/environments/local.yaml:6",
                        "other": "error",
                        "otherLayer": "config/types/production.yaml:3",
                    }
                ],
            },
            {
                "object": "Deployment/cart",
                "fields": [
                    {
                        "path": "spec.replicas",
                        "one": 1,
                        "oneLayer": "config/environments/local.yaml:5",
                        "other": 3,
                        "otherLayer": "config/clusters/eu.yaml:5",
                    }
                ],
            },
        ],
    }


def test_differences_are_shown_to_people_with_their_layers(layered: Path, bundler: Bundler) -> None:
    told = bundler("render", "v2.0.0", "--diff", "prod/eu", "prod/us", "--repo", layered)
    assert told.stdout.splitlines() == [
        "--- prod/eu",
        "+++ prod/us",
        "  ConfigMap/shop",
        "    data.CURRENCY",
        '      - "EUR"',
        '      + "USD"',
        "  Deployment/cart",
        "    spec.replicas",
        "      - 3  (config/clusters/eu.yaml:5)",
        "      + 2  (config/environments/prod.yaml:5)",
    ]


# --- who uses it --------------------------------------------------------------------------------


@pytest.mark.requirement("C-22")
def test_everything_that_refers_to_a_secret_is_listed_before_it_is_replaced(ask: Ask) -> None:
    value = ask("result-who-uses", "who-uses", "orders-database/url", "--tag", "v2.0.0")
    found = {(u["environment"], u["target"], u["service"], u["object"]) for u in value["uses"]}
    for environment, target, namespace in (
        ("local", "default", "shop"),
        ("prod", "eu", "shop-eu"),
        ("prod", "us", "shop-us"),
    ):
        assert (environment, target, "orders", f"Deployment/{namespace}/orders") in found
    assert {u["kind"] for u in value["uses"]} == {"Secret"}
    assert (
        ask("result-who-uses", "who-uses", "orders-database/other", "--tag", "v2.0.0")["uses"] == []
    )


def test_a_generated_config_map_is_found_by_its_name_without_the_hash(ask: Ask) -> None:
    value = ask("result-who-uses", "who-uses", "shop", "--tag", "v2.0.0")
    carts = [use for use in value["uses"] if use["object"] == "Deployment/shop-eu/cart"]
    assert [use["path"] for use in carts] == [
        "spec.template.spec.containers[cart].envFrom[0].configMapRef"
    ]
    assert carts[0]["name"].startswith("shop-")


# --- clusters that come and go ------------------------------------------------------------------


@pytest.mark.requirement("C-26", "C-27", "C-29")
def test_a_cluster_is_added_and_removed_by_one_file(
    layered: Path, bundler: Bundler, checked: Checked
) -> None:
    def targets(tag: str) -> set[str]:
        result = bundler("render", tag, "--env", "prod", "--repo", layered, "-o", "json")
        return {path.split("/")[1] for path in checked("result-render", result)}

    assert targets("v2.0.0") == {"eu", "us"}
    release(layered, "v2.1.0", {"targets/prod/ap.yaml": "namespace: shop-ap\n"})
    assert targets("v2.1.0") == {"ap", "eu", "us"}
    release(layered, "v2.2.0", {"targets/prod/us.yaml": "namespace: shop-us\ndisabled: true\n"})
    assert targets("v2.2.0") == {"ap", "eu"}


def test_targets_and_layers_come_from_the_tag_and_not_from_the_work_tree(
    layered: Path, bundler: Bundler
) -> None:
    (layered / "targets/prod/eu.yaml").write_text("nonsense: true\n")
    (layered / "config/base.yaml").unlink()
    assert bundler("render", "v2.0.0", "--env", "prod", "--repo", layered).exit_code == 0


@pytest.mark.requirement("C-34")
def test_what_is_wrong_with_a_new_cluster_is_told_in_its_file(
    layered: Path, bundler: Bundler
) -> None:
    bad = {
        "targets/prod/ap.yaml": "namspace: shop-ap\n",
        "targets/prod/sa.yaml": "namespace: shop-sa\ntype: prodution\n",
    }
    release(layered, "v2.1.0", bad)
    told = bundler("validate", "v2.1.0", "--repo", layered, "-o", "json")
    assert told.exit_code == 2
    assert [(f["file"], f["line"], f["pointer"]) for f in told.findings] == [
        ("targets/prod/ap.yaml", 1, "/namspace")
    ]
    release(layered, "v2.1.1", {"targets/prod/ap.yaml": "namespace: shop-ap\n"})
    told = bundler("validate", "v2.1.1", "--repo", layered, "-o", "json")
    assert [(f["file"], f["hint"]) for f in told.findings] == [
        ("targets/prod/sa.yaml", "did you mean config/types/production.yaml?")
    ]
