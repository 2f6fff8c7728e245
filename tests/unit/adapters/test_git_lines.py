"""Tags, branch heads and ancestry of real repositories."""

from __future__ import annotations

from pathlib import Path

from bundler.adapters.git.repository import GitRepository
from tests.git_history import NewCommit, git, make_history


def made(folder: Path, count: int = 3) -> list[str]:
    commits = [NewCommit({"f": str(n)}, [n - 1] if n else []) for n in range(count)]
    return make_history(folder, commits)


def test_tags_of_every_kind_lead_to_commits_and_others_are_left_out(tmp_path: Path) -> None:
    commits = made(tmp_path)
    git(tmp_path, "tag", "light", commits[0])
    git(tmp_path, "tag", "--annotate", "--message", "m", "annotated", commits[1])
    git(tmp_path, "tag", "--annotate", "--message", "m", "nested", "annotated")
    git(tmp_path, "tag", "--annotate", "--message", "m", "a-tree", f"{commits[2]}^{{tree}}")
    git(tmp_path, "tag", "a-blob", f"{commits[2]}:f")
    git(tmp_path, "tag", "größe/1", commits[2])
    assert GitRepository(tmp_path).tags() == {
        "annotated": commits[1],
        "größe/1": commits[2],
        "light": commits[0],
        "nested": commits[1],
    }


def test_a_repository_without_tags_has_none(tmp_path: Path) -> None:
    made(tmp_path)
    assert GitRepository(tmp_path).tags() == {}


def test_branch_heads_stand_in_the_order_of_the_patterns(tmp_path: Path) -> None:
    commits = made(tmp_path)
    git(tmp_path, "branch", "a/1", commits[0])
    git(tmp_path, "branch", "master", commits[1])
    heads = GitRepository(tmp_path).branch_heads(["main", "m*", "a/*"])
    assert list(heads.items()) == [
        ("main", commits[2]),
        ("master", commits[1]),
        ("a/1", commits[0]),
    ]


def test_with_a_remote_its_branches_count_and_not_our_own(tmp_path: Path) -> None:
    commits = made(tmp_path / "origin")
    git(tmp_path, "clone", "--quiet", "origin", "clone")
    clone = tmp_path / "clone"
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "unpushed")
    assert GitRepository(clone).branch_heads(["main"]) == {"main": commits[2]}


def test_the_ancestry_of_several_commits_has_children_before_parents(tmp_path: Path) -> None:
    commits = make_history(
        tmp_path,
        [
            NewCommit({"f": "0"}),
            NewCommit({"f": "1"}, [0]),
            NewCommit({"f": "2"}, [0]),
            NewCommit({"f": "3"}, [1, 2]),
            NewCommit({"f": "4"}, [2]),
        ],
    )
    ancestry = GitRepository(tmp_path).ancestry([commits[3], commits[4]])
    assert dict(ancestry) == {
        commits[0]: (),
        commits[1]: (commits[0],),
        commits[2]: (commits[0],),
        commits[3]: (commits[1], commits[2]),
        commits[4]: (commits[2],),
    }
    order = [commit for commit, _ in ancestry]
    assert all(order.index(c) < order.index(p) for c, parents in ancestry for p in parents)


def test_the_branch_that_is_checked_out_is_told(tmp_path: Path) -> None:
    made(tmp_path)
    git(tmp_path, "checkout", "--quiet", "-b", "feature/a", "main")
    assert GitRepository(tmp_path).checked_out() == "feature/a"
    git(tmp_path, "checkout", "--quiet", "--detach")
    assert GitRepository(tmp_path).checked_out() is None
