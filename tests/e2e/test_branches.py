"""What branches are for: roles, the tags that are releases, their history, and hotfixes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Bundler, Result
from tests.e2e.monorepo import ZEROS, Monorepo
from tools.sample_shop import SampleShop, git

Checked = Callable[[str, Result], Any]


@pytest.fixture
def repo(tmp_path: Path, bundler: Bundler) -> Monorepo:
    return Monorepo(tmp_path, bundler)


def branches(text: str) -> tuple[str, str]:
    """A change of the project file that allows or names branches."""
    return "images:\n", f"{text}\nimages:\n"


# --- roles --------------------------------------------------------------------------------------


@pytest.mark.requirement("B-01")
@pytest.mark.parametrize(
    ("branch", "role"),
    [
        ("main", "main"),
        ("master", "main"),
        ("develop", "develop"),
        ("feature/a/b", "feature"),
        ("release/1.4", "release"),
        ("hotfix/1.4.1", "hotfix"),
        ("somebody/else", None),
    ],
)
def test_every_branch_of_the_flow_has_a_role(repo: Monorepo, branch: str, role: str | None) -> None:
    plan = repo.plan("HEAD", "--branch", branch)
    assert (plan["branch"], plan["role"]) == (branch, role)
    assert plan["push"] == (role not in (None, "feature"))


@pytest.mark.requirement("B-01")
def test_the_patterns_of_roles_are_configurable(repo: Monorepo) -> None:
    own = branches("branches: {develop: [trunk], feature: ['topic/*', 'fix/*']}")
    repo.commit("roles", repo.project(own))
    roles = {
        name: repo.plan("HEAD", "--branch", name)["role"]
        for name in ("trunk", "develop", "fix/a", "feature/a", "main")
    }
    assert roles == {
        "trunk": "develop",
        "develop": None,
        "fix/a": "feature",
        "feature/a": None,
        "main": "main",
    }


@pytest.mark.requirement("B-02")
def test_a_push_to_a_feature_branch_builds_but_pushes_nothing(
    repo: Monorepo, bundler: Bundler
) -> None:
    repo.git("checkout", "--quiet", "-b", "feature/a")
    repo.commit("cart", {"services/cart/main": "1"})
    plan = repo.push("main")
    assert (plan["role"], plan["push"]) == ("feature", False)
    assert plan["services"]["cart"]["tags"] == []
    assert repo.tags_of("cart") == set()
    text = bundler("affected", "--since", "main", "--repo", "repo").stdout
    assert "feature/a is a feature branch: nothing is to be pushed" in text


@pytest.mark.parametrize(
    ("variables", "branch", "push"),
    [
        ({"GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "develop"}, "develop", True),
        ({"GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "v1.0.0"}, None, False),
        (
            # A fork's pull request from its own main.
            {
                "GITHUB_REF_TYPE": "branch",
                "GITHUB_REF_NAME": "7/merge",
                "GITHUB_HEAD_REF": "main",
            },
            "main",
            False,
        ),
        ({"CI_COMMIT_BRANCH": "release/1.0"}, "release/1.0", True),
        ({"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "develop"}, "develop", False),
        ({"CI_COMMIT_TAG": "v1.0.0"}, None, False),
    ],
)
def test_ci_tells_the_branch_and_what_is_only_proposed_is_not_pushed(
    repo: Monorepo, variables: dict[str, str], branch: str | None, push: bool
) -> None:
    repo.commit("cart", {"services/cart/main": "1"})
    repo.git("checkout", "--quiet", "--detach")
    plan = repo.plan("HEAD~1", **variables)
    assert (plan["branch"], plan["push"]) == (branch, push)
    assert bool(plan["services"]["cart"]["tags"]) == push


def test_the_named_branch_counts_before_the_cis_and_that_before_the_checked_out_one(
    repo: Monorepo,
) -> None:
    variables = {"CI_COMMIT_BRANCH": "develop"}
    assert repo.plan("HEAD")["branch"] == "main"
    assert repo.plan("HEAD", **variables)["branch"] == "develop"
    assert repo.plan("HEAD", "--branch", "hotfix/a", **variables)["branch"] == "hotfix/a"
    assert repo.plan("HEAD", "--head", "main~0")["branch"] is None


# --- which tags are releases --------------------------------------------------------------------


@pytest.mark.requirement("B-03")
def test_a_tag_on_a_release_branch_is_a_release_once_that_is_merged(
    repo: Monorepo, bundler: Bundler
) -> None:
    repo.push(ZEROS)
    repo.git("checkout", "--quiet", "-b", "release/1.0")
    repo.commit("cart", {"services/cart/main": "1"})
    repo.push("HEAD~1")
    repo.git("tag", "v1.0.0")
    refused = bundler("resolve", "v1.0.0", "--repo", "repo", "-o", "json")
    assert (refused.exit_code, refused.error["code"]) == (4, "branch-refused")
    repo.git("checkout", "--quiet", "main")
    repo.git("merge", "--quiet", "--no-ff", "--message", "Merge", "release/1.0")
    assert repo.resolve("v1.0.0").keys() == {"cart", "orders", "search"}


@pytest.mark.requirement("B-03")
def test_a_tag_on_an_unmerged_release_branch_is_allowed_by_a_pattern(repo: Monorepo) -> None:
    repo.push(ZEROS)
    repo.git("checkout", "--quiet", "-b", "release/1.0")
    allowed = repo.project(branches("releases: {branches: [main, 'release/*']}"))
    made = repo.commit("cart", {**allowed, "services/cart/main": "1"})
    repo.push("HEAD~1")
    repo.git("tag", "v1.0.0")
    assert repo.resolve("v1.0.0")["cart"][0] == made


@pytest.mark.requirement("B-04")
@pytest.mark.parametrize("main", ["main", "master"])
@pytest.mark.parametrize("both", [False, True])
def test_main_master_or_both_hold_releases(
    tmp_path: Path, bundler: Bundler, checked: Checked, main: str, *, both: bool
) -> None:
    repo = Monorepo(tmp_path, bundler, main=main)
    repo.push(ZEROS)
    repo.git("tag", "v1.0.0")
    releases = ["v1.0.0"]
    if both:
        repo.git("checkout", "--quiet", "-b", "master" if main == "main" else "main")
        repo.commit("cart", {"services/cart/main": "1"})
        repo.push("HEAD~1")
        repo.git("tag", "v1.1.0")
        releases.insert(0, "v1.1.0")
    for tag in releases:
        assert repo.resolve(tag).keys() == {"cart", "orders", "search"}
    history = bundler("history", "--repo", "repo", "-o", "json")
    found = checked("result-history-repository", history)["releases"]
    assert [release["tag"] for release in found] == releases


# --- hotfixes -----------------------------------------------------------------------------------


@pytest.mark.requirement("B-06")
def test_a_hotfix_changes_only_what_it_touched_though_main_has_moved_on(
    repo: Monorepo, bundler: Bundler, checked: Checked
) -> None:
    repo.commit("rules", repo.project(branches("releases: {branches: [main, 'hotfix/*']}")))
    repo.push(ZEROS)
    repo.git("tag", "v1.2.0")
    repo.commit("search", {"services/search/main": "1"})
    repo.commit("money", {"libs/money/lib": "1"})
    repo.push("v1.2.0")
    repo.git("checkout", "--quiet", "-b", "hotfix/1.2.1", "v1.2.0")
    made = repo.commit("cart", {"services/cart/main": "hot"})
    repo.push("v1.2.0")
    repo.git("tag", "v1.2.1")
    repo.git("checkout", "--quiet", "main")
    repo.git("tag", "v1.3.0")

    former, fixed, moved = (repo.resolve(tag) for tag in ("v1.2.0", "v1.2.1", "v1.3.0"))
    assert [name for name in former if former[name] != fixed[name]] == ["cart"]
    assert fixed["cart"][0] == made
    assert [name for name in former if former[name] != moved[name]] == ["cart", "orders", "search"]
    history = bundler("history", "--repo", "repo", "-o", "json")
    listed = checked("result-history-repository", history)
    assert {each["tag"]: each["predecessor"] for each in listed["releases"]} == {
        "v1.3.0": "v1.2.0",
        "v1.2.1": "v1.2.0",
        "v1.2.0": None,
    }


# --- history ------------------------------------------------------------------------------------


@pytest.mark.requirement("B-05")
def test_history_lists_every_release_with_commit_and_predecessor_in_mains_order(
    shop: SampleShop, bundler: Bundler, checked: Checked
) -> None:
    for tag in ("nightly", "v1.9"):
        git(shop.repository, "tag", tag, "v1.1.0")
    value = checked("result-history-repository", bundler("history", "--repo", "shop", "-o", "json"))
    found = [(each["tag"], each["commit"], each["predecessor"]) for each in value["releases"]]
    assert found == [
        ("v1.2.1", shop.tags["v1.2.1"], "v1.2.0"),
        ("v1.2.0", shop.tags["v1.2.0"], "v1.1.0"),
        ("v1.1.0", shop.tags["v1.1.0"], "v1.0.0"),
        ("v1.0.0", shop.tags["v1.0.0"], None),
    ]
    assert value["releases"][0]["subject"] == "docs: free shipping in euros"
    assert value["releases"][0]["date"] == "2024-03-17T05:54:00Z"
    assert value["leftOut"] == {"noReleases": 2, "offBranch": 1}
    text = bundler("history", "--repo", "shop").stdout
    assert "2 tags left out: the project counts no such tag as a release" in text
    assert "1 tag left out: on no branch that releases are allowed on" in text


@pytest.mark.requirement("B-05")
def test_a_hotfix_that_was_merged_stands_before_the_next_release(
    repo: Monorepo, bundler: Bundler
) -> None:
    repo.git("tag", "v1.2.0")
    repo.commit("a", {"a": "1"})
    repo.git("tag", "--annotate", "--message", "rc", "v1.3.0-rc.1")
    repo.git("checkout", "--quiet", "-b", "hotfix/1.2.1", "v1.2.0")
    repo.commit("b", {"b": "1"})
    repo.git("tag", "--annotate", "--message", "hot", "v1.2.1")
    repo.git("checkout", "--quiet", "main")
    repo.git("merge", "--quiet", "--no-ff", "--message", "Merge", "hotfix/1.2.1")
    repo.commit("c", {"c": "1"})
    repo.git("tag", "v1.3.0")
    repo.git("tag", "v1.3.0-rc.2")
    value = bundler("history", "--repo", "repo", "-o", "json").value
    assert [(each["tag"], each["predecessor"]) for each in value["releases"]] == [
        ("v1.3.0", "v1.3.0-rc.2"),
        ("v1.3.0-rc.2", "v1.2.1"),
        ("v1.2.1", "v1.2.0"),
        ("v1.3.0-rc.1", "v1.2.0"),
        ("v1.2.0", None),
    ]


def test_a_repository_without_releases_or_without_their_branch_says_so(
    repo: Monorepo, bundler: Bundler
) -> None:
    assert bundler("history", "--repo", "repo").stdout == "no releases yet\n"
    repo.git("branch", "--move", "trunk")
    result = bundler("history", "--repo", "repo", "-o", "json")
    assert (result.exit_code, result.error["code"]) == (2, "source-invalid")
    assert result.error["message"] == "no branch main or master here"


@pytest.mark.parametrize("flag", ["--context", "--directory", "--env"])
def test_a_repository_and_a_target_contradict_each_other(
    repo: Monorepo, bundler: Bundler, flag: str
) -> None:
    result = bundler("history", "--repo", "repo", flag, "x", "-o", "json")
    assert (result.exit_code, result.error["code"]) == (2, "usage")
    assert f"--repo and {flag} contradict" in result.error["message"]
    assert bundler("history", "--repo", "repo", KUBECONFIG="/nowhere").exit_code == 0
