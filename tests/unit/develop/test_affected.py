"""Affected services of generated histories, against an oracle that compares whole trees."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundler.adapters.git.repository import GitRepository
from bundler.develop.affected import Branch, affected, planned_tags
from bundler.model.project import PROJECT_FILE, Library, Lookup, Project, Service
from bundler.model.reference import Repository
from tests.git_history import NewCommit, git, make_history

FILES = ("a/f", "a/sub/g", "a/notes.md", "b/f", "lib/x/f", "lib/y/f", "go.mod")
IGNORED = ("*.md",)
MAIN = Branch("main")


def project(*services: Service) -> Project:
    libraries = {
        "x": Library("x", ("lib/x",), ("y",), IGNORED),
        "y": Library("y", ("lib/y",), (), IGNORED),
    }
    return Project(
        "shop",
        {service.name: service for service in services},
        libraries,
        {},
        Repository("ocidir", "registry"),
        Lookup({}),
    )


A = Service("a", ("a",), "shop/a", uses=("x",), ignore=IGNORED)
B = Service("b", ("b", "go.mod"), "shop/b", ignore=IGNORED)
PROJECTS = {
    "both": project(A, B),
    "b alone": project(B),
    "b is disabled": replace(project(A), disabled={"b": B}),
    "a has another name": project(replace(A, image="shop/c"), B),
    "a uses less": project(replace(A, uses=("y",)), B),
}


def parse(text: bytes) -> Project:
    return PROJECTS[text.decode()]


@st.composite
def histories(draw: st.DrawFn) -> list[NewCommit]:
    """Trees over few files and few contents, with merges, reverts and changed project files."""
    content = st.sampled_from(["0", "1", "2"])
    start = {**dict.fromkeys(FILES, "0"), PROJECT_FILE: "both"}
    commits = [NewCommit(start)]
    for number in range(1, draw(st.integers(2, 10))):
        parents = draw(st.lists(st.integers(0, number - 1), min_size=1, max_size=3, unique=True))
        tree = dict(commits[parents[0]].tree)
        if len(parents) > 1:  # a merge takes some files from each side
            for path in draw(st.sets(st.sampled_from(FILES))):
                tree[path] = commits[draw(st.sampled_from(parents))].tree[path]
        for path in draw(st.sets(st.sampled_from(FILES), max_size=2)):
            tree[path] = draw(content)
        if draw(st.integers(0, 4)) == 0:
            tree[PROJECT_FILE] = draw(st.sampled_from(sorted(PROJECTS)))
        commits.append(NewCommit(tree, parents))
    return commits


def services_of(commit: NewCommit) -> dict[str, Service]:
    found = PROJECTS[commit.tree[PROJECT_FILE]]
    return {**found.services, **found.disabled}


def ancestors(commits: Sequence[NewCommit], number: int) -> set[int]:
    return {number}.union(*(ancestors(commits, parent) for parent in commits[number].parents))


def bases_of(commits: Sequence[NewCommit], one: int, other: int) -> set[int]:
    shared = ancestors(commits, one) & ancestors(commits, other)
    older = {n for each in shared for n in ancestors(commits, each) - {each}}
    return shared - older


def input_tree(service: Service, commit: NewCommit) -> dict[str, str]:
    libraries = {"x": ("lib/x", "lib/y"), "y": ("lib/y",)}
    paths = (*service.paths, *(path for used in service.uses for path in libraries[used]))
    return {
        path: text
        for path, text in commit.tree.items()
        if any(f"{path}/".startswith(f"{each}/") for each in paths) and not path.endswith(".md")
    }


def differs(service: Service, head: NewCommit, base: NewCommit) -> bool:
    former = services_of(base).get(service.name)
    return (
        former is None
        or former.image != service.image
        or input_tree(service, head) != input_tree(service, base)
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.data())
@pytest.mark.requirement("B-14")
def test_a_service_is_affected_exactly_if_its_input_tree_is_not_the_merge_bases(
    commits: list[NewCommit], data: st.DataObject
) -> None:
    since, head = (data.draw(st.integers(0, len(commits) - 1)) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made = make_history(root, commits)
        found = affected(made[since], made[head], MAIN, GitRepository(root), parse)
    bases = bases_of(commits, since, head)
    assert set(found.bases) == {made[base] for base in bases}
    now = services_of(commits[head])
    assert {service.name for service in found.services} == {
        name
        for name, service in now.items()
        if any(differs(service, commits[head], commits[base]) for base in bases)
    }
    assert found.unaffected == len(now) - len(found.services)
    assert set(found.removed) == {
        name for base in bases for name in services_of(commits[base]) if name not in now
    }
    for service in found.services:
        commit = made.index(service.commit)
        assert commit in ancestors(commits, head)
        assert input_tree(now[service.name], commits[commit]) == input_tree(
            now[service.name], commits[head]
        )
        assert service.because


def test_with_several_merge_bases_what_differs_from_any_of_them_is_built(tmp_path: Path) -> None:
    start = {**dict.fromkeys(FILES, "0"), PROJECT_FILE: "both"}
    commits = [
        NewCommit(start),
        NewCommit({**start, "a/f": "1"}, [0]),
        NewCommit({**start, "b/f": "1"}, [0]),
        NewCommit({**start, "a/f": "1", "b/f": "1"}, [1, 2]),
        NewCommit({**start, "a/f": "1", "b/f": "1"}, [2, 1]),
    ]
    made = make_history(tmp_path, commits)
    found = affected(made[3], made[4], MAIN, GitRepository(tmp_path), parse)
    assert set(found.bases) == {made[1], made[2]}
    assert {service.name for service in found.services} == {"a", "b"}


def test_the_history_is_read_once_and_no_process_is_started_for_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 40
    names = [f"s{number}" for number in range(count)]
    many = project(*(Service(name, (name,), f"shop/{name}") for name in names))
    tree = {**dict.fromkeys(FILES, "0"), **{f"{name}/f": "0" for name in names}, PROJECT_FILE: ""}
    changed = {**tree, **{f"{name}/f": "1" for name in names}}
    made = make_history(tmp_path, [NewCommit(tree), NewCommit(changed, [0])])
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))
    found = affected(made[0], made[1], MAIN, GitRepository(tmp_path), lambda _: many)
    assert len(found.services) == count
    assert trace.read_text().count("trace: built-in: git") < 20


def test_a_moved_service_is_built_again_only_if_its_content_changed(tmp_path: Path) -> None:
    moved = {"moved": project(replace(B, paths=("c",), former_paths=("b",)))}
    former = {**dict.fromkeys(FILES, "0"), PROJECT_FILE: "b alone"}
    later = {**former, "c/f": "0", PROJECT_FILE: "moved"}
    del later["b/f"]
    changed = {**later, "c/f": "1"}
    commits = [NewCommit(former), NewCommit(later, [0]), NewCommit(changed, [1])]
    made = make_history(tmp_path, commits)

    def names(head: int) -> list[str]:
        source = GitRepository(tmp_path)
        both = {**PROJECTS, **moved}
        found = affected(made[0], made[head], MAIN, source, lambda text: both[text.decode()])
        return [service.name for service in found.services]

    assert names(1) == []
    assert names(2) == ["b"]


@pytest.mark.requirement("B-11", "B-12", "B-13")
@pytest.mark.parametrize(
    ("branch", "tags"),
    [
        ("main", ("{c}",)),
        ("master", ("{c}",)),
        ("release/1.0", ("{c}",)),
        ("hotfix/1.0.1", ("{c}",)),
        ("develop", ("{c}", "latest")),
        ("feature/a", ()),
        ("somebody/else", ()),
    ],
)
def test_the_role_of_the_branch_decides_about_the_tags(branch: str, tags: tuple[str, ...]) -> None:
    commit = "c" * 40
    expected = tuple(tag.replace("{c}", commit) for tag in tags)
    assert planned_tags(PROJECTS["both"], A, commit, branch) == expected


def test_the_head_may_be_any_revision(tmp_path: Path) -> None:
    start = {**dict.fromkeys(FILES, "0"), PROJECT_FILE: "both"}
    made = make_history(tmp_path, [NewCommit(start), NewCommit({**start, "b/f": "1"}, [0])])
    git(tmp_path, "tag", "v1.0.0", made[1])
    found = affected("main~1", "v1.0.0", MAIN, GitRepository(tmp_path), parse)
    assert [(service.name, service.commit) for service in found.services] == [("b", made[1])]
