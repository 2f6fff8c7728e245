"""Other repositories, on git's own servers on loopback."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.adapters.git.remote import RemoteRepositories
from bundler.errors import AccessRefused, CouldNotCheck, SourceInvalid, Unreachable
from bundler.model.commits import CommitSummary
from tests.fakes.git_server import backend, needs_login
from tests.fakes.scripted_server import Answer, Asked, ScriptedServer
from tests.git_history import START, NewCommit, git, make_history

NOBODY = "0123456789" * 4
SECRET = "s3cret-word"


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings of this test."""
    file = tmp_path / "gitconfig"
    file.write_text("")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(file))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return file


@pytest.fixture
def made(tmp_path: Path) -> list[str]:
    """Three commits in `served/other`."""
    commits = [NewCommit({f"f{n}": "x" * 1000}, [n - 1] if n else []) for n in range(3)]
    ids = make_history(tmp_path / "served" / "other", commits)
    for number in range(len(ids)):
        git(tmp_path / "served" / "other", "update-ref", "-d", f"refs/made/{number}")
    return ids


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    with ScriptedServer(backend(tmp_path / "served")) as server:
        yield server


@pytest.fixture
def other(tmp_path: Path, made: list[str]) -> Path:
    return tmp_path / "served" / "other"


@pytest.fixture
def repositories(tmp_path: Path) -> RemoteRepositories:
    return RemoteRepositories(tmp_path / "cache")


def url(server: ScriptedServer, name: str = "other") -> str:
    return f"http://{server.host}/{name}/.git"


# --- commits ------------------------------------------------------------------------------------


@pytest.mark.requirement("B-48")
def test_tags_of_every_kind_and_branches_are_asked_for_at_once(
    server: ScriptedServer, other: Path, made: list[str], repositories: RemoteRepositories
) -> None:
    git(other, "tag", "v1.0.0", made[0])
    git(other, "tag", "-m", "annotated", "v1.0.1", made[1])
    git(other, "tag", "-m", "nested", "v1.0.2", "v1.0.1")
    git(other, "tag", "-m", "not this one", "not/v1.0.2", made[2])
    asked = ["v1.0.0", "refs/tags/v1.0.1", "v1.0.2", "main", "refs/heads/main", "HEAD", "no"]
    commits = repositories.commits(url(server), [*asked, NOBODY])
    expected = [made[0], made[1], made[1], made[2], made[2], made[2], None]
    assert commits == dict(zip(asked, expected, strict=True)) | {NOBODY: NOBODY}
    listings = [each for each in server.asked if each.method == "POST"]
    assert len(listings) == 1


def test_a_commit_id_is_not_asked_for(
    server: ScriptedServer, repositories: RemoteRepositories
) -> None:
    assert repositories.commits(url(server), [NOBODY]) == {NOBODY: NOBODY}
    assert not server.asked


def test_a_name_that_is_a_tag_and_a_branch_must_be_written_in_full(
    server: ScriptedServer, other: Path, made: list[str], repositories: RemoteRepositories
) -> None:
    git(other, "tag", "both", made[0])
    git(other, "branch", "both", made[1])
    git(other, "tag", "same", made[1])
    git(other, "branch", "same", made[1])
    full = ["refs/tags/both", "refs/heads/both"]
    assert repositories.commits(url(server), full) == dict(zip(full, made, strict=False))
    assert repositories.commits(url(server), ["same"]) == {"same": made[1]}
    with pytest.raises(SourceInvalid, match="a tag and a branch") as raised:
        repositories.commits(url(server), ["both"])
    assert raised.value.hint == "write refs/tags/both or refs/heads/both"


@pytest.mark.parametrize("ref", ["--upload-pack=x", "a..b", "a b", "v1*", "main@{1}", "", "a:b"])
def test_what_is_no_name_is_refused(
    server: ScriptedServer, repositories: RemoteRepositories, ref: str
) -> None:
    with pytest.raises(SourceInvalid, match="no name of a tag, branch or commit"):
        repositories.commits(url(server), [ref])
    assert not server.asked


