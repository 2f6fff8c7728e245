"""What a push must build: the plan of the develop flow, on real repositories."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import Bundler
from tests.e2e.monorepo import ZEROS, Monorepo
from tests.git_history import git
from tools.sample_shop import SampleShop

ALL = {"cart", "orders", "search"}


@pytest.fixture
def repo(tmp_path: Path, bundler: Bundler) -> Monorepo:
    return Monorepo(tmp_path, bundler)


# --- which services -----------------------------------------------------------------------------


@pytest.mark.requirement("B-14")
def test_a_push_that_touches_one_service_builds_that_service_alone(repo: Monorepo) -> None:
    made = repo.commit("cart", {"services/cart/main": "1"})
    plan = repo.plan("HEAD~1")
    assert plan["services"] == {
        "cart": {
            "image": "registry.example.com/shop/cart",
            "commit": made,
            "tags": [made],
            "because": ["services/cart"],
            "paths": ["services/cart", "libs/money"],
        }
    }
    assert (plan["unaffected"], plan["removed"], plan["everything"]) == (2, [], None)


@pytest.mark.requirement("B-15")
def test_a_change_of_a_library_builds_every_service_that_uses_it_and_no_other(
    repo: Monorepo,
) -> None:
    made = repo.commit("ui", {"libs/ui/lib": "1"})
    plan = repo.plan("HEAD~1")
    assert {n: (s["commit"], s["because"]) for n, s in plan["services"].items()} == {
        "orders": (made, ["library ui"])
    }


@pytest.mark.requirement("B-16")
def test_a_change_of_the_lowest_library_builds_all_that_use_it_through_others(
    repo: Monorepo,
) -> None:
    made = repo.commit("money", {"libs/money/lib": "1"})
    plan = repo.plan("HEAD~1")
    assert {n: (s["commit"], s["because"]) for n, s in plan["services"].items()} == {
        "cart": (made, ["library money"]),
        "orders": (made, ["library money"]),
    }


@pytest.mark.requirement("B-16")
def test_a_cycle_of_libraries_is_an_error_of_the_project_file_that_names_the_cycle(
    repo: Monorepo, bundler: Bundler
) -> None:
    circle = ("money: {paths: [libs/money]}", "money: {paths: [libs/money], uses: [ui]}")
    repo.commit("circle", repo.project(circle))
    result = bundler("affected", "--since", "HEAD~1", "--repo", "repo", "-o", "json")
    assert (result.exit_code, result.error["code"]) == (2, "project-file-invalid")
    [finding] = result.findings
    assert "money → ui → money" in finding["message"]
    assert finding["pointer"] == "/libraries/money/uses"


@pytest.mark.requirement("B-17")
def test_a_change_of_a_file_at_the_root_builds_the_service_that_declares_it(
    repo: Monorepo,
) -> None:
    repo.commit("Go", {"go.mod": "1"})
    assert repo.plan("HEAD~1")["services"]["search"]["because"] == ["go.mod"]
    assert repo.affected("HEAD~1") == {"search"}


@pytest.mark.requirement("B-18")
def test_a_commit_of_documents_alone_builds_nothing(repo: Monorepo, bundler: Bundler) -> None:
    repo.commit("docs", {"docs/a.txt": "1", "services/cart/README.md": "1", "libs/ui/x.md": "1"})
    assert repo.affected("HEAD~1") == set()
    arguments = ("affected", "--since", "HEAD~1", "--repo", "repo", "--exit-code")
    assert bundler(*arguments).exit_code == 0
    assert "0 affected, 3 not" in bundler(*arguments).stdout


@pytest.mark.requirement("B-18")
def test_a_release_that_changes_documents_alone_has_the_former_ones_images(
    repo: Monorepo,
) -> None:
    repo.push(ZEROS)
    repo.git("tag", "v1.0.0")
    repo.commit("docs", {"docs/a.txt": "1", "services/cart/README.md": "1"})
    assert repo.push("v1.0.0")["services"] == {}
    repo.git("tag", "v1.0.1")
    assert repo.resolve("v1.0.1") == repo.resolve("v1.0.0")


def test_a_script_learns_from_the_exit_code_that_something_is_affected(
    repo: Monorepo, bundler: Bundler
) -> None:
    repo.commit("cart", {"services/cart/main": "1"})
    arguments = ("affected", "--since", "HEAD~1", "--repo", "repo")
    assert bundler(*arguments).exit_code == 0
    assert bundler(*arguments, "--exit-code").exit_code == 3


def test_a_service_that_the_base_did_not_declare_is_new(repo: Monorepo) -> None:
    before = repo.commit("the folder first", {"services/web/main": "0"})
    web = ("services:\n", "services:\n  web: {path: services/web, disabled: true}\n")
    repo.commit("declared", repo.project(web))
    plan = repo.plan("HEAD~1")
    assert {n: s["because"] for n, s in plan["services"].items()} == {"web": ["new"]}
    assert plan["services"]["web"]["commit"] == before


def test_another_image_name_or_tag_is_built_though_no_input_changed(repo: Monorepo) -> None:
    repo.commit(
        "names",
        repo.project(
            ("uses: [money]}\n  orders", "uses: [money], image: registry.example.com/x}\n  orders"),
            ("uses: [ui]}", 'uses: [ui], tag: "{short}"}'),
        ),
    )
    plan = repo.plan("HEAD~1")
    assert {name: service["because"] for name, service in plan["services"].items()} == {
        "cart": ["image name, formerly registry.example.com/shop/cart"],
        "orders": ["image tag, formerly {commit}"],
    }
    assert plan["services"]["orders"]["tags"] == [plan["services"]["orders"]["commit"][:7]]


def test_removed_services_are_told(repo: Monorepo) -> None:
    repo.commit("no search", repo.project(("  search: {paths: [services/search, go.mod]}\n", "")))
    plan = repo.plan("HEAD~1")
    assert (plan["removed"], plan["services"], plan["unaffected"]) == (["search"], {}, 2)


def test_a_service_that_is_built_at_every_commit_is_always_affected(repo: Monorepo) -> None:
    always = ("uses: [money]}\n  orders", "uses: [money], strategy: every-commit}\n  orders")
    repo.commit("always", repo.project(always))
    made = repo.commit("nothing", {"docs/a": "1"})
    service = repo.plan("HEAD~1")["services"]["cart"]
    assert (service["commit"], service["because"]) == (made, ["every commit"])
    assert repo.affected("HEAD") == set()


def test_a_submodule_is_affected_when_its_recorded_commit_changes(repo: Monorepo) -> None:
    other = ("services:\n", "services:\n  web: {submodule: vendor/web}\n")
    remote = ("services:\n", "services:\n  far: {repository: 'https://git.example.com/far'}\n")
    repo.commit("declared", repo.project(remote, other))
    for commit in ("a" * 40, "b" * 40):
        repo.git("update-index", "--add", "--cacheinfo", f"160000,{commit},vendor/web")
        repo.git("commit", "--quiet", "--message", "web")
    plan = repo.plan("HEAD~1")
    assert plan["services"] == {
        "web": {
            "image": "registry.example.com/shop/web",
            "commit": "b" * 40,
            "tags": ["b" * 40],
            "because": ["submodule vendor/web"],
            "paths": ["vendor/web"],
        }
    }
    assert plan["elsewhere"] == 1
    repo.git("rm", "--quiet", "--cached", "vendor/web")
    repo.commit("cart", {"services/cart/main": "1", "vendor/web": "a file"})
    assert "no-submodule" in str(_error(repo))


def _error(repo: Monorepo) -> object:
    result = repo._bundler("affected", "--since", "HEAD~1", "--repo", "repo", "-o", "json")
    assert result.exit_code == 2
    return result.findings


def test_every_path_that_the_head_has_not_is_told(repo: Monorepo, bundler: Bundler) -> None:
    wrong = (("services/search, go.mod", "services/seek, go.sum"), ("libs/ui]", "libs/iu]"))
    repo.commit("wrong", repo.project(*wrong))
    result = bundler("affected", "--since", "HEAD~1", "--repo", "repo", "-o", "json")
    assert result.exit_code == 2
    places = [(finding["rule"], finding["pointer"]) for finding in result.findings]
    assert places == [
        ("path-missing", "/services/search/paths"),
        ("path-missing", "/services/search/paths"),
        ("path-missing", "/libraries/ui/paths"),
    ]


# --- since when ---------------------------------------------------------------------------------


def test_what_the_other_branch_changed_meanwhile_is_not_affected(repo: Monorepo) -> None:
    repo.git("checkout", "--quiet", "-b", "feature/a")
    repo.commit("cart", {"services/cart/main": "1"})
    repo.git("checkout", "--quiet", "main")
    repo.commit("search", {"services/search/main": "1"})
    assert repo.affected("main", "--head", "feature/a") == {"cart"}


def test_a_new_branch_builds_everything_and_says_why(repo: Monorepo, bundler: Bundler) -> None:
    plan = repo.plan(ZEROS)
    assert (set(plan["services"]), plan["since"]) == (ALL, [])
    assert plan["everything"] == "the branch is new"
    assert plan["services"]["cart"]["because"] == ["everything"]
    text = bundler("affected", "--since", ZEROS, "--repo", "repo").stdout
    assert text.startswith("every service is affected: the branch is new\n")


def test_histories_that_never_met_build_everything_and_say_so(repo: Monorepo) -> None:
    repo.git("checkout", "--quiet", "--orphan", "other")
    repo.commit("Another start", {})
    plan = repo.plan("main")
    assert set(plan["services"]) == ALL
    assert plan["everything"] == "main and the head have no commit in common"


def test_a_commit_that_a_forced_push_took_away_builds_everything(repo: Monorepo) -> None:
    plan = repo.plan("c" * 40)
    assert set(plan["services"]) == ALL
    assert plan["everything"] == "cccccccccccc is not in this clone: the branch was replaced"


def test_a_project_file_that_was_not_valid_before_builds_everything(repo: Monorepo) -> None:
    repo.commit("broken", {"bundler.yaml": "["})
    repo.commit("mended", repo.project())
    plan = repo.plan("HEAD~1")
    assert set(plan["services"]) == ALL
    assert plan["everything"] == "bundler.yaml was not valid before"


def test_a_repository_that_had_no_project_file_has_only_new_services(
    repo: Monorepo, bundler: Bundler
) -> None:
    repo.git("rm", "--quiet", "bundler.yaml")
    repo.git("commit", "--quiet", "--message", "gone")
    absent = bundler("affected", "--since", "HEAD~1", "--repo", "repo", "-o", "json")
    assert (absent.exit_code, absent.error["code"]) == (2, "project-file-invalid")
    repo.commit("back", repo.project())
    plan = repo.plan("HEAD~1")
    because = [service["because"] for service in plan["services"].values()]
    assert because == [["new"], ["new"], ["new"]]


@pytest.mark.parametrize("since", [(), ("--since", "")])
def test_without_a_base_the_error_says_what_to_give_in_ci(
    repo: Monorepo, bundler: Bundler, since: tuple[str, ...]
) -> None:
    result = bundler("affected", *since, "--repo", "repo", "-o", "json")
    assert result.exit_code == 2
    assert "${{ github.event.before }}" in result.error["hint"]
    assert "$CI_COMMIT_BEFORE_SHA" in result.error["hint"]


def test_a_base_that_is_no_commit_is_an_error(repo: Monorepo, bundler: Bundler) -> None:
    result = bundler("affected", "--since", "mian", "--repo", "repo", "-o", "json")
    assert (result.exit_code, result.error["code"]) == (2, "source-invalid")
    assert "mian" in result.error["message"]


def test_a_shallow_clone_is_refused_with_the_way_out(
    repo: Monorepo, bundler: Bundler, tmp_path: Path
) -> None:
    repo.commit("cart", {"services/cart/main": "1"})
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo.path}", "shallow")
    for arguments in (("affected", "--since", "HEAD"), ("history",)):
        result = bundler(*arguments, "--repo", "shallow", "-o", "json")
        assert (result.exit_code, result.error["code"]) == (2, "source-invalid")
        assert "fetch-depth: 0" in result.error["hint"]


# --- the tags -----------------------------------------------------------------------------------


@pytest.mark.requirement("B-11", "B-13")
def test_an_image_of_develop_is_latest_and_has_its_commit_too_with_one_digest(
    repo: Monorepo,
) -> None:
    repo.git("checkout", "--quiet", "-b", "develop")
    made = repo.commit("cart", {"services/cart/main": "1"})
    assert repo.push("HEAD~1")["services"]["cart"]["tags"] == [made, "latest"]
    digests = repo.digests_of("cart")
    assert digests.keys() == {made, "latest"}
    assert len(set(digests.values())) == 1


@pytest.mark.requirement("B-12")
def test_an_image_of_main_has_the_full_commit_id_and_latest_stays(repo: Monorepo) -> None:
    repo.git("checkout", "--quiet", "-b", "develop")
    repo.push(ZEROS)
    before = repo.digests_of("cart")
    repo.git("checkout", "--quiet", "main")
    made = repo.commit("cart", {"services/cart/main": "2"})
    assert repo.push("HEAD~1")["services"]["cart"]["tags"] == [made]
    after = repo.digests_of("cart")
    assert len(made) == 40
    assert after["latest"] == before["latest"] != after[made]


@pytest.mark.requirement("B-13")
def test_in_the_strict_mode_develops_images_are_latest_and_nothing_else(repo: Monorepo) -> None:
    registry = "registry: registry.example.com/shop\n"
    repo.commit("strict", repo.project((registry, registry + "  latest: alone\n")))
    repo.git("checkout", "--quiet", "-b", "develop")
    repo.commit("cart", {"services/cart/main": "1"})
    assert repo.plan("HEAD~1")["services"]["cart"]["tags"] == ["latest"]
    main = repo.plan("HEAD~1", "--branch", "main")["services"]["cart"]
    assert main["tags"] == [main["commit"]]


@pytest.mark.requirement("B-10")
@pytest.mark.parametrize("branch", ["main", "master", "develop"])
def test_a_push_to_develop_main_or_master_pushes_an_image_of_every_service_it_affects(
    repo: Monorepo, branch: str
) -> None:
    repo.git("checkout", "--quiet", "-B", branch)
    repo.push(ZEROS)
    before = {name: repo.tags_of(name) for name in ALL}
    cart = repo.commit("cart", {"services/cart/main": "1"})
    search = repo.commit("search", {"services/search/main": "1"})
    plan = repo.push("HEAD~2")
    assert (plan["branch"], plan["push"]) == (branch, True)
    added = {name: repo.tags_of(name) - before[name] for name in ALL}
    assert added == {"cart": {cart}, "search": {search}, "orders": set()}


def test_the_branch_fills_the_template_of_the_tag(repo: Monorepo) -> None:
    template = ("registry: registry.example.com/shop\n",) * 2
    template = (template[0], template[1] + '  tag: "{branch}-{short}"\n')
    repo.commit("tags", repo.project(template))
    repo.git("checkout", "--quiet", "-b", "release/1.0")
    service = repo.plan(ZEROS)["services"]["cart"]
    assert service["tags"] == [f"release-1.0-{service['commit'][:7]}"]


@pytest.mark.requirement("B-10")
def test_ci_that_follows_the_plan_has_every_image_that_a_release_needs(repo: Monorepo) -> None:
    repo.push(ZEROS)
    repo.git("checkout", "--quiet", "-b", "feature/a")
    repo.commit("cart", {"services/cart/main": "1"})
    repo.commit("ui", {"libs/ui/lib": "1"})
    repo.push("main")
    repo.git("checkout", "--quiet", "main")
    before = repo.commit("search", {"services/search/main": "1"})
    repo.push("HEAD~1")
    repo.git("merge", "--quiet", "--no-ff", "--message", "Merge", "feature/a")
    repo.push(before)
    repo.git("tag", "v1.0.0")
    found = repo.resolve("v1.0.0")
    merged = repo.head
    assert {name: commit for name, (commit, _) in found.items()} == {
        "cart": merged,
        "orders": merged,
        "search": before,
    }


@pytest.mark.requirement("B-14", "B-15", "B-17")
def test_the_plan_of_every_push_to_the_sample_shop_is_what_its_ci_built(
    shop: SampleShop, bundler: Bundler
) -> None:
    built: dict[str, set[str]] = {}
    for service, images in shop.built.items():
        for commit in images:
            built.setdefault(commit, set()).add(service)
    declared = shop.commits["Publish releases with bundler"]
    listed = git(shop.repository, "rev-list", "--first-parent", f"{declared}..main").split()
    planned = {}
    for commit in listed:
        arguments = ("--since", f"{commit}~1", "--head", commit, "--branch", "main")
        plan = bundler("affected", *arguments, "--repo", "shop", "-o", "json").value
        planned[commit] = {name for name, s in plan["services"].items() if s["commit"] == commit}
    reused = {
        shop.commits['Revert "catalog: cheapest first"']: {"catalog"},
        shop.commits["Merge branch 'develop'"]: {"mailer"},
    }
    expected = {c: built.get(c, set()) | reused.get(c, set()) for c in listed}
    assert planned == expected


# --- the matrix ---------------------------------------------------------------------------------


def test_the_matrix_for_github_is_one_line_of_json(repo: Monorepo, bundler: Bundler) -> None:
    made = repo.commit("cart", {"services/cart/main": "1"})
    arguments = ("affected", "--since", "HEAD~1", "--repo", "repo", "--matrix", "github")
    printed = bundler(*arguments).stdout
    assert printed.count("\n") == 1
    assert json.loads(printed) == {
        "include": [
            {
                "service": "cart",
                "image": "registry.example.com/shop/cart",
                "commit": made,
                "tag": made,
                "tags": [made],
                "path": "services/cart",
            }
        ]
    }


def test_the_matrix_for_gitlab_is_a_child_pipeline(repo: Monorepo, bundler: Bundler) -> None:
    repo.git("checkout", "--quiet", "-b", "develop")
    made = repo.commit("cart", {"services/cart/main": "1"})
    arguments = ("affected", "--since", "HEAD~1", "--repo", "repo", "--matrix", "gitlab")
    [row] = yaml.safe_load(bundler(*arguments).stdout)[".affected"]["parallel"]["matrix"]
    assert list(row.items()) == [
        ("SERVICE", "cart"),
        ("IMAGE", "registry.example.com/shop/cart"),
        ("COMMIT", made),
        ("TAGS", f"{made} latest"),
        ("FOLDER", "services/cart"),
    ]


def test_a_child_pipeline_has_a_job_though_nothing_is_affected(
    repo: Monorepo, bundler: Bundler
) -> None:
    arguments = ("affected", "--since", "HEAD", "--repo", "repo", "--matrix", "gitlab")
    jobs = yaml.safe_load(bundler(*arguments).stdout)
    assert jobs[".affected"] == {"rules": [{"when": "never"}]}
    assert [name for name in jobs if not name.startswith(".")] == ["nothing affected"]


# --- the examples of the documentation ----------------------------------------------------------

DOCUMENT = Path(__file__).parents[2] / "docs" / "develop.md"
LABELS = "org.opencontainers.image"


def examples() -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def built_by(script: str, folder: Path, variables: dict[str, str]) -> list[str]:
    """What a script calls `docker` with."""
    program = folder / "bin" / "docker"
    program.parent.mkdir(exist_ok=True)
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}", **variables}
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    return subprocess.check_output(command, env=environment, text=True).splitlines()


@pytest.mark.parametrize("branch", ["develop", "feature/a"])
def test_the_documented_jobs_build_what_the_matrix_says(
    repo: Monorepo, bundler: Bundler, tmp_path: Path, branch: str
) -> None:
    repo.git("checkout", "--quiet", "-b", branch)
    made = repo.commit("cart", {"services/cart/main": "1"})
    parsed = [yaml.safe_load(text) for text in examples()]
    github = next(each for each in parsed if "jobs" in each)
    gitlab = next(each["build"] for each in parsed if "extends" in each.get("build", {}))

    arguments = ("affected", "--since", "HEAD~1", "--repo", "repo", "--matrix")
    [row] = json.loads(bundler(*arguments, "github").stdout)["include"]
    [variables] = yaml.safe_load(bundler(*arguments, "gitlab").stdout)[".affected"]["parallel"][
        "matrix"
    ]
    step = github["jobs"]["build"]["steps"][-1]
    values = {
        "${{ matrix.image }}": row["image"],
        "${{ matrix.commit }}": row["commit"],
        "${{ join(matrix.tags, ' ') }}": " ".join(row["tags"]),
        "${{ matrix.path }}": row["path"],
        "${{ github.server_url }}/${{ github.repository }}": "https://git.example.com/shop",
        "${{ github.ref_name }}": branch,
    }
    by_github = built_by(step["run"], tmp_path, {k: values[v] for k, v in step["env"].items()})
    own = {"CI_PROJECT_URL": "https://git.example.com/shop", "CI_COMMIT_REF_NAME": branch}
    by_gitlab = built_by("\n".join(gitlab["script"]), tmp_path, variables | own)

    image = "registry.example.com/shop/cart"
    pushed = ["--tag", f"{image}:{made}", "--tag", f"{image}:latest", "--push"]
    assert (
        by_github
        == by_gitlab
        == [
            "buildx",
            "build",
            *(pushed if branch == "develop" else []),
            "--label",
            f"{LABELS}.revision={made}",
            "--label",
            f"{LABELS}.source=https://git.example.com/shop",
            "--label",
            f"{LABELS}.ref.name={branch}",
            "--file",
            "services/cart/Dockerfile",
            ".",
        ]
    )
