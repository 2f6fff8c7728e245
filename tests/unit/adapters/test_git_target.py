"""A folder of a git repository as target: what is pushed, what is not, and who was faster."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.adapters.git.branch_folder import BranchFolder
from bundler.adapters.git_target import WANTED, GitTarget, find_states
from bundler.deploy.flow import apply_to_target
from bundler.deploy.progress import Progress
from bundler.deploy.result import TargetResult
from bundler.errors import AccessRefused, Locked, NoConnection, Refused, SourceInvalid, Unreachable
from bundler.model.bundle import VerifiedBundle
from bundler.model.revision import Revision
from tests.fakes.git_server import backend, needs_login
from tests.fakes.releases import config_map, deployment, namespace, release, runner, secret
from tests.fakes.scripted_server import ScriptedServer
from tests.git_history import NewCommit, git, make_history

V1 = release("v1.0.0", [namespace(), config_map("settings", colour="red"), deployment("cart")])
V2 = release("v1.1.0", [namespace(), config_map("settings", colour="blue")])
FOLDER = "clusters/eu"
SETTINGS = f"{FOLDER}/shop/configmap/settings.yaml"
SECRET = "s3cret-word"

Apply = Callable[..., TargetResult]


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings of this test."""
    file = tmp_path / "gitconfig"
    file.write_text("")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(file))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{name}_NAME", raising=False)
        monkeypatch.delenv(f"GIT_{name}_EMAIL", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "private"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "private").mkdir()
    return file


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A deployments repository that others use too."""
    tree = {"README.md": "deployments", "clusters/us/shop/configmap/a.yaml": "kind: ConfigMap\n"}
    return bare_of(tmp_path, NewCommit(tree))


def bare_of(tmp_path: Path, commit: NewCommit) -> Path:
    make_history(tmp_path / "work", [commit])
    git(tmp_path, "clone", "--quiet", "--bare", "work", "served/deployments.git")
    return tmp_path / "served/deployments.git"


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def apply(bare: Path, opened: ExitStack) -> Apply:
    """Apply a bundle as a runner of its own."""

    def act(
        bundle: VerifiedBundle,
        on_progress: Callable[[Progress], None] = lambda _: None,
        *,
        url: str = "",
        branch: str = "main",
        path: str = FOLDER,
    ) -> TargetResult:
        to = target(opened, url or str(bare), branch, path)
        by = replace(runner(), on_progress=on_progress)
        return apply_to_target(bundle, "stage", "default", to, by)

    return act


def target(opened: ExitStack, url: str, branch: str = "main", path: str = FOLDER) -> GitTarget:
    place = opened.enter_context(BranchFolder(url, branch, path, WANTED))
    return GitTarget(place, project="shop", environment="stage", target="default")


def files(bare: Path, *places: str) -> list[str]:
    return git(bare, "ls-tree", "-r", "--name-only", "main", *places).splitlines()


def content(bare: Path, path: str) -> str:
    return git(bare, "cat-file", "blob", f"main:{path}")


def log(bare: Path, form: str = "%s", *more: str) -> list[str]:
    return git(bare, "log", f"--format={form}", *more, "main").splitlines()


def push(bare: Path, path: str, text: str) -> None:
    """Somebody else's commit."""
    work = bare.parent / "theirs"
    git(bare.parent, "clone", "--quiet", str(bare), str(work))
    (work / path).parent.mkdir(parents=True, exist_ok=True)
    (work / path).write_text(text)
    git(work, "add", "-A")
    git(work, "commit", "--quiet", "-m", "theirs")
    git(work, "push", "--quiet", "origin", "HEAD:main")


# --- what is pushed -----------------------------------------------------------------------------


