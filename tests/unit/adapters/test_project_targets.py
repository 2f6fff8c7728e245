"""Targets in files of their own, and the files of layers: what is read, and what is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bundler.adapters.project import file as project_file
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
from bundler.errors import ProjectFileInvalid
from bundler.model.project import Project, Target

PROJECT = """
apiVersion: bundler/v1
kind: Project
name: shop
deployRegistry: oci://registry.example.com/deploy/shop
images: {registry: registry.example.com/shop}
services: {cart: {path: cart}, orders: {path: orders}}
"""
PROD = "environments: {prod: {kustomize: overlays/prod, targetsFrom: targets/prod}}\n"
LAYERS = """
layers:
  base: config/base.yaml
  type: config/types/{type}.yaml
  environment: config/environments/{environment}.yaml
  cluster: config/clusters/{cluster}.yaml
  namespace: config/namespaces/{namespace}.yaml
"""
TYPES = {"config/base.yaml": "", "config/types/big.yaml": ""}


def parsed(more: str, files: Mapping[str, str] | None = None) -> Project:
    tree = {path: text.encode() for path, text in (files or {}).items()}

    def read(paths: Sequence[str]) -> Mapping[str, bytes]:
        return {
            path: content
            for path, content in tree.items()
            if any(f"{path}/".startswith(f"{each}/") for each in paths)
        }

    text = (PROJECT + more).encode()
    return project_file.parse(text, Path("/"), DocumentSchemas(), KubernetesSchemas(), read)


def told(more: str, files: Mapping[str, str] | None = None) -> list[tuple[object, ...]]:
    with pytest.raises(ProjectFileInvalid) as raised:
        parsed(more, files)
    return [(f.file, f.line, f.pointer) for f in raised.value.findings]


def targets(project: Project, environment: str = "prod") -> dict[str, Target]:
    return {target.name: target for target in project.environments[environment].targets}


# --- targets ------------------------------------------------------------------------------------


@pytest.mark.requirement("C-26", "C-28")
def test_one_small_file_is_a_whole_target() -> None:
    files = {
        "targets/prod/eu.yaml": "namespace: shop-eu\n",
        "targets/prod/us.yaml": "namespace: shop-us\nkustomize: overlays/us\nwithout: [orders]\n",
        "targets/prod/README.md": "One file for each cluster.",
    }
    assert targets(parsed(PROD, files)) == {
        "eu": Target("eu", "shop-eu", "overlays/prod"),
        "us": Target("us", "shop-us", "overlays/us", frozenset({"orders"})),
    }


def test_an_empty_file_has_all_from_its_environment() -> None:
    environment = (
        "environments: {prod: {kustomize: o, namespace: shop, targetsFrom: ./targets/prod/}}"
    )
    assert list(targets(parsed(environment, {"targets/prod/eu.yaml": ""}))) == ["eu"]


@pytest.mark.requirement("C-29")
def test_a_disabled_or_removed_target_is_skipped() -> None:
    files = {
        "targets/prod/eu.yaml": "namespace: eu",
        "targets/prod/us.yaml": "namespace: us\ndisabled: true",
    }
    assert list(targets(parsed(PROD, files))) == ["eu"]
    assert parsed(PROD, {"targets/prod/.gitkeep": ""}).environments == {}


def test_targets_stand_in_both_places_under_different_names() -> None:
    both = (
        "environments: {prod: {kustomize: o, targetsFrom: targets, targets: {us: {namespace: us}}}}"
    )
    assert list(targets(parsed(both, {"targets/eu.yaml": "namespace: eu"}))) == ["us", "eu"]
    assert told(both, {"targets/us.yaml": "namespace: us"}) == [("targets/us.yaml", 1, "")]


@pytest.mark.requirement("C-28", "C-34")
@pytest.mark.parametrize(
    ("text", "line", "pointer"),
    [
        ("# eu\nnamspace: eu\n", 2, "/namspace"),
        ("namespace: eu\nkustomize: ../elsewhere\n", 2, "/kustomize"),
        ("namespace: eu\nwithout:\n  - cart\n  - basket\n", 2, "/without"),
        ("namespace: eu\nwith: [cart]\n", 2, "/with"),
        ("kustomize: overlays/eu\n", 1, "/namespace"),
        ("namespace: eu\nnamespace: us\n", 2, None),
        ("namespace: eu\n---\nnamespace: us\n", None, None),
        ("- eu\n", 1, ""),
    ],
)
def test_what_is_wrong_is_told_in_the_target_s_own_file(
    text: str, line: int | None, pointer: str | None
) -> None:
    files = {"targets/prod/eu.yaml": text, "targets/prod/us.yaml": "namespace: us"}
    assert told(PROD, files) == [("targets/prod/eu.yaml", line, pointer)]


@pytest.mark.parametrize("name", ["EU.yaml", "eu.yml", "eu.json", "eu_1.yaml"])
def test_a_file_that_would_be_silently_left_out_is_an_error(name: str) -> None:
    [found] = told(PROD, {f"targets/prod/{name}": "namespace: eu"})
    assert found[0] == f"targets/prod/{name}"


def test_a_folder_that_is_not_there_is_an_error() -> None:
    assert told(PROD) == [("bundler.yaml", 8, "/environments/prod/targetsFrom")]


@pytest.mark.requirement("C-33")
def test_a_target_takes_a_service_back_or_leaves_one_out() -> None:
    text = """
environments:
  prod:
    kustomize: o
    without: [orders]
    targets:
      eu: {namespace: eu}
      us: {namespace: us, with: [orders]}
      ap: {namespace: ap, without: [cart]}
