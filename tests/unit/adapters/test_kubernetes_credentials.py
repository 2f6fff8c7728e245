"""Kubeconfigs that lead nowhere: every one is told with what to do, and without a secret."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.cluster.connection import connect
from bundler.errors import NoConnection

SECRET = "very-secret-token"


def config(**changes: Any) -> dict[str, Any]:
    complete: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "stage",
        "contexts": [
            {"name": "stage", "context": {"cluster": "far", "user": "me"}},
            {"name": "prod", "context": {"cluster": "far", "user": "me"}},
        ],
        "clusters": [{"name": "far", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "me", "user": {"token": SECRET}}],
    }
    return complete | changes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kubeconfig"


def refusal(path: Path, text: object, context: str | None = None) -> NoConnection:
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(NoConnection) as error:
        connect(kubeconfig=path, context=context)
    told = f"{error.value} {error.value.hint}"
    assert SECRET not in told
    assert "\n" not in told
    return error.value


def test_a_context_is_chosen_by_name(path: Path) -> None:
    path.write_text(json.dumps(config(**{"current-context": ""})))
    with connect(kubeconfig=path, context="prod") as connection:
        assert connection.server == "http://127.0.0.1:1"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoConnection, match="absent: no such kubeconfig"):
        connect(kubeconfig=tmp_path / "absent")


def test_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(NoConnection) as error:
        connect()
    assert "--kubeconfig" in (error.value.hint or "")


def test_a_context_that_is_not_there(path: Path) -> None:
    error = refusal(path, config(), context="staging")
    assert "no context 'staging'" in str(error)
    assert error.hint == "it has: prod, stage"


def test_no_current_context(path: Path) -> None:
    error = refusal(path, config(**{"current-context": ""}))
    assert "no current context" in str(error)
    assert error.hint == "--context: prod, stage"


def user(**settings: Any) -> dict[str, Any]:
    clusters = [{"name": "far", "cluster": {"server": "https://far"}}]
    return config(users=[{"name": "me", "user": settings}], clusters=clusters)


def cluster(**settings: Any) -> dict[str, Any]:
    return config(clusters=[{"name": "far", "cluster": {"server": "https://far", **settings}}])


@pytest.mark.parametrize(
    "text",
    [
        "users: [{name: me, user: {token: very-secret-token}",
        "[very-secret-token]",
        "very-secret-token",
        "",
        config(users="very-secret-token"),
        config(users=[{"user": {"token": SECRET}}]),
        config(users=[{"name": "me", "users": {"token": SECRET}}] * 2),
        config(clusters=[{"name": "far", "cluster": [SECRET]}]),
        cluster(**{"certificate-authority-data": "x"}),
        user(**{"client-certificate": "absent", "client-key": "absent"}),
        user(exec={"env": [{"value": SECRET}]}),
        user(exec=SECRET),
        user(**{"as-groups": 5}),
    ],
)
def test_what_is_no_kubeconfig(path: Path, text: object) -> None:
    refusal(path, text)


def test_a_cluster_without_a_server(path: Path) -> None:
    error = refusal(path, config(clusters=[]))
    assert "its cluster 'far' has no server" in str(error)


def test_a_server_that_is_no_url(path: Path) -> None:
    assert "no http or https URL" in str(refusal(path, cluster(server="far.example.com:6443")))


@pytest.mark.parametrize(
    "settings", [{"token": f"{SECRET}\nHost: else"}, {"token": f"ü{SECRET}"}, {"as": "ü\n"}]
)
def test_what_no_header_may_hold(path: Path, settings: dict[str, str]) -> None:
    assert "cannot be sent" in str(refusal(path, user(**settings)))


def test_a_user_that_is_not_there(path: Path) -> None:
    assert "there is no user 'me'" in str(refusal(path, config(users=[])))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["no-such-plugin"], "'no-such-plugin' gave no credentials: [Errno 2]"),
        (["sh", "-c", "echo log in first >&2; exit 3"], "process returned 3. log in first"),
        (["sh", "-c", f'echo \'{{"token": "{SECRET}"\''], "failed to decode process output"),
        (["echo", "{}"], "malformed response"),
    ],
)
def test_an_exec_plugin_that_fails_is_told_in_its_own_words(
    path: Path, command: list[str], words: str
) -> None:
    version = "client.authentication.k8s.io/v1"
    plugin = {"apiVersion": version, "command": command[0], "args": command[1:]}
    error = refusal(path, config(users=[{"name": "me", "user": {"exec": plugin}}]))
    assert words in str(error)


def test_the_loader_leaves_logging_as_it_was(path: Path) -> None:
    before = list(logging.getLogger().handlers)
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin"}
    refusal(path, config(users=[{"name": "me", "user": {"exec": plugin}}]))
    assert logging.getLogger().handlers == before


def test_the_first_file_says_which_context_is_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(json.dumps(config(**{"current-context": "prod"})))
    near = [{"name": "near", "cluster": {"server": "http://127.0.0.1:2"}}]
    other = [{"name": "other", "context": {"cluster": "near"}}]
    document = config(clusters=near, contexts=other, **{"current-context": "other"})
    second.write_text(json.dumps(document))
    monkeypatch.setenv("KUBECONFIG", f"{first}{os.pathsep}{second}")
    with connect() as connection:
        assert connection.server == "http://127.0.0.1:1"
    with connect(context="other") as connection:
        assert connection.server == "http://127.0.0.1:2"


def test_a_proxy_that_is_no_url(path: Path) -> None:
    error = refusal(path, cluster(**{"proxy-url": "ftp://me:very-secret-token@x"}))
    assert "proxy" in str(error)