def test_an_apply_is_one_commit_with_the_release_in_its_message(apply: Apply, bare: Path) -> None:
    result = apply(V1)
    assert (result.status, result.outcome) == ("succeeded", "written")
    assert log(bare) == ["shop v1.0.0 → stage/default", "commit 0"]
    assert git(bare, "log", "-1", "--format=%b", "main").splitlines() == [
        "3 created",
        "",
        f"Release-Reference: {V1.reference}",
        f"Release-Digest: {V1.digest}",
        f"Release-Commit: {V1.release.value['commit']}",
        "Applied-By: ci/cd on runner-1",
        "Job: https://ci.example.com/7",
    ]
    assert files(bare, FOLDER) == [
        f"{FOLDER}/.bundler/bundler.shop.stage.default.json",
        f"{FOLDER}/.bundler/bundler.shop.stage.default.v1.json",
        f"{FOLDER}/_cluster/namespace/shop.yaml",
        SETTINGS,
        f"{FOLDER}/shop/deployment.apps/cart.yaml",
    ]
    apply(V2)
    assert "shop/deployment.apps" not in "".join(files(bare))
    assert "blue" in content(bare, SETTINGS)
    assert content(bare, "README.md") == "deployments"
    assert len(log(bare)) == 3


def test_what_changes_nothing_is_no_commit(apply: Apply, bare: Path) -> None:
    apply(V1)
    before = log(bare, "%H")
    assert apply(V1).status == "unchanged"
    assert log(bare, "%H") == before


def test_git_s_own_settings_say_who_commits_and_we_do_where_they_do_not(
    apply: Apply, bare: Path, own_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(V1)
    own_settings.write_text("[user]\n name = Ada\n email = ada@example.com\n")
    apply(V2)
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Grace")
    apply(V1)
    assert log(bare, "%an <%ae> %cn", "-3") == [
        "Grace <ada@example.com> Ada",
        "Ada <ada@example.com> Ada",
        "bundler <bundler@localhost> bundler",
    ]


def test_old_revisions_go_with_the_commit(apply: Apply, bare: Path) -> None:
    state = f"{FOLDER}/.bundler/bundler.shop.stage.default"
    apply(V1)
    recorded = Revision.of_dict(json.loads(content(bare, f"{state}.v1.json")))
    work = bare.parent / "theirs"
    git(bare.parent, "clone", "--quiet", str(bare), str(work))
    for number in range(2, 25):
        copy = json.dumps(replace(recorded, number=number).as_dict())
        (work / f"{state}.v{number}.json").write_text(copy)
    git(work, "add", "-A")
    git(work, "commit", "--quiet", "-m", "many")
    git(work, "push", "--quiet", "origin", "HEAD:main")
    assert apply(V2).revision == 25
    numbers = [path for path in files(bare, f"{FOLDER}/.bundler") if ".v" in path]
    assert len(numbers) == 20
    assert len(log(bare)) == 4


def test_the_root_of_an_empty_repository_gets_its_first_commit(
    apply: Apply, tmp_path: Path
) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "empty")
    empty = tmp_path / "empty"
    assert apply(V1, url=str(empty), path=".").status == "succeeded"
    assert apply(V1, url=str(empty), path=".").status == "unchanged"
    assert "shop/configmap/settings.yaml" in files(empty)


def test_a_repository_of_the_newer_object_format_is_written_to(
    apply: Apply, tmp_path: Path
) -> None:
    git(tmp_path, "init", "--quiet", "--object-format=sha256", "--initial-branch=main", "newer")
    git(tmp_path / "newer", "commit", "--quiet", "--allow-empty", "-m", "first")
    git(tmp_path, "clone", "--quiet", "--bare", "newer", "longer")
    for bundle in (V1, V2):
        assert apply(bundle, url=str(tmp_path / "longer")).error is None
    assert [len(commit) for commit in log(tmp_path / "longer", "%H")] == [64] * 3


# --- what is not --------------------------------------------------------------------------------


