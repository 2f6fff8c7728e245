"""`bundler drift`, `status` and `history` of folders: of several, and without a registry."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machine import Machine, value
from tests.e2e.releases import Releases, config_map, deployment, sealed

OBJECTS = (
    config_map("settings", colour="red"),
    config_map("features", fast="yes"),
    sealed("token"),
    deployment("cart", "cart:1"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stage"


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path / "registry", {"eu": "shop", "us": "shop"})


@pytest.fixture
def machine(tmp_path: Path, folder: Path) -> Machine:
    """Two targets, each with a folder of its own."""
    file = tmp_path / "targets.yaml"
    ways = {f"stage/{name}": {"directory": str(folder / name)} for name in ("eu", "us")}
    file.write_text(json.dumps(ways))
    return Machine(tmp_path / "empty", ("--targets", str(file)))


@pytest.fixture
def applied(releases: Releases, machine: Machine) -> str:
    """Digest of the release that is current."""
    digest = releases.publish("v1.0.0", *OBJECTS)
    machine.apply(releases("v1.0.0"), "--reason", "the first one")
    return digest


def targets(machine: Machine, command: str, *options: object, exit_code: int = 0) -> dict[str, Any]:
    """The targets of a result by their names."""
    result = machine(command, "-o", "json", *options)
    assert result.exit_code == exit_code, result.stdout + result.stderr
    return {each["target"]: each for each in value(command, result)["targets"]}


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.requirement("E-03", "B-116")
def test_every_difference_of_a_file_is_drift_and_all_targets_are_told(
    applied: str, machine: Machine, folder: Path
) -> None:
    found = targets(machine, "drift", "--exit-code")
    assert [each["status"] for each in found.values()] == ["clean", "clean"]
    assert {each["current"]["digest"] for each in found.values()} == {applied}
    config_maps = folder / "eu/shop/configmap"
    edited(config_maps / "settings.yaml", "red", "blue\n  more: '1'")
    (config_maps / "features.yaml").unlink()
    edited(
        folder / "eu/shop/secret/token.yaml",
        "lastmodified",
        "unencrypted_suffix: x\n  lastmodified",
    )
    (folder / "us/shop/configmap/settings.yaml").write_text("{")

    found = targets(machine, "drift", "--exit-code", exit_code=4)
    assert "settings.yaml" in found["us"]["error"]["message"]
    assert found["eu"]["counts"] == {"missing": 1, "changed": 2, "extra": 0}
    settings, token = (each for each in found["eu"]["objects"] if each["drift"] == "changed")
    nobody = {"manager": None, "since": None}
    assert settings["fields"] == [
        {"path": "data.colour", "wanted": "red", "found": "blue", **nobody},
        {"path": "data.more", "found": "1", **nobody},
    ]
    assert "text" in {field["path"] for field in token["fields"]}
    assert targets(machine, "drift", "--target", "eu", "--exit-code", exit_code=3).keys() == {"eu"}
    shown = machine("status")
    assert shown.exit_code == 0
    assert "stage/us: drift was not checked: " in shown.stdout
    assert "stage/eu: drift: 1 missing, 2 changed" in shown.stdout


@pytest.mark.requirement("B-116")
def test_without_the_registry_status_says_that_drift_was_not_checked_and_drift_fails(
    applied: str, releases: Releases, machine: Machine
) -> None:
    elsewhere = releases.folder.with_name("elsewhere")
    shutil.move(releases.folder, elsewhere)
    status = targets(machine, "status")["eu"]
    assert status["current"]["digest"] == applied
    assert status["drift"]["error"]["hint"] == "--deploy-registry names a place that has it"
    targets(machine, "status", "--exit-code", exit_code=1)
    quiet = targets(machine, "status", "--exit-code", "--no-drift")
    assert {each["drift"] for each in quiet.values()} == {None}
    failed = targets(machine, "drift", "--exit-code", exit_code=1)["eu"]
    assert (failed["status"], failed["compared"]) == ("failed", 0)
    found = targets(machine, "drift", "--deploy-registry", f"ocidir://{elsewhere}/shop")
    assert {each["status"] for each in found.values()} == {"clean"}
    wrong = machine("drift", "--deploy-registry", "nowhere", "-o", "json")
    assert (wrong.exit_code, wrong.error["code"]) == (2, "usage")


@pytest.mark.requirement("B-116")
def test_whoever_holds_the_lock_is_named_and_one_who_died_is_not(
    applied: str, machine: Machine, folder: Path
) -> None:
    assert applied
    lock = folder / "eu/.bundler/lock"
    with lock.open("w") as file:
        file.write("ada@laptop 1a2b\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        held = targets(machine, "status", "--no-drift")
    assert (held["eu"]["lock"]["name"], held["us"]["lock"]) == ("ada@laptop 1a2b", None)
    assert targets(machine, "status", "--no-drift")["eu"]["lock"] is None


@pytest.mark.requirement("A-14", "B-116")
def test_a_failed_first_release_is_not_current_and_a_target_out_of_reach_is_told_besides(
    releases: Releases, machine: Machine, folder: Path
) -> None:
    releases.publish("v1.0.0", *OBJECTS)
    machine.apply(releases("v1.0.0"), "--target", "eu")
    for path in (folder / "eu/.bundler").glob("*.v1.json"):
        edited(path, '"succeeded"', '"failed"')
    result = machine("status", "-o", "json")
    found = value("status", result)
    assert result.exit_code == 2, "there is no folder for the other one"
    assert [each["place"] for each in found["unreached"]] == ["stage/us"]
    [eu] = found["targets"]
    assert (eu["current"], eu["latest"]["status"]) == (None, "failed")
    only = ("--target", "eu")
    targets(machine, "status", "--exit-code", *only, exit_code=3)
    nothing = targets(machine, "drift", *only, exit_code=1)["eu"]
    assert (nothing["current"], nothing["error"]["code"]) == (None, "not-found")
    (folder / "eu/.bundler/bundler.shop.stage.eu.json").unlink()
    empty = targets(machine, "drift", *only)["eu"]
    assert (empty["status"], empty["current"], empty["compared"]) == ("clean", None, 0)
    shown = machine("history")
    assert (shown.exit_code, "stage/eu" in shown.stdout) == (2, True)


@pytest.mark.requirement("B-115")
def test_history_tells_who_when_from_where_and_why(
    applied: str, releases: Releases, machine: Machine
) -> None:
    shown = machine("history", "--target", "eu").stdout
    for word in ("CLAIMED", releases.registry, applied[7:19], "reason: the first one", "v1.0.0"):
        assert word in shown
