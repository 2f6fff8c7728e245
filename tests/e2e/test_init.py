"""`bundler init` as users run it: on the sample shop, and where there is nothing to write."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from tests.e2e.conftest import Bundler, Result
from tools.sample_shop import SampleShop, git

Checked = Callable[[str, Result], Any]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    git(tmp_path / "shop", "init", "--quiet", "--initial-branch=main")
    return tmp_path / "shop"


def test_the_sample_shops_own_file_is_nearly_what_is_drafted(
    shop: SampleShop, bundler: Bundler, checked: Checked
) -> None:
    file = shop.repository / "bundler.yaml"
    own = yaml.safe_load(file.read_text())
    file.unlink()
    registry = own["deployRegistry"]
    source = own["source"]
    wishes = ("--deploy-registry", registry, "--source", source)
    value = checked("result-init", bundler("init", "--repo", "shop", *wishes, "-o", "json"))
    drafted = yaml.safe_load(file.read_text())
    assert (value["path"], value["written"]) == (str(file), True)
    assert value["services"] == sorted(own["services"])
    for key in ("apiVersion", "kind", "name", "source", "deployRegistry"):
        assert drafted[key] == own[key]
    assert drafted["images"]["registry"] == own["images"]["registry"]
    assert drafted["images"]["external"] == ["docker.io/library/redis:7.4.1"]
    del own["services"]["orders"]["migrations"]
    own["services"]["frontend"]["uses"] = ["money", "ui"]
    assert drafted["services"] == own["services"]
    assert drafted["libraries"] == {
        "money": {"paths": ["libs/money"]},
        "ui": {"paths": ["libs/ui"]},
    }
    assert drafted["environments"]["dev"] == own["environments"]["dev"] | {"namespace": "dev"}
    assert drafted["environments"]["stage"] == own["environments"]["stage"]
    assert drafted["environments"]["prod"]["targets"]["us"]["kustomize"] == "overlays/prod-us"


def test_what_is_drafted_can_be_released(shop: SampleShop, bundler: Bundler) -> None:
    """Only the places and the targets' names, which no file tells, are filled in."""
    file = shop.repository / "bundler.yaml"
    own = yaml.safe_load(file.read_text())
    assert bundler("init", "--repo", "shop", "--force").exit_code == 0
    drafted = yaml.safe_load(file.read_text())
    drafted["deployRegistry"] = own["deployRegistry"]
    drafted["images"]["lookup"] = own["images"]["lookup"]
    drafted["environments"]["prod"] = own["environments"]["prod"]
    file.write_text(yaml.safe_dump(drafted))
    git(shop.repository, "commit", "--quiet", "--all", "-m", "Draft bundler.yaml")
    git(shop.repository, "tag", "v9.0.0")
    result = bundler("validate", "v9.0.0", "--repo", "shop")
    assert result.exit_code == 0, result.stderr


def test_a_dry_run_prints_the_file_and_writes_nothing(shop: SampleShop, bundler: Bundler) -> None:
    file = shop.repository / "bundler.yaml"
    file.unlink()
    printed = bundler("init", "--repo", "shop", "--dry-run")
    assert printed.exit_code == 0
    assert not file.exists()
    assert "found 8 services, 2 libraries, 3 environments" in printed.stderr
    assert "  1. deployRegistry: " in printed.stderr
    written = bundler("init", "--repo", "shop")
    assert file.read_text() == printed.stdout
    assert written.stdout == f"wrote {file}\n"
    assert "bundler resolve TAG" in written.stderr
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask
    assert [p.name for p in shop.repository.iterdir() if p.name.startswith(".")] == [".git"]


def test_a_file_that_exists_is_replaced_only_by_force(shop: SampleShop, bundler: Bundler) -> None:
    file = shop.repository / "bundler.yaml"
    before = file.read_bytes()
    refused = bundler("init", "--repo", "shop", "-o", "json")
    assert (refused.exit_code, refused.error["code"]) == (2, "usage")
    assert "--force" in refused.error["hint"]
    assert file.read_bytes() == before
    assert bundler("init", "--repo", "shop", "--dry-run").exit_code == 0
    assert file.read_bytes() == before
    assert bundler("init", "--repo", "shop", "--force").exit_code == 0
    assert file.read_bytes() != before


def test_where_nothing_is_built_nothing_is_written(empty: Path, bundler: Bundler) -> None:
    result = bundler("init", "--repo", "shop", "-o", "json")
    assert result.exit_code == 2
    assert "no Dockerfile" in result.error["message"]
    assert not (empty / "bundler.yaml").exists()
    (empty / "tests").mkdir()
    (empty / "tests/Dockerfile").write_text("FROM scratch\n")
    told = bundler("init", "--repo", "shop").stderr
    assert "left out as vendored code, tests or examples: tests/Dockerfile" in told


def test_without_a_repository_that_is_said(bundler: Bundler) -> None:
    result = bundler("init", "-o", "json")
    assert (result.exit_code, result.error["code"]) == (2, "source-invalid")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--name", "My Shop"),
        ("--images", "https://registry.example.com/shop"),
        ("--images", "registry.example.com/shop:v1"),
        ("--deploy-registry", "registry.example.com/shop"),
        ("--source", "https://me:secret@git.example.com/shop"),
    ],
)
def test_what_the_file_may_not_hold_is_refused(
    empty: Path, bundler: Bundler, option: str, value: str
) -> None:
    result = bundler("init", "--repo", "shop", option, value, "-o", "json")
    assert (result.exit_code, result.error["code"]) == (2, "usage")
    assert result.error["hint"]
    assert "secret" not in result.stdout + result.stderr


def test_a_folder_in_the_way_is_a_clear_error(empty: Path, bundler: Bundler) -> None:
    (empty / "Dockerfile").write_text("FROM scratch\n")
    (empty / "bundler.yaml").mkdir()
    result = bundler("init", "--repo", "shop", "--force", "-o", "json")
    assert result.exit_code == 2
    assert "cannot be written" in result.error["message"]
    assert sorted(path.name for path in empty.iterdir()) == [".git", "Dockerfile", "bundler.yaml"]


def test_odd_names_of_folders_are_written_so_that_they_are_read_again(
    empty: Path, bundler: Bundler, checked: Checked
) -> None:
    for folder in ("on", "a b", "{x}: y", "ünï", "tab\tx", "x\u2028y", "'q\"", "#c", "~"):
        (empty / folder).mkdir()
        (empty / folder / "Dockerfile").write_text("COPY . .\n")
    assert checked("result-init", bundler("init", "--repo", "shop", "-o", "json"))["written"]
    drafted = yaml.safe_load((empty / "bundler.yaml").read_text())
    assert not DocumentSchemas().check("project", drafted)
    paths = {path for service in drafted["services"].values() for path in service["paths"]}
    assert paths == {"on", "a b", "{x}: y", "ünï", "x\u2028y", "'q\"", "#c", "~"}
