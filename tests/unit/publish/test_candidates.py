"""Candidates of generated histories, against an oracle that compares every ancestor's tree."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundler.adapters.git import GitRepository
from bundler.publish.candidates import (
    History,
    first_parent_commit,
    others,
    preferred,
    simplified_commit,
)
from tests.git_history import NewCommit, git, make_history

PATHS = ("a", "b", "lib/x", "go.mod")
FILES = ("a/f", "a/sub/g", "b/f", "lib/x/f", "lib/y/f", "go.mod", "a2/f")


@st.composite
def histories(draw: st.DrawFn) -> list[NewCommit]:
    """Trees over few files and few contents, so that reverts and equal trees are common."""
    content = st.sampled_from(["0", "1", "2"])
    commits = [NewCommit(dict.fromkeys(FILES, "0"))]
    for number in range(1, draw(st.integers(2, 12))):
        parents = draw(st.lists(st.integers(0, number - 1), min_size=1, max_size=3, unique=True))
        tree = dict(commits[parents[0]].tree)
        if len(parents) > 1:  # a merge takes some files from each side
            for path in draw(st.sets(st.sampled_from(FILES))):
                side = commits[draw(st.sampled_from(parents))].tree
                tree.pop(path, None)
                tree |= {path: side[path]} if path in side else {}
        for path in draw(st.sets(st.sampled_from(FILES), max_size=2)):
            tree[path] = draw(content)
        if draw(st.integers(0, 9)) == 0:
            tree.pop(draw(st.sampled_from(FILES)), None)
        commits.append(NewCommit(tree or {"a/f": "0"}, parents))
    # The tag's tree has all paths, as publishing demands.
    last = dict.fromkeys(FILES, "1") | dict(commits[-1].tree)
    commits.append(NewCommit(last, [len(commits) - 1]))
    return commits


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.sets(st.sampled_from(PATHS), min_size=1))
@pytest.mark.requirement("B-41", "B-43", "B-44")
def test_candidates_are_what_comparing_every_ancestor_gives(
    commits: list[NewCommit], paths: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tagged = make_history(root, commits)[-1]
        history = History.of(GitRepository(root).history(tagged, PATHS), PATHS)
        mask = history.mask(paths)

        def tree(commit: str) -> str:
            return git(root, "ls-tree", "-r", commit, "--", *sorted(paths))

        wanted = tree(tagged)
        ancestors = git(root, "rev-list", "--topo-order", tagged).splitlines()
        equal = [commit for commit in ancestors if tree(commit) == wanted]
        introduced = tagged
        for commit in git(root, "rev-list", "--first-parent", tagged).splitlines():
            if commit not in equal:
                break
            introduced = commit
        simplified = git(root, "log", "-1", "--format=%H", tagged, "--", *sorted(paths))

        assert first_parent_commit(history, mask) == introduced
        assert simplified_commit(history, mask) == simplified
        found = [c.commit for c in (*preferred(history, mask), *others(history, mask))]
        first = list(dict.fromkeys([introduced, simplified]))
        assert found == [*first, *(commit for commit in equal if commit not in first)]


@pytest.mark.requirement("B-44")
def test_an_older_commit_with_another_tree_is_never_a_candidate(tmp_path: Path) -> None:
    commits = [NewCommit({"a/f": "0"}), NewCommit({"a/f": "1"}, [0]), NewCommit({"a/f": "0"}, [1])]
    made = make_history(tmp_path, commits)
    history = History.of(GitRepository(tmp_path).history(made[-1], ["a"]), ["a"])
    mask = history.mask(["a"])
    assert [c.commit for c in preferred(history, mask)] == [made[2]]
    assert [(c.commit, c.via) for c in others(history, mask)] == [(made[0], "identical-tree")]


def test_the_tags_own_commit_is_told_apart_from_others(tmp_path: Path) -> None:
    commits = [NewCommit({"a/f": "0"}), NewCommit({"a/f": "0", "docs": "1"}, [0])]
    made = make_history(tmp_path, commits)
    history = History.of(GitRepository(tmp_path).history(made[-1], ["a"]), ["a"])
    mask = history.mask(["a"])
    assert [c.commit for c in preferred(history, mask)] == [made[0]]
    assert [(c.commit, c.via) for c in others(history, mask)] == [(made[1], "tag-commit")]


def test_a_folder_that_was_a_file_is_another_tree(tmp_path: Path) -> None:
    commits = [NewCommit({"a": "0"}), NewCommit({"a/f": "0"}, [0]), NewCommit({"a": "0"}, [1])]
    made = make_history(tmp_path, commits)
    history = History.of(GitRepository(tmp_path).history(made[-1], ["a"]), ["a"])
    mask = history.mask(["a"])
    assert [commit.equal & mask == mask for commit in history.commits] == [True, False, True]


def test_the_whole_tree_is_an_input_like_any_other(tmp_path: Path) -> None:
    commits = [NewCommit({"f": "0"}), NewCommit({"f": "1"}, [0]), NewCommit({"f": "0"}, [1])]
    made = make_history(tmp_path, commits)
    history = History.of(GitRepository(tmp_path).history(made[-1], ["."]), ["."])
    assert [commit.equal for commit in history.commits] == [1, 0, 1]


def test_paths_with_any_characters_are_followed(tmp_path: Path) -> None:
    path = 'sp ace/ü"q*[x]'
    commits = [
        NewCommit({f'"{_quoted(path)}/f"': "0"}),
        NewCommit({f'"{_quoted(path)}/f"': "1"}, [0]),
    ]
    made = make_history(tmp_path, commits)
    history = History.of(GitRepository(tmp_path).history(made[-1], [path]), [path])
    assert [commit.equal for commit in history.commits] == [1, 0]


def _quoted(path: str) -> str:
    return path.replace("\\", "\\\\").replace('"', '\\"')
