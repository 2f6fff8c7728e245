"""`bundler apply` into a folder of a git repository that others follow and commit to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.e2e.live_objects import until
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases, config_map, deployment, job, sealed
from tests.git_history import NewCommit, git, make_history

FOLDER = "clusters/eu"
V1 = (config_map("settings", colour="red"), sealed("token"), deployment("cart", "cart:1"))
V2 = (config_map("settings", colour="blue"), deployment("cart", "cart:2"), job("migrate", "m:1"))


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    releases = Releases(tmp_path / "registry", {"default": "shop"})
    releases.publish("v1.0.0", *V1)
    releases.publish("v1.1.0", *V2)
    return releases


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    make_history(tmp_path / "work", [NewCommit({"README.md": "deployments"})])
    git(tmp_path, "clone", "--quiet", "--bare", "work", "deployments.git")
    return tmp_path / "deployments.git"


@pytest.fixture
def machine(tmp_path: Path, bare: Path) -> Machine:
    """With git on its PATH, and a private place for temporary files."""
    line = f"{{repository: {bare.name}, path: {FOLDER}}}"
    (tmp_path / "targets.yaml").write_text(f"stage/default: {{git: {line}}}\n")
    (tmp_path / "private").mkdir()
    return Machine(
        tmp_path / "empty",
        ("--targets", str(tmp_path / "targets.yaml")),
        {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "private")},
    )


def tip(bare: Path) -> str:
    return git(bare, "rev-parse", "main")


def tree(bare: Path) -> dict[str, str]:
    """What others follow: path → object id, without our own state."""
    lines = git(bare, "ls-tree", "-r", f"main:{FOLDER}").splitlines()
    pairs = [(line.split("\t")[1], line.split()[2]) for line in lines]
    return {path: id_ for path, id_ in pairs if not path.startswith(".bundler/")}


def log(bare: Path) -> list[str]:
    return git(bare, "log", "--format=%s", "main").splitlines()


def pausing_hook(bare: Path, name: str) -> tuple[Path, Path]:
    """A hook of the repository that says that it is there, and waits until it may go on."""
    reached, may_go_on = bare / f"{name}-reached", bare / f"{name}-goes-on"
    hook = bare / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f"#!/bin/sh\ntouch '{reached}'\nuntil [ -e '{may_go_on}' ]; do sleep 0.05; done\n"
    )
    hook.chmod(0o755)
    return reached, may_go_on


@pytest.mark.requirement("B-101", "B-110", "B-115")
def test_forth_and_back_ends_in_the_same_files_and_a_commit_says_each_step(
    releases: Releases, machine: Machine, bare: Path, tmp_path: Path
) -> None:
    [first] = machine.apply(releases("v1.0.0"))["targets"]
    assert (first["status"], first["outcome"], first["revision"]) == ("succeeded", "written", 1)
    before = tree(bare)
    assert "shop/secret/token.yaml" in before
    machine.apply(releases("v1.1.0"))
    assert tree(bare) != before
    machine.apply(releases("v1.0.0"))
    assert tree(bare) == before
    [again] = machine.apply(releases("v1.0.0"))["targets"]
    assert again["status"] == "unchanged"
    steps = ["v1.0.0", "v1.1.0", "v1.0.0"]
    assert log(bare) == [*(f"shop {tag} → stage/default" for tag in steps), "commit 0"]
    assert [each["tag"] for each in machine.look("history")["revisions"]] == steps
    assert machine.look("status")["current"]["tag"] == "v1.0.0"
    assert list((tmp_path / "private").iterdir()) == []


@pytest.mark.requirement("C-42")
def test_a_change_that_is_reverted_there_is_the_former_release_here(
    releases: Releases, machine: Machine, bare: Path, tmp_path: Path
) -> None:
    machine.apply(releases("v1.0.0"))
    before = tree(bare)
    machine.apply(releases("v1.1.0"))
    git(tmp_path, "clone", "--quiet", str(bare), "theirs")
    git(tmp_path / "theirs", "revert", "--no-edit", "HEAD")
    git(tmp_path / "theirs", "push", "--quiet", "origin", "HEAD:main")
    assert tree(bare) == before
    assert machine.look("status")["current"]["tag"] == "v1.0.0"
    assert [each["tag"] for each in machine.look("history")["revisions"]] == ["v1.0.0"]
    [again] = machine.apply(releases("v1.0.0"))["targets"]
    assert (again["status"], again["revision"]) == ("unchanged", 1)
    [mended] = machine.apply(releases("v1.1.0"))["targets"]
    assert (mended["status"], mended["revision"]) == ("succeeded", 2)
    assert mended["changes"]["deleted"] == 1


def test_a_bad_commit_of_somebody_is_undone_by_the_next_apply(
    releases: Releases, machine: Machine, bare: Path, tmp_path: Path
) -> None:
    machine.apply(releases("v1.0.0"))
    before = tree(bare)
    git(tmp_path, "clone", "--quiet", str(bare), "theirs")
    settings = tmp_path / "theirs" / FOLDER / "shop/configmap/settings.yaml"
    settings.write_text(settings.read_text().replace("red", "wrong"))
    git(tmp_path / "theirs", "commit", "--quiet", "-am", "bad")
    git(tmp_path / "theirs", "push", "--quiet", "origin", "HEAD:main")
    drifted = machine("drift", "--exit-code")
    assert (drifted.exit_code, "ConfigMap/shop/settings" in drifted.stdout) == (3, True), drifted
    [mended] = machine.apply(releases("v1.0.0"))["targets"]
    assert machine("drift", "--exit-code").exit_code == 0
    assert mended["changes"]["configured"] == 1
    assert tree(bare) == before


@pytest.mark.requirement("B-111")
@pytest.mark.parametrize("hook", ["pre-receive", "post-receive"])
def test_who_is_killed_while_he_pushes_has_pushed_all_or_nothing(
    releases: Releases, machine: Machine, bare: Path, hook: str
) -> None:
    machine.apply(releases("v1.0.0"))
    before = tip(bare)
    reached, may_go_on = pausing_hook(bare, hook)
    running = machine.started(releases("v1.1.0"))
    until(reached.exists, f"the {hook} hook")
    assert (tip(bare) == before) == (hook == "pre-receive")
    running.kill()
    may_go_on.touch()
    (bare / "hooks" / hook).unlink()
    again = machine.started(releases("v1.1.0")).end()
    assert again.exit_code in (0, 6), again.stderr  # the server may be about to take the first
    machine.apply(releases("v1.1.0"))
    assert log(bare) == [
        *(f"shop {tag} → stage/default" for tag in ("v1.1.0", "v1.0.0")),
        "commit 0",
    ]
    assert [each["status"] for each in machine.look("history")["revisions"]] == ["succeeded"] * 2


def test_two_who_apply_at_once_leave_one_linear_history(
    releases: Releases, machine: Machine, bare: Path
) -> None:
    reached, may_go_on = pausing_hook(bare, "pre-receive")
    one = machine.started(releases("v1.0.0"), "-o", "json")
    until(reached.exists, "the first one's push")
    other = machine.started(releases("v1.1.0"), "-o", "json")
    may_go_on.touch()
    codes = sorted(each.end().exit_code for each in (one, other))
    assert codes in ([0, 0], [0, 6])
    pushed = [subject for subject in log(bare) if subject.startswith("shop ")]
    assert len(pushed) == codes.count(0)
    assert git(bare, "log", "--merges", "--format=%s", "main") == ""
    revisions = machine.look("history")["revisions"]
    assert [each["number"] for each in revisions] == list(range(1, len(pushed) + 1))


@pytest.mark.requirement("C-14")
def test_targets_in_folders_of_one_repository_are_applied_at_once(
    machine: Machine, bare: Path, tmp_path: Path
) -> None:
    names = [f"t{number}" for number in range(4)]
    releases = Releases(tmp_path / "other", {name: f"shop-{name}" for name in names})
    releases.publish("v1.0.0", config_map("settings"))
    lines = [f"stage/{n}: {{git: {{repository: {bare}, path: clusters/{n}}}}}\n" for n in names]
    (tmp_path / "targets.yaml").write_text("".join(lines))
    applied = machine.apply(releases("v1.0.0"), "--at-once", 4)["targets"]
    assert [each["status"] for each in applied] == ["succeeded"] * 4
    assert sorted(log(bare)[:-1]) == [f"shop v1.0.0 → stage/{name}" for name in names]


def test_a_plan_is_for_one_folder_of_one_repository(
    releases: Releases, machine: Machine, bare: Path, tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    machine.plan(releases("v1.0.0"), "--out", file)
    assert f"{bare} main:{FOLDER}" in file.read_text()
    targets = tmp_path / "targets.yaml"
    right = targets.read_text()
    targets.write_text(right.replace(FOLDER, "clusters/us"))
    options = ("--env", "stage", "--plan", file, "-o", "json")
    refused = machine("apply", releases("v1.0.0"), *options)
    [finding] = json.loads(refused.stdout)["error"]["findings"]
    assert (refused.exit_code, finding["rule"]) == (4, "plan-place")
    targets.write_text(right)
    assert machine("apply", releases("v1.0.0"), *options).exit_code == 0
    assert log(bare)[0] == "shop v1.0.0 → stage/default"


def test_without_git_it_is_said_that_it_is_missing(releases: Releases, machine: Machine) -> None:
    result = machine.with_variables(PATH="/not/there").started(releases("v1.0.0")).end()
    assert result.exit_code == 2
    assert "git is not installed" in result.stderr
