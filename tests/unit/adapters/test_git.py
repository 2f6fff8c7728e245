"""The git adapter on real repositories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.adapters.git.repository import GitRepository
from bundler.errors import SourceInvalid, Unreachable
from bundler.model.history import Input
from bundler.model.release import ReleaseTag
from tests.git_history import START, NewCommit, git, make_history


@pytest.mark.requirement("B-32")
def test_every_kind_of_tag_leads_to_its_commit(tmp_path: Path) -> None:
    commit = make_history(tmp_path, [NewCommit({"f": "0"})])[0]
    git(tmp_path, "tag", "v1.0.0")
    git(tmp_path, "tag", "-m", "annotated", "v1.0.1")
    git(tmp_path, "tag", "-m", "nested", "v1.0.2", "v1.0.1")
    repository = GitRepository(tmp_path)
    for name in ("v1.0.0", "v1.0.1", "v1.0.2"):
        revision = repository.revision(ReleaseTag(name))
        assert (revision.commit, revision.commit_time) == (commit, START)


@pytest.mark.requirement("B-32")
def test_a_branch_of_the_same_name_changes_nothing(tmp_path: Path) -> None:
    tagged, other = make_history(tmp_path, [NewCommit({"f": "0"}), NewCommit({"f": "1"}, [0])])
    git(tmp_path, "tag", "v1.0.0", tagged)
    git(tmp_path, "update-ref", "refs/heads/v1.0.0", other)
    git(tmp_path, "update-ref", "refs/heads/refs/tags/v1.0.0", other)
    assert GitRepository(tmp_path).revision(ReleaseTag("v1.0.0")).commit == tagged


def test_files_that_hold_a_text_are_found_in_a_commit_whatever_they_are_called(
    tmp_path: Path,
) -> None:
    text = "ENC[AES256_GCM,data:a+b/c=,iv:x.*,type:str]"
    tree = {
        "a.yaml": f"mac: {text}\n",
        "folder/ü and\ttab.bin": f"\0{text}\0",
        "link": f"{text}",
        "none.yaml": "mac: ENC[AES256_GCM,data:a+b/c=,iv:xyz,type:str]\n",
        ".gitattributes": "*.yaml binary -diff\n",
    }
    first, second = make_history(
        tmp_path,
        [NewCommit(tree, modes={"link": "120000"}), NewCommit({"other": "0"}, [0])],
    )
    repository = GitRepository(tmp_path)
    found = repository.containing(first, [text, "--help"])
    assert found.keys() == {"a.yaml", "folder/ü and\ttab.bin"}
    assert found["a.yaml"] == tree["a.yaml"].encode()
    assert repository.containing(second, [text]) == {}
    assert repository.containing(first, []) == {}


@pytest.mark.requirement("B-32")
def test_a_signed_tag_leads_to_its_commit(tmp_path: Path) -> None:
    commit = make_history(tmp_path, [NewCommit({"f": "0"})])[0]
    tag = (
        f"object {commit}\ntype commit\ntag v1.0.0\ntagger Ada <ada@example.com> {START} +0000\n"
        "\nrelease\n-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"
    )
    git(tmp_path, "update-ref", "refs/tags/v1.0.0", git(tmp_path, "mktag", stdin=tag.encode()))
    assert GitRepository(tmp_path).revision(ReleaseTag("v1.0.0")).commit == commit


@pytest.mark.parametrize("what", ["HEAD^{tree}", "HEAD:f"])
@pytest.mark.parametrize("options", [(), ("-m", "annotated")])
def test_a_tag_on_no_commit_is_refused(tmp_path: Path, what: str, options: tuple[str, ...]) -> None:
    make_history(tmp_path, [NewCommit({"f": "0"})])
    git(tmp_path, "tag", *options, "v1.0.0", git(tmp_path, "rev-parse", what))
    with pytest.raises(SourceInvalid, match="does not point at a commit"):
        GitRepository(tmp_path).revision(ReleaseTag("v1.0.0"))


@pytest.mark.parametrize(
    "name", ["v1..v2", "-v1", "--upload-pack=x", "v1;touch x", "v1^{tree}", "v1:f", "v1@{1}", ""]
)
def test_a_tag_that_git_could_misread_is_no_tag(tmp_path: Path, name: str) -> None:
    make_history(tmp_path, [NewCommit({"f": "0"})])
    git(tmp_path, "tag", "v1")
    git(tmp_path, "tag", "v2")
    with pytest.raises(SourceInvalid):
        GitRepository(tmp_path).revision(ReleaseTag(name))


def test_a_tag_with_any_letters_is_one(tmp_path: Path) -> None:
    commit = make_history(tmp_path, [NewCommit({"f": "0"})])[0]
    for name in ("größe", "日本", "a;b", "-v1", "--upload-pack=x"):
        git(tmp_path, "update-ref", f"refs/tags/{name}", commit)
        assert GitRepository(tmp_path).revision(ReleaseTag(name)).commit == commit


def test_a_branch_of_the_same_name_does_not_shadow_the_tag(tmp_path: Path) -> None:
    made = make_history(tmp_path, [NewCommit({"f": "0"}), NewCommit({"f": "1"}, [0])])
    git(tmp_path, "tag", "v1.0.0", made[0])
    git(tmp_path, "branch", "v1.0.0", made[1])
    assert GitRepository(tmp_path).revision(ReleaseTag("v1.0.0")).commit == made[0]


def test_a_branch_is_no_tag(tmp_path: Path) -> None:
    make_history(tmp_path, [NewCommit({"f": "0"})])
    with pytest.raises(SourceInvalid, match="no tag main"):
        GitRepository(tmp_path).revision(ReleaseTag("main"))


@pytest.mark.requirement("B-31")
def test_patterns_choose_the_branches_that_count(tmp_path: Path) -> None:
    made = make_history(tmp_path, [NewCommit({"f": "0"}), NewCommit({"f": "1"}, [0])])
    git(tmp_path, "branch", "release/1", made[0])
    git(tmp_path, "branch", "other", made[0])
    branches = GitRepository(tmp_path).branches(made[1], ["main", "release/*"])
    assert branches == (("main", "release/1"), ("main",), ())


@pytest.mark.requirement("B-31")
def test_with_a_remote_only_its_branches_count(tmp_path: Path) -> None:
    make_history(tmp_path / "origin", [NewCommit({"f": "0"})])
    git(tmp_path, "clone", "--quiet", "origin", "clone")
    clone = tmp_path / "clone"
    (clone / "f").write_text("1")
    git(clone, "commit", "--quiet", "--all", "-m", "local only")
    local = git(clone, "rev-parse", "HEAD")
    assert GitRepository(clone).branches(local, ["main"]) == (("main",), (), ("main",))


def test_a_mirror_counts_its_own_branches(tmp_path: Path) -> None:
    commit = make_history(tmp_path / "origin", [NewCommit({"f": "0"})])[0]
    git(tmp_path, "clone", "--quiet", "--mirror", "origin", "mirror")
    assert GitRepository(tmp_path / "mirror").branches(commit, ["main"]).containing == ("main",)


@pytest.mark.requirement("B-31")
def test_the_branches_of_a_bare_clone_are_those_of_its_remote(tmp_path: Path) -> None:
    made = make_history(tmp_path / "origin", [NewCommit({"f": "0"}), NewCommit({"f": "1"}, [0])])
    git(tmp_path / "origin", "branch", "side", made[1])
    git(tmp_path / "origin", "update-ref", "refs/heads/main", made[0])
    git(tmp_path, "clone", "--quiet", "--bare", "origin", "bare")
    repository = GitRepository(tmp_path / "bare")
    assert repository.branches(made[0], ["main"]) == (("main",), ("main",), ())
    assert repository.branches(made[1], ["main"]) == (("main",), (), ())
    # Once it tracks branches, only those are the remote's.
    git(tmp_path / "bare", "update-ref", "refs/remotes/origin/main", made[1])
    assert repository.branches(made[1], ["main"]) == (("main",), ("main",), ())


def test_a_clone_that_tracks_no_branches_cannot_tell(tmp_path: Path) -> None:
    commit = make_history(tmp_path, [NewCommit({"f": "0"})])[0]
    git(tmp_path, "remote", "add", "origin", "nowhere")
    assert GitRepository(tmp_path).branches(commit, ["main"]) == ((), (), ("main",))


def test_content_is_read_as_git_stores_it(tmp_path: Path) -> None:
    attributes = "* text eol=crlf ident export-ignore export-subst\n"
    tree = {".gitattributes": attributes, "a/f": "$Id$ $Format:%H$\n", "run": "x", "l": "a/f"}
    commit = make_history(tmp_path, [NewCommit(tree, modes={"run": "100755", "l": "120000"})])[0]
    repository = GitRepository(tmp_path)
    assert repository.read(commit, "a/f") == b"$Id$ $Format:%H$\n"
    assert repository.read(commit, "a") is None
    assert repository.read(commit, "b") is None
    assert repository.contents(commit, ["a", "l", "b"]) == {"a/f": b"$Id$ $Format:%H$\n"}
    assert repository.contents(commit, []) == {}
    with repository.exported(commit) as root:
        exported = Path(root)
        found = {str(p.relative_to(exported)) for p in exported.rglob("*") if not p.is_dir()}
        assert found == set(tree)
        assert (exported / "a/f").read_text() == "$Id$ $Format:%H$\n"
        assert (exported / "l").resolve() == exported / "a/f"
    assert not exported.exists()


def test_a_commit_that_was_not_pushed_is_found_on_the_local_branch(tmp_path: Path) -> None:
    make_history(tmp_path / "origin", [NewCommit({"f": "0"})])
    git(tmp_path, "clone", "--quiet", "origin", "clone")
    (tmp_path / "clone" / "f").write_text("1")
    git(tmp_path / "clone", "commit", "--quiet", "--all", "-m", "local only")
    commit = git(tmp_path / "clone", "rev-parse", "HEAD")
    assert GitRepository(tmp_path / "clone").branches(commit, ["main"]).unpushed == ("main",)


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../x", "../..", "a/../../../x", "fine/up/../x"]
)
def test_no_link_leads_out_of_the_exported_tree(tmp_path: Path, target: str) -> None:
    tree = {"d/link": target, "d/fine": "..", "up": ".", "f": "0"}
    modes = dict.fromkeys(("d/link", "d/fine", "up"), "120000")
    commit = make_history(tmp_path, [NewCommit(tree, modes=modes)])[0]
    with GitRepository(tmp_path).exported(commit) as root:
        links = sorted(p.relative_to(root) for p in Path(root).rglob("*") if p.is_symlink())
        assert not (Path(root) / "d/link").exists()
        assert (Path(root) / "d/link").resolve().is_relative_to(Path(root))
    assert links == [Path("d/fine"), Path("d/link"), Path("up")]


def test_settings_of_the_repository_run_nothing(tmp_path: Path) -> None:
    commit = make_history(tmp_path, [NewCommit({"f": "0"})])[0]
    canary = tmp_path / "canary"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {canary}\n")
    script.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "diff.external", "core.sshCommand"):
        git(tmp_path, "config", key, str(script))
    git(tmp_path, "tag", "v1.0.0")
    repository = GitRepository(tmp_path)
    repository.revision(ReleaseTag("v1.0.0"))
    repository.history(commit, [Input("f")])
    repository.read(commit, "f")
    assert not canary.exists()


def test_a_file_of_grafts_changes_no_history(tmp_path: Path) -> None:
    commits = make_history(
        tmp_path, [NewCommit({"f": "0"}), NewCommit({"f": "1"}, [0]), NewCommit({"f": "2"}, [1])]
    )
    (tmp_path / ".git" / "info").mkdir(exist_ok=True)
    (tmp_path / ".git" / "info" / "grafts").write_text(f"{commits[1]}\n")
    history = GitRepository(tmp_path).history(commits[2], [Input("f")])
    assert [commit.id for commit in history] == commits[::-1]


def test_replaced_commits_change_no_history(tmp_path: Path) -> None:
    commits = make_history(
        tmp_path, [NewCommit({"f": "0"}), NewCommit({"f": "1"}, [0]), NewCommit({"f": "2"}, [1])]
    )
    git(tmp_path, "replace", "--graft", commits[1])
    history = GitRepository(tmp_path).history(commits[2], [Input("f")])
    assert [commit.id for commit in history] == commits[::-1]
    assert GitRepository(tmp_path).merge_bases(commits[0], commits[2]) == (commits[0],)


def partial_clone(folder: Path, left_out: str) -> str:
    """A clone whose remote is gone; the commit on main."""
    commit = make_history(
        folder / "origin", [NewCommit({"d/f": "0"}), NewCommit({"d/f": "1"}, [0])]
    )
    git(folder / "origin", "config", "uploadpack.allowFilter", "true")
    source = (folder / "origin").as_uri()
    git(folder, "clone", "--quiet", "--no-checkout", f"--filter={left_out}", source, "clone")
    (folder / "origin").rename(folder / "gone")
    return commit[-1]


def test_a_partial_clone_has_all_history_without_its_remote(tmp_path: Path) -> None:
    commit = partial_clone(tmp_path, "blob:none")
    history = GitRepository(tmp_path / "clone").history(commit, [Input("d"), Input("d", ("*.md",))])
    assert [each.equal for each in history] == [3, 0]


@pytest.mark.parametrize("left_out", ["blob:none", "tree:0"])
def test_a_partial_clone_whose_remote_is_gone_says_that_it_is_out_of_reach(
    tmp_path: Path, left_out: str
) -> None:
    commit = partial_clone(tmp_path, left_out)
    repository = GitRepository(tmp_path / "clone")
    asked: list[Callable[[], object]] = [
        lambda: repository.lfs_pointers(commit, [Input("d")]),
        lambda: repository.read(commit, "d/f"),
        lambda: repository.exported(commit).__enter__(),
    ]
    if left_out == "tree:0":
        asked.append(lambda: repository.history(commit, [Input("d")]))
    else:
        blob = git(tmp_path / "gone", "rev-parse", f"{commit}:d/f")
        asked.append(lambda: list(repository.blobs([blob])))
    for ask in asked:
        with pytest.raises(Unreachable, match="a partial clone lacks objects") as raised:
            ask()
        assert raised.value.hint
        assert "fatal" not in raised.value.message


@pytest.mark.parametrize(("left_out", "fetches"), [("blob:none", 1), ("tree:0", 2)])
def test_a_partial_clone_fetches_what_it_lacks_at_once_and_silently(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    left_out: str,
    fetches: int,
) -> None:
    tree = {f"d/{number}": str(number) for number in range(20)}
    commit = make_history(tmp_path / "origin", [NewCommit(tree)])[0]
    git(tmp_path / "origin", "config", "uploadpack.allowFilter", "true")
    git(tmp_path / "origin", "config", "uploadpack.allowAnySHA1InWant", "true")
    source = (tmp_path / "origin").as_uri()
    git(tmp_path, "clone", "--quiet", "--no-checkout", f"--filter={left_out}", source, "clone")
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    repository = GitRepository(tmp_path / "clone")
    assert repository.lfs_pointers(commit, [Input("d")]) == ()
    with repository.exported(commit) as root:
        assert {path.name for path in Path(root, "d").iterdir()} == {str(n) for n in range(20)}
    assert (tmp_path / "trace").read_text().count("built-in: git fetch ") == fetches
    assert capfd.readouterr().err == ""


def test_a_blob_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    commit = make_history(tmp_path, [NewCommit({"f": "0"})])[0]
    blob = git(tmp_path, "rev-parse", f"{commit}:f")
    with pytest.raises(SourceInvalid, match="is missing") as raised:
        list(GitRepository(tmp_path).blobs([blob[::-1]]))
    assert raised.value.hint


def test_a_repository_of_another_user_is_refused_as_git_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_history(tmp_path, [NewCommit({"f": "0"})])
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its tests
    with pytest.raises(SourceInvalid, match="another user") as raised:
        GitRepository(tmp_path)
    assert f"safe.directory {tmp_path}" in str(raised.value.hint)


def test_a_repository_is_found_from_below(tmp_path: Path) -> None:
    make_history(tmp_path, [NewCommit({"f": "0"})])
    (tmp_path / "deep" / "er").mkdir(parents=True)
    assert GitRepository(tmp_path / "deep" / "er").root == tmp_path


def test_no_repository_is_a_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SourceInvalid, match="not in a git repository"):
            GitRepository(path)
