"""`bundler plan`, and `apply --plan`, through a folder."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment, job, made, sealed

V1 = (
    config_map("settings", colour="red"),
    sealed("sealed"),
    job("migrate", "migrate:1"),
    deployment("cart", "cart:1"),
    deployment("coupons", "coupons:1"),
)
V2 = (
    config_map("settings", colour="blue", text="one\x1b[31m\u202etwo" + "x" * 200),
    config_map("features", fast="yes"),
    job("migrate", "migrate:1"),
    deployment("cart", "cart:2"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stage"


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    releases = Releases(tmp_path / "registry", {"default": "shop"})
    releases.publish("v1.0.0", *V1)
    releases.publish("v1.1.0", *V2)
    return releases


@pytest.fixture
def machine(tmp_path: Path, folder: Path) -> Machine:
    return Machine(tmp_path / "empty", ("--directory", str(folder)))


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


def apply_plan(machine: Machine, reference: str, plan: Path, *options: str) -> Any:
    return machine("apply", reference, "--env", "stage", "--plan", plan, "-o", "json", *options)


def refused(machine: Machine, reference: str, plan: Path, *options: str) -> set[str]:
    """The rules of all findings."""
    result = apply_plan(machine, reference, plan, *options)
    assert result.exit_code == 4, result.stdout + result.stderr
    error = the_error(result)
    assert error["code"] == "plan-changed"
    return {finding["rule"] for finding in error["findings"]}


def the_error(result: Any) -> Any:
    """The one error, of the command or of its one target; None where there is none."""
    found = json.loads(result.stdout)
    return found["error"] if "error" in found else found["targets"][0]["error"]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.requirement("B-109")
def test_a_first_plan_writes_nothing_and_says_by_its_exit_code_that_there_are_changes(
    releases: Releases, machine: Machine, folder: Path
) -> None:
    planned = machine.plan(releases("v1.0.0"), "--exit-code", exit_code=3)
    [target] = planned["targets"]
    assert (target["status"], target["replaces"]) == ("planned", None)
    assert target["changes"]["created"] == len(V1)
    assert not folder.exists()
    machine.plan(releases("v1.0.0"))
    machine.apply(releases("v1.0.0"))
    [again] = machine.plan(releases("v1.0.0"), "--exit-code")["targets"]
    assert again["changes"]["unchanged"] == len(V1)


def test_the_lines_show_every_field_and_nothing_that_drives_a_terminal(
    releases: Releases, machine: Machine
) -> None:
    machine.apply(releases("v1.0.0"))
    shown = machine("plan", releases("v1.1.0"), "--env", "stage")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0] == (
        "plan for stage/default: v1.0.0 → v1.1.0: 1 created, 2 configured, 1 unchanged, 2 deleted"
    )
    start = lines.index("  configured ConfigMap/shop/settings (its fields differ)")
    assert lines[start + 1 : start + 5] == [
        "      data.colour",
        '        - "red"',
        '        + "blue"',
        "      data.text",
    ]
    assert lines[start + 5].startswith('        + "one\\u001b[31m\\u202etwoxxx')
    assert len(lines[start + 5]) == len("        + ") + 80
    assert "  deleted    Secret/shop/sealed (the release does not have it any more)" in lines
    assert "\x1b" not in shown.stdout


@pytest.mark.requirement("B-109")
def test_a_frozen_plan_is_applied_without_asking(
    releases: Releases, machine: Machine, plan_file: Path
) -> None:
    for tag, number in (("v1.0.0", 1), ("v1.1.0", 2)):
        planned = machine.plan(releases(tag), "--out", plan_file, "--exit-code", exit_code=3)
        assert stat.S_IMODE(plan_file.stat().st_mode) == 0o600
        document = json.loads(plan_file.read_text())
        assert not DocumentSchemas().check("plan", document)
        assert planned["plan"]["digest"] == document["planDigest"]
        result = apply_plan(machine, releases(tag), plan_file)
        assert result.exit_code == 0, result.stdout
        [target] = json.loads(result.stdout)["targets"]
        assert (target["status"], target["revision"]) == ("succeeded", number)
        assert target["changes"] == planned["targets"][0]["changes"]


@pytest.mark.requirement("B-109")
def test_whatever_changed_since_the_plan_is_refused_and_nothing_is_written(
    releases: Releases, machine: Machine, folder: Path, plan_file: Path
) -> None:
    machine.apply(releases("v1.0.0"))
    machine.plan(releases("v1.1.0"), "--out", plan_file)
    settings = folder / "shop/configmap/settings.yaml"
    original = settings.read_bytes()
    settings.write_bytes(original.replace(b"red", b"green"))
    (folder / "shop/deployment.apps/coupons.yaml").unlink()
    before = snapshot(folder)
    assert refused(machine, releases("v1.1.0"), plan_file) == {"plan-object", "plan-action"}
    assert refused(machine, releases("v1.0.0"), plan_file) == {"plan-bundle"}
    assert snapshot(folder) == before
    elsewhere = machine.with_connection("--directory", folder.parent / "elsewhere")
    assert refused(elsewhere, releases("v1.1.0"), plan_file) == {"plan-place"}


def test_a_plan_is_good_for_its_time_only(
    releases: Releases, machine: Machine, folder: Path, plan_file: Path
) -> None:
    machine.plan(releases("v1.0.0"), "--out", plan_file, "--good-for", "0.001s")
    found: set[str] = set()
    while not found:  # a second is over when the clock says so
        result = apply_plan(machine, releases("v1.0.0"), plan_file, "--dry-run")
        found = {
            each["rule"] for each in json.loads(result.stdout).get("error", {}).get("findings", ())
        }
    assert found == {"plan-outdated"}
    assert not folder.exists()


def test_what_is_no_plan_and_what_was_edited_is_told(
    releases: Releases, machine: Machine, folder: Path, plan_file: Path
) -> None:
    machine.plan(releases("v1.0.0"), "--out", plan_file)
    document = json.loads(plan_file.read_text())
    for text, exit_code in (
        ("{", 2),
        ("{}", 2),
        (json.dumps(document | {"goodUntil": "2099-01-01T00:00:00Z"}), 4),
    ):
        plan_file.write_text(text)
        result = apply_plan(machine, releases("v1.0.0"), plan_file)
        assert result.exit_code == exit_code
        assert str(plan_file) in json.loads(result.stdout)["error"]["message"]
    plan_file.unlink()
    assert apply_plan(machine, releases("v1.0.0"), plan_file).exit_code == 2
    for length in ("0s", "721h", "soon"):
        assert (
            machine("plan", releases("v1.0.0"), "--env", "stage", "--good-for", length).exit_code
            == 2
        )
    assert not folder.exists()


def test_many_targets_are_planned_together_and_checked_before_the_first_is_changed(
    tmp_path: Path, plan_file: Path
) -> None:
    releases = Releases(tmp_path / "registry", {"eu": "shop-eu", "us": "shop-us"})
    releases.publish("v1.0.0", config_map("settings", colour="red"))
    releases.publish("v1.1.0", config_map("settings", colour="blue"))
    (tmp_path / "targets.yaml").write_text("stage/eu: {directory: eu}\nstage/us: {directory: us}\n")
    machine = Machine(tmp_path / "empty", ("--targets", str(tmp_path / "targets.yaml")))
    machine.apply(releases("v1.0.0"))
    planned = machine.plan(releases("v1.1.0"), "--out", plan_file)
    assert [each["target"] for each in planned["targets"]] == ["eu", "us"]
    assert refused(machine, releases("v1.1.0"), plan_file, "--target", "eu") == {"plan-targets"}

    last = tmp_path / "us/shop-us/configmap/settings.yaml"
    original = last.read_bytes()
    last.write_bytes(original.replace(b"red", b"green"))
    before = snapshot(tmp_path / "eu")
    assert refused(machine, releases("v1.1.0"), plan_file) == {"plan-object"}
    assert snapshot(tmp_path / "eu") == before
    last.write_bytes(original)
    assert apply_plan(machine, releases("v1.1.0"), plan_file).exit_code == 0


def test_a_target_that_cannot_be_planned_is_told_beside_the_others_and_nothing_is_frozen(
    tmp_path: Path, plan_file: Path
) -> None:
    releases = Releases(tmp_path / "registry", {"eu": "shop-eu", "us": "shop-us"})
    releases.publish("v1.0.0", config_map("settings"))
    (tmp_path / "targets.yaml").write_text("stage/eu: {directory: eu}\nstage/us: {directory: us}\n")
    theirs = tmp_path / "eu/shop-eu/configmap/settings.yaml"
    theirs.parent.mkdir(parents=True)
    theirs.write_text(
        json.dumps(
            made("v1", "ConfigMap", "settings")
            | {"metadata": {"name": "settings", "namespace": "shop-eu"}}
        )
    )
    machine = Machine(tmp_path / "empty", ("--targets", str(tmp_path / "targets.yaml")))
    options = ("--out", plan_file, "--exit-code")
    first, second = machine.plan(releases("v1.0.0"), *options, exit_code=4)["targets"]
    assert first["error"]["code"] == "ownership-refused"
    assert (second["status"], second["changes"]["created"]) == ("planned", 1)
    assert not plan_file.exists()