def test_what_is_refused_or_fails_pushes_nothing(
    apply: Apply, bare: Path, opened: ExitStack
) -> None:
    apply(V1)
    before = log(bare, "%H")
    clear = release("v1.2.0", [namespace(), secret("token", value="aGk=")])
    assert isinstance(apply(clear).error, Refused)

    def failing(_: Progress) -> None:
        raise Unreachable("as a full disk would be")

    assert apply(V2, failing).status == "failed"
    assert log(bare, "%H") == before
    place = opened.enter_context(BranchFolder(str(bare), "main", FOLDER, WANTED))
    [(_, _, _, state)] = find_states(place)
    assert [each.tag for each in state.revisions] == ["v1.0.0"]


def test_an_error_names_the_place_in_the_repository(apply: Apply, bare: Path) -> None:
    theirs = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\n"
    push(bare, SETTINGS, theirs)
    error = apply(V1).error
    assert error and f"{bare} main:{FOLDER}/shop/configmap/settings.yaml belongs to" in str(error)


def test_nothing_private_stays(tmp_path: Path, bare: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ExitStack() as opened:
        apply_to_target(V1, "stage", "default", target(opened, str(bare)), runner())
        assert len(list((tmp_path / "private").iterdir())) == 2
        raise KeyboardInterrupt
    assert list((tmp_path / "private").iterdir()) == []


def test_a_link_in_the_repository_leads_nowhere(tmp_path: Path, apply: Apply) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for number, path in enumerate((f"{FOLDER}/shop", f"{FOLDER}/shop/configmap", SETTINGS)):
        folder = tmp_path / str(number)
        commit = NewCommit({path: str(outside)}, modes={path: "120000"})
        error = apply(V1, url=str(bare_of(folder, commit))).error
        assert error is not None
        assert list(outside.iterdir()) == []
    bare = bare_of(tmp_path / "3", NewCommit({FOLDER: str(outside)}, modes={FOLDER: "120000"}))
    error = apply(V1, url=str(bare)).error
    assert isinstance(error, NoConnection)
    assert "clusters/eu is no folder" in error.message


def test_filters_and_hooks_of_the_repository_are_not_run(
    tmp_path: Path, apply: Apply, own_settings: Path
) -> None:
    ran = tmp_path / "ran"
    own_settings.write_text(f'[filter "evil"]\n smudge = touch {ran}\n clean = touch {ran}\n')
    attributes = {".gitattributes": "*.yaml filter=evil\n", SETTINGS: "kind: ConfigMap\n"}
    bare = bare_of(tmp_path / "evil", NewCommit(attributes))
    apply(release("v1", [namespace(), config_map("other")]), url=str(bare))
    assert f"{FOLDER}/shop/configmap/other.yaml" in files(bare)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"branch": "stable"}, "has no branch stable"),
        ({"branch": "--upload-pack=x"}, "is no name of a branch"),
        ({"path": "../elsewhere"}, "is no folder of a repository"),
        ({"path": "/etc"}, "is no folder of a repository"),
        ({"path": "README.md"}, "README.md is no folder"),
        ({"url": "/not/there"}, "is no repository"),
    ],
)
def test_a_place_that_is_not_there_is_told(apply: Apply, given: dict[str, str], words: str) -> None:
    try:
        error: object = apply(V1, **given).error
    except NoConnection as raised:
        error = raised
    assert isinstance(error, NoConnection)
    assert words in error.message
    assert "targets.yaml" in (error.hint or "")


def test_a_transport_that_runs_programs_is_refused(apply: Apply, tmp_path: Path) -> None:
    for url in (f"ext::touch {tmp_path}/ran", "http://git.example.com/x", "git://x/y"):
        assert isinstance(apply(V1, url=url).error, SourceInvalid)
    assert not (tmp_path / "ran").exists()


# --- who was faster -----------------------------------------------------------------------------


def once(act: Callable[[], None]) -> Callable[[Progress], None]:
    left = [act]
    return lambda _: left.pop()() if left else None


