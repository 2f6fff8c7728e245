"""What names of commits mean, and what commits say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.adapters.git.repository import GitRepository
from bundler.errors import SourceInvalid
from bundler.model.commits import CommitSummary
from tests.git_history import START, NewCommit, git, make_history


def line(length: int) -> list[NewCommit]:
    return [NewCommit({"f": str(n)}, [n - 1] if n else []) for n in range(length)]


# --- names --------------------------------------------------------------------------------------


def test_a_commit_is_named_by_id_tag_branch_or_steps_from_one(tmp_path: Path) -> None:
    made = make_history(tmp_path, line(4))
    git(tmp_path, "tag", "-m", "annotated", "v1.0.0", made[1])
    git(tmp_path, "tag", "-m", "nested", "v1.0.1", "v1.0.0")
    git(tmp_path, "tag", "größe;x", made[0])
    repository = GitRepository(tmp_path)
    meant = {
        "main": 3,
        "HEAD": 3,
        "@": 3,
        "HEAD~1": 2,
        "main^": 2,
        "main~2^1": 0,
        "v1.0.1~": 0,
        "v1.0.0": 1,
        "refs/tags/v1.0.1": 1,
        "refs/heads/main": 3,
        "heads/main": 3,
        "größe;x": 0,
        made[2]: 2,
        made[2][:10]: 2,
        f"{made[2]}~1": 1,
    }
    assert {name: repository.commit(name) for name in meant} == {
        name: made[number] for name, number in meant.items()
    }


def test_a_name_that_is_a_tag_and_a_branch_is_refused_where_they_differ(tmp_path: Path) -> None:
    made = make_history(tmp_path, line(3))
    for branch, tag, name in ((0, 1, "both"), (2, 2, "same")):
        git(tmp_path, "branch", name, made[branch])
        git(tmp_path, "tag", "-m", "annotated", name, made[tag])
    repository = GitRepository(tmp_path)
    assert repository.commit("same") == made[2]
    assert repository.commit("refs/heads/both") == made[0]
    assert repository.commit("refs/tags/both") == made[1]
    for name in ("both", "both~1"):
        with pytest.raises(SourceInvalid, match="a tag and a branch") as raised:
            repository.commit(name)
        assert raised.value.hint == "write refs/tags/both or refs/heads/both"


@pytest.mark.parametrize(
    "name",
    [
        "", "-x", "--all", "--upload-pack=x", "a..b", "main...main", "main@{1}", "@{-1}", "main:f",
        ":/commit", "main^{/x}", "main^{tree}", "main main", "main\n", "ma?n", "^main", "/main",
    ],
)  # fmt: skip
def test_what_is_more_than_a_name_is_refused(tmp_path: Path, name: str) -> None:
    make_history(tmp_path, line(2))
    with pytest.raises(SourceInvalid, match="no name of a commit") as raised:
        GitRepository(tmp_path).commit(name)
    assert raised.value.hint


def test_a_name_of_nothing_suggests_one_of_something(tmp_path: Path) -> None:
    made = make_history(tmp_path, line(2))
    git(tmp_path, "update-ref", "refs/remotes/origin/develop", made[0])
    git(tmp_path, "tag", "v1.0.0")
    repository = GitRepository(tmp_path)
    for name, hint in (
        ("develop", "did you mean origin/develop?"),
        ("v1.0.1", "did you mean v1.0.0?"),
        ("x", "fetch it with: git fetch --tags"),
        ("0123456789" * 4, "fetch it with: git fetch --tags"),
    ):
        with pytest.raises(SourceInvalid, match=f"no commit {name}") as raised:
            repository.commit(name)
        assert raised.value.hint == hint


@pytest.mark.parametrize("zeros", [40, 64])
def test_all_zeros_are_no_commit(tmp_path: Path, zeros: int) -> None:
    make_history(tmp_path, line(1))
    with pytest.raises(SourceInvalid, match="is no commit") as raised:
        GitRepository(tmp_path).commit("0" * zeros)
    assert "branch is new" in str(raised.value.hint)


def test_an_object_that_is_no_commit_and_an_ancestor_too_many_are_told_apart(
    tmp_path: Path,
) -> None:
    make_history(tmp_path, line(2))
    tree = git(tmp_path, "rev-parse", "HEAD^{tree}")
    for name in (tree, "main~5"):
        with pytest.raises(SourceInvalid, match="is no commit"):
            GitRepository(tmp_path).commit(name)


def test_the_best_common_ancestors_are_found(tmp_path: Path) -> None:
    crossed = [
        NewCommit({"f": "0"}),
        NewCommit({"f": "1"}, [0]),
        NewCommit({"f": "2"}, [0]),
        NewCommit({"f": "3"}, [1, 2]),
        NewCommit({"f": "4"}, [2, 1]),
        NewCommit({"f": "5"}),
    ]
    made = make_history(tmp_path, crossed)
    repository = GitRepository(tmp_path)
    assert repository.merge_bases(made[1], made[2]) == (made[0],)
    assert set(repository.merge_bases(made[3], made[4])) == {made[1], made[2]}
    assert repository.merge_bases(made[0], made[5]) == ()
    with pytest.raises(SourceInvalid):
        repository.merge_bases(made[0], "--all")


# --- summaries ----------------------------------------------------------------------------------


def commit_object(folder: Path, author: str, message: str, more: str = "") -> str:
    tree = git(folder, "rev-parse", "HEAD^{tree}")
    told = f"tree {tree}\nauthor {author} 1600000000 +0200\ncommitter C <c@example.com> 1 +0000\n"
    content = (told + more + "\n" + message).encode("latin-1")
    return git(folder, "hash-object", "-t", "commit", "-w", "--stdin", stdin=content)


def test_a_summary_is_the_subject_the_authors_name_and_when_it_was_written(tmp_path: Path) -> None:
    made = make_history(tmp_path, line(2))
    (tmp_path / ".mailmap").write_text("Grace <ada@example.com>\n")
    old = commit_object(
        tmp_path,
        "J\xfcrgen <j@example.com>",
        "Gr\xf6\xdfe\nfolds\n\nBody.",
        "encoding ISO-8859-1\n",
    )
    odd = commit_object(tmp_path, "<e@example.com>", "")
    missing = "0123456789" * 4
    tree = git(tmp_path, "rev-parse", "HEAD^{tree}")
    asked = [made[1], missing, old, odd, made[1], tree, "HEAD", "--all", made[0][:7]]
    assert GitRepository(tmp_path).summaries(asked) == {
        made[1]: CommitSummary("commit 1", "Ada", START + 1),
        old: CommitSummary("Größe folds", "Jürgen", 1_600_000_000),
        odd: CommitSummary("", "", 1_600_000_000),
    }


# --- submodules ---------------------------------------------------------------------------------


def with_submodule(folder: Path, path: str = "libs/sub") -> tuple[Path, str, str]:
    """A repository with a submodule that was moved after it got its name: its commit, recorded."""
    recorded = make_history(folder / "sub", line(2))[0]
    make_history(folder / "main", line(1))
    git(folder / "main", "reset", "--quiet", "--hard", "main")
    allowed = ("-c", "protocol.file.allow=always")
    git(folder / "main", *allowed, "submodule", "--quiet", "add", str(folder / "sub"), "old name")
    git(folder / "main" / "old name", "checkout", "--quiet", recorded)
    (folder / "main" / path).parent.mkdir(parents=True, exist_ok=True)
    git(folder / "main", "add", "old name")
    git(folder / "main", "mv", "old name", path)
    git(folder / "main", "commit", "--quiet", "--all", "-m", "submodule")
    return folder / "main", git(folder / "main", "rev-parse", "HEAD"), recorded


@pytest.mark.requirement("B-47")
def test_a_submodules_commit_is_read_by_the_name_of_its_time(tmp_path: Path) -> None:
    root, commit, recorded = with_submodule(tmp_path)
    expected = CommitSummary("commit 0", "Ada", START)
    repository = GitRepository(root)
    assert repository.submodule_summary(commit, "libs/sub", recorded) == expected
    git(root, "submodule", "--quiet", "deinit", "--all", "--force")
    assert repository.submodule_summary(commit, "libs/sub", recorded) == expected
    git(root, "worktree", "add", "--quiet", str(tmp_path / "tree"))
    assert (
        GitRepository(tmp_path / "tree").submodule_summary(commit, "libs/sub", recorded) == expected
    )


def test_a_submodule_with_its_own_git_folder_is_read_there(tmp_path: Path) -> None:
    root, commit, recorded = with_submodule(tmp_path)
    (root / "libs/sub/.git").unlink()
    (root / ".git/modules/old name").rename(root / "libs/sub/.git")
    found = GitRepository(root).submodule_summary(commit, "libs/sub", recorded)
    assert found == CommitSummary("commit 0", "Ada", START)


@pytest.mark.requirement("B-47")
def test_a_submodule_that_is_not_here_has_no_summary(tmp_path: Path) -> None:
    root, commit, recorded = with_submodule(tmp_path)
    git(tmp_path, "clone", "--quiet", "main", "clone")
    clone = GitRepository(tmp_path / "clone")
    assert clone.submodule_summary(commit, "libs/sub", recorded) is None
    assert clone.submodule_summary(commit, "no/such/path", recorded) is None
    assert GitRepository(root).submodule_summary(commit, "libs/sub", "0123456789" * 4) is None
    first = git(root, "rev-parse", "HEAD~1")
    assert GitRepository(root).submodule_summary(first, "f", recorded) is None


def test_a_submodules_name_leads_nowhere_else(tmp_path: Path) -> None:
    recorded = make_history(tmp_path / "elsewhere", line(1))[0]
    for name in ("../../../elsewhere/.git", str(tmp_path / "elsewhere/.git"), "..", ""):
        text = f'[submodule "{name}"]\n\tpath = sub\n\turl = x\n'
        root = tmp_path / f"main{len(name)}"
        commit = make_history(root, [NewCommit({".gitmodules": text})])[0]
        assert GitRepository(root).submodule_summary(commit, "sub", recorded) is None


def test_settings_of_a_submodule_run_nothing(tmp_path: Path) -> None:
    root, commit, recorded = with_submodule(tmp_path)
    canary, script = tmp_path / "canary", tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {canary}\n")
    script.chmod(0o755)
    inside = root / ".git/modules/old name"
    for key in ("core.fsmonitor", "core.pager", "core.sshCommand", "remote.origin.uploadpack"):
        git(inside, "config", key, str(script))
    git(inside, "config", "remote.origin.url", "git@example.com:x")
    git(inside, "config", "remote.origin.promisor", "true")
    repository = GitRepository(root)
    assert repository.submodule_summary(commit, "libs/sub", recorded)
    assert repository.submodule_summary(commit, "libs/sub", "0123456789" * 4) is None
    git(inside, "config", "remote.origin.url", str(tmp_path / "sub"))
    assert repository.submodule_summary(commit, "libs/sub", "0123456789" * 4) is None
    assert not canary.exists()
