"""What users install: the wheel, its commands, its schemas; and bundles of former formats."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import Bundler

ROOT = Path(__file__).parents[2]
GOLDEN = sorted((ROOT / "fixtures" / "bundles").iterdir())


def test_the_wheel_holds_the_package_its_types_and_every_schema(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True, capture_output=True,
    )  # fmt: skip
    [wheel] = tmp_path.glob("release_bundler-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    assert "bundler/py.typed" in names
    schemas = {f"bundler/schemas/{path.name}" for path in (ROOT / "schemas").glob("*.json")}
    assert schemas <= names
    assert not [name for name in names if not name.startswith(("bundler/", "release_bundler-"))]
    program = "from bundler.adapters.schemas.document_schemas import DocumentSchemas as D;"
    program += "import bundler; print(bundler.__file__, len(D().check('project', {})) > 0)"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert told == [str(tmp_path / "site" / "bundler" / "__init__.py"), "True"]


def test_both_commands_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "release-bundler"
    assert project["scripts"].keys() == {"bundler", "release-bundler"}
    assert (Path(sys.executable).parent / "release-bundler").exists()


@pytest.mark.parametrize("bundle", GOLDEN, ids=lambda path: path.name)
def test_every_bundle_format_that_was_ever_published_reads_and_applies(
    bundle: Path, bundler: Bundler, tmp_path: Path
) -> None:
    reference = f"ocidir://{bundle}:v1.1.0"
    expected = json.loads((bundle / "expected.json").read_text())
    inspected = bundler("inspect", reference, "-o", "json")
    assert inspected.value["digest"] == expected["digest"]
    target = ("--env", "stage", "--directory", "stage", "--yes")
    applied = bundler("apply", reference, *target, "-o", "json")
    assert applied.exit_code == 0, applied.stdout
    assert applied.value["targets"][0]["changes"]["created"] == expected["objects"]