def test_a_commit_to_another_folder_meanwhile_is_built_upon(apply: Apply, bare: Path) -> None:
    result = apply(V1, once(lambda: push(bare, "clusters/us/new.yaml", "theirs")))
    assert result.status == "succeeded"
    assert log(bare) == ["shop v1.0.0 → stage/default", "theirs", "commit 0"]
    assert content(bare, "clusters/us/new.yaml") == "theirs"
    assert SETTINGS in files(bare)


def test_a_commit_to_our_folder_meanwhile_is_never_lost(apply: Apply, bare: Path) -> None:
    result = apply(V1, once(lambda: push(bare, f"{FOLDER}/kustomization.yaml", "theirs")))
    assert isinstance(result.error, Locked)
    assert result.error.exit_code == 6
    assert "by Ada (theirs)" in result.error.message
    assert log(bare) == ["theirs", "commit 0"]
    assert apply(V1).status == "succeeded"
    assert content(bare, f"{FOLDER}/kustomization.yaml") == "theirs"


def test_of_two_runners_the_slower_one_is_told_and_may_go_on(apply: Apply, bare: Path) -> None:
    faster: list[TargetResult] = []
    slower = apply(V1, once(lambda: faster.append(apply(V2))))
    assert (faster[0].status, slower.status) == ("succeeded", "failed")
    assert isinstance(slower.error, Locked)
    assert "shop v1.1.0 → stage/default" in slower.error.message
    assert apply(V1).revision == 2
    assert log(bare)[0] == "shop v1.0.0 → stage/default"
    assert log(bare, "%P")[0].count(" ") == 0


def test_a_server_s_no_is_told_in_its_words(apply: Apply, bare: Path) -> None:
    hook = bare / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    result = apply(V1)
    assert type(result.error) is Refused
    assert "pre-receive hook declined" in result.error.message
    assert log(bare) == ["commit 0"]


# --- over the network ---------------------------------------------------------------------------


@pytest.fixture
def server(bare: Path) -> Iterator[ScriptedServer]:
    git(bare, "config", "http.receivepack", "true")
    with ScriptedServer(backend(bare.parent)) as server:
        yield server


def test_a_server_is_fetched_from_without_history_and_pushed_to(
    apply: Apply, bare: Path, server: ScriptedServer
) -> None:
    url = f"http://{server.host}/deployments.git"
    assert apply(V1, url=url).status == "succeeded"
    assert SETTINGS in files(bare)
    assert b"deepen 1" in b"".join(each.body for each in server.asked)


def test_a_login_is_git_s_own_matter_and_is_never_told(
    apply: Apply, bare: Path, server: ScriptedServer, own_settings: Path
) -> None:
    server.answer = needs_login(bare.parent, "cd", SECRET)
    url = f"http://cd@{server.host}/deployments.git"
    error = apply(V1, url=url).error
    assert isinstance(error, AccessRefused)
    assert "cd@" not in error.message
    helper = own_settings.parent / "helper"
    helper.write_text(f"#!/bin/sh\necho username=cd\necho password={SECRET}\n")
    helper.chmod(0o755)
    own_settings.write_text(f"[credential]\n helper = {helper}\n")
    assert apply(V1, url=url).status == "succeeded"
    assert SECRET not in "".join(log(bare, "%B"))
    with_password = apply(V1, url=f"http://cd:{SECRET}@{server.host}/deployments.git").error
    assert isinstance(with_password, SourceInvalid)
    assert SECRET not in with_password.message


def test_a_server_that_does_not_answer_is_unreachable(apply: Apply) -> None:
    error = apply(V1, url="http://127.0.0.1:1/deployments.git").error
    assert isinstance(error, Unreachable)


def test_every_question_is_bounded_in_time(opened: ExitStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/deployments.git"
        place = opened.enter_context(BranchFolder(url, "main", FOLDER, WANTED, 0.5))
        with pytest.raises(Unreachable, match="not done after"):
            place.read()