def test_names_with_any_letters_are_found(
    other: Path, made: list[str], repositories: RemoteRepositories
) -> None:
    git(other, "tag", "größe;1{x}", made[0])
    assert repositories.commits(str(other), ["größe;1{x}"]) == {"größe;1{x}": made[0]}


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_repository_on_this_machine_is_one_too(
    other: Path, made: list[str], repositories: RemoteRepositories, form: str
) -> None:
    place = form.format(other)
    assert repositories.commits(place, ["main"]) == {"main": made[2]}
    assert repositories.summaries(place, made[:1])[made[0]].subject == "commit 0"


# --- summaries ----------------------------------------------------------------------------------


@pytest.mark.requirement("B-48")
def test_a_commit_is_read_without_its_tree_and_history(
    server: ScriptedServer, other: Path, made: list[str], repositories: RemoteRepositories
) -> None:
    git(other, "config", "uploadpack.allowFilter", "true")
    found = repositories.summaries(url(server), [made[1], NOBODY, made[0]])
    assert found == {made[n]: CommitSummary(f"commit {n}", "Ada", START + n) for n in (0, 1)}
    assert b"filter tree:0" in server.asked[-1].body
    assert b"deepen 1" in server.asked[-1].body


def test_what_is_known_is_not_asked_for_again(
    server: ScriptedServer, made: list[str], repositories: RemoteRepositories, tmp_path: Path
) -> None:
    repositories.summaries(url(server), made[:1])
    server.asked.clear()
    again = RemoteRepositories(tmp_path / "cache")
    assert set(again.summaries(url(server), made[:1])) == {made[0]}
    assert not server.asked
    assert set(again.summaries(url(server), made)) == set(made)
    assert made[0].encode() not in server.asked[-1].body


def test_a_damaged_cache_is_asked_for_again(
    server: ScriptedServer, made: list[str], repositories: RemoteRepositories, tmp_path: Path
) -> None:
    repositories.summaries(url(server), made[:1])
    for file in (tmp_path / "cache").rglob("*.json"):
        file.write_text("[]")
    assert repositories.summaries(url(server), made[:1])[made[0]].author == "Ada"


def test_a_server_that_leaves_nothing_out_is_read_all_the_same(
    server: ScriptedServer, other: Path, made: list[str], repositories: RemoteRepositories
) -> None:
    git(other, "config", "uploadpack.allowFilter", "false")
    assert set(repositories.summaries(url(server), made)) == set(made)


def test_a_server_without_commits_by_id_gives_its_branches_and_says_so_of_others(
    tmp_path: Path, made: list[str], repositories: RemoteRepositories
) -> None:
    with ScriptedServer(backend(tmp_path / "served", newest_protocol=False)) as server:
        assert set(repositories.summaries(url(server), made[2:])) == {made[2]}
        with pytest.raises(CouldNotCheck, match="no single commit"):
            repositories.summaries(url(server), made[:1])


def test_a_server_of_plain_files_has_names_but_no_summaries(
    tmp_path: Path, other: Path, made: list[str], repositories: RemoteRepositories
) -> None:
    git(other, "update-server-info")

    def plain(asked: Asked) -> Answer:
        file = tmp_path / "served" / asked.path.partition("?")[0].lstrip("/")
        return Answer(200, file.read_bytes()) if file.is_file() else Answer(404)

    with ScriptedServer(plain) as server:
        assert repositories.commits(url(server), ["main"]) == {"main": made[2]}
        with pytest.raises(CouldNotCheck, match="no single commit"):
            repositories.summaries(url(server), made)


def test_what_is_no_commit_has_no_summary(
    server: ScriptedServer, other: Path, made: list[str], repositories: RemoteRepositories
) -> None:
    tree = git(other, "rev-parse", f"{made[0]}^{{tree}}")
    git(other, "tag", "-m", "of a tree", "tree", tree)
    found = repositories.commits(url(server), ["tree"])["tree"]
    assert found == tree
    assert repositories.summaries(url(server), [tree]) == {}