"""
    found = {name: target.without for name, target in targets(parsed(text)).items()}
    assert found == {
        "eu": frozenset({"orders"}),
        "us": frozenset(),
        "ap": frozenset({"orders", "cart"}),
    }


def test_without_a_tree_the_targets_of_files_are_not_there() -> None:
    text = (PROJECT + PROD + LAYERS).encode()
    project = project_file.parse(text, Path("/"), DocumentSchemas(), KubernetesSchemas())
    assert project.environments == {}


# --- layers -------------------------------------------------------------------------------------

EU = "environments: {prod: {kustomize: o, type: big, targets: {eu: {namespace: shop}}}}\n"
SMALL = "environments: {prod: {kustomize: o, type: big, namespace: x, targets: {%s}}}\n"


@pytest.mark.requirement("C-20")
def test_a_target_has_its_layers_from_the_lowest_to_the_highest() -> None:
    files = {
        "config/namespaces/shop.yaml": "values: {a: 5}",
        "config/base.yaml": "values: {a: 1}",
        "config/clusters/eu.yaml": "configMaps:\n  shop:\n    A: x\n",
        "config/environments/prod.yaml": "values: {a: 3}",
        "config/types/big.yaml": "",
    }
    layers = targets(parsed(EU + LAYERS, files))["eu"].layers
    assert [(layer.level, layer.file) for layer in layers] == [
        ("base", "config/base.yaml"),
        ("type", "config/types/big.yaml"),
        ("environment", "config/environments/prod.yaml"),
        ("cluster", "config/clusters/eu.yaml"),
        ("namespace", "config/namespaces/shop.yaml"),
    ]
    assert layers[3].config_maps == {"shop": {"A": "x"}}
    assert layers[3].place("/configMaps/shop/A") == "config/clusters/eu.yaml:3"


def test_a_target_names_its_cluster() -> None:
    text = SMALL % "a: {cluster: eu}, b: {cluster: eu}"
    files = {**TYPES, "config/clusters/eu.yaml": ""}
    for target in targets(parsed(text + LAYERS, files)).values():
        assert target.layers[-1].file == "config/clusters/eu.yaml"


@pytest.mark.requirement("C-34")
def test_a_target_without_a_type_is_an_error_that_names_it() -> None:
    text = "environments: {prod: {kustomize: o, targetsFrom: targets}}\n" + LAYERS
    files = {
        **TYPES,
        "targets/eu.yaml": "namespace: eu\ntype: big\n",
        "targets/us.yaml": "namespace: us\n",
    }
    assert told(text, files) == [("targets/us.yaml", 1, "")]


@pytest.mark.requirement("C-34")
def test_an_unknown_type_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ProjectFileInvalid) as raised:
        parsed(EU.replace("big", "bgi") + LAYERS, TYPES)
    [finding] = raised.value.findings
    assert finding.pointer == "/environments/prod/targets/eu"
    assert finding.message == "type layer: there is no config/types/bgi.yaml"
    assert finding.hint == "did you mean config/types/big.yaml?"


def test_the_base_must_exist_and_is_told_once() -> None:
    text = "environments: {prod: {kustomize: o, namespace: x, targets: {a: {}, b: {}}}}\n"
    assert told(text + "layers: {base: config/base.yaml}") == [("bundler.yaml", 9, "/layers/base")]


def test_a_layer_that_no_target_has_is_a_warning() -> None:
    files = {
        **TYPES,
        "config/clusters/ue.yaml": "",
        "config/clusters/eu.yml": "",
        "config/clusters/README.md": "",
        "config/types/small.yaml": "",
    }
    warnings = parsed(EU + LAYERS, files).warnings
    assert {(w.rule, w.severity) for w in warnings} == {("unused-layer", "warning")}
    assert [w.file for w in warnings] == [
        "config/clusters/eu.yml",
        "config/clusters/ue.yaml",
        "config/types/small.yaml",
    ]


def test_a_disabled_target_keeps_its_layer() -> None:
    text = SMALL % "a: {}, eu: {disabled: true}"
    assert not parsed(text + LAYERS, {**TYPES, "config/clusters/eu.yaml": ""}).warnings


@pytest.mark.parametrize(
    ("text", "line", "pointer"),
    [
        ("value: {}\n", 1, "/value"),
        ("values: {}\nconfigMaps:\n  shop:\n    A: 3\n", 4, "/configMaps/shop/A"),
        ("objects:\n  - apiVersion: v1\n    kind: ConfigMap\n", 2, "/objects/0"),
        ("values: [1]\n", 1, "/values"),
        ("values: {a: 1, a: 2}\n", 1, None),
    ],
)
def test_what_is_wrong_with_a_layer_is_told_with_its_line(
    text: str, line: int, pointer: str | None
) -> None:
    files = {**TYPES, "config/clusters/eu.yaml": text}
    assert told(EU + LAYERS, files) == [("config/clusters/eu.yaml", line, pointer)]


@pytest.mark.parametrize(
    ("layers", "pointer"),
    [
        ("layers: {base: 'config/{cluster}.yaml'}", "/layers/base"),
        ("layers: {cluster: config/eu.yaml}", "/layers/cluster"),
        ("layers: {cluster: '{cluster}.yaml'}", "/layers/cluster"),
        ("layers: {cluster: 'config/{target}.yaml'}", "/layers/cluster"),
        ("layers: {cluster: '../{cluster}.yaml'}", "/layers/cluster"),
        ("layers: {cluser: 'config/{cluster}.yaml'}", "/layers/cluser"),
        ("layers: {cluster: 'config/{cluster}.yaml'}", "/environments/prod/type"),
    ],
)
def test_a_template_that_could_not_mean_anything_is_an_error(layers: str, pointer: str) -> None:
    assert ("bundler.yaml", pointer) in [(file, where) for file, _, where in told(EU + layers)]
