"""Where values come from, asked of kustomize and helm themselves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.renderers.helm import Helm
from bundler.adapters.renderers.kustomize import Kustomize
from bundler.errors import UsageError
from bundler.model.layers import Layer, in_order
from bundler.model.project import Environment, HelmRelease, Project, Target
from bundler.model.versions import KEEP_VERSIONS
from bundler.publish.examine.origins import Explanation
from bundler.publish.examine.tracing import Tracing, trace
from bundler.publish.render import render
from bundler.publish.rendering import Renderers
from tests.fakes.renderer import FolderCharts
from tests.fakes.shop import deployment, lock, obj, project, resolve_external
from tools.build import binary_path

CHARTS = Path(__file__).parents[2] / "fixtures" / "charts"
SERVICES = (
    "cart", "catalog", "checkout", "coupons", "frontend", "mailer", "orders", "reports", "search",
)  # fmt: skip
COMPONENT = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}


def write(tree: Path, files: Mapping[str, object]) -> None:
    for name, content in files.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))


def traced(tree: Path, shop: Project, renderers: Renderers, path: str) -> Explanation:
    def read(paths: Sequence[str]) -> Mapping[str, bytes]:
        named = [tree / each for each in paths]
        files = [f for each in named for f in ([each] if each.is_file() else each.rglob("*"))]
        return {str(f.relative_to(tree)): f.read_bytes() for f in files if f.is_file()}

    bundle = render(shop, lock(shop), tree, renderers, resolve_external, "1.36")
    return trace(Tracing(shop, bundle, tree, renderers, read, "1.36"), path)


# --- kustomize ----------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path: Path, kustomize_path: Path) -> Any:
    """Asks for the origin of a path in overlay `over`: file, line and words."""
    renderers = Renderers(Kustomize(str(kustomize_path)), FolderCharts())

    def ask(path: str, *layers: Layer) -> tuple[str | None, int | None, str]:
        target = Target("eu", "shop", "over", layers=layers)
        shop = project(Environment("prod", (target,)), services=("cart",))
        origin = traced(tmp_path, shop, renderers, path).origins[-1]
        return origin.file, origin.line, origin.what

    return ask


CART = json.dumps(deployment("cart", "cart"), indent=1)
OPERATION = '[{"op": "add", "path": "/spec/replicas", "value": 3}]'
REPLICAS = "Deployment/cart.spec.replicas"


def patch(count: int) -> str:
    return (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cart}\n"
        f"spec:\n  replicas: {count}\n"
    )


def operations(count: int) -> str:
    test = "- {op: test, path: /kind, value: Deployment}\n"
    return f"{test}- op: add\n  path: /spec/replicas\n  value: {count}\n"


@pytest.mark.requirement("C-20")
@pytest.mark.parametrize(
    ("over", "file", "line", "what"),
    [
        ("patches: [{path: p.yaml}]", "over/p.yaml", 5, "patches[0] of over/kustomization.yaml"),
        (
            "patches: [{path: o.yaml, target: {kind: Dep.*}}]",
            "over/o.yaml",
            4,
            "patches[0] of over/kustomization.yaml",
        ),
        (
            f"patches:\n- patch: '{OPERATION}'\n  target: {{name: cart}}",
            "over/kustomization.yaml",
            4,
            "patches[0]",
        ),
        ("replicas: [{name: cart, count: 3}]", "over/kustomization.yaml", 3, "replicas[cart]"),
        (
            "patches: [{path: p.yaml}]\nreplicas: [{name: cart, count: 3}]",
            "over/kustomization.yaml",
            4,
            "replicas[cart]",
        ),
    ],
)
def test_an_overlay_s_own_change_is_named(
    tmp_path: Path, asked: Any, over: str, file: str, line: int | None, what: str
) -> None:
    write(
        tmp_path,
        {
            "base/cart.yaml": CART,
            "base/kustomization.yaml": "resources: [cart.yaml]",
            "over/kustomization.yaml": f"# prod\nresources: [../base]\n{over}\n",
            "over/p.yaml": patch(3),
            "over/o.yaml": operations(3),
        },
    )
    assert asked(REPLICAS) == (file, line, what)


def test_a_deployment_that_keeps_versions_is_asked_for_by_its_own_name(
    tmp_path: Path, asked: Any
) -> None:
    cart = deployment("cart", "cart")
    annotations = {**(cart["metadata"].get("annotations") or {}), KEEP_VERSIONS: "1"}
    kept = {**cart, "metadata": {**cart["metadata"], "annotations": annotations}}
    over = "resources: [cart.yaml]\nreplicas: [{name: cart, count: 3}]\n"
    write(tmp_path, {"over/cart.yaml": json.dumps(kept), "over/kustomization.yaml": over})
    assert asked(REPLICAS) == ("over/kustomization.yaml", 2, "replicas[cart]")


def test_what_an_overlay_leaves_alone_is_looked_for_below_under_its_former_name(
    tmp_path: Path, asked: Any
) -> None:
    config_map = json.dumps(obj("v1", "ConfigMap", "c"))
    template = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: cart}]}}"
    workload = f"{patch(1)}  selector: {{matchLabels: {{a: b}}}}\n  template: {template}\n"
    write(
        tmp_path,
        {
            "base/all.yaml": f"# a comment alone\n---\n{config_map}\n---\n{workload}",
            "base/kustomization.yaml": "resources: [all.yaml]\nnameSuffix: -x\n",
            "middle/kustomization.yaml": "resources: [../base]\nnamePrefix: shop-\n",
            "over/kustomization.yaml": "resources: [../middle]\nnamespace: shop\nnamePrefix: p-\n",
        },
    )
    path = "Deployment/p-shop-cart-x.spec.replicas"
    assert asked(path) == ("base/all.yaml", 9, "the object")
    assert asked("Deployment/p-shop-cart-x.metadata.namespace") == (
        "over/kustomization.yaml",
        2,
        "namespace",
    )


@pytest.mark.parametrize(
    ("components", "file"),
    [
        ("[../one, ../two]", "two/p.yaml"),
        ("[../two, ../one]", "one/p.yaml"),
        ("[../two, ../none]", "two/p.yaml"),
        ("[../none]", "base/cart.yaml"),
    ],
)
def test_the_last_component_that_sets_a_value_is_named(
    tmp_path: Path, asked: Any, components: str, file: str
) -> None:
    base = json.loads(CART)
    base["spec"]["replicas"] = 9
    part = {**COMPONENT, "patches": [{"path": "p.yaml"}]}
    write(
        tmp_path,
        {
            "base/cart.yaml": base,
            "base/kustomization.yaml": "resources: [cart.yaml]",
            "one/kustomization.yaml": part,
            "one/p.yaml": patch(1),
            "two/kustomization.yaml": part,
            "two/p.yaml": patch(2),
            "none/kustomization.yaml": {**COMPONENT, "commonAnnotations": {"a": "b"}},
            "over/kustomization.yaml": f"resources: [../base]\ncomponents: {components}\n"
            "labels: [{pairs: {team: shop}}]\n",
        },
    )
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    assert asked(REPLICAS)[0] == file
    assert asked("Deployment/cart.metadata.labels.team") == (
        "over/kustomization.yaml",
        3,
        "labels",
    )
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before


def test_an_overlay_of_components_alone_is_looked_into(tmp_path: Path, asked: Any) -> None:
    write(
        tmp_path,
        {
            "one/cart.yaml": f"{patch(4)}  template: {{spec: {{containers: [{{image: cart}}]}}}}\n",
            "one/kustomization.yaml": {**COMPONENT, "resources": ["cart.yaml"]},
            "over/kustomization.yaml": "components: [../one]\n",
        },
    )
    assert asked(REPLICAS)[0] == "one/kustomization.yaml"


def test_a_generated_value_is_found_where_it_is_written(tmp_path: Path, asked: Any) -> None:
    write(
        tmp_path,
        {
            "base/cart.yaml": CART,
            "base/kustomization.yaml": "resources: [cart.yaml]\nconfigMapGenerator:\n"
            "- name: settings\n  literals:\n  - A=1\n  - B=1\n- name: files\n  files: [a.txt]\n",
            "base/a.txt": "text",
            "over/kustomization.yaml": "resources: [../base]\nconfigMapGenerator:\n"
            "- {name: settings, behavior: merge, literals: [B=2]}\n",
        },
    )
    base = "base/kustomization.yaml"
    assert asked("ConfigMap/settings.data.A") == (base, 5, "configMapGenerator[settings].literals")
    assert asked("ConfigMap/settings/data/B")[:2] == ("over/kustomization.yaml", 3)
    assert asked('ConfigMap/files.data["a.txt"]') == (base, 8, "configMapGenerator[files].files")
    layer = Layer("base", "l.yaml", config_maps={"settings": {"A": "9"}})
    assert asked("ConfigMap/settings.data.A", layer)[:2] == (base, 5)


@pytest.mark.requirement("C-24")
@pytest.mark.parametrize("path", ["Secret/s.data.a", "Secret/s.data", "Secret/s"])
def test_what_a_secret_holds_is_not_told(tmp_path: Path, kustomize_path: Path, path: str) -> None:
    renderers = Renderers(Kustomize(str(kustomize_path)), FolderCharts())
    write(
        tmp_path,
        {
            "over/s.yaml": obj("v1", "Secret", "s", data={"a": "aHVudGVyMg=="}),
            "over/kustomization.yaml": "resources: [s.yaml]\n",
        },
    )
    part = obj("v1", "Secret", "s", data={"a": "aHVudGVyMg=="})
    target = Target("eu", "shop", "over", layers=(Layer("base", "l.yaml", objects=(part,)),))
    found = traced(tmp_path, project(Environment("prod", (target,)), services=()), renderers, path)
    assert "aHVudGVyMg" not in repr(found)
    assert found.origins[-1].file == "over/s.yaml"


# --- helm ---------------------------------------------------------------------------------------


@pytest.fixture(params=["helm", "helm4"])
def helm_asked(request: pytest.FixtureRequest, tmp_path: Path, kustomize_path: Path) -> Any:
    """Asks about the sample chart: (kind, file, line, value) of every origin."""
    tree = Path(shutil.copytree(CHARTS, tmp_path / "tree"))
    renderers = Renderers(
        Kustomize(str(kustomize_path)), Helm(str(binary_path(str(request.param))))
    )

    def ask(path: str, *layers: Layer) -> list[tuple[str, str | None, int | None, Any]]:
        release = HelmRelease("shop", "shop", ("values/prod.yaml",))
        target = Target("eu", "shop", helm=(release,), layers=in_order(layers))
        shop = project(Environment("prod", (target,)), services=SERVICES)
        reports = replace(shop.services["reports"], names=frozenset({"shop-reports"}))
        shop = replace(shop, services={**shop.services, "reports": reports})
        origins = traced(tree, shop, renderers, path).origins
        return [(each.kind, each.file, each.line, each.value) for each in origins]

    return ask


LAYERS = (
    Layer("cluster", "eu.yaml", {"cart": {"replicas": 7}}, lines={"/values/cart/replicas": 4}),
    Layer("base", "base.yaml", {"cart": {"replicas": 5}}),
)


@pytest.mark.requirement("C-20")
def test_a_chart_s_value_has_the_story_of_all_files_and_layers(helm_asked: Any) -> None:
    told = helm_asked("values.cart.replicas", *LAYERS)
    assert told[:2] == [("layer", "eu.yaml", 4, 7), ("layer", "base.yaml", None, 5)]
    assert told[-1] == ("values", "shop/values.yaml", 8, 1)
    [first, *_, last] = helm_asked("values.cart.image.tag", *LAYERS)
    assert (first[0], last) == ("pin", ("values", "shop/values.yaml", 9, "dev"))


def test_a_field_of_a_chart_s_object_comes_from_its_template(helm_asked: Any) -> None:
    [(kind, file, _, value)] = helm_asked("Deployment/cart.spec.replicas", *LAYERS)
    assert (kind, file, value) == ("chart", "shop/templates/services.yaml", 7)


def test_null_takes_a_subchart_s_value_out(helm_asked: Any) -> None:
    gone = Layer("base", "base.yaml", {"mail": {"sender": None}})
    [(_, place, _, value)] = helm_asked("ConfigMap/mailer.data", gone)
    assert (place, value["SENDER"]) == ("shop", None)
    assert helm_asked("values.mail.sender", gone)[0] == ("layer", "base.yaml", None, None)


def test_an_unknown_value_is_told(helm_asked: Any) -> None:
    with pytest.raises(UsageError, match=r"no chart of prod/eu has a value cart\.relpicas"):
        helm_asked("values.cart.relpicas")