def test_a_partial_clone_gives_what_it_has(
    other: Path, made: list[str], tmp_path: Path, repositories: RemoteRepositories
) -> None:
    git(other, "config", "uploadpack.allowFilter", "true")
    served = tmp_path / "served"
    for name, left_out in (("files", "blob:none"), ("folders", "tree:0")):
        clone = ("clone", "--quiet", "--bare", f"--filter={left_out}", other.as_uri(), name)
        git(served, *clone)
        git(served / name, "config", "uploadpack.allowFilter", "true")
    with ScriptedServer(backend(served)) as server:
        files, folders = (f"http://{server.host}/{name}" for name in ("files", "folders"))
        assert repositories.commits(folders, ["main"]) == {"main": made[2]}
        assert set(repositories.summaries(files, made)) == set(made)
        with pytest.raises(CouldNotCheck):
            repositories.summaries(folders, made)


# --- who may be asked ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "ext::sh -c touch% canary",
        "--upload-pack=touch canary",
        "-oProxyCommand=x:y",
        "ssh://-oProxyCommand=x/y",
        "git@-oProxyCommand=x:y",
        "http://example.com/x",
        "git://example.com/x",
        "ftp://example.com/x",
        "../other",
        "other",
        "https://",
        "https://exa mple.com/x",
        "file://relative",
        f"https://user:{SECRET}/x@example.com/x",
        f"user:{SECRET}@example.com:x",
        "",
    ],
)
def test_other_urls_are_refused_before_git_sees_them(
    repositories: RemoteRepositories, place: str
) -> None:
    for ask in (repositories.commits, repositories.summaries):
        with pytest.raises(SourceInvalid, match="no URL of a repository") as raised:
            ask(place, ["main" if ask == repositories.commits else NOBODY])
        assert SECRET not in f"{raised.value.message}{raised.value.hint}"


def test_a_password_in_a_url_is_refused_and_not_repeated(repositories: RemoteRepositories) -> None:
    with pytest.raises(SourceInvalid, match="with a password") as raised:
        repositories.commits(f"https://ada:{SECRET}@example.com/x", ["main"])
    assert raised.value.message.startswith("https://example.com/x ")


def test_a_server_that_wants_a_login_gets_what_a_credential_helper_says(
    tmp_path: Path, made: list[str], own_settings: Path, repositories: RemoteRepositories
) -> None:
    own_settings.write_text(
        f'[credential]\n\thelper = "!f() {{ echo username=ada; echo password={SECRET}; }}; f"\n'
    )
    with ScriptedServer(needs_login(tmp_path / "served", "ada", SECRET)) as server:
        assert repositories.commits(url(server), ["main"]) == {"main": made[2]}
        assert set(repositories.summaries(url(server), made[:1])) == {made[0]}
    kept = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert kept and not any(SECRET in file.read_text() for file in kept)


