"""Every way to be somebody to a cluster, on a real API server."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.cluster.connection import KubernetesConnection, connect
from bundler.adapters.cluster.kubernetes_cluster import KubernetesCluster
from bundler.errors import NoConnection, PermissionRefused, Unreachable
from tests.fakes.tunnel import Tunnel
from tools.control_plane import ApiError, ControlPlane
from tools.server_process import free_port, wait_until


def kubeconfig(
    folder: Path,
    control_plane: ControlPlane,
    user: Mapping[str, Any],
    **cluster: Any,
) -> Path:
    path = folder / "kubeconfig"
    server = {"server": control_plane.server, "certificate-authority": str(control_plane.ca)}
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "clusters": [{"name": "test", "cluster": {**server, **cluster}}],
                "users": [{"name": "test", "user": dict(user)}],
            }
        )
    )
    return path


def exec_plugin(folder: Path) -> dict[str, Any]:
    """A plugin that answers what `credential.json` says, and writes down that it ran."""
    script = folder / "plugin.py"
    script.write_text(
        "import pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with (folder / 'runs').open('a') as runs: runs.write('x')\n"
        "status = (folder / 'credential.json').read_text()\n"
        "version = 'client.authentication.k8s.io/v1'\n"
        'print(\'{"apiVersion":"%s","kind":"ExecCredential","status":%s}\''
        " % (version, status))\n"
    )
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(script), str(folder)],
            "interactiveMode": "Never",
        }
    }


def credential(folder: Path, status: Mapping[str, str]) -> None:
    (folder / "credential.json").write_text(json.dumps(status))


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text())


def user_of(connection: KubernetesConnection) -> str | None:
    cluster = KubernetesCluster(
        connection, project="shop", environment="stage", target="default", namespace="default"
    )
    return cluster.authenticated()


def new_service_account(control_plane: ControlPlane, namespace: str, name: str) -> str:
    control_plane.request(
        "POST",
        f"/api/v1/namespaces/{namespace}/serviceaccounts",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
    )
    return control_plane.service_account_token(namespace, name)


def is_refused(control_plane: ControlPlane, token: str) -> bool:
    try:
        control_plane.request("GET", "/api", token=token)
    except ApiError as error:
        return error.status == 401
    return False


def test_a_static_token_is_sent(control_plane: ControlPlane, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, control_plane, {"token": control_plane.token})
    with connect(kubeconfig=path) as connection:
        assert user_of(connection) == "admin"


def test_the_authority_is_a_file_beside_the_kubeconfig_or_stands_in_it(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    (tmp_path / "ca.crt").write_bytes(control_plane.ca.read_bytes())
    encoded = base64.b64encode(control_plane.ca.read_bytes()).decode()
    for authority in (
        {"certificate-authority": "ca.crt"},
        {"certificate-authority-data": encoded},
        {"certificate-authority": "missing.crt", "certificate-authority-data": encoded},
    ):
        path = kubeconfig(tmp_path, control_plane, {"token": control_plane.token})
        document = json.loads(path.read_text())
        document["clusters"][0]["cluster"] = {"server": control_plane.server, **authority}
        path.write_text(json.dumps(document))
        with connect(kubeconfig=path) as connection:
            assert user_of(connection) == "admin", authority
    document["clusters"][0]["cluster"] = {
        "server": control_plane.server,
        "certificate-authority": "missing.crt",
    }
    path.write_text(json.dumps(document))
    with pytest.raises(NoConnection, match=r"missing\.crt"):
        connect(kubeconfig=path)


def test_a_token_is_read_without_the_client_library(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    path = kubeconfig(tmp_path, control_plane, {"token": control_plane.token})
    code = (
        "import sys; from bundler.adapters.cluster.connection import connect; "
        f"connect(kubeconfig={str(path)!r}); sys.exit('kubernetes' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_token_file_is_sent_without_its_line_end(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(control_plane.token + "\n")
    path = kubeconfig(tmp_path, control_plane, {"tokenFile": "token"})
    with connect(kubeconfig=path) as connection:
        assert user_of(connection) == "admin"


def test_a_client_certificate_is_shown(control_plane: ControlPlane, tmp_path: Path) -> None:
    certificate, key = control_plane.client_certificate("release-runner", ["releasers"])
    path = kubeconfig(
        tmp_path, control_plane, {"client-certificate": str(certificate), "client-key": str(key)}
    )
    with connect(kubeconfig=path) as connection:
        assert user_of(connection) == "release-runner"


def test_an_exec_plugin_gives_a_token(control_plane: ControlPlane, tmp_path: Path) -> None:
    credential(tmp_path, {"token": control_plane.token})
    path = kubeconfig(tmp_path, control_plane, exec_plugin(tmp_path))
    with connect(kubeconfig=path) as connection:
        assert user_of(connection) == "admin"
        assert user_of(connection) == "admin"
    assert runs(tmp_path) == 1


def test_an_exec_plugin_gives_a_certificate(control_plane: ControlPlane, tmp_path: Path) -> None:
    certificate, key = control_plane.client_certificate("release-runner")
    credential(
        tmp_path,
        {"clientCertificateData": certificate.read_text(), "clientKeyData": key.read_text()},
    )
    path = kubeconfig(tmp_path, control_plane, exec_plugin(tmp_path))
    with connect(kubeconfig=path) as connection:
        assert user_of(connection) == "release-runner"


def test_a_token_that_expires_half_way_is_replaced(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    first = new_service_account(control_plane, namespace, "first")
    second = new_service_account(control_plane, namespace, "second")
    credential(tmp_path, {"token": first})
    path = kubeconfig(tmp_path, control_plane, exec_plugin(tmp_path))
    with connect(kubeconfig=path) as connection:
        assert user_of(connection) == f"system:serviceaccount:{namespace}:first"
        control_plane.request("DELETE", f"/api/v1/namespaces/{namespace}/serviceaccounts/first")
        # The API server remembers for ten seconds that a token was good.
        wait_until(lambda: is_refused(control_plane, first), "the first token's end", [])
        credential(tmp_path, {"token": second})
        assert user_of(connection) == f"system:serviceaccount:{namespace}:second"
    assert runs(tmp_path) == 2


def test_many_threads_with_an_expired_token_ask_for_one_new(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    credential(tmp_path, {"token": "expired"})
    path = kubeconfig(tmp_path, control_plane, exec_plugin(tmp_path))
    users: list[str | None] = []
    with connect(kubeconfig=path) as connection:
        credential(tmp_path, {"token": control_plane.token})
        threads = [
            threading.Thread(target=lambda: users.append(user_of(connection))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert users == ["admin"] * 8
    assert runs(tmp_path) == 2


def test_credentials_that_stay_wrong_are_refused_without_being_told(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    path = kubeconfig(tmp_path, control_plane, {"token": "very-secret-token"})
    with (
        connect(kubeconfig=path) as connection,
        pytest.raises(PermissionRefused, match="does not accept our credentials") as error,
    ):
        connection.request("GET", "/api")
    assert "very-secret-token" not in str(error.value)


def test_the_files_of_a_pod_are_read_again_when_they_change(
    control_plane: ControlPlane,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, _, port = control_plane.server.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    (tmp_path / "ca.crt").write_bytes(control_plane.ca.read_bytes())
    (tmp_path / "token").write_text("a token of yesterday\n")
    with connect(in_cluster=True, service_account=tmp_path) as connection:
        token = control_plane.service_account_token(namespace, "default")
        (tmp_path / "token").write_text(token + "\n")
        assert user_of(connection) == f"system:serviceaccount:{namespace}:default"


def test_outside_of_a_pod_there_are_no_such_files(tmp_path: Path) -> None:
    with pytest.raises(NoConnection, match="no service account of a pod"):
        connect(in_cluster=True, service_account=tmp_path)


def test_the_user_that_a_kubeconfig_acts_as_is_sent(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    user = {"token": control_plane.token, "as": "somebody", "as-groups": ["one", "two"]}
    path = kubeconfig(tmp_path, control_plane, user)
    with connect(kubeconfig=path) as connection:
        assert user_of(connection) == "somebody"


def test_the_server_is_verified_by_its_tls_server_name(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    user = {"token": control_plane.token}
    path = kubeconfig(tmp_path, control_plane, user, **{"tls-server-name": "localhost"})
    with connect(kubeconfig=path) as connection:
        assert user_of(connection) == "admin"
    path = kubeconfig(tmp_path, control_plane, user, **{"tls-server-name": "example.com"})
    with (
        connect(kubeconfig=path) as connection,
        pytest.raises(Unreachable, match=r"127\.0\.0\.1.*TLS failed .*example\.com"),
    ):
        connection.request("GET", "/api")


def test_a_server_of_an_unknown_authority_is_not_trusted_unless_that_is_asked_for(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    user = {"token": control_plane.token}
    authorities = ssl.get_default_verify_paths().cafile or ""
    if not Path(authorities).exists():
        authorities = str(control_plane.client_certificate("nobody")[0])
    path = kubeconfig(tmp_path, control_plane, user, **{"certificate-authority": authorities})
    with connect(kubeconfig=path) as connection, pytest.raises(Unreachable, match="TLS failed"):
        connection.request("GET", "/api")
    document = json.loads(path.read_text())
    document["clusters"][0]["cluster"] = {
        "server": control_plane.server,
        "insecure-skip-tls-verify": True,
    }
    path.write_text(json.dumps(document))
    with connect(kubeconfig=path) as connection:
        assert user_of(connection) == "admin"


def test_requests_go_through_the_proxy_of_the_kubeconfig(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    user = {"token": control_plane.token}
    with Tunnel() as tunnel:
        path = kubeconfig(tmp_path, control_plane, user, **{"proxy-url": tunnel.url})
        with connect(kubeconfig=path) as connection:
            assert user_of(connection) == "admin"
    target = control_plane.server.removeprefix("https://")
    assert tunnel.asked[0].startswith(f"CONNECT {target} HTTP/1.")
    assert "Basic bWU6c2VjcmV0" in tunnel.asked[0], "the proxy's password is sent"


def test_a_proxy_that_is_away_is_told_without_its_password(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    proxy = f"http://me:proxy-password@127.0.0.1:{free_port()}"
    user = {"token": control_plane.token}
    path = kubeconfig(tmp_path, control_plane, user, **{"proxy-url": proxy})
    with (
        connect(kubeconfig=path) as connection,
        pytest.raises(Unreachable, match="proxy") as error,
    ):
        connection.request("GET", "/api", attempts=1)
    assert "proxy-password" not in str(error.value)


def test_a_proxy_of_the_environment_is_not_used_for_hosts_that_it_leaves_out(
    control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    path = kubeconfig(tmp_path, control_plane, {"token": control_plane.token})
    with connect(kubeconfig=path) as connection:
        assert user_of(connection) == "admin"


def test_kubeconfigs_are_merged(
    control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The users of one file, the clusters of another; the first current context counts."""
    users, clusters = tmp_path / "users", tmp_path / "clusters"
    context = {"cluster": "far", "user": "me"}
    users.write_text(
        json.dumps(
            {
                "current-context": "mine",
                "contexts": [{"name": "mine", "context": context}],
                "users": [{"name": "me", "user": {"token": control_plane.token}}],
            }
        )
    )
    cluster = {"server": control_plane.server, "certificate-authority": str(control_plane.ca)}
    clusters.write_text(
        json.dumps({"current-context": "other", "clusters": [{"name": "far", "cluster": cluster}]})
    )
    monkeypatch.setenv(
        "KUBECONFIG", f"{users}{os.pathsep}{tmp_path / 'none'}{os.pathsep}{clusters}"
    )
    with connect() as connection:
        assert user_of(connection) == "admin"


def test_a_server_that_is_away_is_named(control_plane: ControlPlane, tmp_path: Path) -> None:
    server = f"https://127.0.0.1:{free_port()}"
    path = kubeconfig(tmp_path, control_plane, {"token": "very-secret-token"}, server=server)
    with connect(kubeconfig=path) as connection, pytest.raises(Unreachable, match=server) as error:
        connection.request("GET", "/api", attempts=2)
    assert "refused" in str(error.value)
    assert "very-secret-token" not in str(error.value)
