"""Charts that a kustomization inflates: with helm, where they are in the repository."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.renderers.kustomize import Kustomize
from bundler.errors import RenderFailed, ToolMissing
from bundler.manifests import read_documents
from bundler.model.bundle import PinnedOverlay
from bundler.model.project import Environment, Target
from bundler.publish.pin import pin
from tests.fakes.shop import lock, project
from tools.build import binary_path

CHART = """apiVersion: v2
name: cache
version: 1.0.0
"""
TEMPLATE = """apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-settings, namespace: {{ .Release.Namespace }}}
data: {size: {{ .Values.size | quote }}, path: {{ .Values.path | quote }}}
"""
ENTRY = {"name": "cache", "releaseName": "main", "namespace": "shop"}


def write(tree: Path, files: Mapping[str, object]) -> None:
    for name, content in files.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    chart = "o/charts/cache"
    write(
        tmp_path,
        {
            f"{chart}/Chart.yaml": CHART,
            f"{chart}/values.yaml": "size: 1\npath: /etc/passwd\n",
            f"{chart}/templates/settings.yaml": TEMPLATE,
            "o/values.yaml": "size: 2\n",
        },
    )
    return tmp_path


@pytest.fixture
def kustomize(kustomize_path: Path) -> Kustomize:
    return Kustomize(str(kustomize_path), str(binary_path("helm")))


def overlay(*, protected: bool = True) -> PinnedOverlay:
    env = Environment("stage", (Target("default", "shop", "o"),), protected)
    shop = project(env)
    return PinnedOverlay(pin(shop, env, env.targets[0], lock(shop)), "o")


def refused(kustomize: Kustomize, tree: Path, document: Mapping[str, Any]) -> set[tuple[str, Any]]:
    write(tree, {"o/kustomization.yaml": document})
    with pytest.raises(RenderFailed) as caught:
        kustomize.render(tree, overlay())
    return {(finding.rule, finding.pointer) for finding in caught.value.findings}


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ({}, "1"),
        ({"valuesFile": "values.yaml"}, "2"),
        ({"valuesInline": {"size": 3, "path": "/api"}}, "3"),
        ({"additionalValuesFiles": ["values.yaml"], "includeCRDs": True}, "2"),
    ],
)
def test_a_vendored_chart_is_inflated(
    kustomize: Kustomize, tree: Path, more: dict[str, Any], size: str
) -> None:
    document = {"namePrefix": "my-", "helmCharts": [{**ENTRY, **more}]}
    write(tree, {"o/kustomization.yaml": document})
    (config,) = read_documents(kustomize.render(tree, overlay()))
    assert config["metadata"] == {"name": "my-main-settings", "namespace": "shop"}
    assert config["data"]["size"] == size


@pytest.mark.parametrize(
    ("entry", "rule", "pointer"),
    [
        ({"repo": "https://charts.example.com"}, "remote-base", "/helmCharts/0/repo"),
        ({"repo": "oci://registry.example.com/x"}, "remote-base", "/helmCharts/0/repo"),
        ({"releaseName": "--post-renderer=x"}, "helm-in-kustomize", "/helmCharts/0/releaseName"),
        ({"namespace": "-f/etc/passwd"}, "helm-in-kustomize", "/helmCharts/0/namespace"),
        ({"nameTemplate": "--debug"}, "helm-in-kustomize", "/helmCharts/0/nameTemplate"),
        ({"kubeVersion": "--kubeconfig=x"}, "helm-in-kustomize", "/helmCharts/0/kubeVersion"),
        ({"apiVersions": ["--validate"]}, "helm-in-kustomize", "/helmCharts/0/apiVersions"),
        ({"name": "../../elsewhere"}, "helm-in-kustomize", "/helmCharts/0/name"),
        ({"name": "absent"}, "chart", None),
        ({"valuesFile": "/etc/passwd"}, "leaves-the-tree", "/helmCharts/0/valuesFile"),
        (
            {"additionalValuesFiles": ["https://example.com/v.yaml"]},
            "remote-base",
            "/helmCharts/0/additionalValuesFiles/0",
        ),
    ],
)  # fmt: skip
def test_what_helm_could_fetch_or_misread_is_refused_before_it_runs(
    kustomize: Kustomize, tree: Path, entry: dict[str, Any], rule: str, pointer: str | None
) -> None:
    found = refused(kustomize, tree, {"helmCharts": [{**ENTRY, **entry}]})
    assert (rule, pointer) in found


def test_settings_of_helm_and_charts_elsewhere_are_refused(
    kustomize: Kustomize, tree: Path
) -> None:
    settings = {"chartHome": "../../charts", "configHome": "helm"}
    assert refused(kustomize, tree, {"helmGlobals": settings, "helmCharts": [ENTRY]}) == {
        ("leaves-the-tree", "/helmCharts/0"),
        ("helm-in-kustomize", "/helmGlobals/configHome"),
    }


def test_a_chart_that_renders_differently_each_time_is_refused_where_it_is_protected(
    kustomize: Kustomize, tree: Path
) -> None:
    random = TEMPLATE.replace("-settings", "-{{ randAlphaNum 8 | lower }}")
    write(tree, {"o/charts/cache/templates/random.yaml": random})
    found = refused(kustomize, tree, {"helmCharts": [ENTRY]})
    assert {rule for rule, _ in found} == {"nondeterministic-template"}
    kustomize.render(tree, overlay(protected=False))


def test_without_helm_it_is_said_what_is_missing(kustomize_path: Path, tree: Path) -> None:
    write(tree, {"o/kustomization.yaml": {"helmCharts": [ENTRY]}})
    with pytest.raises(ToolMissing, match="helm is not installed"):
        Kustomize(str(kustomize_path), "/nowhere/helm").render(tree, overlay())