def test_without_a_login_nobody_is_asked_and_the_answer_is_access_refused(
    tmp_path: Path,
    made: list[str],
    repositories: RemoteRepositories,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    canary = tmp_path / "canary"
    script = tmp_path / "askpass"
    script.write_text(f"#!/bin/sh\ntouch {canary}\necho x\n")
    script.chmod(0o755)
    monkeypatch.setenv("GIT_ASKPASS", str(script))
    monkeypatch.setenv("SSH_ASKPASS", str(script))
    with ScriptedServer(needs_login(tmp_path / "served", "ada", SECRET)) as server:
        place = url(server).replace("http://", f"http://{SECRET}@")
        for ask, what in ((repositories.commits, "main"), (repositories.summaries, made[0])):
            with pytest.raises(AccessRefused, match="asks for credentials") as raised:
                ask(place, [what])
            assert raised.value.hint
            assert SECRET not in f"{raised.value.message}{raised.value.hint}"
    assert not canary.exists()


def test_a_wrong_login_is_access_refused(
    tmp_path: Path, made: list[str], own_settings: Path, repositories: RemoteRepositories
) -> None:
    own_settings.write_text(
        '[credential]\n\thelper = "!f() { echo username=ada; echo password=wrong; }; f"\n'
    )
    with (
        ScriptedServer(needs_login(tmp_path / "served", "ada", SECRET)) as server,
        pytest.raises(AccessRefused),
    ):
        repositories.commits(url(server), ["main"])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_unreachable(repositories: RemoteRepositories, status: int) -> None:
    with ScriptedServer(lambda _: Answer(status)) as server:
        with pytest.raises(Unreachable, match="does not answer") as raised:
            repositories.commits(url(server), ["main"])
        assert raised.value.hint


def test_no_server_at_all_is_unreachable(
    server: ScriptedServer, repositories: RemoteRepositories
) -> None:
    place = url(server)
    server.__exit__(None, None, None)
    for ask, what in ((repositories.commits, "main"), (repositories.summaries, NOBODY)):
        with pytest.raises(Unreachable, match="does not answer"):
            ask(place, [what])


def test_a_server_that_keeps_silent_is_given_up(tmp_path: Path) -> None:
    over = threading.Event()

    def silent(_: Asked) -> Answer:
        over.wait()
        return Answer()

    with ScriptedServer(silent) as server:
        try:
            with pytest.raises(Unreachable, match=r"not done after 0\.5 s"):
                RemoteRepositories(tmp_path / "cache", seconds=0.5).commits(url(server), ["main"])
        finally:
            over.set()


@pytest.mark.parametrize("place", ["/nowhere/at/all", "file:///nowhere/at/all"])
def test_no_such_repository_is_told_apart(repositories: RemoteRepositories, place: str) -> None:
    with pytest.raises(SourceInvalid, match="is no repository"):
        repositories.commits(place, ["main"])


def test_no_such_repository_on_a_server_is_told_apart(
    server: ScriptedServer, made: list[str], repositories: RemoteRepositories
) -> None:
    for ask, what in ((repositories.commits, "main"), (repositories.summaries, NOBODY)):
        with pytest.raises(SourceInvalid, match="is no repository"):
            ask(url(server, "nowhere"), [what])


def test_ssh_is_told_not_to_ask_and_keeps_the_users_own_options(
    tmp_path: Path, repositories: RemoteRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tmp_path / "words"
    script = tmp_path / "ssh"
    script.write_text(
        f'#!/bin/sh\necho "$@" > {words}\n'
        "echo 'git@example.com: Permission denied (publickey).' >&2\nexit 255\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", f"{script} -i key")
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    with pytest.raises(AccessRefused, match=r"Permission denied \(publickey\)"):
        repositories.commits("git@example.com:shop/other.git", ["main"])
    told = words.read_text()
    assert "-i key -o BatchMode=yes -o ConnectTimeout=15" in told
    assert "git@example.com git-upload-pack" in told.replace("'", "")


def test_the_users_ssh_command_of_the_settings_is_kept(
    tmp_path: Path,
    own_settings: Path,
    repositories: RemoteRepositories,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GIT_SSH_COMMAND", raising=False)
    script = tmp_path / "ssh"
    script.write_text('#!/bin/sh\necho "Host key verification failed. $*" >&2\nexit 255\n')
    script.chmod(0o755)
    own_settings.write_text(f"[core]\n\tsshCommand = {script}\n[ssh]\n\tvariant = ssh\n")
    with pytest.raises(AccessRefused, match="Host key verification failed"):
        repositories.commits("ssh://git@example.com/other", ["main"])


def test_settings_of_a_repository_around_us_do_not_count(
    other: Path, made: list[str], repositories: RemoteRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(other, "config", "url.ext::sh.insteadOf", str(other))
    monkeypatch.chdir(other)
    monkeypatch.setenv("GIT_DIR", os.fspath(other / ".git"))
    assert repositories.commits(str(other), ["main"]) == {"main": made[2]}
