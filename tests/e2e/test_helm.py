"""Releases with charts, beside overlays and in one environment with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Bundler, Result
from tools.build import PROGRAM, binary_path
from tools.sample_shop import SampleShop, git

CHARTS = Path(__file__).parents[2] / "fixtures" / "charts"
TAG = "v3.0.0"
OVERLAY = "resources: [search.yaml]\n"


@pytest.fixture(autouse=True)
def helm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLER_HELM", str(binary_path("helm")))


@pytest.fixture
def tagged(shop: SampleShop) -> SampleShop:
    """The sample shop with charts: prod and preview are installed by them, stage by its overlay."""
    repository = shop.repository
    git(repository, "checkout", "--quiet", "--force", "main")
    shutil.copytree(CHARTS / "shop", repository / "charts" / "shop")
    shutil.copytree(CHARTS / "values", repository / "values")
    (repository / "overlays/search").mkdir()
    (repository / "overlays/search/kustomization.yaml").write_text(OVERLAY)
    shutil.copy(repository / "overlays/base/search.yaml", repository / "overlays/search")
    (repository / "values/no-coupons.yaml").write_text("coupons: {enabled: false}\n")
    (repository / "values/no-search.yaml").write_text("tags: {finding: false}\n")
    project = yaml.safe_load((repository / "bundler.yaml").read_text())
    chart = {"chart": "charts/shop", "values": ["values/prod.yaml", "values/no-coupons.yaml"]}
    project["environments"] = {
        "stage": project["environments"]["stage"],
        "prod": {
            "helm": chart,
            "targets": {
                "eu": {"namespace": "shop-eu"},
                "us": {"namespace": "shop-us", "values": ["values/us.yaml"]},
            },
        },
        "preview": {
            "helm": {**chart, "values": ["values/no-coupons.yaml", "values/no-search.yaml"]},
            "kustomize": "overlays/search",
            "namespace": "shop-preview",
        },
    }
    (repository / "bundler.yaml").write_text(json.dumps(project))
    tag(repository)
    return shop


def tag(repository: Path, name: str = TAG) -> None:
    git(repository, "add", "--all")
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    git(repository, *identity, "commit", "--quiet", "-m", "change")
    git(repository, "tag", name)


def published(bundler: Bundler, name: str = TAG) -> Any:
    result = bundler("publish", name, "--repo", "shop", "-o", "json")
    assert result.exit_code == 0, result.stdout + result.stderr
    return result.value


def pulled(bundler: Bundler, shop: SampleShop, folder: Path) -> dict[str, list[Any]]:
    """File of the bundle → its objects."""
    reference = f"ocidir://{shop.registry}/shop:{TAG}"
    result = bundler("pull", reference, "-d", folder)
    assert result.exit_code == 0, result.stdout + result.stderr
    return {
        str(file.relative_to(folder)): list(yaml.safe_load_all(file.read_text()))
        for file in sorted(folder.rglob("*.yaml"))
    }


def images(objects: list[Any]) -> set[str]:
    text = yaml.safe_dump(objects)
    return {line.partition("image: ")[2].strip() for line in text.splitlines() if "image: " in line}


@pytest.mark.requirement("B-61", "B-62", "B-108")
def test_one_bundle_carries_what_charts_and_what_overlays_make(
    tagged: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    value = published(bundler)
    digests = {service["digest"] for service in value["services"].values()}
    files = pulled(bundler, tagged, tmp_path / "out")
    for place in ("stage/default", "prod/eu", "prod/us", "preview/default"):
        objects = [o for name, made in files.items() if name.startswith(place) for o in made]
        used = {image.partition("@")[2] for image in images(objects) if "redis" not in image}
        assert used == digests, place
    settings = {
        place: next(
            o["data"]
            for o in files[f"{place}/10-configuration.yaml"]
            if o["metadata"]["name"] == "shop"
        )
        for place in ("prod/eu", "prod/us")
    }
    assert settings["prod/eu"]["CURRENCY"] == "EUR"
    assert settings["prod/us"]["CURRENCY"] == "USD"
    shown = bundler("inspect", f"ocidir://{tagged.registry}/shop:{TAG}", "-o", "json").value
    assert shown["release"]["renderers"] == {
        "helm": PROGRAM["helm"].version, "kustomize": PROGRAM["kustomize"].version,
    }  # fmt: skip


@pytest.mark.requirement("B-62")
def test_one_environment_has_some_services_of_a_chart_and_some_of_an_overlay(
    tagged: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    published(bundler)
    target = tmp_path / "preview"
    arguments = ("--env", "preview", "--directory", target, "--yes", "-o", "json")
    result = bundler("apply", f"ocidir://{tagged.registry}/shop:{TAG}", *arguments)
    assert result.exit_code == 0, result.stdout + result.stderr
    written = [yaml.safe_load(file.read_text()) for file in target.rglob("*.yaml")]
    by_chart = {
        (o["kind"], o["metadata"]["name"]): "helm.sh/chart" in o["metadata"]["labels"]
        for o in written
    }
    assert not by_chart[("Service", "search")]
    assert by_chart[("Service", "cart")]
    assert by_chart[("Job", "warm-up")]


@pytest.mark.requirement("B-62")
def test_the_same_object_of_a_chart_and_an_overlay_is_refused(
    tagged: SampleShop, bundler: Bundler
) -> None:
    (tagged.repository / "values/no-search.yaml").write_text("{}\n")
    tag(tagged.repository, "v3.0.1")
    result = bundler("publish", "v3.0.1", "--repo", "shop", "-o", "json")
    assert result.exit_code == 4
    found = {(f["rule"], f["object"], f["environment"]) for f in result.findings}
    assert ("duplicate-object", "Service/shop-preview/search", "preview/default") in found


def test_publishing_again_and_with_the_other_helm_gives_the_same(
    tagged: SampleShop, bundler: Bundler
) -> None:
    first = published(bundler)
    other = str(binary_path("helm4"))
    again = bundler("publish", TAG, "--repo", "shop", "-o", "json", BUNDLER_HELM=other).value
    assert (again["status"], again["digest"]) == ("unchanged", first["digest"])


# --- what is refused ----------------------------------------------------------------------------


def refused(shop: SampleShop, bundler: Bundler, files: dict[str, str]) -> Result:
    for name, text in files.items():
        (shop.repository / name).parent.mkdir(parents=True, exist_ok=True)
        (shop.repository / name).write_text(text)
    tag(shop.repository, "v3.0.1")
    result = bundler("publish", "v3.0.1", "--repo", "shop", "-o", "json")
    assert result.exit_code != 0
    return result


def places(result: Result) -> set[tuple[str, str, int | None]]:
    return {(f["rule"], f["file"], f["line"]) for f in result.findings}


def test_a_random_value_is_refused_where_it_is_protected(
    tagged: SampleShop, bundler: Bundler
) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: {{ uuidv4 }}}\n"
    result = refused(tagged, bundler, {"charts/shop/templates/random.yaml": text})
    assert ("nondeterministic-template", "charts/shop/templates/random.yaml", 4) in places(result)


def test_a_chart_without_its_subcharts_is_refused_with_what_to_do(
    tagged: SampleShop, bundler: Bundler
) -> None:
    (tagged.repository / "charts/shop/charts/search-0.1.3.tgz").unlink()
    result = refused(tagged, bundler, {"values/bad.yaml": ""})
    assert ("chart-dependency", "charts/shop/charts", None) in places(result)
    assert "helm dependency build charts/shop" in result.stdout


def test_a_hook_that_would_never_run_is_refused(tagged: SampleShop, bundler: Bundler) -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"
        "  annotations: {helm.sh/hook: pre-delete}\n"
    )
    result = refused(tagged, bundler, {"charts/shop/templates/hook.yaml": text})
    assert ("helm-hook", "charts/shop", None) in places(result)


def test_a_link_out_of_the_tree_is_refused_though_nothing_else_names_it(
    tagged: SampleShop, bundler: Bundler
) -> None:
    (tagged.repository / "charts/shop/templates/passwd.yaml").symlink_to("/etc/passwd")
    result = refused(tagged, bundler, {"values/bad.yaml": ""})
    assert ("leaves-the-tree", "charts/shop/templates/passwd.yaml", None) in places(result)


@pytest.mark.parametrize(
    "release", ["--post-renderer=./x", "-x", "a b", "a,b", "A", "../a", "a" * 54, ""]
)
def test_a_name_of_a_release_is_no_option(
    tagged: SampleShop, bundler: Bundler, release: str
) -> None:
    project = json.loads((tagged.repository / "bundler.yaml").read_text())
    project["environments"]["prod"]["helm"]["release"] = release
    result = refused(tagged, bundler, {"bundler.yaml": json.dumps(project)})
    assert (result.exit_code, result.error["code"]) == (2, "project-file-invalid")


def test_without_helm_it_is_told_how_to_get_it(tagged: SampleShop, bundler: Bundler) -> None:
    assert tagged.tags
    result = bundler("publish", TAG, "--repo", "shop", "-o", "json", BUNDLER_HELM="nowhere")
    assert (result.exit_code, result.error["code"]) == (2, "tool-missing")
    assert "https://helm.sh/docs/intro/install/" in result.error["hint"]
