"""`-o json` and `-o yaml` of commands that are not checked elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from tests.e2e.conftest import Bundler, Result
from tools.sample_shop import SampleShop, git

Checked = Callable[[str, Result], Any]


def test_results_of_rendering_and_validating_match_their_schemas(
    shop: SampleShop, bundler: Bundler, checked: Checked
) -> None:
    rendered = checked("result-render", bundler("render", "v1.1.0", "--repo", "shop", "-o", "json"))
    assert "stage/default/30-workloads.yaml" in rendered
    valid = checked(
        "result-validate", bundler("validate", "v1.1.0", "--repo", "shop", "-o", "json")
    )
    assert valid["objects"] > 60
    assert {warning["rule"] for warning in valid["warnings"]} == {"downtime", "mutable-tag"}


def test_one_target_is_rendered_as_a_stream_of_yaml_or_into_a_folder(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    chosen = ("--env", "prod", "--target", "eu")
    stream = bundler("render", "v1.1.0", "--repo", "shop", *chosen)
    objects = list(yaml.safe_load_all(stream.stdout))
    assert {obj["metadata"].get("namespace") for obj in objects} <= {"shop-eu", None}
    assert bundler("render", "v1.1.0", "--repo", "shop", *chosen, "-d", "out").exit_code == 0
    written = sorted(path.name for path in (tmp_path / "out/prod/eu").iterdir())
    assert written == ["10-configuration.yaml", "20-jobs.yaml", "30-workloads.yaml"]


def test_what_is_pulled_is_told(shop: SampleShop, bundler: Bundler, checked: Checked) -> None:
    assert bundler("publish", "v1.1.0", "--repo", "shop").exit_code == 0
    reference = f"ocidir://{shop.registry}/shop:v1.1.0"
    value = checked("result-pull", bundler("pull", reference, "-d", "out", "-o", "json"))
    assert "release.json" in value["files"]


def test_yaml_says_the_same_as_json(shop: SampleShop, bundler: Bundler) -> None:
    as_json = bundler("resolve", "v1.1.0", "--repo", "shop", "-o", "json").value
    assert (
        yaml.safe_load(bundler("resolve", "v1.1.0", "--repo", "shop", "-o", "yaml").stdout)
        == as_json
    )
    failed = bundler("resolve", "v9.9.9", "--repo", "shop", BUNDLER_OUTPUT="yaml")
    assert not DocumentSchemas().check("result-error", yaml.safe_load(failed.stdout))


@pytest.mark.parametrize("command", ["resolve", "render", "validate", "publish"])
def test_ignored_tags_are_told_by_every_command(
    shop: SampleShop, bundler: Bundler, checked: Checked, command: str
) -> None:
    git(shop.repository, "tag", "nightly", "v1.1.0")
    result = bundler(command, "nightly", "--repo", "shop", "-o", "json")
    assert checked(f"result-{command}", result) == {
        "release": {"tag": "nightly"},
        "status": "ignored",
        "reason": "it is no semantic version such as v1.2.3",
    }


def test_the_version_is_told(bundler: Bundler) -> None:
    assert bundler("--version").stdout.startswith("bundler 0.")


def test_help_names_every_command(bundler: Bundler) -> None:
    text = bundler("--help").stdout
    for command in (
        "resolve", "render", "validate", "publish", "list", "inspect", "pull", "apply", "status",
        "history", "affected", "init", "copy", "save", "load", "plan",
    ):  # fmt: skip
        assert f"\n  {command} " in text
