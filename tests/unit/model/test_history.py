"""Candidates of generated histories, against an oracle that compares every ancestor's tree."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundler.adapters.git.repository import GitRepository
from bundler.model.history import (
    History,
    HistoryCommit,
    Input,
    first_parent_commit,
    others,
    preferred,
    simplified_commit,
)
from tests.generated_histories import (
    Case,
    ancestors,
    generated,
    held,
    introduced,
    is_same,
    simplified,
)
from tests.git_history import NewCommit, git, make_histories, make_history


def check(repository: GitRepository, case: Case, ids: Sequence[str]) -> None:
    history = History.of(repository.history(ids[-1], case.inputs), case.inputs)
    order = [ids.index(commit.id) for commit in history.commits]
    assert set(order) == ancestors(case) and len(set(order)) == len(order)
    for commit in order:
        assert all(order.index(parent) > order.index(commit) for parent in case.parents[commit])
    same = [[is_same(tree, case.trees[-1], each) for each in case.inputs] for tree in case.trees]
    found = {ids.index(commit.id): commit.equal for commit in history.commits}
    assert found == {n: sum(bit << i for i, bit in enumerate(same[n])) for n in found}
    for service in case.services:
        mask = history.mask(service)
        has = [all(row[case.inputs.index(each)] for each in service) for row in same]
        first = list(dict.fromkeys((introduced(case, has), simplified(case, has))))
        known = preferred(history, mask)
        assert [candidate.commit for candidate in known] == [ids[each] for each in first]
        rest = [each for each in order if has[each] and each not in first]
        assert [
            (ids.index(candidate.commit), candidate.via)
            for candidate in others(history, mask, known)
        ] == [(n, "tag-commit" if n == len(ids) - 1 else "identical-tree") for n in rest]


BATCHES, BATCH = 24, 100


@pytest.mark.requirement("B-41", "B-43", "B-44", "B-50")
@pytest.mark.parametrize("batch", range(BATCHES))
def test_candidates_of_thousands_of_histories_are_those_that_have_the_tags_tree(
    tmp_path: Path, batch: int
) -> None:
    cases = {
        seed: generated(random.Random(seed))  # noqa: S311  the same histories every time
        for seed in range(batch * BATCH, (batch + 1) * BATCH)
    }
    made = make_histories(tmp_path, [case.commits() for case in cases.values()])
    repository = GitRepository(tmp_path)
    for (seed, case), ids in zip(cases.items(), made, strict=True):
        try:
            check(repository, case, ids)
        except AssertionError as error:
            raise AssertionError(f"generated(random.Random({seed})): {case}") from error


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
@pytest.mark.requirement("B-41", "B-43", "B-44", "B-50")
def test_candidates_are_those_that_have_the_tags_tree(chosen: random.Random) -> None:
    case = generated(chosen)
    with tempfile.TemporaryDirectory() as folder:
        ids = make_history(Path(folder), case.commits())
        check(GitRepository(Path(folder)), case, ids)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
@pytest.mark.requirement("B-41", "B-43", "B-44")
def test_candidates_are_what_gits_own_listings_give(chosen: random.Random) -> None:
    """Plain inputs again, with every tree read by git and the history simplified by git."""
    case = generated(chosen)
    paths = [
        path for path in ("a", "b", "lib/x", "go.mod") if held(case.trees[-1], Input(path), path)
    ]
    if not paths:
        return
    inputs = [Input(path) for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tagged = make_history(root, case.commits())[-1]
        history = History.of(GitRepository(root).history(tagged, inputs), inputs)
        mask = history.mask(inputs)

        def tree(commit: str) -> str:
            return git(root, "ls-tree", "-r", commit, "--", *paths)

        wanted = tree(tagged)
        every = git(root, "rev-list", "--topo-order", tagged).splitlines()
        equal = [commit for commit in every if tree(commit) == wanted]
        oldest = tagged
        for commit in git(root, "rev-list", "--first-parent", tagged).splitlines():
            if commit not in equal:
                break
            oldest = commit
        shown = git(root, "log", "-1", "--format=%H", tagged, "--", *paths)
        assert first_parent_commit(history, mask) == oldest
        assert simplified_commit(history, mask) == shown
        first = list(dict.fromkeys([oldest, shown]))
        known = preferred(history, mask)
        found = [candidate.commit for candidate in (*known, *others(history, mask, known))]
        assert found == [*first, *(commit for commit in equal if commit not in first)]


# --- one by one ---------------------------------------------------------------------------------


def history_of(
    root: Path, commits: Sequence[NewCommit], *inputs: Input
) -> tuple[History, list[str]]:
    made = make_history(root, commits)
    return History.of(GitRepository(root).history(made[-1], inputs), inputs), made


def equal_bits(history: History) -> list[int]:
    return [commit.equal for commit in history.commits]


@pytest.mark.requirement("B-44")
def test_an_older_commit_with_another_tree_is_never_a_candidate(tmp_path: Path) -> None:
    commits = [NewCommit({"a/f": "0"}), NewCommit({"a/f": "1"}, [0]), NewCommit({"a/f": "0"}, [1])]
    history, made = history_of(tmp_path, commits, Input("a"))
    known = preferred(history, 1)
    assert [c.commit for c in known] == [made[2]]
    assert [(c.commit, c.via) for c in others(history, 1, known)] == [(made[0], "identical-tree")]


def test_the_tags_own_commit_is_told_apart_from_others(tmp_path: Path) -> None:
    commits = [NewCommit({"a/f": "0"}), NewCommit({"a/f": "0", "docs": "1"}, [0])]
    history, made = history_of(tmp_path, commits, Input("a"))
    known = preferred(history, 1)
    assert [c.commit for c in known] == [made[0]]
    assert [(c.commit, c.via) for c in others(history, 1, known)] == [(made[1], "tag-commit")]


def test_a_folder_that_was_a_file_is_another_tree(tmp_path: Path) -> None:
    commits = [NewCommit({"a": "0"}), NewCommit({"a/f": "0"}, [0]), NewCommit({"a": "0"}, [1])]
    for number, ignore in enumerate([(), ("*.md",)]):
        history, _ = history_of(tmp_path / str(number), commits, Input("a", ignore))
        assert equal_bits(history) == [1, 0, 1]


def test_a_file_that_becomes_executable_or_a_link_is_another_tree(tmp_path: Path) -> None:
    modes = ("100644", "100755", "120000", "100644")
    commits = [
        NewCommit({"a/f": "0"}, [number - 1] if number else [], {"a/f": mode})
        for number, mode in enumerate(modes)
    ]
    history, _ = history_of(tmp_path, commits, Input("a"), Input("a", ("*.md",)))
    assert equal_bits(history) == [3, 0, 0, 3]


@pytest.mark.requirement("B-18")
def test_ignored_files_make_no_other_tree(tmp_path: Path) -> None:
    commits = [
        NewCommit({"a/f": "0", "a/docs/x": "0"}),
        NewCommit({"a/f": "0", "a/docs/x": "1", "a/R.md": "1"}, [0]),
        NewCommit({"a/f": "1", "a/docs/x": "1"}, [1]),
        NewCommit({"a/f": "0"}, [2]),
    ]
    history, _ = history_of(tmp_path, commits, Input("a", ("docs/", "*.md")), Input("a"))
    assert equal_bits(history) == [3, 0, 1, 1]


def test_patterns_are_gitignores_from_the_root(tmp_path: Path) -> None:
    commits = [
        NewCommit({"a/f": "0", "b/a/f": "0", "a/k.md": "0"}),
        NewCommit({"a/f": "1", "b/a/f": "0", "a/k.md": "0"}, [0]),
        NewCommit({"a/f": "1", "b/a/f": "1", "a/k.md": "0"}, [1]),
        NewCommit({"a/f": "1", "b/a/f": "1", "a/k.md": "1"}, [2]),
    ]
    anchored, kept = Input(".", ("/a/f", "*.md")), Input(".", ("f", "*.md", "!k.md"))
    history, _ = history_of(tmp_path, commits, anchored, kept)
    assert equal_bits(history) == [3, 1, 0, 0]


@pytest.mark.requirement("B-50")
def test_a_moved_service_is_found_where_it_was(tmp_path: Path) -> None:
    commits = [
        NewCommit({"old/f": "0", "old/R.md": "0"}),
        NewCommit({"old/f": "1", "old/R.md": "0"}, [0]),
        NewCommit({"old/f": "1", "old/R.md": "1"}, [1]),
        NewCommit({"a/f": "1", "a/R.md": "1"}, [2]),
    ]
    plain = Input("a", (), ("old",))
    patterns_see_the_present_path = Input("a", ("/a/*.md",), ("old",))
    history, made = history_of(tmp_path, commits, Input("a"), plain, patterns_see_the_present_path)
    assert equal_bits(history) == [7, 6, 4, 0]
    assert [c.commit for c in preferred(history, history.mask([plain]))] == [made[2]]


@pytest.mark.requirement("B-50")
def test_what_lies_at_a_former_path_today_is_no_matter(tmp_path: Path) -> None:
    commits = [NewCommit({"old/f": "0"}), NewCommit({"a/f": "0", "old/f": "other"}, [0])]
    history, made = history_of(tmp_path, commits, Input("a", (), ("old",)))
    assert [c.commit for c in preferred(history, 1)] == [made[0]]


def test_a_service_that_was_the_whole_repository_is_found_there(tmp_path: Path) -> None:
    commits = [NewCommit({"f": "0", "d/g": "0"}), NewCommit({"a/f": "0", "a/d/g": "0"}, [0])]
    history, _ = history_of(
        tmp_path, commits, Input("a", (), (".",)), Input("a", ("*.md",), (".",))
    )
    assert equal_bits(history) == [3, 3]


def test_the_whole_tree_is_an_input_like_any_other(tmp_path: Path) -> None:
    commits = [NewCommit({"f": "0"}), NewCommit({"f": "1"}, [0]), NewCommit({"f": "0"}, [1])]
    history, _ = history_of(tmp_path, commits, Input("."))
    assert equal_bits(history) == [1, 0, 1]


@pytest.mark.parametrize("ignore", [(), ("*.md",)])
def test_paths_with_any_characters_are_followed(tmp_path: Path, ignore: tuple[str, ...]) -> None:
    path = 'sp ace/ü"q*[x]'
    name = '"' + path.replace('"', '\\"') + '/f"'
    commits = [NewCommit({name: "0"}), NewCommit({name: "1"}, [0])]
    history, _ = history_of(tmp_path, commits, Input(path, ignore))
    assert equal_bits(history) == [1, 0]


def test_an_octopus_is_followed_on_every_side(tmp_path: Path) -> None:
    commits = [
        NewCommit({"a/f": "0"}),
        *(NewCommit({"a/f": "0", f"side{side}": "0"}, [0]) for side in range(4)),
        NewCommit({"a/f": "1"}, [0]),
        NewCommit({"a/f": "1"}, [1, 2, 3, 4, 5]),
    ]
    history, made = history_of(tmp_path, commits, Input("a"))
    assert [(c.commit, c.via) for c in preferred(history, 1)] == [
        (made[6], "first-parent"),
        (made[5], "history"),
    ]


def test_long_lines_and_many_inputs_are_asked_all_at_once() -> None:
    inputs = [Input(f"s{number}") for number in range(70)]
    every = (1 << 70) - 1

    def commits() -> Iterator[HistoryCommit]:
        for number in range(9_000):
            parents = (str(number + 1),) if number < 8_999 else ()
            yield HistoryCommit(str(number), parents, every ^ (1 << 69 if number > 5_000 else 0))

    history = History.of(list(commits()), inputs)
    assert first_parent_commit(history, 1) == simplified_commit(history, 1) == "8999"
    changed = history.mask(inputs)
    assert first_parent_commit(history, changed) == simplified_commit(history, changed) == "5000"
    assert sum(1 for _ in others(history, changed, preferred(history, changed))) == 5_000
